"""SDCL's association by two rankings against the official one, loops and hand-made cases."""

from collections import Counter

import golden_set
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercontrast.association import ranking_agreement
from clustercontrast.association.ranking_agreement import agreed_labels, associate, smooth
from clustercontrast.clustering.centroids import centroids

FILES = [f for f in golden_set.files_b("sdcl") if "/cra_" in f]


def recorded(file):
    vectors, parameters = golden_set.load(file), golden_set.entry_b(file)["params"]
    sides = [
        tuple(torch.from_numpy(vectors[f"{depth}_{m}"]) for depth in ("deep", "shallow"))
        for m in ("rgb", "ir")
    ]
    return vectors, parameters, *sides


@pytest.mark.parametrize("file", FILES)
def test_labels_before_smoothing_are_the_official_ones(file):
    vectors, parameters, visible, infrared = recorded(file)
    found = associate(visible, infrared, vectors["labels_ir"], parameters["top_k"])
    certain = ~vectors["ambiguous"].astype(bool)
    np.testing.assert_array_equal(found[certain], vectors["y1"][certain])


@pytest.mark.parametrize("file", FILES)
def test_recorded_votes_decide_and_of_equals_the_nearest(file):
    """Rows where upstream's choice is arbitrary included."""
    vectors, parameters, visible, infrared = recorded(file)
    y_r = vectors["labels_ir"]
    deep = F.normalize(visible[0].double()) @ F.normalize(infrared[0].double()).T
    ranked = (-deep).argsort(dim=1, stable=True).numpy()[:, : parameters["top_k"]]
    expected = y_r[ranked][np.arange(len(ranked)), vectors["votes"].argmax(axis=1)]
    found = associate(visible, infrared, y_r, parameters["top_k"])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("file", FILES)
def test_smoothing_is_the_official_one(file):
    vectors, parameters, visible, _ = recorded(file)
    found = smooth(visible, vectors["y1"], parameters["smooth_k"])
    np.testing.assert_array_equal(found, vectors["y_unified"])


@pytest.mark.parametrize("file", FILES)
def test_unified_labels_lists_and_memories_are_the_official_ones(file):
    vectors, parameters, visible, infrared = recorded(file)
    y_r = vectors["labels_ir"]
    found = agreed_labels(visible, infrared, y_r, parameters["top_k"], parameters["smooth_k"])
    certain = ~vectors["y_unified_affected_by_ambiguity"].astype(bool)
    np.testing.assert_array_equal(found[certain], vectors["y_unified"][certain])
    found = vectors["y_unified"]  # from here on upstream's choice among equals
    trained = np.where(vectors["labels_rgb_dbscan"] >= 0, found, -1)
    np.testing.assert_array_equal(np.flatnonzero(trained >= 0), vectors["train_rgb_index"])
    np.testing.assert_array_equal(trained[trained >= 0], vectors["train_rgb_label"])
    y = np.concatenate([found, y_r])
    for number, depth in enumerate(("deep", "shallow")):
        both = torch.cat([visible[number], infrared[number]])
        rows = F.normalize(centroids(both, y))
        np.testing.assert_allclose(rows, vectors[f"shared_memory_{depth}"], atol=1e-6)


def test_votes_of_the_recording_are_not_trivial():
    vectors = golden_set.load(FILES[0])
    assert len(np.unique(vectors["votes"])) > 1
    assert (vectors["y1"] != vectors["y_unified"]).any()


# --- loops ---


def slow_associate(visible, infrared, y_r, k):
    found = []
    for i in range(len(visible[0])):
        ranked = [
            np.argsort(-(F.normalize(q)[i] @ F.normalize(b).T).numpy(), kind="stable")[:k]
            for q, b in zip(visible, infrared, strict=True)
        ]
        supported = Counter(y_r[ranked[1]].tolist())
        votes = [supported[c] for c in y_r[ranked[0]].tolist()]
        found.append(y_r[ranked[0]][votes.index(max(votes))])
    return np.array(found)


