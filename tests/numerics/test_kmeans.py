"""k-means: a slow twin of Lloyd, scikit-learn's inertia, empty clusters, degenerate input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans as Reference

from clustercontrast.clustering import kmeans as module
from clustercontrast.clustering.kmeans import greedy_seeds, kmeans


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def planted(rows, width, clusters, noise, seed=0):
    """Rows around unit centres and the cluster of each; every cluster has rows."""
    draws = np.random.default_rng(seed)
    centres = draws.standard_normal((clusters, width))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    y = draws.permutation(np.arange(rows) % clusters)
    x = centres[y] + noise * draws.standard_normal((rows, width)) / width**0.5
    return torch.from_numpy(x).float(), y


def slow_lloyd(x, centres, iterations, tolerance):
    """Row by row and cluster by cluster in float64, no cluster ever empty."""
    enough = tolerance * np.var(x, axis=0).mean()
    for step in range(1, iterations + 1):  # noqa: B007
        labels = [int(np.argmin([np.sum((row - c) ** 2) for c in centres])) for row in x]
        moved = np.stack(
            [np.mean([r for r, y in zip(x, labels, strict=True) if y == c], axis=0)
             for c in range(len(centres))]
        )  # fmt: skip
        shift, centres = np.sum((moved - centres) ** 2), moved
        if shift <= enough:
            break
    labels = [int(np.argmin([np.sum((row - c) ** 2) for c in centres])) for row in x]
    inertia = sum(np.sum((row - centres[y]) ** 2) for row, y in zip(x, labels, strict=True))
    return labels, centres, inertia, step


@pytest.mark.parametrize("iterations", [1, 2, 100])
@pytest.mark.parametrize("tolerance", [0, 1e-4, 0.5])
@pytest.mark.parametrize("noise", [0.1, 1.5])
def test_lloyd_against_plain_loops(iterations, tolerance, noise):
    x, _ = planted(90, 5, 6, noise, seed=3)
    x += 7  # an offset is of no matter
    seeds = greedy_seeds(x - x.mean(dim=0), 6, generator(1))
    labels, centres, inertia, steps = slow_lloyd(
        x.double().numpy(), x[seeds].double().numpy(), iterations, tolerance
    )
    found = kmeans(x, 6, generator(1), iterations, tolerance)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.centres, centres, atol=1e-5)
    assert found.inertia == pytest.approx(inertia, rel=1e-4)
    assert found.iterations == steps
    assert (found.labels.dtype, found.centres.dtype) == (np.int64, torch.float32)


@pytest.mark.parametrize(
    ("width", "clusters", "noise"), [(16, 12, 0.3), (16, 12, 2), (64, 40, 1), (600, 40, 1)]
)
def test_inertia_is_as_low_as_that_of_scikit_learn(width, clusters, noise):
    """Means of a few runs, within 1 %; 600 columns are more than the sketch of the seeding."""
    x, _ = planted(1200, width, clusters, noise)
    own = [kmeans(x, clusters, generator(seed)).inertia for seed in range(4)]
    reference = [
        Reference(clusters, n_init=1, max_iter=100, random_state=seed).fit(x.numpy()).inertia_
        for seed in range(4)
    ]
    assert np.mean(own) <= 1.01 * np.mean(reference)


def test_planted_clusters_are_found():
    x, y = planted(1000, 600, 50, 0.1)  # so tight that no seed is worth a second one nearby
    found = kmeans(x, 50, generator()).labels
    pairs = set(zip(found.tolist(), y.tolist(), strict=True))
    assert len(pairs) == 50


def test_labels_are_the_nearest_of_the_returned_centres():
    x, _ = planted(300, 8, 10, 2)
    found = kmeans(x, 10, generator(), iterations=3)
    distances = torch.cdist(x.double(), found.centres.double())
    np.testing.assert_array_equal(found.labels, distances.argmin(dim=1))
    assert found.inertia == pytest.approx(distances.amin(dim=1).square().sum().item(), rel=1e-5)


def test_equal_seeds_give_equal_bits_and_other_seeds_do_not():
    x, _ = planted(400, 600, 20, 2)
    first, second, other = (kmeans(x, 20, generator(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.labels, second.labels)
    assert torch.equal(first.centres, second.centres)
    assert first.inertia == second.inertia
    assert not torch.equal(first.centres, other.centres)


def test_global_random_state_and_the_features_stay_as_they_are():
    x, _ = planted(50, 600, 5, 1)
    before, state = x.clone(), torch.get_rng_state()
    kmeans(x, 5, generator())
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_empty_clusters_take_the_farthest_rows(monkeypatch):
    """All seeds are one row: four of five clusters start empty, yet all blobs are found."""
    monkeypatch.setattr(module, "greedy_seeds", lambda rows, k, _: torch.zeros(k).long())
    blobs = torch.tensor([[0.0, 0], [10, 0], [0, 20], [30, 0], [0, 40]])
    x = blobs.repeat(6, 1)
    found = kmeans(x, 5, generator())
    assert sorted(np.bincount(found.labels)) == [6] * 5
    assert found.inertia == 0


def test_first_step_of_an_empty_cluster_by_hand(monkeypatch):
    """Rows 0, 1, 2, 9 on a line, both centres at 0: cluster 1 takes row 9, cluster 0 the mean 1."""
    monkeypatch.setattr(module, "greedy_seeds", lambda rows, k, _: torch.zeros(k).long())
    found = kmeans(torch.tensor([[0.0], [1], [2], [9]]), 2, generator(), iterations=1)
    np.testing.assert_allclose(found.centres[:, 0], [1, 9], atol=1e-5)
    assert found.labels.tolist() == [0, 0, 0, 1]
    assert found.inertia == pytest.approx(2, abs=1e-4)


@pytest.mark.parametrize("width", [3, 600])
def test_as_many_clusters_as_rows(width):
    x, _ = planted(30, width, 30, 1)
    found = kmeans(x, 30, generator())
    assert sorted(found.labels) == list(range(30))
    assert found.inertia == pytest.approx(0, abs=1e-4)


def test_one_cluster_is_the_mean():
    x, _ = planted(30, 4, 3, 1)
    found = kmeans(x, 1, generator())
    np.testing.assert_allclose(found.centres[0], x.mean(dim=0), atol=1e-6)
    assert found.inertia == pytest.approx(30 * x.var(dim=0, correction=0).sum().item(), rel=1e-5)
    assert not found.labels.any()


@settings(max_examples=25)
@given(st.integers(1, 4), st.integers(1, 12), st.integers(0, 99))
def test_equal_rows(distinct, k, seed):
    """With k at least the number of distinct rows nothing is left; all stays finite."""
    x, _ = planted(distinct, 3, distinct, 1, seed)
    x = x.repeat(4, 1)
    k = min(k, len(x))
    found = kmeans(x, k, generator(seed))
    assert found.centres.isfinite().all()
    assert 0 <= found.labels.min() <= found.labels.max() < k
    if k >= distinct:
        assert found.inertia == pytest.approx(0, abs=1e-4)
        assert len(np.unique(found.labels)) >= distinct


@settings(max_examples=20)
@given(st.integers(2, 40), st.integers(0, 99))
def test_seeds_are_different_rows(size, seed):
    x, _ = planted(size, 6, size, 1, seed)
    for k in (2, size):
        assert len(greedy_seeds(x, k, generator(seed)).unique()) == k


def test_seeds_leave_little_over():
    """Ten tight blobs get a seed each, whatever the draws."""
    x, y = planted(200, 20, 10, 0.01)
    for seed in range(10):
        assert len(set(y[greedy_seeds(x, 10, generator(seed))])) == 10


@pytest.mark.parametrize(
    ("x", "k", "message"),
    [
        (torch.ones(3, 2), 4, "k is 4, expected 1 to 3"),
        (torch.ones(3, 2), 0, "k is 0"),
        (torch.ones(0, 2), 1, "k is 1, expected 1 to 0"),
        (torch.tensor([[1.0, 2], [torch.nan, 0]]), 1, "1 of 2 feature rows"),
        (torch.tensor([[torch.inf], [0.0]]), 1, "1 of 2 feature rows"),
        (torch.ones(3), 1, r"expected \(N, d\)"),
    ],
)
def test_bad_input(x, k, message):
    with pytest.raises(ValueError, match=message):
        kmeans(x, k, generator())
