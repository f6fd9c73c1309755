"""Maximum matching of centres against all permutations, and the labels clusters share."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clustercontrast.association.graph_matching import maximum_matching, shared_labels
from clustercontrast.clustering.kmeans import kmeans

SIMILARITIES = {
    "cosine": lambda v, r: F.normalize(v) @ F.normalize(r).T,
    "euclidean": lambda v, r: -torch.cdist(v, r),
}


def centres(sizes, seed, width=3):
    draws = torch.Generator().manual_seed(seed)
    return [torch.randn(size, width, generator=draws, dtype=torch.float64) for size in sizes]


def best_sum(scores):
    """The greatest sum over all injections of the smaller side."""
    scores = scores if scores.shape[0] <= scores.shape[1] else scores.T
    small, large = scores.shape
    return max(
        sum(scores[i, j] for i, j in enumerate(chosen))
        for chosen in itertools.permutations(range(large), small)
    )


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("sizes", [(1, 1), (4, 4), (5, 3), (3, 5), (6, 6)])
@pytest.mark.parametrize("seed", range(4))
def test_sum_is_the_greatest_of_all_permutations(similarity, sizes, seed):
    visible, infrared = centres(sizes, seed)
    to_infrared, to_visible = maximum_matching(visible, infrared, similarity)
    scores = SIMILARITIES[similarity](visible, infrared).numpy()
    matched = np.flatnonzero(to_infrared >= 0)
    assert len(matched) == min(sizes)
    found = scores[matched, to_infrared[matched]].sum()
    assert found == pytest.approx(best_sum(scores))
    assert (to_infrared.dtype, to_visible.dtype) == (torch.int64, torch.int64)
    for v, r in enumerate(to_infrared.tolist()):
        assert r < 0 or to_visible[r] == v
    assert (to_visible >= 0).sum() == min(sizes)


def test_the_similarities_differ_by_hand():
    """By direction (10, 0) goes with (1, 0); by distance it goes with (9, 9)."""
    visible, infrared = torch.tensor([[10.0, 0], [1, 1]]), torch.tensor([[1.0, 0], [9, 9]])
    assert maximum_matching(visible, infrared)[0].tolist() == [0, 1]
    assert maximum_matching(visible, infrared, "euclidean")[0].tolist() == [1, 0]


def test_unknown_similarity():
    with pytest.raises(ValueError, match="'manhattan', expected 'cosine' or 'euclidean'"):
        maximum_matching(*centres((2, 2), 0), "manhattan")


def test_planted_permutation_is_recovered_and_every_class_has_both_modalities():
    """400 clusters, infrared ones in another order."""
    k, draws = 400, torch.Generator().manual_seed(0)
    people = F.normalize(torch.randn(k, 64, generator=draws))
    order = torch.randperm(k, generator=draws)
    labels = {"visible": torch.arange(k).repeat(4), "infrared": torch.arange(k).repeat(3)}
    sides = {"visible": people, "infrared": people + 0.05 * torch.randn(64, generator=draws)}
    to_infrared, to_visible = maximum_matching(sides["visible"], sides["infrared"][order])
    assert torch.equal(order[to_infrared], torch.arange(k))
    assert torch.equal(to_visible, order)

    clusterings = []
    for name, y in labels.items():
        rows = sides[name][y] + 0.02 * torch.randn(len(y), 64, generator=draws)
        clusterings.append(kmeans(rows, k, torch.Generator().manual_seed(1)))
    visible, infrared = clusterings
    to_visible = maximum_matching(visible.centres, infrared.centres)[1]
    shared = shared_labels(visible.labels, infrared.labels, to_visible, k)
    assert set(shared[0]) == set(shared[1]) == set(range(k))
    person = dict(zip(shared[0].tolist(), labels["visible"].tolist(), strict=True))
    found = [person[y] for y in shared[1].tolist()]
    assert np.mean(np.array(found) == labels["infrared"].numpy()) > 0.98


@pytest.mark.parametrize("sizes", [(5, 3), (3, 5), (4, 4)])
def test_labels_for_any_pair_of_cluster_counts(sizes):
    visible, infrared = (np.arange(size).repeat(2) for size in sizes)
    _, to_visible = maximum_matching(*centres(sizes, 1))
    shared = shared_labels(visible, infrared, to_visible, sizes[0])
    np.testing.assert_array_equal(shared[0], visible)
    assert len(set(shared[0]) & set(shared[1])) == min(sizes)
    assert set(shared[0]) | set(shared[1]) == set(range(max(sizes)))
    assert shared[1].dtype == np.int64


def test_labels_by_hand():
    """Of four infrared clusters 1 and 3 have no partner: they count on from 2."""
    to_visible = torch.tensor([1, -1, 0, -1])
    visible, infrared = np.array([0, 1, 1]), np.array([3, 0, 1, 2, 3])
    shared = shared_labels(visible, infrared, to_visible, 2)
    assert [x.tolist() for x in shared] == [[0, 1, 1], [3, 1, 2, 0, 3]]
    assert to_visible.tolist() == [1, -1, 0, -1]
