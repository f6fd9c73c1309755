"""Maximum mean discrepancy: official values and gradients, a value by hand, plain loops."""

import golden_set
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercontrast.losses.mmd import alignment, mmd

ELEMENTS = golden_set.load("mmm/loss_elements.npz")
CASES = sorted({name.split("_")[0] for name in ELEMENTS if name.startswith("mmd")})


@pytest.mark.parametrize("case", CASES)
def test_mmd_is_the_official_one(case):
    source = torch.from_numpy(ELEMENTS[f"{case}_source"]).requires_grad_()
    loss = mmd(source, torch.from_numpy(ELEMENTS[f"{case}_target"]))
    loss.backward()
    assert loss.item() == pytest.approx(float(ELEMENTS[f"{case}_loss"]), rel=1e-9)
    np.testing.assert_allclose(source.grad, ELEMENTS[f"{case}_grad_source"], atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_mmd_in_single_precision(case):
    sides = (torch.from_numpy(ELEMENTS[f"{case}_{side}"]).float() for side in ("source", "target"))
    assert mmd(*sides).item() == pytest.approx(float(ELEMENTS[f"{case}_loss"]), rel=1e-5)


def test_mmd_of_given_rows():
    """Rows sin(phase + 0.9 i + 1.7 j (1 + i mod 3)), phases 1.0 and 0.3."""
    i, j = np.mgrid[:4, :5]
    rows = [torch.from_numpy(np.sin(p + 0.9 * i + 1.7 * j * (1 + i % 3))) for p in (1.0, 0.3)]
    assert mmd(*rows).item() == pytest.approx(0.57952, abs=5e-6)


def slow_mmd(source, target):
    """Pair by pair."""
    both, m = [*source, *target], len(source)
    squares = [[float(np.sum((a - b) ** 2)) for b in both] for a in both]
    width = sum(map(sum, squares)) / ((2 * m) ** 2 - 2 * m) / 4
    total = 0.0
    for a in range(2 * m):
        for b in range(2 * m):
            sign = 1 if (a < m) == (b < m) else -1
            total += sign * sum(np.exp(-squares[a][b] / (width * 2**i)) for i in range(5))
    return total / m**2


def sides_of(seed, size, width=3):
    generator = np.random.default_rng(seed)
    return tuple(generator.standard_normal((size, width)) + shift for shift in (0, 0.5))


@settings(max_examples=25)
@given(st.integers(0, 99), st.integers(1, 5), st.floats(0.1, 50))
def test_mmd_against_plain_loops_and_its_symmetries(seed, size, scale):
    source, target = sides_of(seed, size)
    a, b = torch.from_numpy(source), torch.from_numpy(target)
    loss = mmd(a, b).item()
    assert loss == pytest.approx(slow_mmd(source, target), rel=1e-9, abs=1e-12)
    assert loss == pytest.approx(mmd(b, a).item(), rel=1e-9, abs=1e-12)
    assert loss == pytest.approx(mmd(scale * a + 1, scale * b + 1).item(), rel=1e-7, abs=1e-9)
    assert loss >= -1e-12


@settings(max_examples=15)
@given(st.integers(0, 99), st.integers(1, 5))
def test_mmd_of_a_set_with_itself_is_zero(seed, size):
    source, _ = map(torch.from_numpy, sides_of(seed, size))
    assert mmd(source, source).item() == pytest.approx(0, abs=1e-12)
    assert mmd(source, source.flip(0)).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mmd_of_equal_points_is_zero_with_a_finite_gradient(dtype):
    """All distances are 0, and so would be the bandwidth."""
    source = torch.ones(3, 4, dtype=dtype, requires_grad=True)
    loss = mmd(source, torch.ones(3, 4, dtype=dtype))
    loss.backward()
    assert loss.item() == 0
    assert source.grad.abs().max().item() == 0


def aligned(seed=0):
    v, r = (torch.from_numpy(side).requires_grad_() for side in sides_of(seed, 6))
    return v, r, torch.tensor([0, 2, 0, 2, 2, 0])


def test_alignment_is_the_mean_over_the_classes_there():
    v, r, labels = aligned()
    v, r = v.detach(), r.detach()
    pairs = [(v[labels == c].numpy(), r[labels == c].numpy()) for c in (0, 2)]
    expected = sum(2 * slow_mmd(*pair) for pair in pairs) / 2
    assert alignment(v, r, labels).item() == pytest.approx(expected, rel=1e-9)


def test_classes_may_be_of_any_size():
    """Sizes 3, 1, 3 and 2 in one batch: value and gradient of the classes one by one."""
    v, r = (torch.from_numpy(side).requires_grad_() for side in sides_of(3, 9))
    labels = torch.tensor([4, 0, 4, 7, 9, 7, 4, 7, 9])
    loss = alignment(v, r, labels)
    gradients = torch.autograd.grad(loss, (v, r))
    one_by_one = [
        mmd(v[labels == c], r[labels == c].detach()) + mmd(r[labels == c], v[labels == c].detach())
        for c in (0, 4, 7, 9)
    ]
    expected = sum(one_by_one) / 4
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for got, wanted in zip(gradients, torch.autograd.grad(expected, (v, r)), strict=True):
        torch.testing.assert_close(got, wanted)


def test_alignment_moves_each_side_towards_the_other_held_fixed():
    """A gradient through the held side as well would be twice as long."""
    v, r, labels = aligned()
    alignment(v, r, labels).backward()
    for moved, held in ((v, r), (r, v)):
        free = moved.detach().clone().requires_grad_()
        one_way = [mmd(free[labels == c], held.detach()[labels == c]) for c in (0, 2)]
        (sum(one_way) / 2).backward()
        torch.testing.assert_close(moved.grad, free.grad)
        assert free.grad.abs().max() > 1e-3
