"""Batch-hard triplet loss."""

import torch
import torch.nn.functional as F


def batch_hard_triplet(features: torch.Tensor, labels: torch.Tensor, margin: float) -> torch.Tensor:
    """max(d(farthest of the class) - d(nearest of others) + margin, 0), mean (mmm.md 3.6).

    Args:
        features: (B, d), compared by Euclidean distance as they are.
        labels: (B,) classes.
        margin: by which others must be farther.

    Returns:
        Scalar; 0 when a single class is there.
    """
    squares = features.square().sum(dim=1)
    distances = squares[:, None] + squares[None] - 2 * features @ features.T
    distances = distances.clamp_min(1e-12).sqrt()
    same = labels[:, None] == labels[None]
    if same.all():
        return features.sum() * 0
    farthest = distances.masked_fill(~same, -torch.inf).amax(dim=1)
    nearest = distances.masked_fill(same, torch.inf).amin(dim=1)
    return F.relu(farthest - nearest + margin).mean()
