"""The file of pseudo labels: joined by path, whatever its order, and bad files named."""

import numpy as np
import pytest
import torch

from clustercontrast.data import pseudo_labels
from clustercontrast.data.samples import ImageList
from clustercontrast.files import UserError


def images(modality, *names):
    ones = np.ones(len(names), np.int64)
    return ImageList(modality, names, ones, ones)


LISTS = images("visible", "a", "b", "c"), images("infrared", "x", "y")
LABELS = np.array([2, -1, 0]), np.array([1, 0])
FEATURES = torch.arange(6.0).view(3, 2), torch.arange(4.0).view(2, 2)


@pytest.mark.parametrize("features", [FEATURES, None])
def test_round_trip(tmp_path, features):
    path = tmp_path / pseudo_labels.FILE
    pseudo_labels.save(path, LISTS, LABELS, features)
    labels, found = pseudo_labels.load(path, LISTS)
    for got, expected in zip(labels, LABELS, strict=True):
        np.testing.assert_array_equal(got, expected)
    if features is None:
        assert found is None
    else:
        assert all(map(torch.equal, found, features))


def test_rows_are_joined_by_path(tmp_path):
    """Another order, and an image that the file does not know."""
    path = tmp_path / "labels.npz"
    pseudo_labels.save(path, LISTS, LABELS, FEATURES)
    others = images("visible", "c", "new", "a"), images("infrared", "y", "x")
    labels, features = pseudo_labels.load(path, others)
    assert [y.tolist() for y in labels] == [[0, -1, 2], [0, 1]]
    assert features[0].tolist() == [[4, 5], [0, 0], [0, 1]]


def test_a_file_of_another_dataset_is_named(tmp_path):
    path = tmp_path / "labels.npz"
    pseudo_labels.save(path, LISTS, LABELS)
    with pytest.raises(UserError, match="has none of the 1 visible images"):
        pseudo_labels.load(path, (images("visible", "other"), LISTS[1]))


def test_bad_files_are_named(tmp_path):
    with pytest.raises(UserError, match="cannot read the pseudo labels"):
        pseudo_labels.load(tmp_path / "nothing.npz", LISTS)
    (tmp_path / "text.npz").write_text("no")
    with pytest.raises(UserError, match="cannot read the pseudo labels"):
        pseudo_labels.load(tmp_path / "text.npz", LISTS)
    np.savez(tmp_path / "short.npz", visible_paths=["a"], visible_labels=[1, 2])
    with pytest.raises(UserError, match="as many visible_labels as visible_paths"):
        pseudo_labels.load(tmp_path / "short.npz", LISTS)
