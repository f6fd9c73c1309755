"""PPLR's losses: by hand, as plain loops, gradients."""

import math

import pytest
import torch
import torch.nn.functional as F

from clustercontrast.losses.part_refinement import (
    agreement_aware_smoothing,
    part_guided_loss,
    refined_targets,
)


@pytest.fixture
def case():
    """Logits (P, B, C) of three parts and five images of four classes, labels, agreement (B, P)."""
    draws = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 4, generator=draws, dtype=torch.float64)
    labels = torch.tensor([0, 3, 1, 1, 2])
    return logits, labels, torch.rand(5, 3, generator=draws, dtype=torch.float64)


def softmax(values):
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def slow_targets(logits, labels, agreement, beta):
    rows = []
    for i, label in enumerate(labels.tolist()):
        weights = softmax(agreement[i].tolist())
        seen = [softmax(part[i].tolist()) for part in logits]
        rows.append(
            [
                beta * (c == label)
                + (1 - beta) * sum(w * p[c] for w, p in zip(weights, seen, strict=True))
                for c in range(logits.shape[2])
            ]
        )
    return torch.tensor(rows, dtype=torch.float64)


def slow_smoothing(logits, labels, agreement):
    total = 0.0
    parts, images, classes = logits.shape
    for p in range(parts):
        for i in range(images):
            seen = softmax(logits[p, i].tolist())
            entropy = -math.log(seen[labels[i]])
            divergence = sum(math.log(1 / classes / q) / classes for q in seen)
            a = agreement[i, p].item()
            total += a * entropy + (1 - a) * divergence
    return total / (parts * images)


def test_targets_by_hand():
    """One part is sure of class 0, one of class 1; weights e : 1, the label is class 1."""
    sure = 1000.0
    logits = torch.tensor([[[sure, 0.0]], [[0.0, sure]]])
    found = refined_targets(torch.tensor([1]), logits, torch.tensor([[1.0, 0.0]]), 0.5)
    share = math.e / (math.e + 1)
    torch.testing.assert_close(found, torch.tensor([[share / 2, 0.5 + (1 - share) / 2]]))


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_targets_as_a_loop(case, beta):
    logits, labels, agreement = case
    found = refined_targets(labels, logits, agreement, beta)
    torch.testing.assert_close(found, slow_targets(*case, beta), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.sum(1), torch.ones(5, dtype=torch.float64))


def test_targets_have_no_gradient(case):
    logits, labels, agreement = case
    assert not refined_targets(labels, logits.requires_grad_(), agreement, 0.5).requires_grad


def test_without_parts_the_loss_is_cross_entropy(case):
    logits, labels, _ = case
    targets = refined_targets(labels, torch.empty(0, 5, 4), torch.empty(5, 0), 1.0)
    assert targets.tolist() == F.one_hot(labels, 4).float().tolist()
    loss = part_guided_loss(logits[0], targets.double())
    torch.testing.assert_close(loss, F.cross_entropy(logits[0], labels))


def test_guided_loss_by_hand():
    """Logits (ln 3, 0) are probabilities (3/4, 1/4); the other image is undecided."""
    logits = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]])
    targets = torch.tensor([[0.5, 0.5], [0.2, 0.8]])
    expected = (-(math.log(0.75) + math.log(0.25)) / 2 + math.log(2)) / 2
    assert part_guided_loss(logits, targets).item() == pytest.approx(expected, rel=1e-6)


def test_smoothing_by_hand():
    """Probabilities (3/4, 1/4), label 0, agreement 1/4."""
    logits = torch.tensor([[[math.log(3), 0.0]]])
    divergence = math.log(0.5 / 0.75) / 2 + math.log(0.5 / 0.25) / 2
    expected = -math.log(0.75) / 4 + 3 * divergence / 4
    found = agreement_aware_smoothing(logits, torch.tensor([0]), torch.tensor([[0.25]]))
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_smoothing_as_a_loop(case):
    found = agreement_aware_smoothing(*case).item()
    assert found == pytest.approx(slow_smoothing(*case), rel=1e-12)


def test_full_agreement_is_plain_cross_entropy(case):
    logits, labels, agreement = case
    found = agreement_aware_smoothing(logits, labels, torch.ones_like(agreement))
    torch.testing.assert_close(found, F.cross_entropy(logits.flatten(0, 1), labels.repeat(3)))


def test_no_agreement_asks_for_the_uniform_distribution(case):
    logits, labels, agreement = case
    nothing = torch.zeros_like(agreement)
    assert agreement_aware_smoothing(torch.ones_like(logits), labels, nothing).item() == (
        pytest.approx(0, abs=1e-12)
    )
    logits.requires_grad_()
    agreement_aware_smoothing(logits, labels, nothing).backward()
    # d KL(u‖p) / d logits = p − u, over the 15 pairs of image and part.
    torch.testing.assert_close(logits.grad, (logits.detach().softmax(2) - 0.25) / 15)
