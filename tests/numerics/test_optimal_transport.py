"""RPNR's matching against the official plans and maps, a plain Sinkhorn, and for any cost.

Mutation check, done once; each of these errors makes tests below fail: maps exchanged, cosines
without the exponential, costs left in float32, the plain iteration for sharp costs.
"""

import re
import warnings

import golden_set
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clustercontrast.association.optimal_transport import (
    optimal_transport,
    transport_maps,
    transport_plan,
)

MATCHING = "rpnr/ot_matching.npz"
BLOCKS = [file for file in golden_set.files_b("rpnr") if "epoch_block" in file]
REGULARISATION = 5.0


def recorded():
    """(name, regularisation, tolerance of the plan, arrays) of every recorded matching."""
    for file in [MATCHING, *BLOCKS]:
        entry, v = golden_set.entry_b(file), golden_set.load(file)
        parameters = entry["params"]
        tolerance = float(re.search(r"plan rtol ([\d.e-]+)", entry["tolerance"]).group(1))
        regularisation = parameters.get("reg", parameters.get("ot_reg"))
        for prefix in parameters.get("cases", [""]):
            case = {n[len(prefix) :].removeprefix("ot_"): v[n] for n in v if n.startswith(prefix)}
            yield pytest.param(regularisation, tolerance, case, id=f"{file}-{prefix}")


@pytest.mark.parametrize(("regularisation", "tolerance", "case"), list(recorded()))
def test_plan_and_maps_equal_the_official_ones(regularisation, tolerance, case):
    plan = transport_plan(case["cost"].astype(np.float64), regularisation)
    np.testing.assert_allclose(plan, case["plan"], rtol=tolerance)
    centroids = [torch.from_numpy(case[f"centroids_{m}"]) for m in ("rgb", "ir")]
    to_infrared, to_visible = optimal_transport(*centroids, regularisation)
    np.testing.assert_array_equal(to_infrared, case["r2i"])
    np.testing.assert_array_equal(to_visible, case["i2r"])
    assert to_infrared.dtype == to_visible.dtype == torch.int64
    if "plan_converged" in case:
        assert (case["plan_converged"].argmax(axis=1) == case["r2i"]).all()


def test_the_default_is_the_released_regularisation():
    case = next(iter(recorded())).values[2]
    centroids = [torch.from_numpy(case[f"centroids_{m}"]) for m in ("rgb", "ir")]
    np.testing.assert_array_equal(optimal_transport(*centroids)[0], case["r2i"])


def slow_plan(cost, regularisation):
    """Sinkhorn as loops; the stop is examined at updates 0, 10, 20, … as POT does."""
    n, m = cost.shape
    kernel = [[np.exp(-c / regularisation) for c in row] for row in cost]
    u = [1 / n] * n
    for update in range(5000):
        v = [1 / m / sum(kernel[i][j] * u[i] for i in range(n)) for j in range(m)]
        u = [1 / n / sum(kernel[i][j] * v[j] for j in range(m)) for i in range(n)]
        plan = np.array([[u[i] * kernel[i][j] * v[j] for j in range(m)] for i in range(n)])
        if update % 10 == 0 and np.linalg.norm(plan.sum(axis=0) - 1 / m) < 1e-5:
            break
    return plan


@settings(max_examples=25)
@given(
    st.integers(1, 6), st.integers(1, 6), st.integers(0, 10**6), st.sampled_from([0.3, 1.0, 5.0])
)
def test_plan_equals_a_plain_sinkhorn(visible, infrared, seed, regularisation):
    cost = np.exp(-np.random.default_rng(seed).uniform(-1, 1, (visible, infrared)))
    found = transport_plan(cost, regularisation)
    np.testing.assert_allclose(found, slow_plan(cost, regularisation), rtol=1e-9)


def test_a_matching_by_hand():
    """Mass that everyone is near to is shared: visible 1 gets infrared 0, its only near one.

    Infrared 0 is nearest to both visible clusters; at a flat plan the map is the nearest one after
    the mean cost of each infrared cluster is taken off (RPNR-4): 1-1.5 < 4-4 < 0 only for 0.
    """
    cost = np.array([[1.0, 3.0], [2.0, 5.0]])
    to_infrared, to_visible = transport_maps(cost, REGULARISATION)
    assert to_infrared.tolist() == [1, 0]
    assert to_visible.tolist() == [1, 0]


@settings(max_examples=25)
@given(st.integers(2, 6), st.integers(0, 10**6), st.floats(-3, 9), st.sampled_from([1e-3, 5.0]))
def test_a_clear_pairing_is_found_at_any_scale(size, seed, exponent, regularisation):
    """Pairs cost 0, all others the same: flat, sharp and beyond the range of float64's exp."""
    pairing = np.random.default_rng(seed).permutation(size)
    cost = 10**exponent * (1 - np.eye(size)[pairing])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_infrared, to_visible = transport_maps(cost, regularisation)
    np.testing.assert_array_equal(to_infrared, pairing)
    np.testing.assert_array_equal(to_visible, np.argsort(pairing))


