"""Losses in which every image counts as much as its label is trusted (MMM, final stage)."""

import torch
import torch.nn.functional as F

from clustercontrast.losses.placing import beside


def confidence_weighted_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Mean over the batch of w CE, not divided by the sum of w (L_id).

    Args:
        logits: (B, C).
        labels: (B,) classes, on the CPU or where the logits are.
        weights: (B,) in [0, 1].
    """
    losses = F.cross_entropy(logits, beside(labels, logits), reduction="none")
    return (weights * losses).mean()


def self_mimic(
    features: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, prototypes: torch.Tensor
) -> torch.Tensor:
    """Mean over the batch of w |g - P[y]|, the absolute difference averaged over dimensions.

    Args:
        features: (B, d).
        labels: (B,) classes, on the CPU or where the features are.
        weights: (B,) in [0, 1].
        prototypes: (C, d), constants.
    """
    own = prototypes[beside(labels, features)].detach()
    differences = (features - own).abs().mean(dim=1)
    return (weights * differences).mean()
