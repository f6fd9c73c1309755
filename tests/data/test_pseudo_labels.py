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
LABELS = np.array([1, -1, 0]), np.array([1, 0])
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
    assert [y.tolist() for y in labels] == [[0, -1, 1], [0, 1]]
    assert features[0].tolist() == [[4, 5], [0, 0], [0, 1]]


def test_a_file_of_another_dataset_is_named(tmp_path):
    path = tmp_path / "labels.npz"
    pseudo_labels.save(path, LISTS, LABELS)
    with pytest.raises(UserError, match="has none of the 1 visible images"):
        pseudo_labels.load(path, (images("visible", "other"), LISTS[1]))


def test_whether_labels_share_a_space_is_written(tmp_path):
    for shared in (False, True):
        pseudo_labels.save(tmp_path / "labels.npz", LISTS, LABELS, None, shared)
        with np.load(tmp_path / "labels.npz") as content:
            assert content["one_label_space"] == shared


NAN, SHORT = FEATURES[0].clone(), FEATURES[0][:2]
NAN[1, 1] = float("nan")


@pytest.mark.parametrize(
    ("visible", "infrared", "message"),
    [
        (NAN, FEATURES[1], "1 of 3 rows of visible_features are not finite"),
        (FEATURES[0], FEATURES[1] / 0, "2 of 2 rows of infrared_features are not finite"),
        (SHORT, FEATURES[1], r"float32 of shape \(2, 2\), expected 3 rows"),
        (FEATURES[0].long(), FEATURES[1], "visible_features are int64"),
        (FEATURES[0][:, 0], FEATURES[1], r"of shape \(3,\)"),
        (FEATURES[0], FEATURES[1][:, :1], "both modalities, equally long"),
        (FEATURES[0], None, "both modalities, equally long"),
        (FEATURES[0][:, :0], FEATURES[1][:, :0], r"float32 of shape \(3, 0\)"),
    ],
)
def test_features_that_cannot_be_used_are_named(tmp_path, visible, infrared, message):
    path = tmp_path / "labels.npz"
    pseudo_labels.save(path, LISTS, LABELS)
    features = {"visible_features": visible, "infrared_features": infrared}
    with np.load(path) as content:
        kept = {name: f.numpy() for name, f in features.items() if f is not None}
        np.savez(path, **dict(content), **kept)
    with pytest.raises(UserError, match=message):
        pseudo_labels.load(path, LISTS)
