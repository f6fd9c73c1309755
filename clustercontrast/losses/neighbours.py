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
    itself = torch.eye(size, dtype=torch.bool, device=features.device)
    distances = _distances(features).masked_fill(itself, 0)  # rounding: not 0 and a steep gradient
    tiny = torch.finfo(distances.dtype).tiny  # of a row equal to all others
    scaled = distances / distances.mean(dim=1, keepdim=True).clamp(min=tiny)
    seen = F.normalize(features.detach()) if normalise else features.detach()
    weights = torch.exp(-_distances(seen).square() / sigma)
    pull = weights * scaled.square()
    push = (1 - weights) * F.relu(delta - scaled).square()
    return (pull + push)[~itself].sum() / (size * (size - 1))


def _distances(x: torch.Tensor) -> torch.Tensor:
    """(n, n) Euclidean distances, in float32 at least; their gradient is 0 where they are 0."""
    wide = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
    with torch.autocast(x.device.type, enabled=False):
        return torch.cdist(x.to(wide), x.to(wide))
