"""Relations between neighbours in a batch, without labels (RPNR's NRL)."""

import torch
import torch.nn.functional as F


def relation_contrast(
    features: torch.Tensor, sigma: float = 1.0, delta: float = 1.0, normalise: bool = False
) -> torch.Tensor:
    """Pull near pairs together, push the others to the mean distance of their row (rpnr.md 4.4).

    With D the Euclidean distances of the features, S_ij = D_ij / mean_j D_ij and the constant
    weights W_ij = exp(-D_ij² / σ)::

        mean over i ≠ j of  W_ij S_ij² + (1 - W_ij) max(δ - S_ij, 0)²

    The released code forms W from features that are not normalised: their distances are so large
    that W is zero and the loss only repels (RPNR-2).

    Args:
        features: (B, d) neck outputs, not normalised.
        sigma: σ.
        delta: δ.
        normalise: form W from unit features instead.

    Returns:
        Scalar; 0 for fewer than two features.
    """
    size = len(features)
    if size < 2:
        return features.sum() * 0
    distances = _distances(features, features)
    tiny = torch.finfo(distances.dtype).tiny  # of a row equal to all others
    scaled = distances / distances.mean(dim=1, keepdim=True).clamp(min=tiny)
    seen = F.normalize(features.detach()) if normalise else features.detach()
    weights = torch.exp(-_distances(seen, seen).square() / sigma)
    pull = weights * scaled.square()
    push = (1 - weights) * F.relu(delta - scaled).square()
    others = ~torch.eye(size, dtype=torch.bool, device=features.device)
    return (pull + push)[others].sum() / (size * (size - 1))


def _distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(n, m) Euclidean distances, in float32 at least; their gradient is 0 where they are 0."""
    wide = torch.float32 if a.dtype in (torch.float16, torch.bfloat16) else a.dtype
    with torch.autocast(a.device.type, enabled=False):
        return torch.cdist(a.to(wide), b.to(wide))
