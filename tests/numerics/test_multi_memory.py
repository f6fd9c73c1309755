"""MMM's matching: official labels with their quirks, repaired labels, and plain loops."""

import golden_set
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercontrast.association.multi_memory import (
    memory_distances,
    multi_memory_matching,
    relabel,
    sub_memories,
)
from clustercontrast.clustering.centroids import balanced_centroids, centroids

FILES = [f for f in golden_set.files_b("mmm") if "/mmlm_" in f]


def given_of(vectors):
    features = tuple(torch.from_numpy(vectors[f"features_{m}"]) for m in ("rgb", "ir"))
    return features, tuple(vectors[f"labels_{m}"].astype(np.int64) for m in ("rgb", "ir"))


@pytest.mark.parametrize("file", FILES)
def test_released_matching_with_its_quirks(file):
    vectors = golden_set.load(file)
    features, labels = given_of(vectors)
    to_infrared, _ = multi_memory_matching(features, labels, upstream=True)
    np.testing.assert_array_equal(to_infrared[:-1], vectors["match"])
    np.testing.assert_array_equal(relabel(labels[0], to_infrared), vectors["labels_rgb_matched"])


@pytest.mark.parametrize("file", FILES)
def test_repaired_matching(file):
    vectors = golden_set.load(file)
    features, labels = given_of(vectors)
    to_infrared, _ = multi_memory_matching(features, labels)
    np.testing.assert_array_equal(to_infrared, vectors["fixed_match"])
    np.testing.assert_array_equal(relabel(labels[0], to_infrared), vectors["fixed_labels_rgb"])
    memories = [sub_memories(f, y) for f, y in zip(features, labels, strict=True)]
    np.testing.assert_allclose(memory_distances(*memories), vectors["fixed_distance"], atol=1e-4)


@pytest.mark.parametrize("file", FILES)
def test_sub_memories_are_those_of_the_official_call(file):
    """Up to the order of the four inside a cluster."""
    vectors = golden_set.load(file)
    features, labels = given_of(vectors)
    for f, y, modality in zip(features, labels, ("rgb", "ir"), strict=True):
        ours, recorded = sub_memories(f, y), vectors[f"submem_{modality}"]
        for mine, theirs in zip(ours, recorded, strict=False):
            order = [np.linalg.norm(mine - row, axis=1).argmin() for row in theirs]
            np.testing.assert_allclose(mine[order], theirs, atol=1e-5)


def test_memories_of_the_joint_baseline():
    vectors = golden_set.load("mmm/joint_memory_baseline.npz")
    f_v, f_r = (torch.from_numpy(vectors[f"features_{m}"]) for m in ("rgb", "ir"))
    for f, modality in ((f_v, "rgb"), (f_r, "ir")):
        rows = torch.nn.functional.normalize(centroids(f, vectors[f"labels_{modality}"]))
        np.testing.assert_allclose(rows, vectors[f"memory_{modality}"], atol=1e-6)
    y = vectors["labels_joint"].astype(np.int64)
    rows = torch.nn.functional.normalize(balanced_centroids(f_v, f_r, y))
    np.testing.assert_allclose(rows, vectors["memory_joint"], atol=1e-6)
    split = len(f_v)
    mixed = np.intersect1d(y[:split][y[:split] >= 0], y[split:][y[split:] >= 0])
    for part, modality in ((y[:split], "rgb"), (y[split:], "ir")):
        rows = np.flatnonzero(np.isin(part, mixed))
        np.testing.assert_array_equal(rows, vectors[f"joint_{modality}_index"])
        np.testing.assert_array_equal(part[rows], vectors[f"joint_{modality}_label"])


def slow_distances(visible, infrared):
    """Loops over clusters and sub-memories."""
    return [
        [sum(min(np.linalg.norm(r - v) for v in own) for r in other) for other in infrared]
        for own in visible
    ]


def test_distances_against_the_slow_twin(monkeypatch):
    generator = np.random.default_rng(0)
    visible, infrared = (generator.standard_normal((n, 4, 3)) for n in (5, 3))
    expected = slow_distances(visible, infrared)
    np.testing.assert_allclose(memory_distances(visible, infrared), expected)
    monkeypatch.setattr("clustercontrast.association.multi_memory.CELLS", 30)
    np.testing.assert_allclose(memory_distances(visible, infrared), expected)


