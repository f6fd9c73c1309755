"""Maximum mean discrepancy between the features of two sets (MMM, final stage)."""

from collections.abc import Iterator

import numpy as np
import torch

from clustercontrast.losses.placing import beside

KERNELS = 5


def mmd(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Squared discrepancy under five Gaussian kernels.

    Bandwidths are h / 4 · 2^i, h the mean squared distance over all pairs, a constant.

    Args:
        source: (..., m, d) sets, or one of them.
        target: (..., m, d), as many.

    Returns:
        (...) means of K_SS + K_TT - K_ST - K_TS, scalar for one pair of sets.
    """
    both, m = torch.cat([source, target], dim=-2), source.shape[-2]
    # Differences, not products: near points would lose their digits, and TF32 more of them.
    distances = (both[..., :, None, :] - both[..., None, :, :]).square().sum(dim=-1)
    pairs = 4 * m * m - 2 * m
    total = distances.detach().sum(dim=(-2, -1), keepdim=True)
    bandwidth = (total / pairs / 2 ** (KERNELS // 2)).clamp_min(1e-30)
    kernel = sum(torch.exp(-distances / (bandwidth * 2**i)) for i in range(KERNELS))
    inner = kernel[..., :m, :m] + kernel[..., m:, m:]
    return (inner - kernel[..., :m, m:] - kernel[..., m:, :m]).mean(dim=(-2, -1))


def alignment(visible: torch.Tensor, infrared: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Pull both modalities of every class together, each towards the other held fixed.

    M is symmetric, so M(visible, sg infrared) + M(infrared, sg visible) has twice the value of
    M(visible, infrared) and its gradient: it is computed once.

    Args:
        visible: (B, d) features of one view.
        infrared: (B, d).
        labels: (B,) classes, the same position by position, on the CPU or where the features are.

    Returns:
        Scalar, mean over the classes of M(visible, sg infrared) + M(infrared, sg visible).
    """
    sizes = [beside(torch.from_numpy(own), visible) for own in _classes_by_size(labels)]
    found = torch.cat([mmd(visible[own], infrared[own]) for own in sizes])
    return (found + found.detach()).mean()


def _classes_by_size(labels: torch.Tensor) -> Iterator[np.ndarray]:
    """Positions (C, m) of the members of all classes with m members, for every m there is."""
    y = labels.cpu().numpy()
    order = y.argsort(kind="stable")
    _, first, counts = np.unique(y[order], return_index=True, return_counts=True)
    for size in np.unique(counts):
        yield order[first[counts == size, None] + np.arange(size)]
