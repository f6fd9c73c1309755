"""RPNR's calibration, and the memories of its epoch, against the official numbers and by hand.

Mutation check, done once; each of these errors makes tests below fail: the sparsest members for the
densest, the last of equally dense ones, the mean of unit features, outliers relabelled.
"""

import re
from types import SimpleNamespace

import golden_set
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercontrast.clustering import calibration
from clustercontrast.clustering.calibration import (
    calibrate,
    calibrated_labels,
    reliable_prototypes,
)
from clustercontrast.clustering.centroids import centroids
from clustercontrast.memories.cluster import ClusterMemory, HybridMemory
from clustercontrast.methods.rpnr import Robust

FILES = [file for file in golden_set.files_b("rpnr") if "epoch_block" in file]
CASES = [(file, modality) for file in FILES for modality in ("rgb", "ir")]


def recorded(file):
    """Arrays, parameters, tolerance of real numbers."""
    entry = golden_set.entry_b(file)
    tolerance = re.search(r"memories atol ([\d.e-]+)", entry["tolerance"]).group(1)
    return golden_set.load(file), entry["params"], float(tolerance)


def initial_rows(parameters, means):
    common = parameters["temp"], parameters["momentum"]
    means = torch.as_tensor(means)
    if parameters["memory_mode"] == "CM":
        return ClusterMemory(means, *common).rows
    return HybridMemory(means, means, *common).rows


@pytest.mark.parametrize(("file", "modality"), CASES)
def test_labels_and_prototypes_equal_the_official_ones(file, modality):
    v, parameters, tolerance = recorded(file)
    features, labels = torch.from_numpy(v[f"features_{modality}"]), v[f"labels_{modality}"]
    settings_ = parameters["npc_top_T"], parameters["npc_threshold"]
    prototypes = reliable_prototypes(features, labels, *settings_)
    np.testing.assert_allclose(prototypes, v[f"prototypes_{modality}"], rtol=0, atol=tolerance)
    expected = v[f"calibrated_{modality}"]
    assert (expected != labels).any()  # the case would notice a calibration that does nothing
    np.testing.assert_array_equal(calibrate(features, labels, prototypes), expected)
    np.testing.assert_array_equal(calibrated_labels(features, labels, *settings_), expected)


@pytest.mark.parametrize(("file", "modality"), CASES)
def test_centroids_and_memories_are_those_of_the_raw_labels(file, modality):
    v, parameters, tolerance = recorded(file)
    means = centroids(torch.from_numpy(v[f"features_{modality}"]), v[f"labels_{modality}"])
    np.testing.assert_allclose(means, v[f"centroids_{modality}"], rtol=0, atol=tolerance)
    rows = initial_rows(parameters, means)
    np.testing.assert_allclose(rows, v[f"memory_{modality}"], rtol=0, atol=tolerance)


@pytest.mark.parametrize("file", FILES)
def test_hybrid_memory_has_zero_rows_for_emptied_clusters(file):
    v, parameters, tolerance = recorded(file)
    expected = v["memory_hybrid"]
    assert (expected == 0).all(axis=1).any()
    rows = initial_rows(parameters, v["hybrid_pre"])
    np.testing.assert_allclose(rows, expected, rtol=0, atol=tolerance)
    stage = SimpleNamespace(
        maps=(torch.from_numpy(v["r2i"]), torch.from_numpy(v["i2r"])),
        build_memory=lambda means, hard: initial_rows(parameters, means),
    )
    means = tuple(torch.from_numpy(v[f"centroids_{m}"]) for m in ("rgb", "ir"))
    rows = Robust.build_hybrid_memory(stage, means, (v["calibrated_rgb"], v["calibrated_ir"]))
    np.testing.assert_allclose(rows, expected, rtol=0, atol=tolerance)


def test_a_core_by_hand():
    """One cluster at 0°, 50°, 100°, 55° and 45°; near is within 60°.

    Near and far members: 0° 3-2 (itself, 50°, 55°, 45°: 4-1), 50° 5-0, 100° 4-1, 55° 5-0, 45° 5-0,
    so densities are 3, 5, 3, 5, 5 and the densest two are rows 1 and 3, the first of three.
    """
    angles = torch.deg2rad(torch.tensor([0.0, 50.0, 100.0, 55.0, 45.0]))
    features = (
        torch.stack([angles.cos(), angles.sin()], dim=1) * torch.tensor([[1.0, 2, 1, 4, 1]]).T
    )
    labels = np.zeros(5, dtype=np.int64)
    found = reliable_prototypes(features, labels, 2)
    torch.testing.assert_close(found[0], (features[1] + features[3]) / 2)
    torch.testing.assert_close(reliable_prototypes(features, labels, 9)[0], features.mean(dim=0))
    wider = reliable_prototypes(features, labels, 4, threshold=float(np.cos(np.deg2rad(52))))
    torch.testing.assert_close(wider[0], features[[0, 1, 3, 4]].mean(dim=0))


def test_a_misplaced_image_moves_and_an_outlier_stays():
    features = torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1], [0, 2], [1, 0]])
    labels = np.array([0, 0, 1, 1, 0, -1])
    assert calibrated_labels(features, labels, 2).tolist() == [0, 0, 1, 1, 1, -1]


