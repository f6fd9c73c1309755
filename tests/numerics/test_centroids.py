"""Cluster means against golden vectors, by hand and against loops.

Mutation check, done once; each of these errors makes tests below fail: outliers counted as the last
cluster, balanced weights without the number of modalities, nearest instead of farthest members,
k not clamped (division by k).
"""

import re

import golden_set
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clustercontrast.clustering.centroids import (
    balanced_centroids,
    centroids,
    farthest_members,
    group_proxies,
)

FEATURES = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 8.0], [5.0, 5.0], [100.0, 1.0], [0.0, 2.0]])
LABELS = np.array([1, 1, 0, 1, -1, 0])


@pytest.mark.parametrize("labels", [LABELS, torch.from_numpy(LABELS), LABELS.astype(np.int16)])
def test_mean_of_members_without_outliers(labels):
    found = centroids(FEATURES, labels)
    assert found.tolist() == [[0.0, 5.0], pytest.approx([3.0, 5 / 3])]
    assert found.dtype == torch.float32


def test_balanced_mean_of_means():
    """Cluster 0 has one infrared row, 1 two visible and one infrared: (2, 0) and (5, 5)."""
    found = balanced_centroids(FEATURES[:2], FEATURES[2:], LABELS)
    assert found.tolist() == [[0.0, 5.0], [3.5, 2.5]]


def golden_files():
    return [file for file in golden_set.files("jaccard") if "modality" in golden_set.load(file)]


@pytest.mark.parametrize("file", golden_files())
def test_golden(file):
    arrays = golden_set.load(file)
    stated = golden_set.entry(file)["tolerance"]
    tolerance = float(re.search(r"centroids ([\d.e-]+)", stated).group(1))
    features = torch.from_numpy(arrays["features"])
    visible = int((arrays["modality"] == 0).sum())
    cases = {name.split("/")[1] for name in arrays if name.startswith("centroid/")}
    assert cases
    for case in cases:
        labels = arrays[f"centroid/{case}/labels"]
        found = {
            "plain": centroids(features, labels),
            "modal_balanced": balanced_centroids(features[:visible], features[visible:], labels),
        }
        for name, value in found.items():
            expected = arrays[f"centroid/{case}/{name}"]
            np.testing.assert_allclose(value.numpy(), expected, rtol=0, atol=tolerance)


def random_case(seed, rows=60, clusters=7):
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(clusters), generator.integers(-1, clusters, rows)])
    generator.shuffle(labels)
    features = generator.standard_normal((len(labels), 5)).astype(np.float32)
    return torch.from_numpy(features), labels


@given(st.integers(0, 10_000), st.integers(0, 67))
def test_equal_loops(seed, visible):
    features, labels = random_case(seed)
    rows = features.double().numpy()
    plain, balanced = [], []
    for cluster in range(labels.max() + 1):
        members = [i for i, label in enumerate(labels) if label == cluster]
        parts = [[i for i in members if i < visible], [i for i in members if i >= visible]]
        plain.append(rows[members].mean(axis=0))
        balanced.append(np.mean([rows[part].mean(axis=0) for part in parts if part], axis=0))
    found = centroids(features, labels)
    np.testing.assert_allclose(found.numpy(), plain, rtol=0, atol=1e-6)
    found = balanced_centroids(features[:visible], features[visible:], labels)
    np.testing.assert_allclose(found.numpy(), balanced, rtol=0, atol=1e-6)


@given(st.integers(0, 10_000), st.integers(1, 12))
def test_farthest_members_equal_loops(seed, k):
    features, labels = random_case(seed)
    means = centroids(features, labels)
    expected = []
    for cluster, mean in enumerate(means):
        members = [row for row, label in zip(features, labels, strict=True) if label == cluster]
        members.sort(key=lambda row: -float((row - mean).norm()))
        expected.append(torch.stack(members[:k]).mean(dim=0))
    found = farthest_members(features, labels, means, k)
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-6)


def test_farthest_member_is_the_row_itself():
    """Distances from the centroid (3, 5/3) of cluster 1: 2.60, 1.67, 3.89."""
    means = centroids(FEATURES, LABELS)
    assert farthest_members(FEATURES, LABELS, means)[1].tolist() == [5.0, 5.0]
    assert farthest_members(FEATURES, LABELS, means, k=2)[1].tolist() == [3.0, 2.5]


