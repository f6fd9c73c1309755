"""MMM's samplers: every image met, classes aligned across modalities."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clustercontrast.data.sampler import paired_rows, permuted_rows
from clustercontrast.files import UserError

labels = st.lists(st.integers(-1, 4), min_size=1, max_size=40).map(np.array)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(labels, labels, st.integers(1, 9))
def test_a_pass_meets_every_labelled_image_and_no_outlier(y_v, y_r, size):
    if not (y_v >= 0).any() or not (y_r >= 0).any():
        return
    batches = list(permuted_rows((y_v, y_r), size, generator()))
    longest = max((y >= 0).sum() for y in (y_v, y_r))
    assert len(batches) == -(-longest // size)
    for number, y in enumerate((y_v, y_r)):
        rows = torch.cat([batch[number] for batch in batches])
        assert all(len(batch[number]) == size for batch in batches)
        assert set(rows.tolist()) == set(np.flatnonzero(y >= 0).tolist())
        counts = torch.bincount(rows)[np.flatnonzero(y >= 0)]
        assert counts.max() - counts.min() <= 1


def test_modalities_are_permuted_independently():
    y = np.zeros(200, np.int64)
    visible, infrared = next(permuted_rows((y, y), 200, generator()))
    assert not torch.equal(visible, infrared)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 3))
def test_both_modalities_show_the_same_classes(people, instances, seed):
    draw = np.random.default_rng(seed)
    y_v, y_r = (np.concatenate([np.repeat(np.arange(6), 4), draw.integers(-1, 6, 9)]) for _ in "vr")
    for visible, infrared in paired_rows((y_v, y_r), people, instances, 5, generator(seed)):
        assert len(visible) == len(infrared) == people * instances
        np.testing.assert_array_equal(y_v[visible], y_r[infrared])
        blocks = y_v[visible].reshape(people, instances)
        assert (blocks == blocks[:, :1]).all()
        assert len(set(blocks[:, 0])) == people  # enough classes: none repeats


def test_a_class_with_too_few_images_gives_way():
    """Class 1 has one infrared image: with K = 2 it is never drawn."""
    y_v, y_r = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 1, 2, 2, -1])
    for visible, _ in paired_rows((y_v, y_r), 3, 2, 20, generator()):
        assert 1 not in y_v[visible]
        assert len(visible) == 6


def test_fewer_classes_than_people_repeat():
    y = np.array([0, 0, 1, 1])
    for visible, infrared in paired_rows((y, y), 5, 2, 3, generator()):
        assert len(visible) == 10
        np.testing.assert_array_equal(y[visible], y[infrared])


def test_nobody_to_pair_is_named():
    with pytest.raises(UserError, match="no class has 3 images in both modalities"):
        next(paired_rows((np.zeros(3, np.int64), np.zeros(2, np.int64)), 1, 3, 1, generator()))
