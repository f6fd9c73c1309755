"""Contrast with several positive rows (BMIL's joint loss; PoSeD Eq. 6)."""

import torch


def multi_positive(logits: torch.Tensor, is_positive: torch.Tensor) -> torch.Tensor:
    """Mean over the batch of -1/|P| Σ_{p ∈ P} log softmax_p(logits).

    With one positive per query this is the cross-entropy.

    Args:
        logits: (B, C); -inf where a row is left out of a query's softmax.
        is_positive: (B, C) bool, P of every query; none of its positives is left out, and it has
            at least one.

    Returns:
        A scalar.
    """
    own = logits.log_softmax(1).masked_fill(~is_positive, 0)  # -inf times 0 would be no number
    return -(own.sum(1) / is_positive.sum(1)).mean()
