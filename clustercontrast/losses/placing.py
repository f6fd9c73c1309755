"""Labels of a batch, which are known on the CPU, beside the features they belong to."""

import numpy as np
import torch


def beside(labels: torch.Tensor | np.ndarray, features: torch.Tensor) -> torch.Tensor:
    """Labels, positions or weights of a batch on the device of ``features``.

    Small tensors in ordinary host memory are staged at once: the device is not waited for.
    """
    return torch.as_tensor(labels).to(features.device, non_blocking=True)