def slow_smooth(visible, labels, k):
    deep, shallow = (F.normalize(half) for half in visible)
    total = (deep @ deep.T + shallow @ shallow.T).numpy()
    found = []
    for row in total:
        votes = Counter(labels[np.argsort(-row, kind="stable")[:k]].tolist())
        found.append(min(c for c, n in votes.items() if n == max(votes.values())))
    return np.array(found)


def random_sides(seed, n_v, n_r, d=6):
    generator = torch.Generator().manual_seed(seed)
    return [
        tuple(torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in "ds")
        for n in (n_v, n_r)
    ]


@settings(max_examples=40)
@given(st.integers(0, 999), st.integers(1, 12), st.integers(1, 12), st.integers(1, 6))
def test_both_steps_against_loops(seed, n_v, n_r, k):
    visible, infrared = random_sides(seed, n_v, n_r)
    y_r = np.random.default_rng(seed).integers(-1, 3, n_r)
    first = associate(visible, infrared, y_r, k)
    np.testing.assert_array_equal(first, slow_associate(visible, infrared, y_r, k))
    np.testing.assert_array_equal(smooth(visible, first, k), slow_smooth(visible, first, k))
    assert set(agreed_labels(visible, infrared, y_r, k, k)) <= set(y_r)


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_blocks_change_nothing(rows, monkeypatch):
    visible, infrared = random_sides(0, 25, 30)
    y_r = np.arange(30) % 5 - 1
    expected = agreed_labels(visible, infrared, y_r)
    monkeypatch.setattr(ranking_agreement, "BLOCK_ROWS", rows)
    np.testing.assert_array_equal(agreed_labels(visible, infrared, y_r), expected)


@settings(max_examples=20)
@given(st.integers(0, 999), st.floats(0.01, 100))
def test_norms_do_not_matter(seed, scale):
    visible, infrared = random_sides(seed, 8, 9)
    y_r = np.arange(9) % 3
    scaled = tuple(scale * half for half in visible)
    np.testing.assert_array_equal(
        agreed_labels(scaled, infrared, y_r, 4, 3), agreed_labels(visible, infrared, y_r, 4, 3)
    )


# --- by hand ---


def angles(*degrees):
    radians = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def test_shallow_neighbours_decide_among_deep_ones():
    """By deep feature 0, 1 and 2 are near, in this order; by shallow feature 1, 3 and 4."""
    infrared = angles(10, 20, 30, 100, 110), angles(100, 10, 110, 20, 30)
    visible = angles(0), angles(0)
    y_r = np.array([0, 1, 0, 1, -1])
    assert associate(visible, infrared, y_r, 3).tolist() == [1]
    assert associate(visible, infrared, np.array([0, 1, 2, 2, 2]), 3).tolist() == [2]


def test_of_equal_votes_the_nearest_by_deep_feature_wins():
    infrared = angles(10, 20, 30), angles(10, 20, 30)
    assert associate((angles(0), angles(0)), infrared, np.array([2, 0, 1]), 3).tolist() == [2]
    none_in_common = angles(10, 90, 80), angles(90, 10, 80)
    assert associate((angles(0), angles(0)), none_in_common, np.array([4, 3, 1]), 1).tolist() == [4]


def test_of_equally_frequent_labels_no_label_wins():
    visible = angles(0, 1, 2, 3), angles(0, 1, 2, 3)
    assert smooth(visible, np.array([5, -1, 5, -1]), 4).tolist() == [-1] * 4
    assert smooth(visible, np.array([7, 3, 7, 3]), 4).tolist() == [3] * 4
    assert smooth(visible, np.array([7, 3, 7, 7]), 4).tolist() == [7] * 4


def test_outliers_alone_give_no_label():
    visible, infrared = random_sides(1, 6, 7)
    assert agreed_labels(visible, infrared, np.full(7, -1)).tolist() == [-1] * 6


def test_features_that_are_not_finite_are_refused():
    good, bad = torch.eye(4), torch.eye(4)
    bad[2, 1] = float("nan")
    for sides in (((bad, good), (good, good)), ((good, good), (good, bad))):
        with pytest.raises(ValueError, match="NaN or infinity"):
            agreed_labels(*sides, np.zeros(4, np.int64))