@settings(max_examples=15)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=4), st.integers(0, 3))
def test_identical_sides_give_the_identity(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = np.append(np.repeat(np.arange(len(sizes)), sizes), -1)
    features = torch.randn(len(labels), 5, generator=generator)
    maps = multi_memory_matching((features, features), (labels, labels))
    assert all(m.tolist() == list(range(len(sizes))) for m in maps)


def test_relabelling_keeps_outliers_and_drops_unmatched_clusters():
    labels = relabel(np.array([0, 1, 2, -1]), torch.tensor([5, -1, 3]))
    assert labels.tolist() == [5, -1, 3, -1]


def members(labels):
    return np.bincount(labels[labels >= 0])


@pytest.mark.parametrize("file", FILES)
def test_released_distances_and_the_forgotten_last_clusters(file):
    """Tiny clusters are misread as numbers (MMM-2), the last ones forgotten (MMM-1)."""
    vectors = golden_set.load(file)
    features, labels = given_of(vectors)
    memories = [sub_memories(f, y) for f, y in zip(features, labels, strict=True)]
    tiny = [members(y) < memories[0].shape[1] for y in labels]
    distances = memory_distances(*memories, *tiny)
    np.testing.assert_allclose(distances[:-1, :-1], vectors["distance"], atol=1e-4)
    maps = multi_memory_matching(features, labels, upstream=True)
    for own, other in (maps, maps[::-1]):
        assert own[-1] == len(own) - 1
        assert len(other) - 1 not in own[:-1]


@pytest.mark.parametrize("file", FILES)
def test_visible_partners_are_those_of_the_transposed_problem(file):
    """The sum is over visible sub-memories, not D transposed."""
    features, labels = given_of(golden_set.load(file))
    memories = [sub_memories(f, y) for f, y in zip(features, labels, strict=True)]
    _, to_visible = multi_memory_matching(features, labels)
    expected = np.argmin(slow_distances(*memories[::-1]), axis=1)
    np.testing.assert_array_equal(to_visible, expected)


def test_distance_of_given_rows():
    """Rows sin(phase + 0.9 i + 1.7 j (1 + i mod 3)), phases 1.0 and 0.3, unit length."""
    i, j = np.mgrid[:4, :5]
    rows = [np.sin(phase + 0.9 * i + 1.7 * j * (1 + i % 3)) for phase in (1.0, 0.3)]
    visible, infrared = (r[None] / np.linalg.norm(r, axis=1)[:, None] for r in rows)
    assert memory_distances(visible, infrared)[0, 0] == pytest.approx(2.3834, abs=5e-5)


def test_the_sum_is_over_infrared_sub_memories():
    """Visible points 0, 0, 0, 9, infrared ones 0, 0, 0, 0: nothing is far from a visible one."""
    visible = np.array([0.0, 0, 0, 9]).reshape(1, 4, 1)
    infrared = np.zeros((1, 4, 1))
    assert memory_distances(visible, infrared).item() == 0
    assert memory_distances(infrared, visible).item() == 9


def test_share_of_joint_clusters_with_both_modalities():
    vectors = golden_set.load("mmm/joint_memory_baseline.npz")
    joint, split = vectors["labels_joint"], len(vectors["features_rgb"])
    mixed = np.intersect1d(joint[:split], joint[split:])
    rate = np.count_nonzero(mixed >= 0) / len(vectors["memory_joint"])
    assert rate == pytest.approx(float(vectors["associate_rate"]))


def side_of(sizes, outliers, seed):
    labels = np.append(np.repeat(np.arange(len(sizes)), sizes), [-1] * outliers).astype(np.int64)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(labels), 5, generator=generator), labels


CLUSTERS = st.lists(st.integers(1, 6), max_size=3)


@settings(max_examples=40)
@given(CLUSTERS, CLUSTERS, st.integers(0, 2), st.booleans())
def test_maps_are_total_for_any_numbers_of_clusters(sizes_v, sizes_r, outliers, upstream):
    (f_v, y_v), (f_r, y_r) = (side_of(s, outliers, k) for k, s in enumerate((sizes_v, sizes_r)))
    maps = multi_memory_matching((f_v, f_r), (y_v, y_r), upstream=upstream)
    for own, count, other in zip(maps, (sizes_v, sizes_r), (sizes_r, sizes_v), strict=True):
        assert own.dtype == torch.int64
        assert len(own) == len(count)
        chosen = own[: len(own) - upstream]
        assert (chosen < len(other)).all()
        assert (own >= 0).all() if other else (own == -1).all()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_tiny_cluster_repeats_its_mean(size):
    features, labels = side_of([size], 1, 0)
    expected = features[:size].mean(dim=0).expand(1, 4, -1)
    np.testing.assert_allclose(sub_memories(features, labels), expected, atol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_clusters_of_equal_images():
    """Fewer than four different points: every sub-memory is one of them."""
    features = torch.eye(3).repeat_interleave(5, dim=0)
    labels = np.repeat(np.arange(3), 5)
    expected = np.repeat(np.eye(3)[:, None], 4, axis=1)
    np.testing.assert_allclose(sub_memories(features, labels), expected, atol=1e-6)
    maps = multi_memory_matching((features, features.flip(0)), (labels, labels))
    assert [m.tolist() for m in maps] == [[2, 1, 0], [2, 1, 0]]


def test_relabelling_without_any_cluster():
    none = torch.zeros(0, dtype=torch.int64)
    assert relabel(np.full(3, -1), none).tolist() == [-1, -1, -1]
    assert relabel(np.zeros(0, dtype=np.int64), none).tolist() == []
