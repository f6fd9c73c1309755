"""Generalised-mean pooling of a feature map."""

import torch


def generalised_mean(maps: torch.Tensor, p: float = 3.0, eps: float = 1e-12) -> torch.Tensor:
    """GeM with a fixed exponent: ``(mean(x^p) + eps)^(1/p)`` over the positions.

    Args:
        maps: (B, C, H, W), not negative (behind a ReLU); upstream does not clamp and neither do we.
        p: exponent; 3 in every official run.
        eps: keeps the root differentiable at zero.

    Returns:
        (B, C).
    """
    return (maps.flatten(2).pow(p).mean(2) + eps).pow(1.0 / p)


def clamped_generalised_mean(
    maps: torch.Tensor, p: torch.Tensor | float, floor: float = 1e-6
) -> torch.Tensor:
    """GeM with an exponent that may be trained: ``mean(max(x, floor)^p)^(1/p)`` (A4).

    Args:
        maps: (B, C, H, W).
        p: exponent, a scalar.
        floor: smallest value, which keeps the gradients of the power and of ``p`` finite.

    Returns:
        (B, C) float32, whatever precision the maps have.
    """
    return maps.float().clamp_min(floor).pow(p).mean((2, 3)).pow(1.0 / p)
