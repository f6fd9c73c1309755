"""Circle logits at the reference cosines, their gradient, label smoothing by hand."""

import math

import pytest
import torch

from clustercontrast.losses.circle import circle_logits, smoothed_cross_entropy


def own_and_other(cosine, margin=0.35, scale=64.0):
    """Logits of a class with this cosine: as the label's, as another's."""
    cosines = torch.tensor([[cosine, 0.0]])
    return tuple(
        circle_logits(cosines, torch.tensor([label]), margin, scale)[0, 0].item()
        for label in (0, 1)
    )


@pytest.mark.parametrize(("cosine", "logit"), [(0, -56.16), (0.65, 0), (1, 7.84)])
def test_reference_logits_of_the_label(cosine, logit):
    assert own_and_other(cosine)[0] == pytest.approx(logit, abs=1e-5)


@pytest.mark.parametrize(
    ("cosine", "logit"), [(0, -7.84), (0.35, 0), (0.7, 23.52), (-0.35, 0), (-0.9, 0)]
)
def test_reference_logits_of_other_classes(cosine, logit):
    assert own_and_other(cosine)[1] == pytest.approx(logit, abs=1e-5)


def test_other_margin_and_scale_by_hand():
    """m = 0.25, s = 10, c = 0.5: 10 · 0.75 · (0.5 - 0.75), 10 · 0.75 · (0.5 - 0.25)."""
    assert own_and_other(0.5, 0.25, 10) == pytest.approx((-1.875, 1.875))


def test_gradient_is_the_detached_bracket():
    """s [1 + m - c]₊ for the label, s [c + m]₊ for the others."""
    cosines = torch.linspace(-1, 1, 12, dtype=torch.float64).view(3, 4).requires_grad_()
    labels = torch.tensor([3, 0, 1])
    circle_logits(cosines, labels).sum().backward()
    for row, label in enumerate(labels.tolist()):
        for column, c in enumerate(cosines[row].tolist()):
            bracket = 1 + 0.35 - c if column == label else c + 0.35
            assert cosines.grad[row, column].item() == pytest.approx(64 * max(bracket, 0))


def test_half_precision_is_widened():
    cosines = torch.tensor([[0.5, 0.25]], dtype=torch.bfloat16)
    logits = circle_logits(cosines, torch.tensor([0]))
    assert logits.dtype == torch.float32
    assert smoothed_cross_entropy(logits.bfloat16(), torch.tensor([0])).dtype == torch.float32


LOGITS, LABELS = torch.tensor([[2.0, 0, 1], [0, 0, 0]], dtype=torch.float64), torch.tensor([0, 2])


@pytest.mark.parametrize(
    ("spread", "own", "other"), [("others", 0.9, 0.05), ("all", 0.9 + 0.1 / 3, 0.1 / 3)]
)
def test_smoothing_by_hand(spread, own, other):
    log_p = LOGITS.log_softmax(dim=1)
    first = -(own * log_p[0, 0] + other * (log_p[0, 1] + log_p[0, 2]))
    second = -(own * log_p[1, 2] + other * (log_p[1, 0] + log_p[1, 1]))
    loss = smoothed_cross_entropy(LOGITS, LABELS, 0.1, spread)
    assert loss.item() == pytest.approx((first + second).item() / 2)


def test_a_sum_over_the_batch_by_hand():
    """Without smoothing: log(1 + e⁻² + e⁻¹) and log 3."""
    loss = smoothed_cross_entropy(LOGITS, LABELS, 0.0, reduction="sum")
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2) + math.exp(-1)) + math.log(3))


@pytest.mark.parametrize("spread", ["others", "all"])
def test_without_smoothing_it_is_the_plain_cross_entropy(spread):
    plain = torch.nn.functional.cross_entropy(LOGITS, LABELS)
    assert smoothed_cross_entropy(LOGITS, LABELS, 0.0, spread).item() == pytest.approx(plain.item())


def test_the_least_loss_is_at_the_smoothed_targets():
    """Probabilities 0.9, 0.05, 0.05 cost their entropy and have no gradient."""
    p = torch.tensor([[0.9, 0.05, 0.05]], dtype=torch.float64)
    logits = p.log().requires_grad_()
    loss = smoothed_cross_entropy(logits, torch.tensor([0]))
    loss.backward()
    assert loss.item() == pytest.approx(-(p * p.log()).sum().item())
    assert logits.grad.abs().max().item() < 1e-12


@pytest.mark.parametrize("spread", ["others", "all"])
def test_a_single_class_costs_nothing(spread):
    assert smoothed_cross_entropy(torch.ones(2, 1), torch.zeros(2).long(), 0.1, spread) == 0


def test_unknown_spread():
    with pytest.raises(ValueError, match="'some', expected 'others' or 'all'"):
        smoothed_cross_entropy(LOGITS, LABELS, spread="some")
