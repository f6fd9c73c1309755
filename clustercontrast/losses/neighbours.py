"""Losses of neighbours, without labels: of a batch (RPNR's NRL), of a whole modality (SDCL)."""

import math

import torch
import torch.nn.functional as F


def relation_contrast(
    features: torch.Tensor, sigma: float = 1.0, delta: float = 1.0, normalise: bool = False
) -> torch.Tensor:
    """Pull near pairs together, push the others to the mean distance of their row (RPNR-2).

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
    return (pull + push).masked_fill(itself, 0).sum() / (size * (size - 1))


@torch.no_grad()
def shared_neighbours(
    own_deep: torch.Tensor,
    own_shallow: torch.Tensor,
    bank_deep: torch.Tensor,
    bank_shallow: torch.Tensor,
    threshold: float = 0.9,
) -> torch.Tensor:
    """Images that are near by the deep and by the shallow row.

    Near is a similarity above ``threshold`` times the greatest one; in the own modality that is the
    similarity to oneself.  Where the greatest similarity is negative no image is near.

    Args:
        own_deep: (B, d) unit rows of the queries' images.
        own_shallow: (B, d).
        bank_deep: (N, d) unit rows of all images of a modality.
        bank_shallow: (N, d).
        threshold: share of the greatest similarity.

    Returns:
        (B, N) bool.
    """
    with torch.autocast(own_deep.device.type, enabled=False):
        deep, shallow = own_deep @ bank_deep.T, own_shallow @ bank_shallow.T
    near = deep > threshold * deep.amax(dim=1, keepdim=True)
    return near & (shallow > threshold * shallow.amax(dim=1, keepdim=True))


def neighbour_contrast(logits: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
    """Mean over the queries of -Σ_{j ∈ N_i} log max(p_ij, 1e-8) / (|N_i| + 1) (SDCL-9).

    Summed per row, without picking the neighbours out: there may be as many as images.

    Args:
        logits: (B, N) similarities over the temperature, of which p is the softmax.
        neighbours: (B, N) bool, N_i; without any the query counts as 0.

    Returns:
        Scalar.
    """
    floor, total = math.log(1e-8), logits.logsumexp(dim=1)
    with torch.no_grad():  # below the floor a neighbour is a constant
        kept = neighbours & (logits > total[:, None] + floor)
        count, size = (x.sum(dim=1, dtype=logits.dtype) for x in (kept, neighbours))
    log_p = logits.masked_fill(~kept, 0).sum(dim=1) - count * total + floor * (size - count)
    return -(log_p / (size + 1)).mean()


def _distances(x: torch.Tensor) -> torch.Tensor:
    """(n, n) Euclidean distances, in float32 at least; their gradient is 0 where they are 0."""
    wide = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
    with torch.autocast(x.device.type, enabled=False):
        return torch.cdist(x.to(wide), x.to(wide))
