"""Probability and similarity preservation: by hand, sums."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercontrast.losses.relation import (
    probability_preservation,
    similarity_gram,
    similarity_preservation,
    symmetric_kl,
)


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


PAIR = draw(0, 6, 5), draw(1, 6, 5)


def test_divergence_by_hand():
    """p = (¾, ¼), q = (¼, ¾): twice ½ log 3."""
    p, q = torch.tensor([[3.0, 1]]).log(), torch.tensor([[1.0, 3]]).log()
    assert symmetric_kl(p, q).tolist() == pytest.approx([math.log(3)])


def test_divergence_is_both_of_kullback_and_leibler():
    log_p, log_q = (x.log_softmax(dim=1) for x in PAIR)
    one, other = (
        F.kl_div(a, b, log_target=True, reduction="none").sum(dim=1)
        for a, b in ((log_p, log_q), (log_q, log_p))
    )
    torch.testing.assert_close(symmetric_kl(*PAIR), one + other)


@settings(max_examples=30)
@given(st.integers(0, 999), st.floats(0.01, 100))
def test_divergence_is_symmetric_positive_and_zero_for_equals_only(seed, scale):
    p, q = scale * draw(seed, 4, 7), scale * draw(seed + 1, 4, 7)
    assert torch.equal(symmetric_kl(p, q), symmetric_kl(q, p))
    assert (symmetric_kl(p, q) > 0).all()
    assert symmetric_kl(p, p).abs().max() == 0
    assert symmetric_kl(p, p + 3).max() < 1e-10  # a common offset changes no probability


def test_extreme_logits_stay_finite():
    """A clipped probability would have lost the 2000."""
    p, q = torch.tensor([[1000.0, 0]]), torch.tensor([[0.0, 1000]])
    assert symmetric_kl(p, q).tolist() == [2000]
    assert symmetric_kl(p.bfloat16(), q.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("loss", [probability_preservation, similarity_preservation])
def test_two_sided_gradient_is_the_sum_of_one_sided_ones(loss):
    """Why Eq. 18 and 19 need no stopped gradients (A26)."""
    p, q = (x.clone().requires_grad_() for x in PAIR)
    both = torch.autograd.grad(loss(p, q), (p, q))
    one_sided = loss(p, q.detach()) + loss(q, p.detach())
    for found, expected in zip(both, torch.autograd.grad(one_sided, (p, q)), strict=True):
        assert found.abs().max() > 0
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("loss", [probability_preservation, similarity_preservation])
def test_a_detached_reference_gets_no_gradient(loss):
    p, q = (x.clone().requires_grad_() for x in PAIR)
    loss(p, q.detach()).backward()
    assert q.grad is None
    assert p.grad.abs().max() > 0


def rotation(width):
    return torch.linalg.qr(draw(7, width, width)).Q


def test_a_rotation_of_one_model_changes_no_similarity():
    p, q = PAIR
    loss = similarity_preservation(p, q)
    torch.testing.assert_close(similarity_preservation(p @ rotation(5), q), loss)
    torch.testing.assert_close(similarity_preservation(p, 3 * q @ rotation(5)), loss)
    assert similarity_preservation(p, p @ rotation(5)).item() == pytest.approx(0, abs=1e-20)
    assert loss > 0.1


def test_similarities_by_hand():
    """Right angle against 60°: the cosine ½ stands twice in the difference."""
    p = torch.tensor([[2.0, 0], [0, 5]])
    q = torch.tensor([[1.0, 0, 0], [0.5, 0.75**0.5, 0]])
    torch.testing.assert_close(similarity_gram(p), torch.eye(2))
    torch.testing.assert_close(similarity_gram(q), torch.tensor([[1, 0.5], [0.5, 1]]))
    found = [similarity_preservation(p, q, r).item() for r in ("sum", "per_anchor", "mean")]
    assert found == pytest.approx([0.5, 0.25, 0.125])


def test_reductions_of_probabilities():
    each = symmetric_kl(*PAIR)
    assert probability_preservation(*PAIR).item() == pytest.approx(each.sum().item())
    mean = probability_preservation(*PAIR, reduction="batchmean").item()
    assert mean == pytest.approx(each.mean().item())


def test_gram_stays_in_full_precision_under_autocast():
    p = draw(3, 8, 64).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = similarity_gram(p)
    assert torch.equal(found, similarity_gram(p))
    assert similarity_gram(p.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("loss", [probability_preservation, similarity_preservation])
def test_unknown_reduction(loss):
    with pytest.raises(ValueError, match="reduction is 'none', expected one of sum"):
        loss(*PAIR, reduction="none")
