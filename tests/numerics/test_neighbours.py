"""Exact neighbour search: both backends against a sort of all distances.

Mutation check, done once; each of these errors makes tests below fail: half the squares added
instead of subtracted, squares not halved, a later block off by one, ties in descending order, ties
at the cut left to topk.
"""

import builtins

import numpy as np
import pytest
import torch

from clustercontrast.clustering import neighbours
from clustercontrast.clustering.neighbours import nearest


def random_rows(rows, width, seed):
    """Rows of different lengths, so that a ranking by dot products would be another."""
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def sorted_distances(features):
    rows = features.double().numpy()
    return np.sort(((rows[:, None] - rows[None]) ** 2).sum(axis=2), axis=1)


def distances_to(features, indices):
    rows = features.double().numpy()
    return ((rows[:, None] - rows[indices]) ** 2).sum(axis=2)


@pytest.mark.parametrize("backend", ["torch", "faiss"])
@pytest.mark.parametrize(("rows", "k"), [(1, 1), (2, 2), (50, 1), (50, 7), (50, 50)])
def test_equals_sorting_all_distances(backend, rows, k):
    if backend == "faiss":
        pytest.importorskip("faiss")
    features = random_rows(rows, 5, seed=rows)
    found = nearest(features, k, backend)
    assert found.dtype == np.int64
    assert found.shape == (rows, k)
    assert found[:, 0].tolist() == list(range(rows))
    expected = sorted_distances(features)[:, :k]
    np.testing.assert_allclose(distances_to(features, found), expected, rtol=1e-5, atol=1e-5)


def test_hand_case():
    features = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert nearest(features, 3).tolist() == [[0, 1, 2], [1, 0, 2], [2, 1, 0], [3, 2, 1]]


def test_lower_index_wins_a_tie():
    """Whole numbers, hence exact scores: row 2 lies between 1 and 3; 4, 5 and 6 coincide."""
    features = torch.tensor([[9.0], [1.0], [2.0], [3.0], [6.0], [6.0], [6.0]])
    assert nearest(features, 2).tolist() == [
        [0, 4],
        [1, 2],
        [2, 1],
        [3, 2],
        [4, 5],
        [4, 5],
        [4, 5],
    ]
    assert (nearest(torch.ones(300, 1), 5) == np.arange(5)).all()
    assert nearest(features, 3)[2:5].tolist() == [[2, 1, 3], [3, 2, 1], [4, 5, 6]]


def test_backends_agree():
    pytest.importorskip("faiss")
    features = random_rows(200, 8, seed=0)
    np.testing.assert_array_equal(nearest(features, 20, "torch"), nearest(features, 20, "faiss"))


@pytest.mark.parametrize("rows_per_block", [1, 7, 30])
def test_blocks_do_not_change_the_result(monkeypatch, rows_per_block):
    features = random_rows(30, 5, seed=1)
    expected = nearest(features, 6)
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 4 * 30 * rows_per_block)
    np.testing.assert_array_equal(nearest(features, 6), expected)


@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_duplicates_are_nearest_in_some_order(backend):
    if backend == "faiss":
        pytest.importorskip("faiss")
    features = random_rows(5, 4, seed=2).repeat(3, 1)
    found = nearest(features, 3, backend)
    assert [sorted(row) for row in (found % 5).tolist()] == [[i % 5] * 3 for i in range(15)]
    assert all(len(set(row)) == 3 for row in found.tolist())


@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_bad_input_is_refused(backend):
    features = random_rows(4, 3, seed=3)
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"k is {k}, expected 1 to 4"):
            nearest(features, k, backend)
    with pytest.raises(ValueError, match=r"shape \(0, 3\)"):
        nearest(features[:0], 1, backend)
    features[1] = torch.nan
    features[2, 0] = -torch.inf
    with pytest.raises(ValueError, match="2 of 4 feature rows"):
        nearest(features, 2, backend)


def test_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="'annoy'"):
        nearest(random_rows(4, 3, seed=4), 2, "annoy")


def test_missing_faiss_is_explained(monkeypatch):
    find = builtins.__import__

    def without_faiss(name, *arguments):
        if name == "faiss":
            raise ImportError(name)
        return find(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without_faiss)
    with pytest.raises(ImportError, match="pip install faiss-cpu"):
        nearest(random_rows(4, 3, seed=5), 2, "faiss")


@pytest.mark.gpu
def test_device_agrees_with_cpu():
    features = random_rows(300, 16, seed=6)
    expected = nearest(features, 10)
    np.testing.assert_array_equal(nearest(features, 10, device="cuda"), expected)
    np.testing.assert_array_equal(nearest(features.cuda(), 10), expected)
