"""Batch-hard triplet losses: with a margin, and with a soft one."""

import torch
import torch.nn.functional as F

from clustercontrast.losses.placing import beside

REDUCTIONS = {"mean": torch.mean, "sum": torch.sum}


def batch_hard_triplet(features: torch.Tensor, labels: torch.Tensor, margin: float) -> torch.Tensor:
    """max(d(farthest of the class) - d(nearest of others) + margin, 0), mean over the batch.

    Args:
        features: (B, d), compared by Euclidean distance as they are.
        labels: (B,) classes, on the CPU or where the features are.
        margin: by which others must be farther.

    Returns:
        Scalar; 0 when a single class is there.
    """
    if (labels == labels[:1]).all():
        return features.sum() * 0
    farthest, nearest = _hardest(features, labels)
    return F.relu(farthest - nearest + margin).mean()


def soft_margin_triplet(
    features: torch.Tensor, labels: torch.Tensor, normalise: bool = False, reduction: str = "mean"
) -> torch.Tensor:
    """log(1 + exp(d(farthest of the class) - d(nearest of others))) of a batch (CMAM Eq. 2, 21).

    Distances are formed in float32 at least, also under autocast (A14).

    Args:
        features: (B, d).
        labels: (B,) classes, on the CPU or where the features are.
        normalise: compare unit features; an image's loss cannot go below log(1 + e⁻²) = 0.127 then.
        reduction: over the batch, "mean" or "sum" (A2).

    Returns:
        Scalar; 0 when a single class is there.

    Raises:
        ValueError: unknown reduction.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction is {reduction!r}, expected one of {', '.join(REDUCTIONS)}")
    if (labels == labels[:1]).all():
        return features.sum() * 0
    with torch.autocast(features.device.type, enabled=False):
        features = features if features.dtype == torch.float64 else features.float()
        features = F.normalize(features) if normalise else features
        farthest, nearest = _hardest(features, labels)
    return REDUCTIONS[reduction](F.softplus(farthest - nearest))


def _hardest(features: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances (B,) from the farthest of the class, itself included, and the nearest other."""
    squares = features.square().sum(dim=1)
    distances = squares[:, None] + squares[None] - 2 * features @ features.T
    distances = distances.clamp_min(1e-12).sqrt()
    labels = beside(labels, features)
    same = labels[:, None] == labels[None]
    farthest = distances.masked_fill(~same, -torch.inf).amax(dim=1)
    nearest = distances.masked_fill(same, torch.inf).amin(dim=1)
    return farthest, nearest
