"""Pseudo labels refined by parts: PPLR's losses (Cho et al., CVPR 2022).

The parts correct the label of the whole image; where a part and the whole image have different
neighbours, the part follows the label less.  See docs/methods/cmam.md#source-labels.
"""

import math

import torch
import torch.nn.functional as F

from clustercontrast.losses.placing import beside


def refined_targets(
    labels: torch.Tensor, part_logits: torch.Tensor, agreement: torch.Tensor, beta: float
) -> torch.Tensor:
    """Targets t = β·onehot(ŷ) + (1 − β)·Σ_p w_p·softmax(logits_p), w = softmax_p(a).

    Args:
        labels: (B,) int64 pseudo labels ŷ in 0 … C−1, on the CPU or where the logits are.
        part_logits: (P, B, C) of the parts' classifiers; P = 0 goes with β = 1.
        agreement: (B, P) a in [0, 1], see ``cross_agreement``.
        beta: weight of the pseudo label.

    Returns:
        (B, C) probabilities without a gradient.
    """
    part_logits = part_logits.detach()
    own = F.one_hot(beside(labels, part_logits), part_logits.shape[2]).to(part_logits.dtype)
    weights = agreement.to(part_logits.dtype).softmax(dim=1)
    seen = torch.einsum("bp,pbc->bc", weights, part_logits.softmax(dim=2))
    return beta * own + (1 - beta) * seen


def part_guided_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the global logits (B, C) and refined targets (B, C), batch mean."""
    return F.cross_entropy(logits, targets)


def agreement_aware_smoothing(
    part_logits: torch.Tensor, labels: torch.Tensor, agreement: torch.Tensor
) -> torch.Tensor:
    """a·CE(onehot, p) + (1 − a)·KL(uniform‖p), mean over images and parts.

    Args:
        part_logits: (P, B, C), P ≥ 1.
        labels: (B,) int64 in 0 … C−1, on the CPU or where the logits are.
        agreement: (B, P) in [0, 1].

    Returns:
        Scalar.
    """
    parts, _, classes = part_logits.shape
    log_p = part_logits.log_softmax(dim=2)
    chosen = beside(labels, part_logits)[None, :, None].expand(parts, -1, 1)
    entropy = -log_p.gather(2, chosen).squeeze(2)  # (P, B)
    divergence = -log_p.mean(dim=2) - math.log(classes)
    share = agreement.T.to(log_p.dtype)
    return (share * entropy + (1 - share) * divergence).mean()
