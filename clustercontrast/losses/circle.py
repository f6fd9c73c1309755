"""Circle head of a classifier: logits with a pair of margins, and its smoothed cross-entropy."""

import torch
import torch.nn.functional as F

from clustercontrast.losses.placing import beside


def circle_logits(
    cosines: torch.Tensor, labels: torch.Tensor, margin: float = 0.35, scale: float = 64.0
) -> torch.Tensor:
    """Circle-loss logits of cosines with the rows of a classifier (CMAM VI-B).

    With [x]₊ = max(x, 0) held constant for the gradient::

        class of the sample  s [1 + m - c]₊ (c - (1 - m))
        every other class    s [c + m]₊ (c - m)

    The margin acts on the class of the label: these are logits to train with, not to rank by.

    Args:
        cosines: (B, C).
        labels: (B,) int64 classes, on the CPU or where the cosines are.
        margin: m, relaxation factor.
        scale: s.

    Returns:
        (B, C), float32 at least.
    """
    cosines = _wide(cosines)
    constant = cosines.detach()
    own = F.one_hot(beside(labels, cosines), cosines.shape[1]).bool()
    weights = F.relu(torch.where(own, 1 + margin - constant, constant + margin))
    return scale * weights * (cosines - torch.where(own, 1 - margin, margin))


def smoothed_cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    smoothing: float = 0.1,
    spread: str = "others",
    reduction: str = "mean",
) -> torch.Tensor:
    """Cross-entropy with smoothed targets (CMAM Eq. 21; A2, A39).

    Args:
        logits: (B, C).
        labels: (B,) int64 classes, on the CPU or where the logits are.
        smoothing: ε, taken from the target of the label.
        spread: where ε goes: "others" – ε/(C−1) to every other class – or "all" – ε/C to all.
        reduction: over the batch, "mean" or "sum".

    Returns:
        Scalar, float32 at least.

    Raises:
        ValueError: unknown spread or reduction.
    """
    if spread not in ("others", "all"):
        raise ValueError(f"spread is {spread!r}, expected 'others' or 'all'")
    classes, labels = logits.shape[1], beside(labels, logits)
    # ε/(C−1) to the others leaves 1 - ε: as if a larger ε, ε C/(C−1), went to all.
    if spread == "others" and classes > 1:
        smoothing = smoothing * classes / (classes - 1)
    return F.cross_entropy(_wide(logits), labels, reduction=reduction, label_smoothing=smoothing)


def _wide(x: torch.Tensor) -> torch.Tensor:
    return x if x.dtype == torch.float64 else x.float()
