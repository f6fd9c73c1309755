"""Contrast with several positives."""

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from clustercontrast.losses.multi_positive import multi_positive


def slow(logits: np.ndarray, is_positive: np.ndarray) -> float:
    total = 0.0
    for row, positive in zip(logits, is_positive, strict=True):
        log_sum = np.log(np.exp(row).sum())
        total -= np.mean([row[p] - log_sum for p in np.flatnonzero(positive)])
    return total / len(logits)


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(2, 9))
def test_a_slow_twin_agrees(seed, queries, rows):
    draw = np.random.default_rng(seed)
    logits, is_positive = draw.normal(size=(queries, rows)) * 5, draw.random((queries, rows)) < 0.4
    is_positive[np.arange(queries), draw.integers(rows, size=queries)] = True
    left_out = (draw.random((queries, rows)) < 0.3) & ~is_positive
    logits[left_out] = -np.inf
    found = multi_positive(torch.from_numpy(logits), torch.from_numpy(is_positive))
    np.testing.assert_allclose(found.item(), slow(logits, is_positive), rtol=1e-12, atol=1e-13)


def test_one_positive_is_cross_entropy_and_rows_left_out_get_no_gradient():
    logits = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 4.0, -torch.inf, 1.0]], requires_grad=True)
    labels = torch.tensor([2, 1])
    loss = multi_positive(logits, F.one_hot(labels, 4).bool())
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels))
    loss.backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[1, 2] == 0
