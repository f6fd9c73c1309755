"""Cross-agreement of neighbours: by hand, plain loops, exact duplicates, bad input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercontrast.clustering.agreement import cross_agreement, neighbours_without_self


def slow_agreement(whole, part):
    return [
        len(set(a) & set(b)) / len(set(a) | set(b))
        for a, b in zip(whole.tolist(), part.tolist(), strict=True)
    ]


def lists_of(rng, rows, k):
    return np.stack([rng.permutation(rows)[:k] for _ in range(rows)])


def test_agreement_by_hand():
    """{1,2,3} and {3,4,1} share two of four; equal sets in another order; nothing in common."""
    whole = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3]])
    part = np.array([[3, 4, 1], [3, 0, 2], [4, 5, 6]])
    agreement = cross_agreement(whole, part)
    assert agreement.dtype == np.float64
    assert agreement.tolist() == [0.5, 1.0, 0.0]


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(0, 8))
def test_agreement_is_the_jaccard_overlap_of_the_sets(seed, k, more):
    rng = np.random.default_rng(seed)
    whole, part = lists_of(rng, k + more, k), lists_of(rng, k + more, k)
    agreement = cross_agreement(whole, part)
    np.testing.assert_allclose(agreement, slow_agreement(whole, part), rtol=0, atol=1e-15)
    assert np.array_equal(agreement, cross_agreement(part, whole))


def test_agreement_does_not_change_its_input():
    whole, part = np.array([[3, 1]]), np.array([[2, 0]])
    cross_agreement(whole, part)
    assert (whole.tolist(), part.tolist()) == ([[3, 1]], [[2, 0]])


@pytest.mark.parametrize("shapes", [((2, 3), (2, 4)), ((2, 3), (3, 3)), ((2, 0), (2, 0))])
def test_lists_that_do_not_fit(shapes):
    with pytest.raises(ValueError, match="expected"):
        cross_agreement(*(np.zeros(shape, dtype=np.int64) for shape in shapes))


def test_neighbours_by_hand():
    """Points 0, 1, 3, 7 on a line."""
    features = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert neighbours_without_self(features, 2).tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]


@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_neighbours_are_the_nearest_others(backend):
    if backend == "faiss":
        pytest.importorskip("faiss")
    features = torch.randn(23, 5, generator=torch.Generator().manual_seed(0))
    found = neighbours_without_self(features, 6, backend)
    distances = torch.cdist(features, features).fill_diagonal_(torch.inf)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, distances.argsort(dim=1)[:, :6].numpy())


def test_duplicates_never_name_the_row_itself():
    """All rows are alike, so a row need not be among the first k + 1 of the search."""
    found = neighbours_without_self(torch.ones(9, 3), 3)
    assert found.shape == (9, 3)
    assert (found != np.arange(9)[:, None]).all()
    assert all(len(set(row)) == 3 for row in found.tolist())


def test_neighbours_are_clamped_to_the_others():
    assert neighbours_without_self(torch.eye(4), 20).shape == (4, 3)


@pytest.mark.parametrize(("rows", "k"), [(1, 3), (0, 3), (4, 0)])
def test_nobody_to_be_a_neighbour(rows, k):
    with pytest.raises(ValueError, match="expected a neighbour"):
        neighbours_without_self(torch.ones(rows, 2), k)
