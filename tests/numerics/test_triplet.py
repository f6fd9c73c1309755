"""Batch-hard triplet: official values and gradients, by hand, plain loops, degenerate batches."""

import golden_set
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercontrast.losses.triplet import batch_hard_triplet, soft_margin_triplet

FILE = "mmm/loss_elements.npz"
ELEMENTS = golden_set.load(FILE)
CASES = sorted({name.split("_")[0] for name in ELEMENTS if name.startswith("tri")})
MARGIN = golden_set.entry_b(FILE)["params"]["margin"]


@pytest.mark.parametrize("case", CASES)
def test_triplet_is_the_official_one(case):
    x = torch.from_numpy(ELEMENTS[f"{case}_x"]).requires_grad_()
    loss = batch_hard_triplet(x, torch.from_numpy(ELEMENTS[f"{case}_y"]), MARGIN)
    loss.backward()
    assert loss.item() == pytest.approx(float(ELEMENTS[f"{case}_loss"]), rel=1e-9)
    np.testing.assert_allclose(x.grad, ELEMENTS[f"{case}_grad"], atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_triplet_in_single_precision(case):
    x, y = (torch.from_numpy(ELEMENTS[f"{case}_{name}"]) for name in "xy")
    loss = batch_hard_triplet(x.float(), y, MARGIN).item()
    assert loss == pytest.approx(float(ELEMENTS[f"{case}_loss"]), rel=1e-5)


def slow_triplet(x, y, cost):
    """Mean cost of farthest - nearest, anchor by anchor; squared distances are at least 1e-12."""
    total = 0.0
    for anchor, label in zip(x, y, strict=True):
        apart = [max(np.sum((anchor - other) ** 2), 1e-12) ** 0.5 for other in x]
        same = [d for d, other in zip(apart, y, strict=True) if other == label]
        others = [d for d, other in zip(apart, y, strict=True) if other != label]
        total += cost(max(same) - min(others))
    return total / len(x)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=10), st.integers(0, 99), st.floats(0, 3))
def test_triplet_against_plain_loops(labels, seed, margin):
    x = np.random.default_rng(seed).standard_normal((len(labels), 3))
    loss = batch_hard_triplet(torch.from_numpy(x), torch.tensor(labels), margin).item()
    assert loss >= 0
    several = len(set(labels)) > 1
    expected = slow_triplet(x, labels, lambda gap: max(gap + margin, 0)) if several else 0
    assert loss == pytest.approx(expected, abs=1e-6)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=10), st.integers(0, 99), st.booleans())
def test_soft_margin_against_plain_loops(labels, seed, normalise):
    x = np.random.default_rng(seed).standard_normal((len(labels), 3))
    loss = soft_margin_triplet(torch.from_numpy(x), torch.tensor(labels), normalise).item()
    x = x / np.linalg.norm(x, axis=1, keepdims=True) if normalise else x
    several = len(set(labels)) > 1
    expected = slow_triplet(x, labels, lambda gap: np.log1p(np.exp(gap))) if several else 0
    assert loss == pytest.approx(expected, abs=1e-6)


def test_triplet_by_hand():
    """Points 0, 1 of class 0 and 3 of class 1 on a line, margin 0.5.

    Point 0: 1 - 3 + 0.5 < 0; point 1: 1 - 2 + 0.5 < 0; point 3: 0 - 2 + 0.5 < 0; with margin 1.5
    the terms are 0, 0.5 and 0.
    """
    x, y = torch.tensor([[0.0], [1.0], [3.0]]).double(), torch.tensor([0, 0, 1])
    assert batch_hard_triplet(x, y, 0.5).item() == 0
    assert batch_hard_triplet(x, y, 1.5).item() == pytest.approx(0.5 / 3, abs=1e-5)


def test_soft_margin_by_hand():
    """The same points: gaps 1 - 3, 1 - 2 and 0 - 2."""
    x, y = torch.tensor([[0.0], [1.0], [3.0]]).double(), torch.tensor([0, 0, 1])
    expected = np.log1p(np.exp([-2, -1, -2])).mean()
    assert soft_margin_triplet(x, y).item() == pytest.approx(expected, abs=1e-5)
    total = soft_margin_triplet(x, y, reduction="sum").item()
    assert total == pytest.approx(3 * expected, abs=1e-5)
    with pytest.raises(ValueError, match="'some', expected one of mean, sum"):
        soft_margin_triplet(x, y, reduction="some")


def test_soft_margin_of_unit_features_has_a_floor():
    """Classes at opposite ends of a unit sphere: log(1 + e⁻²), however long the features."""
    x, y = torch.tensor([[9.0, 0], [2, 0], [-5, 0], [-1, 0]]).double(), torch.tensor([0, 0, 1, 1])
    loss = soft_margin_triplet(x, y, normalise=True).item()
    assert loss == pytest.approx(np.log1p(np.exp(-2)), abs=1e-5)
    assert loss != pytest.approx(soft_margin_triplet(x, y).item(), abs=1e-2)


def test_soft_margin_is_formed_in_full_precision():
    x, y = torch.arange(12.0).view(6, 2).sin() * 30, torch.tensor([0, 0, 1, 1, 2, 2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = soft_margin_triplet(x, y)
    assert torch.equal(inside, soft_margin_triplet(x, y))
    assert soft_margin_triplet(x.bfloat16(), y).dtype == torch.float32


def soft_margin(x, y, _):
    return soft_margin_triplet(x, y)


@pytest.mark.parametrize("triplet", [batch_hard_triplet, soft_margin])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_single_class_has_nothing_to_push_away(size, triplet):
    x = torch.arange(2.0 * size).view(size, 2).requires_grad_()
    loss = triplet(x, torch.zeros(size, dtype=torch.int64), 0.5)
    loss.backward()
    assert loss.item() == 0
    assert x.grad.abs().max().item() == 0


@pytest.mark.parametrize(
    ("triplet", "expected"), [(batch_hard_triplet, 0.2), (soft_margin, np.log(2))]
)
def test_equal_points_cost_the_margin_and_have_a_finite_gradient(triplet, expected):
    """Without the clamp the root of a distance of 0 has no gradient."""
    x = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
    loss = triplet(x, torch.tensor([0, 0, 1, 1]), 0.2)
    loss.backward()
    assert loss.item() == pytest.approx(expected)
    assert x.grad.isfinite().all()
