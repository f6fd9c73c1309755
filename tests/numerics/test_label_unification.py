"""GUR's label unification against the recorded one, loops and hand-made cases."""

import golden_set
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercontrast.association import label_unification
from clustercontrast.association.label_unification import affinities, propagate, unified_labels
from clustercontrast.association.ranking_agreement import smooth

FILES = [f for f in golden_set.files_b("gur") if "/clu_" in f]
every_file = pytest.mark.parametrize("file", FILES)


def recorded(file):
    vectors = golden_set.load(file)
    sides = (torch.from_numpy(vectors[f"features_{name}"]) for name in ("rgb", "ir"))
    return vectors, golden_set.entry_b(file)["params"]["k"], *sides


@every_file
def test_affinity_and_scores_are_the_official_ones(file):
    vectors, k, visible, infrared = recorded(file)
    dense = torch.zeros(len(visible), len(infrared))
    (block,) = affinities(visible, infrared, k)
    dense.scatter_(1, block[1], block[0])
    np.testing.assert_allclose(dense, vectors["affinity_topk"], rtol=0, atol=1e-6)
    scores = dense.numpy() @ np.eye(vectors["score"].shape[1])[vectors["labels_ir"] + 1]
    np.testing.assert_allclose(scores, vectors["score"], rtol=0, atol=1e-6)


@every_file
def test_labels_before_smoothing_are_the_official_ones(file, monkeypatch):
    vectors, k, visible, infrared = recorded(file)
    y_r = vectors["labels_ir"]
    for rows in (2048, 7):
        monkeypatch.setattr(label_unification, "BLOCK_ROWS", rows)
        found = propagate(visible, infrared, y_r, k)
        np.testing.assert_array_equal(found, vectors["labels_rgb_unified"])
    np.testing.assert_array_equal(unified_labels(visible, infrared, y_r, k, False), found)


@every_file
def test_smoothed_labels_are_the_official_ones(file):
    """The first class on ties, as recorded."""
    vectors, k, visible, infrared = recorded(file)
    y_r = vectors["labels_ir"]
    found = unified_labels(visible, infrared, y_r, k, True)
    votes = vectors["neighbour_mask"] @ np.eye(y_r.max() + 2)[vectors["labels_rgb_unified"] + 1]
    np.testing.assert_array_equal(found, votes.argmax(axis=1) - 1)
    certain = ~vectors["smoothing_tie"]
    np.testing.assert_array_equal(found[certain], vectors["labels_rgb_smoothed"][certain])


def slow_labels(visible, infrared, y_r, k):
    """Of every row all affinities in double precision, then a sum per label; the first wins."""
    found = []
    for f in F.normalize(visible.double()):
        cosines = [float(f @ g) for g in F.normalize(infrared.double())]
        nearest = sorted(range(len(cosines)), key=lambda j: -cosines[j])[:k]
        scores = {}
        for j in nearest:
            scores[int(y_r[j])] = scores.get(int(y_r[j]), 0.0) + np.exp(cosines[j])
        found.append(min(scores, key=lambda y: (-scores[y], y)))
    return np.array(found)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 6))
def test_it_is_what_loops_make_of_it(seed, k, clusters):
    generator = torch.Generator().manual_seed(seed)
    visible, infrared = (torch.randn(n, 4, generator=generator) for n in (9, 23))
    y_r = torch.randint(-1, clusters, (23,), generator=generator).numpy()
    found = propagate(visible, infrared, y_r, k)
    np.testing.assert_array_equal(found, slow_labels(visible, infrared, y_r, k))
    assert set(found) <= {*y_r}
    smoothed = unified_labels(visible, infrared, y_r, k, True)
    assert set(smoothed) <= {*found}


def test_the_same_images_keep_their_labels():
    """One vote, of an image that is the same."""
    rows, y = torch.randn(12, 5, generator=torch.Generator().manual_seed(1)), np.arange(12) % 5 - 1
    for is_smoothed in (False, True):
        found = unified_labels(rows, 3 * rows, y, 1, is_smoothed)
        np.testing.assert_array_equal(found, y)


ALIKE = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("y_r", "k", "expected"),
    [
        ([3, 1, 0], 2, 1),  # equally near: the smallest label
        ([3, -1, 0], 2, -1),  # an outlier before all
        ([3, 3, -1], 3, 3),  # two votes of e against one of 1
        ([-1, -1, 2], 1, -1),
    ],
)
def test_votes_by_hand(y_r, k, expected):
    assert propagate(ALIKE[:1], ALIKE, np.array(y_r), k).tolist() == [expected]


def test_near_images_outweigh_as_many_far_ones():
    """cos 1 and cos 0: e against 1, so that three far ones win and two do not."""
    infrared = torch.tensor([[1.0, 0.0], *[[0.0, 1.0]] * 3])
    for far, expected in ((2, 7), (3, 1)):
        y_r = np.array([7, 1, 1, 1])
        found = propagate(ALIKE[:1], infrared[: far + 1], y_r[: far + 1], 9)
        assert found.tolist() == [expected]


def test_smoothing_counts_the_image_itself_and_noise_wins_a_tie():
    rows = torch.tensor([[1.0, 0.0], [0.99, 0.1], [0.0, 1.0]])
    assert smooth((rows,), np.array([4, -1, 2]), 1).tolist() == [4, -1, 2]
    assert smooth((rows,), np.array([4, -1, 2]), 2).tolist()[:2] == [-1, -1]


def test_features_that_are_not_finite_are_refused():
    broken = ALIKE.clone()
    broken[0, 0] = torch.nan
    for sides in ((broken, ALIKE), (ALIKE, broken)):
        with pytest.raises(ValueError, match="NaN"):
            unified_labels(*sides, np.zeros(3, dtype=np.int64), 1, False)
