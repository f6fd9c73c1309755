"""BMIL's modality-aware Jaccard distance: recorded matrices, a twin in loops, invariants."""

import golden_set
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sparse_distances import dense

from clustercontrast.clustering.dbscan import dbscan
from clustercontrast.clustering.jaccard import camera_groups, camera_jaccard, modality_jaccard
from clustercontrast.clustering.neighbours import nearest_of_both

FILES = golden_set.files_c("jaccard_")
TOLERANCE = 2e-6  # float32 against float64


def settings_of(vectors):
    return sorted({name.split("/")[0] for name in vectors if "/" in name})


@pytest.mark.parametrize("file", FILES)
def test_recorded_distances_and_labels(file):
    vectors, facts = golden_set.load(file), golden_set.entry_c(file)["params"]
    features, split = torch.from_numpy(vectors["features"]), facts["N_v"]
    for setting in settings_of(vectors):
        k1, k2 = (int(word) for word in setting.split("_")[1::2])
        found = modality_jaccard(features[:split], features[split:], k1, k2)
        upper = np.triu_indices(len(features))
        np.testing.assert_allclose(
            dense(found)[upper], vectors[f"{setting}/J_triu"], atol=TOLERANCE
        )
        for eps in facts["eps"]:
            labels = dbscan(found, eps, facts["min_samples"])
            np.testing.assert_array_equal(labels, vectors[f"{setting}/labels_eps{eps}"])
        if f"{setting}/ranking" in vectors:
            _, ranking = nearest_of_both(features[:split], features[split:], k1 // 2)
            np.testing.assert_array_equal(ranking, vectors[f"{setting}/ranking"])


# The twin: docs/methods/bmil.md#modality-aware-distance in loops, sets and float64.


def twin(visible, infrared, k1, k2, rank, cameras=None):
    x = np.concatenate([visible, infrared]).astype(np.float64)
    size, split = len(x), len(visible)
    half = x**2 @ np.ones(x.shape[1]) / 2 if rank == "l2" else np.zeros(size)
    score = x @ x.T - half
    count = min(k1 // 2, split, size - split)
    sides = [
        [sorted(own, key=lambda j: -score[i, j])[:count] for i in range(size)]
        for own in (range(split), range(split, size))
    ]
    ranking = [
        sorted(v + r, key=lambda j: -score[i, j])
        for i, (v, r) in enumerate(zip(*sides, strict=True))
    ]

    def mutual(k):
        near = [set(row[: k + 1]) for row in ranking]
        return [{j for j in near[i] if i in near[j]} for i in range(size)]

    full, part = mutual(k1), mutual(round(k1 / 2))
    encoding = np.zeros((size, size))
    for i in range(size):
        extended = set(full[i])
        for c in full[i]:
            if len(part[c] & full[i]) > 2 / 3 * len(part[c]):
                extended |= part[c]
        chosen = sorted(extended)
        if chosen:
            weights = np.exp(2 * (x[chosen] @ x[i]) - 2)
            encoding[i, chosen] = weights / weights.sum()
    if cameras is not None:
        near = [nearest_of_cameras(score[i], *cameras, k2) for i in range(size)]
        encoding = np.stack([mean_of_means(encoding, sides) for sides in near])
    elif k2 > 1:
        k2 = min(k2, count)
        encoding = np.stack(
            [
                (encoding[v[:k2]].mean(0) + encoding[r[:k2]].mean(0)) / 2
                for v, r in zip(*sides, strict=True)
            ]
        )
    overlap = np.minimum(encoding[:, None], encoding[None]).sum(2)
    return np.maximum(1 - overlap / (2 - overlap), 0)


def nearest_of_cameras(score, visible, infrared, cap):
    """Rows of every camera of either modality that are likest, by modality."""
    split, found = len(visible), []
    for start, cameras in ((0, visible), (split, infrared)):
        rows = start + np.arange(len(cameras))
        of_each = [rows[cameras == camera] for camera in np.unique(cameras)]
        found.append([sorted(own, key=lambda j: -score[j])[:cap] for own in of_each])
    return found


def mean_of_means(encoding, sides):
    return np.mean([np.mean([encoding[own].mean(0) for own in side], 0) for side in sides], 0)


def people(rows, seed, width=6):
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((max(1, rows // 6), width))[
        generator.integers(max(1, rows // 6), size=rows)
    ]
    x = x + 0.6 * generator.standard_normal((rows, width))
    lengths = generator.uniform(0.85, 1, (rows, 1))
    return (x / np.linalg.norm(x, axis=1, keepdims=True) * lengths).astype(np.float32)


@given(
    st.integers(0, 9999),
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(2, 14),
    st.integers(1, 4),
    st.sampled_from(["dot", "l2"]),
)
def test_the_twin_agrees(seed, visible, infrared, k1, k2, rank):
    x = people(visible + infrared, seed)
    sides = x[:visible], x[visible:]
    found = modality_jaccard(*map(torch.from_numpy, sides), k1, k2, rank=rank)
    np.testing.assert_allclose(dense(found), twin(*sides, k1, k2, rank), atol=1e-5)


@given(
    st.integers(0, 9999),
    st.integers(1, 25),
    st.integers(1, 25),
    st.integers(2, 14),
    st.integers(1, 4),
    st.sampled_from(["dot", "l2"]),
)
def test_the_twin_by_camera_agrees(seed, visible, infrared, k1, cap, rank):
    """Equal camera numbers of both modalities are two cameras."""
    x, generator = people(visible + infrared, seed), np.random.default_rng(seed)
    sides = x[:visible], x[visible:]
    cameras = tuple(generator.integers(1, 4, len(side)) for side in sides)
    found = camera_jaccard(*map(torch.from_numpy, sides), cameras, k1, cap, rank=rank)
    np.testing.assert_allclose(dense(found), twin(*sides, k1, cap, rank, cameras), atol=1e-5)


def test_with_one_camera_per_modality_it_is_the_modality_aware_distance():
    sides = torch.from_numpy(people(40, 3)).split([25, 15])
    cameras = np.full(25, 1), np.full(15, 2)
    one, other = camera_jaccard(*sides, cameras, 12, 3), modality_jaccard(*sides, 12, 3)
    np.testing.assert_allclose(dense(one), dense(other), atol=TOLERANCE)


def test_cameras_are_counted_over_both_modalities():
    groups, counts = camera_groups(np.array([4, 1, 4]), np.array([4, 6]))
    assert groups.tolist() == [1, 0, 1, 2, 3]
    assert counts.tolist() == [2, 2]


def test_swapped_modalities_permute_the_distances():
    x = people(40, 1)
    one, other = torch.from_numpy(x[:25]), torch.from_numpy(x[25:])
    ahead, behind = (dense(modality_jaccard(*pair, 10, 3)) for pair in ((one, other), (other, one)))
    order = np.r_[15:40, 0:15]
    np.testing.assert_allclose(ahead, behind[np.ix_(order, order)], atol=TOLERANCE)


def test_twins_of_the_other_modality_are_at_distance_zero():
    x = torch.from_numpy(people(30, 2))
    found = dense(modality_jaccard(x, x, 10, 3))
    np.testing.assert_allclose(found[np.arange(30), 30 + np.arange(30)], 0, atol=TOLERANCE)
    labels = dbscan(modality_jaccard(x, x, 10, 3), 0.6, 4)
    np.testing.assert_array_equal(labels[:30], labels[30:])


def test_a_long_row_is_a_nearer_neighbour_than_the_row_itself():
    """By dot product, as the released code ranks (BMIL-9)."""
    visible = torch.tensor([[0.8, 0.0], [0.99, 0.0], [0.0, 0.9]])
    own, _ = nearest_of_both(visible, visible, 1)
    assert own[0].tolist() == [1, 4]
    own, _ = nearest_of_both(visible, visible, 1, "l2")
    assert own[0].tolist() == [0, 3]


@pytest.mark.parametrize(
    ("sizes", "k1", "k2"), [((5, 0), 4, 1), ((0, 5), 4, 1), ((5, 5), 1, 1), ((5, 5), 4, 0)]
)
def test_settings_without_neighbours_are_refused(sizes, k1, k2):
    with pytest.raises(ValueError, match="expected k1 ≥ 2, k2 ≥ 1 and rows of both"):
        modality_jaccard(*(torch.ones(n, 3) for n in sizes), k1, k2)
