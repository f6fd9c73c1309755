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
    """mmm.md 2, 2: loops over clusters and sub-memories."""
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


@settings(max_examples=15, deadline=None)
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
