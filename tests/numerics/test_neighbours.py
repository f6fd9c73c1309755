"""Neighbour searches: exact ones against a sort of all distances, bad input, the choice of one.

Mutation check, done once; each of these errors makes tests below fail: half the squares added
instead of subtracted, squares not halved, a later block off by one, ties in descending order, ties
at the cut left to topk.
"""

import builtins
import importlib.util

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercontrast.clustering import exact_search, neighbours
from clustercontrast.clustering.best_lists import DeviceLists, HostLists
from clustercontrast.clustering.exact_search import search_between
from clustercontrast.clustering.feature_rows import FeatureRows
from clustercontrast.clustering.neighbours import Search, nearest


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


WHOLE = [(0, 0), (1, 0), (0, 1), (-1, 0), (3, 4), (4, 3), (-3, 4), (5, 0), (0, -5), (6, 8), (-8, 6)]
"""Points of whole length: their scores are exact, and many distances are equal."""
whole_rows = st.lists(st.sampled_from(WHOLE), min_size=1, max_size=40)


def sorted_rows(queries, features, k):
    """Slow twin: all rows by distance, then by index."""
    distances = ((queries[:, None] - features[None]) ** 2).sum(axis=2)
    return np.argsort(distances, axis=1, kind="stable")[:, :k]


@settings(deadline=None, max_examples=60)
@given(rows=whole_rows, data=st.data())
def test_ties_and_duplicates_are_ordered_by_index_however_panels_lie(rows, data):
    features = torch.tensor(rows, dtype=torch.float32)
    k = data.draw(st.integers(1, len(rows)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_search, "PANEL_ROWS", data.draw(st.integers(1, 41)))
        patch.setattr(exact_search, "PANEL_COLUMNS", data.draw(st.integers(1, 41)))
        if data.draw(st.booleans()):  # the lists of a GPU, on the CPU
            patch.setattr(exact_search, "best_lists", DeviceLists)
        found = nearest(features, k)
    np.testing.assert_array_equal(found, sorted_rows(features.numpy(), features.numpy(), k))


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_lists_do_not_depend_on_the_order_of_offers(data):
    """Columns are offered one by one in any order, from either side; scores are whole numbers."""
    size, k = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 5))
    products = torch.tensor(
        data.draw(st.lists(st.integers(0, 3), min_size=2 * size, max_size=2 * size))
    ).float()
    products, half = products.view(2, size), torch.zeros(size)
    lists, rows = HostLists(2, k), np.arange(2)
    for column in data.draw(st.permutations(range(size))):
        one = products[:, [column]]
        if data.draw(st.booleans()):
            lists.offer(one, half[:1], rows, np.array([column]))
        else:
            lists.offer_back(one.T, half[:1], np.array([column]), rows)
    expected = np.argsort(-products.numpy(), axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(lists.columns[:, : min(k, size)], expected)
    assert (lists.columns[:, size:] == -1).all()


@pytest.mark.parametrize("panel", [(1, 23), (7, 64), (70, 41)])
def test_panels_do_not_change_the_result(monkeypatch, panel):
    features = random_rows(70, 5, seed=1)
    expected = nearest(features, 6)
    monkeypatch.setattr(exact_search, "PANEL_ROWS", panel[0])
    monkeypatch.setattr(exact_search, "PANEL_COLUMNS", panel[1])
    np.testing.assert_array_equal(nearest(features, 6), expected)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_the_result(threads):
    features = random_rows(400, 5, seed=8)
    before, expected = torch.get_num_threads(), nearest(features, 6)
    torch.set_num_threads(threads)
    try:
        np.testing.assert_array_equal(nearest(features, 6), expected)
    finally:
        torch.set_num_threads(before)


def test_some_rows_among_others():
    features = random_rows(70, 4, seed=9)
    found = search_between(FeatureRows(features[:9]), FeatureRows(features), 5)
    np.testing.assert_array_equal(found, nearest(features, 5)[:9])


def test_half_precision_and_memory_maps_are_searched_as_they_are(tmp_path):
    features = random_rows(60, 8, seed=10).half()
    expected = nearest(features.float(), 7)
    np.testing.assert_array_equal(nearest(features, 7), expected)
    np.save(tmp_path / "features.npy", features.numpy())
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    np.testing.assert_array_equal(nearest(mapped, 7), expected)


def test_rows_too_long_for_float32_are_refused():
    features = random_rows(4, 3, seed=11).double()
    features[2] = 1e30
    with pytest.raises(ValueError, match=r"1 of 4 feature rows .* too large"):
        nearest(features, 2)


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


@pytest.mark.parametrize(("size", "kind"), [(40, "torch"), (41, "ivf")])
def test_automatic_is_exact_up_to_a_size(monkeypatch, size, kind):
    said, features = [], random_rows(size, 3, seed=12)
    pytest.importorskip("faiss")
    monkeypatch.setattr(neighbours, "EXACT_UP_TO", 40)
    nearest(features, 5, Search("auto", said.append))
    assert [f"({kind}, " in line for line in said] == ([True] if kind == "ivf" else [])


def test_automatic_without_faiss_stays_exact_and_says_for_how_long(monkeypatch):
    said, features = [], random_rows(50, 3, seed=13)
    monkeypatch.setattr(neighbours, "EXACT_UP_TO", 40)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    np.testing.assert_array_equal(
        nearest(features, 5, Search("auto", said.append)), nearest(features, 5)
    )
    assert len(said) == 1
    assert "among 50 images may take 0 min: pip install faiss-cpu" in said[0]


@pytest.mark.gpu
def test_device_agrees_with_cpu():
    features = random_rows(300, 16, seed=6)
    expected = nearest(features, 10)
    np.testing.assert_array_equal(nearest(features, 10, device="cuda"), expected)
    np.testing.assert_array_equal(nearest(features.cuda(), 10), expected)
