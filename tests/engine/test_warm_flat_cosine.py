"""Rise, plateau and cosine fall at the steps of both schedules of CMAM-UDA."""

import itertools
import math

import pytest

from clustercontrast.engine.schedules import warm_flat_cosine

STAGE_2 = {"base": 3.5e-4, "warmup": 2000, "flat_until": 9000, "total": 15000}
STAGE_3 = {"base": 1e-4, "warmup": 2000, "flat_until": 2000, "total": 12000}
LAST = 7.7e-7


def rate(stage, step, iters=500):
    lengths = {name: stage[name] for name in ("warmup", "flat_until", "total")}
    factor = warm_flat_cosine(iters, first=0.01, last=LAST / stage["base"], **lengths)
    return stage["base"] * factor(*divmod(step, iters))


def fallen(base, share):
    return LAST + (base - LAST) * (1 + math.cos(math.pi * share)) / 2


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 3.5e-6),
        (1000, (3.5e-6 + 3.5e-4) / 2),
        (2000, 3.5e-4),
        (8999, 3.5e-4),
        (9000, 3.5e-4),
        (12000, (3.5e-4 + LAST) / 2),
        (14999, fallen(3.5e-4, 5999 / 6000)),
        (15000, 3.5e-6),
        (16000, (3.5e-6 + 3.5e-4) / 2),
        (27000, (3.5e-4 + LAST) / 2),
    ],
)
def test_stage_2(step, expected):
    assert rate(STAGE_2, step) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 1e-6),
        (2000, 1e-4),
        (7000, (1e-4 + LAST) / 2),
        (11999, fallen(1e-4, 9999 / 10000)),
    ],
)
def test_stage_3(step, expected):
    assert rate(STAGE_3, step) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("iters", [1, 7, 500, 40000])
def test_steps_count_over_epochs(iters):
    for step in (0, 1999, 8500, 14999, 15001):
        assert rate(STAGE_2, step, iters) == rate(STAGE_2, step)


def test_no_jumps_but_at_the_restart():
    rates = [rate(STAGE_2, step) for step in range(0, 15000, 10)]
    steepest = 10 * 3.5e-4 / 2000
    assert max(abs(b - a) for a, b in itertools.pairwise(rates)) <= steepest
    assert rates[:201] == sorted(rates[:201])
    assert rates[200:] == sorted(rates[200:], reverse=True)
    assert rates[-1] == pytest.approx(LAST, rel=0.01)


def test_no_warm_up():
    factor = warm_flat_cosine(10, 0, 0.01, 0, 10, 0.0)
    assert [factor(0, 0), factor(0, 5), factor(1, 0)] == pytest.approx([1, 0.5, 1])
