"""Preserved relations between two models or views: class probabilities and similarities (CMAM).

No function stops a gradient: a caller that wants one direction only detaches ``reference``
(Eq. 11-14), one that wants both does not (Eq. 3, 4, 18, 19).  By default they are sums over the
batch, for which the weights of the paper are meant (A2).
"""

import torch
import torch.nn.functional as F


def symmetric_kl(logits_p: torch.Tensor, logits_q: torch.Tensor) -> torch.Tensor:
    """KL(p‖q) + KL(q‖p) = Σ_c (p_c - q_c)(log p_c - log q_c) of softmaxes (D_SKL of Eq. 3).

    Args:
        logits_p: (B, C).
        logits_q: (B, C).

    Returns:
        (B,), at least 0, float32 at least.
    """
    log_p, log_q = (_wide(logits).log_softmax(dim=1) for logits in (logits_p, logits_q))
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=1)


def probability_preservation(
    logits: torch.Tensor, reference: torch.Tensor, reduction: str = "sum"
) -> torch.Tensor:
    """L_PP: symmetric divergences of two models' class probabilities, image by image.

    CMAM Eq. 3; Eq. 11 and both terms of Eq. 13 with a detached ``reference``; one modality of
    Eq. 18.

    Args:
        logits: (B, C).
        reference: (B, C) of the same images and classes.
        reduction: "sum", or "batchmean" – divided by B.

    Returns:
        Scalar, float32 at least.

    Raises:
        ValueError: unknown reduction.
    """
    parts = _parts(reduction, {"sum": 1, "batchmean": len(logits)})
    return symmetric_kl(logits, reference).sum() / parts


def similarity_preservation(
    features: torch.Tensor, reference: torch.Tensor, reduction: str = "sum"
) -> torch.Tensor:
    """L_SP: squared Frobenius norm of the difference of two Gram matrices.

    CMAM Eq. 4; Eq. 12 and both terms of Eq. 14 with a detached ``reference``; one modality of
    Eq. 19.

    Args:
        features: (B, d), not normalised.
        reference: (B, e) of the same images; the widths may differ.
        reduction: "sum", "per_anchor" – divided by B – or "mean" – divided by B².

    Returns:
        Scalar, float32 at least.

    Raises:
        ValueError: unknown reduction.
    """
    size = len(features)
    parts = _parts(reduction, {"sum": 1, "per_anchor": size, "mean": size**2})
    return (similarity_gram(features) - similarity_gram(reference)).square().sum() / parts


def similarity_gram(features: torch.Tensor) -> torch.Tensor:
    """Cosines of all pairs of a batch, FᵀF of CMAM Eq. 4: (B, B) of features (B, d)."""
    with torch.autocast(features.device.type, enabled=False):
        unit = F.normalize(_wide(features))
        return unit @ unit.T


def _parts(reduction: str, choices: dict[str, int]) -> int:
    if reduction not in choices:
        raise ValueError(f"reduction is {reduction!r}, expected one of {', '.join(choices)}")
    return choices[reduction]


def _wide(x: torch.Tensor) -> torch.Tensor:
    return x if x.dtype == torch.float64 else x.float()
