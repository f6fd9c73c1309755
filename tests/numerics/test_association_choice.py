"""Every association survives any number of clusters on either side and gives maps of its kind."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercontrast.association.choice import ASSOCIATIONS, Clusters, associate
from clustercontrast.association.graph_matching import hungarian

TOTAL = ("pgm", "ot", "mmm")


def clusters(sizes_v, sizes_r, seed=0):
    """Clusters of the given numbers of images, an outlier behind each modality."""
    generator = torch.Generator().manual_seed(seed)
    sides = []
    for sizes in (sizes_v, sizes_r):
        labels = np.append(np.repeat(np.arange(len(sizes)), sizes), -1)
        features = torch.randn(len(labels), 6, generator=generator)
        features /= features.norm(dim=1, keepdim=True)
        means = [features[:-1][labels[:-1] == c].mean(0) for c in range(len(sizes))]
        sides.append((features, labels, torch.stack(means) if means else torch.zeros(0, 6)))
    return Clusters(*zip(*sides, strict=True))


sizes = st.lists(st.integers(1, 6), max_size=5)


@pytest.mark.parametrize("name", ASSOCIATIONS)
@settings(max_examples=25)
@given(sizes, sizes, st.integers(0, 3))
def test_maps_point_at_clusters_of_the_other_side(name, sizes_v, sizes_r, seed):
    given_ = clusters(sizes_v, sizes_r, seed)
    counts = len(sizes_v), len(sizes_r)
    maps = associate(name, given_, vote_threshold=0.2)
    for own, to_other, others in zip(counts, maps, counts[::-1], strict=True):
        assert to_other.dtype == torch.int64
        assert len(to_other) == own
        assert ((to_other >= -1) & (to_other < others)).all()
        if name in TOTAL and others:
            assert (to_other >= 0).all()
        if not others:
            assert (to_other == -1).all()
    if name in ("hungarian", "cma"):
        for a, b in enumerate(maps[0].tolist()):
            assert b < 0 or maps[1][b] == a


@pytest.mark.parametrize("name", ASSOCIATIONS)
def test_equal_sides_are_matched_to_themselves(name):
    same = clusters([5, 5, 5, 5], [5, 5, 5, 5])
    copy = Clusters(*((pair[0], pair[0]) for pair in (same.features, same.labels, same.means)))
    to_infrared, to_visible = associate(name, copy)
    assert to_infrared.tolist() == to_visible.tolist() == [0, 1, 2, 3]


def test_hungarian_leaves_the_rest_of_the_larger_side_single():
    visible = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]])
    to_infrared, to_visible = hungarian(visible, torch.tensor([[1.0, 0.0]]))
    assert to_infrared.tolist() == [0, -1, -1]
    assert to_visible.tolist() == [0]


def test_thresholds_reach_their_association():
    few = clusters([4, 4], [4, 4])
    assert (associate("cma", few, vote_threshold=1.0)[0] == -1).all()
    swapped = np.array([1, 0, -1])[few.labels[0]]
    crossed = Clusters((few.features[0],) * 2, (few.labels[0], swapped), few.means)
    assert associate("mmm", crossed)[0].tolist() == [1, 0]
    assert associate("mmm", crossed, forget_last=True)[0].tolist() == [
        0,
        1,
    ]  # 0 never sees the last
