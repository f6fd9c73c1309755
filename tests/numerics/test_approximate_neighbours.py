"""Approximate neighbours: how good they are, what is said of them, cells, projections."""

import re

import numpy as np
import pytest
import torch

from clustercontrast.clustering import approximate_search, cells
from clustercontrast.clustering.approximate_search import recall
from clustercontrast.clustering.feature_rows import FeatureRows
from clustercontrast.clustering.neighbours import Search, nearest
from clustercontrast.clustering.projection import projected

pytest.importorskip("faiss")


def clustered(rows, width, seed):
    """Twenty rows around every centre."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(-(-rows // 20), width, generator=generator)
    noise = torch.randn(rows, width, generator=generator)
    return centres.repeat_interleave(20, dim=0)[:rows] + 0.3 * noise


def test_recall_by_hand():
    """Row 0: two of three, in any order; row 1: none, though they stand in row 0."""
    exact = np.array([[0, 1, 2], [3, 4, 5]])
    found = np.array([[2, 0, 9], [0, 1, 2]])
    assert recall(found, exact) == pytest.approx(2 / 6)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_the_recall_that_is_said_is_that_of_the_result(kind):
    """Every row is in the sample, so that the figure can be checked against all exact lists."""
    features, said = clustered(900, 16, seed=0), []
    found = nearest(features, 10, Search(kind, said.append))
    assert found.shape == (900, 10)
    assert found.dtype == np.int64
    assert all(len(set(row)) == 10 and min(row) >= 0 for row in found.tolist())
    share = recall(found, nearest(features, 10))
    assert share > 0.95
    assert len(said) == 1
    figures = re.search(r"recall (\S+) of the 10 nearest, measured on (\d+)", said[0]).groups()
    assert figures == (f"{share:.3f}", "900")


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_distances_ascend_from_the_row_itself(kind):
    features = clustered(600, 8, seed=1)
    found = nearest(features, 6, kind)
    distances = (features[:, None] - features[found]).square().sum(dim=2)
    assert (found[:, 0] == np.arange(600)).mean() > 0.99
    assert (distances.diff(dim=1) > -1e-4).all()


def test_rows_whose_cells_hold_too_few_are_searched_exactly(monkeypatch):
    monkeypatch.setattr(cells, "VISITED", (1, 1))
    features = clustered(200, 6, seed=2)
    found = nearest(features, 100, "ivf")
    assert found.min() >= 0
    assert recall(found, nearest(features, 100)) > 0.5


def test_all_cells_together_are_exact(monkeypatch):
    monkeypatch.setattr(cells, "RECALL", 1.1)
    features = clustered(500, 6, seed=3)  # 34 cells, less than may be visited
    np.testing.assert_array_equal(nearest(features, 9, "ivf"), nearest(features, 9))


def test_parts_of_cells_do_not_change_the_result(monkeypatch):
    features = clustered(100, 6, seed=3)
    expected = nearest(features, 9, "ivf")
    monkeypatch.setattr(cells, "MEMBERS", 3)
    monkeypatch.setattr(cells, "VISITORS", 20)
    np.testing.assert_array_equal(nearest(features, 9, "ivf"), expected)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
@pytest.mark.parametrize(("rows", "k"), [(1, 1), (2, 2), (30, 30)])
def test_few_rows(kind, rows, k):
    features = clustered(rows, 4, seed=4)
    np.testing.assert_array_equal(nearest(features, k, kind), nearest(features, k))


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_duplicates_alone(kind):
    """All distances are 0; any k rows are the nearest, none of them twice."""
    found = nearest(torch.ones(300, 3), 7, kind)
    assert all(len(set(row)) == 7 and min(row) >= 0 for row in found.tolist())


def test_half_precision_and_memory_maps(tmp_path):
    features = clustered(400, 8, seed=5).half()
    expected = nearest(features, 6, "ivf")
    np.save(tmp_path / "features.npy", features.numpy())
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    np.testing.assert_array_equal(nearest(mapped, 6, "ivf"), expected)


def test_fewest_cells_that_holdenough():
    """Neighbours of the one row in the sample lie in the first, second and fourth of its cells."""
    own = np.array([[0, 1, 2, 3], [1, 0, 2, 3], [3, 0, 1, 2]])
    sample, exact = np.array([0]), np.array([[0, 1, 2]])
    with pytest.MonkeyPatch.context() as patch:
        for share, expected in ((0.3, 1), (0.6, 2), (0.7, 4), (1.0, 4)):
            patch.setattr(cells, "RECALL", share)
            patch.setattr(cells, "VISITED", (1, 4))
            assert cells.enough(own, sample, exact) == expected
        patch.setattr(cells, "VISITED", (3, 4))
        patch.setattr(cells, "RECALL", 0.3)
        assert cells.enough(own, sample, exact) == 3


def test_features_in_a_plane_are_projected_to_two_numbers():
    generator = torch.Generator().manual_seed(6)
    plane = torch.randn(50, 2, generator=generator)
    features = plane @ torch.randn(2, 300, generator=generator) + 5
    narrow = projected(FeatureRows(features)).take(slice(None))
    assert narrow.shape == (50, 2)
    directly = {"compute_mode": "donot_use_mm_for_euclid_dist"}
    distances = torch.cdist(features, features, **directly)
    torch.testing.assert_close(
        torch.cdist(narrow, narrow, **directly), distances, rtol=1e-4, atol=1e-3
    )


def test_features_that_vary_everywhere_stay_as_they_are():
    features = FeatureRows(torch.randn(400, 200, generator=torch.Generator().manual_seed(7)))
    assert projected(features) is features


def test_a_sample_is_a_part_of_many_rows(monkeypatch):
    monkeypatch.setattr(approximate_search, "SAMPLE", 20)
    said = []
    nearest(clustered(100, 4, seed=8), 5, Search("ivf", said.append))
    assert said[0].endswith("measured on 20 images")