def test_first_of_equally_near_prototypes():
    prototypes = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 0.0]])
    assert calibrate(torch.tensor([[3.0, 0.0]]), np.array([0]), prototypes).tolist() == [1]


def random_case(seed, rows=60, clusters=6):
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(clusters), generator.integers(-1, clusters, rows)])
    generator.shuffle(labels)
    axes = generator.standard_normal((clusters, 5))
    features = 1.2 * generator.standard_normal((len(labels), 5)) + 1.2 * axes[labels]
    return torch.from_numpy(features.astype(np.float32)), labels


def slow_calibration(features, labels, count, threshold):
    """The definition as loops over images; float64."""

    def cosine(a, b):
        return a @ b / np.sqrt((a @ a) * (b @ b))

    rows, prototypes = features.double().numpy(), []
    for cluster in range(labels.max() + 1):
        members = [i for i, label in enumerate(labels) if label == cluster]
        density = {
            i: sum(np.sign(cosine(rows[i], rows[j]) - threshold) for j in members) for i in members
        }
        core = sorted(members, key=lambda i: -density[i])[:count]
        prototypes.append(sum(rows[i] for i in core) / len(core))
    nearest = [int(np.argmax([cosine(row, p) for p in prototypes])) for row in rows]
    return prototypes, [n if label >= 0 else -1 for n, label in zip(nearest, labels, strict=True)]


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([0.3, 0.5, 0.7]))
def test_equals_loops(seed, count, threshold):
    features, labels = random_case(seed)
    prototypes, expected = slow_calibration(features, labels, count, threshold)
    found = reliable_prototypes(features, labels, count, threshold)
    np.testing.assert_allclose(found, prototypes, rtol=0, atol=1e-5)
    assert calibrated_labels(features, labels, count, threshold).tolist() == expected


@pytest.mark.parametrize("block", [1, 7, 10**6])
def test_block_size_changes_nothing(block, monkeypatch):
    features, labels = random_case(3)
    expected = calibrated_labels(features, labels, 5)
    monkeypatch.setattr(calibration, "BLOCK", block)
    np.testing.assert_array_equal(calibrated_labels(features, labels, 5), expected)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 8))
def test_separated_clusters_keep_their_labels(seed, count):
    """Clusters of axes 90° apart with little noise: any core names them; twice is once."""
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(5), generator.integers(-1, 5, 40)])
    features = np.eye(5)[labels] + 0.05 * generator.standard_normal((45, 5))
    features = torch.from_numpy(features.astype(np.float32))
    once = calibrated_labels(features, labels, count)
    np.testing.assert_array_equal(once, labels)
    np.testing.assert_array_equal(calibrated_labels(features, once, count), once)


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_order_of_images_and_numbers_of_clusters_do_not_matter(seed):
    """With every member reliable no tie depends on the order."""
    features, labels = random_case(seed)
    expected = calibrated_labels(features, labels, len(labels))
    generator = np.random.default_rng(seed)
    order, number = generator.permutation(len(labels)), generator.permutation(labels.max() + 1)
    found = calibrated_labels(features[order], labels[order], len(labels))
    np.testing.assert_array_equal(found, expected[order])
    found = calibrated_labels(features, np.append(number, -1)[labels], len(labels))
    np.testing.assert_array_equal(found, np.append(number, -1)[expected])


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.1, 10))
def test_outliers_are_ignored_and_length_of_all_features_does_not_matter(seed, scale):
    features, labels = random_case(seed)
    expected = calibrated_labels(features, labels, 5)
    changed = features.clone()
    changed[labels < 0] = torch.randn(
        features.shape, generator=torch.Generator().manual_seed(seed)
    )[labels < 0]
    np.testing.assert_array_equal(calibrated_labels(changed, labels, 5), expected)
    np.testing.assert_array_equal(expected < 0, labels < 0)
    prototypes = reliable_prototypes(features, labels, 5)
    found = calibrate(F.normalize(features), labels, prototypes * scale)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("rows", [0, 3])
def test_all_outliers(rows):
    features, labels = torch.ones(rows, 2), np.full(rows, -1)
    assert reliable_prototypes(features, labels, 5).shape == (0, 2)
    assert calibrated_labels(features, labels, 5).tolist() == [-1] * rows


def test_one_image_per_cluster_and_features_of_zeros():
    assert calibrated_labels(torch.eye(3), np.array([2, 0, 1]), 5).tolist() == [2, 0, 1]
    assert calibrated_labels(torch.zeros(2, 3), np.array([0, 1]), 5).tolist() == [0, 0]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="count is 0"):
        calibrated_labels(torch.eye(2), np.array([0, 1]), 0)
    with pytest.raises(ValueError, match=r"cluster ids \[1\] have no member"):
        calibrated_labels(torch.eye(2), np.array([0, 2]), 5)
    with pytest.raises(ValueError, match=r"shape \(3,\), expected \(2,\)"):
        calibrated_labels(torch.eye(2), np.array([0, 1, 1]), 5)
