"""Labels of a batch, which are known on the CPU, beside the features they belong to."""

import torch


def beside(labels: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Labels, positions or weights of a batch on the device of ``features``.

    Small tensors in ordinary host memory are staged at once: the device is not waited for.
    """
    return labels.to(features.device, non_blocking=True)