def assert_total(cost, regularisation):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of POT; ours may say that it has not converged
        warnings.filterwarnings("ignore", "the optimal transport has not converged")
        maps = transport_maps(cost, regularisation)
        plan = transport_plan(cost, regularisation)
    assert np.isfinite(plan).all()
    assert plan.max() > 0
    for found, size, others in zip(maps, cost.shape, cost.shape[::-1], strict=True):
        assert found.shape == (size,)
        assert found.dtype == np.int64
        assert ((found >= 0) & (found < others)).all()


@settings(max_examples=40)
@given(
    arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.floats(-40, 40))
)
def test_maps_are_total_for_any_cost(cost):
    assert_total(cost, REGULARISATION)


@pytest.mark.slow
@settings(max_examples=10)
@given(
    arrays(
        np.float64, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.floats(-1e9, 1e9)
    ),
    st.sampled_from([1e-6, 1e-3, 5.0]),
)
def test_maps_are_total_for_huge_costs(cost, regularisation):
    assert_total(cost, regularisation)


@pytest.mark.parametrize("value", [-1e6, -1.0, 0.0, 1.0, 1e6])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 1), (3, 4)])
@pytest.mark.parametrize("regularisation", [1e-3, 5.0])
def test_maps_are_total_for_equal_costs(value, shape, regularisation):
    assert_total(np.full(shape, value), regularisation)


@pytest.mark.parametrize("regularisation", [0.0055, 0.02, 0.03])
def test_small_regularisation_does_not_underflow(regularisation):
    """Opposite directions: all costs near e, kernels below float32's range, none equal."""
    generator = torch.Generator().manual_seed(0)
    axis = torch.ones(1, 8)
    visible = axis + 0.3 * torch.randn(6, 8, generator=generator)
    infrared = -axis + 0.3 * torch.randn(5, 8, generator=generator)
    to_infrared, to_visible = optimal_transport(visible, infrared, regularisation)
    assert len(to_infrared.unique()) > 1
    assert len(to_visible.unique()) > 1
    assert_total(np.exp(np.random.default_rng(0).random((6, 5))), regularisation)


@settings(max_examples=25)
@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 10**6))
def test_numbers_of_clusters_do_not_matter(visible, infrared, seed):
    generator = np.random.default_rng(seed)
    cost = np.exp(-generator.uniform(-1, 1, (visible, infrared)))
    plan = transport_plan(cost, REGULARISATION)
    for axis in (0, 1):
        best = np.sort(plan, axis=axis)
        assume((np.diff(best, axis=axis).take(-1, axis) > 1e-9).all())
    rows, columns = generator.permutation(visible), generator.permutation(infrared)
    to_infrared, to_visible = transport_maps(cost, REGULARISATION)
    found = transport_maps(cost[rows][:, columns], REGULARISATION)
    np.testing.assert_array_equal(columns[found[0]], to_infrared[rows])
    np.testing.assert_array_equal(rows[found[1]], to_visible[columns])
    swapped = transport_maps(np.ascontiguousarray(cost.T) + 7, REGULARISATION)
    assert [len(m) for m in swapped] == [infrared, visible]


def test_length_of_centroids_does_not_matter():
    generator = torch.Generator().manual_seed(0)
    visible, infrared = (
        torch.randn(9, 5, generator=generator),
        torch.randn(7, 5, generator=generator),
    )
    expected = optimal_transport(visible, infrared)
    found = optimal_transport(8 * visible, infrared / 4)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(("visible", "infrared"), [(0, 3), (3, 0), (0, 0)])
def test_an_empty_side_leaves_the_other_without_partners(visible, infrared):
    to_infrared, to_visible = optimal_transport(torch.ones(visible, 4), torch.ones(infrared, 4))
    assert to_infrared.tolist() == [-1] * visible
    assert to_visible.tolist() == [-1] * infrared
    assert to_infrared.dtype == to_visible.dtype == torch.int64


@pytest.mark.parametrize("regularisation", [0.0, -1.0])
def test_regularisation_must_be_positive(regularisation):
    with pytest.raises(ValueError, match="expected a positive number"):
        transport_maps(np.ones((2, 2)), regularisation)


def unfinished():
    """A cost that 5000 steps do not balance."""
    return np.exp(-np.cos(np.random.default_rng(1).uniform(0, 3, (5, 5))))


def test_a_plan_that_has_not_converged_says_so():
    cost = unfinished()
    with pytest.warns(UserWarning, match=r"not converged in 5000 steps.*--ot-regularisation, now"):
        plan = transport_plan(cost, 0.001)
    assert 1e-5 < np.abs(plan.sum(axis=0) - 0.2).max() < 1e-3  # it is returned all the same


@pytest.mark.parametrize("regularisation", [5.0, 0.1])
def test_a_plan_that_has_converged_is_silent(regularisation):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        transport_plan(unfinished(), regularisation)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_costs_that_are_not_finite_are_refused(broken):
    cost = np.ones((3, 2))
    cost[1, 1] = broken
    with pytest.raises(ValueError, match="NaN or infinity"):
        transport_maps(cost, 5.0)
    with pytest.raises(ValueError, match="regularisation is nan"):
        transport_maps(np.ones((3, 2)), np.nan)
