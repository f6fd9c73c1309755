"""DBSCAN: label for label scikit-learn's, on random sparse matrices and by hand.

Mutation check, done once; each of these errors makes tests below fail: < instead of <= eps, the
point itself not counted, clusters numbered by scipy's components in reverse, border points to the
largest cluster, explicit zeros dropped, comparison in float64.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.cluster import DBSCAN

from clustercontrast.clustering.dbscan import dbscan


def symmetric(size, entries):
    """CSR float32 from {(i, j): distance}, both triangles, zeros stored."""
    both = {pair: d for (i, j), d in entries.items() for pair in ((i, j), (j, i))}
    rows, columns = zip(*both, strict=True) if both else ((), ())
    values = np.array(list(both.values()), dtype=np.float32)
    matrix = csr_array((values, (np.array(rows, int), np.array(columns, int))), shape=(size, size))
    matrix.sort_indices()
    return matrix


def with_diagonal(size, entries):
    return symmetric(size, {**{(i, i): 0.0 for i in range(size)}, **entries})


def line(*positions, reach=3.0):
    """Distances of points on a line, those up to ``reach`` stored."""
    count = len(positions)
    pairs = [(i, j) for i in range(count) for j in range(i)]
    distances = {(i, j): abs(positions[i] - positions[j]) for i, j in pairs}
    return with_diagonal(count, {pair: d for pair, d in distances.items() if d <= reach})


@st.composite
def matrices(draw):
    """Few distinct distances, so that ties with eps, duplicates (0) and noise all occur."""
    size = draw(st.integers(1, 14))
    pairs = [(i, j) for i in range(size) for j in range(i)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    distance = st.sampled_from([0.0, 0.1, 0.3, 0.6, 0.61, 0.9])
    entries = {pair: draw(distance) for pair in chosen}
    return draw(st.sampled_from([symmetric, with_diagonal]))(size, entries)


@given(matrices(), st.sampled_from([0.05, 0.1, 0.3, 0.6]), st.integers(1, 5))
def test_equals_sklearn(distances, eps, min_samples):
    reference = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed")
    expected = reference.fit_predict(distances.copy())
    labels = dbscan(distances, eps, min_samples)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("min_samples", [2, 4])
def test_equals_sklearn_on_points(seed, min_samples):
    """Shuffled groups of points: the numbering depends on who comes first."""
    generator = np.random.default_rng(seed)
    points = generator.standard_normal((400, 2)) + 4 * generator.integers(0, 4, size=(400, 2))
    full = np.linalg.norm(points[:, None] - points[None], axis=2).astype(np.float32)
    eps = float(np.quantile(full, 0.002 * min_samples))
    expected = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit_predict(full)
    assert expected.max() > 2
    assert expected.min() == -1
    rows, columns = np.nonzero(full <= 2 * eps)
    stored = csr_array((full[rows, columns], (rows, columns)), shape=full.shape)
    np.testing.assert_array_equal(dbscan(stored, eps, min_samples), expected)


def test_point_itself_counts():
    chain = line(0.0, 1.0, 2.0, 10.0)
    assert dbscan(chain, 1.0, 3).tolist() == [0, 0, 0, -1]
    assert dbscan(chain, 1.0, 4).tolist() == [-1, -1, -1, -1]


def test_border_point_goes_to_the_first_cluster():
    """The middle point has two neighbours, one in each cluster; it is not core with 4."""
    positions = (8.0, 7.8, 7.6, 7.0, 6.0, 5.0, 4.4, 4.2, 4.0)
    assert dbscan(line(*positions), 1.0, 4).tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1]


def test_clusters_are_numbered_by_first_core_point_not_first_member():
    """Point 0 is a border point of the cluster whose core points come last."""
    distances = line(0.0, 5.0, 5.1, 5.2, 5.3, 0.9, 1.0, 1.1)
    assert dbscan(distances, 0.95, 4).tolist() == [1, 0, 0, 0, 0, 1, 1, 1]


def test_duplicates_at_distance_zero_are_neighbours():
    assert dbscan(line(1.0, 1.0, 1.0, 1.0), 0.5, 4).tolist() == [0, 0, 0, 0]


def test_eps_is_compared_in_the_dtype_of_the_matrix():
    """float32(0.6) is above 0.6, and still a neighbour."""
    assert dbscan(with_diagonal(2, {(0, 1): 0.6}), 0.6, 2).tolist() == [0, 0]
    assert dbscan(with_diagonal(2, {(0, 1): 0.6}), np.float64(0.6), 2).tolist() == [0, 0]


def test_stored_diagonal_beyond_eps_does_not_count():
    distances = symmetric(2, {(0, 0): 0.9, (1, 1): 0.9, (0, 1): 0.1})
    assert dbscan(distances, 0.5, 2).tolist() == [-1, -1]
    assert dbscan(distances, 0.5, 1).tolist() == [0, 0]


def test_nothing_stored_and_nothing_at_all():
    assert dbscan(csr_array((3, 3), dtype=np.float32), 0.5, 2).tolist() == [-1, -1, -1]
    assert dbscan(csr_array((3, 3), dtype=np.float32), 0.5, 1).tolist() == [0, 1, 2]


@pytest.mark.parametrize("value", [-0.1, np.nan])
def test_broken_distances_are_refused(value):
    with pytest.raises(ValueError, match="2 of 5 distances are negative or NaN"):
        dbscan(with_diagonal(3, {(0, 1): value}), 0.5)


@pytest.mark.parametrize(("eps", "min_samples"), [(0.0, 4), (-1.0, 4), (np.nan, 4), (0.5, 0)])
def test_wrong_parameters_are_refused(eps, min_samples):
    with pytest.raises(ValueError, match="expected > 0 and ≥ 1"):
        dbscan(line(0.0, 1.0), eps, min_samples)