def test_first_of_equally_far_members_counts():
    features = torch.tensor([[2.0], [-2.0], [1.0]])
    labels = np.zeros(3, dtype=np.int64)
    assert farthest_members(features, labels, torch.zeros(1, 1)).tolist() == [[2.0]]


def test_centroids_are_compared_as_given():
    """A unit-length centroid ranks members of different length otherwise than the mean does."""
    features = torch.tensor([[0.1], [1.4]])
    labels = np.zeros(2, dtype=np.int64)
    assert farthest_members(features, labels, torch.tensor([[1.0]])).item() == pytest.approx(0.1)
    assert farthest_members(features, labels, torch.tensor([[0.5]])).item() == pytest.approx(1.4)


def test_same_bits_every_time():
    features, labels = random_case(0, rows=5000)
    assert torch.equal(centroids(features, labels), centroids(features, labels))


@pytest.mark.parametrize("rows", [0, 3])
def test_all_outliers(rows):
    features, labels = torch.ones(rows, 2), np.full(rows, -1)
    assert centroids(features, labels).shape == (0, 2)
    assert balanced_centroids(features, features[:0], labels).shape == (0, 2)
    assert farthest_members(features, labels, features[:0]).shape == (0, 2)


def test_one_modality_missing():
    features, labels = random_case(1)
    expected = centroids(features, labels)
    torch.testing.assert_close(balanced_centroids(features, features[:0], labels), expected)
    torch.testing.assert_close(balanced_centroids(features[:0], features, labels), expected)


def test_bad_labels_are_refused():
    with pytest.raises(ValueError, match=r"cluster ids \[1\] have no member"):
        centroids(FEATURES[:3], np.array([0, 2, 2]))
    for function in (centroids, lambda f, y: farthest_members(f, y, f)):
        with pytest.raises(ValueError, match=r"shape \(5,\), expected \(6,\)"):
            function(FEATURES, LABELS[:5])
    with pytest.raises(ValueError, match=r"shape \(6,\), expected \(7,\)"):
        balanced_centroids(FEATURES, FEATURES[:1], LABELS)
    with pytest.raises(ValueError, match="k is 0"):
        farthest_members(FEATURES, LABELS, FEATURES, k=0)


@pytest.mark.gpu
def test_device_is_kept():
    features, labels = random_case(2)
    expected = centroids(features, labels)
    found = centroids(features.cuda(), torch.from_numpy(labels).cuda())
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), expected)
    hard = farthest_members(features.cuda(), labels, found)
    torch.testing.assert_close(hard.cpu(), farthest_members(features, labels, expected))


@given(st.integers(0, 9999), st.integers(1, 40), st.integers(1, 4))
def test_proxies_are_means_over_cluster_and_group(seed, images, groups):
    generator = np.random.default_rng(seed)
    labels = np.unique(generator.integers(-1, 5, images), return_inverse=True)[1] - 1
    of_groups = generator.integers(0, groups, images)
    features = torch.randn(images, 3, generator=torch.Generator().manual_seed(seed))
    found = group_proxies(features, labels, of_groups)
    pairs = sorted({(c, g) for c, g in zip(labels, of_groups, strict=True) if c >= 0})
    assert found.clusters.tolist() == [c for c, _ in pairs]
    assert (found.rows >= 0).sum() == len(pairs)
    for row, (c, g) in enumerate(pairs):
        own = torch.from_numpy((labels == c) & (of_groups == g))
        torch.testing.assert_close(found.means[row], features[own].mean(0))
        assert found.rows[g, c] == row
    sorted_by_group = found.by_group()
    assert sorted_by_group.clusters.tolist() == [c for c, _ in sorted(pairs, key=lambda p: p[::-1])]
    assert sum(found.sizes) == sum(sorted_by_group.sizes) == len(pairs)
    for g, c in found.rows.ge(0).nonzero().tolist():
        one, other = found.rows[g, c], sorted_by_group.rows[g, c]
        assert torch.equal(found.means[one], sorted_by_group.means[other])
