"""DBSCAN on sparse precomputed distances, with the same labels as scikit-learn's."""

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components


def dbscan(distances: csr_array, eps: float, min_samples: int = 4) -> np.ndarray:
    """Pseudo labels from a sparse distance matrix.

    A row with at least ``min_samples`` neighbours, itself included, is a core point; connected
    core points are one cluster; any other row goes to the first cluster with a core point next to
    it.  Only stored entries are neighbours, explicit zeros too; a diagonal that is not stored is 0.

    Args:
        distances: (N, N) symmetric, without repeated positions; non-negative.
        eps: largest distance of neighbours, compared in the dtype of the matrix.
        min_samples: neighbours of a core point, the point itself counts.

    Returns:
        (N,) int64: clusters 0 … C−1 in the order of their first core point, −1 for outliers.

    Raises:
        ValueError: negative or NaN distances, eps ≤ 0, min_samples < 1.
    """
    _check(distances, eps, min_samples)
    size = distances.shape[0]
    rows, columns = _neighbour_pairs(distances, eps)
    is_self_near = distances.diagonal() <= float(eps)
    is_core = np.bincount(rows, minlength=size) + is_self_near >= min_samples
    labels = _core_labels(rows, columns, is_core)
    at_border = ~is_core[rows] & is_core[columns]
    clusters = np.full(size, size)
    np.minimum.at(clusters, rows[at_border], labels[columns[at_border]])
    return np.where(clusters < size, clusters, labels)


def _check(distances: csr_array, eps: float, min_samples: int) -> None:
    if not (eps > 0 and min_samples >= 1):
        raise ValueError(f"eps is {eps}, min_samples {min_samples}: expected > 0 and ≥ 1")
    broken = int((~(distances.data >= 0)).sum())
    if broken:
        raise ValueError(f"{broken} of {distances.nnz} distances are negative or NaN")


def _neighbour_pairs(distances: csr_array, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the stored entries within eps, the diagonal left out."""
    size = distances.shape[0]
    rows = np.repeat(np.arange(size, dtype=np.int32), np.diff(distances.indptr))
    # A Python float leaves the comparison in the dtype of the matrix.
    is_near = (distances.data <= float(eps)) & (rows != distances.indices)
    return rows[is_near], distances.indices[is_near]


def _core_labels(rows: np.ndarray, columns: np.ndarray, is_core: np.ndarray) -> np.ndarray:
    """Connected components of the core points, numbered by their first member; −1 elsewhere."""
    size = is_core.size
    between = is_core[rows] & is_core[columns]
    edges = (np.ones(between.sum(), dtype=np.int8), (rows[between], columns[between]))
    _, component = connected_components(csr_array(edges, shape=(size, size)), directed=False)
    _, first, member_of = np.unique(component[is_core], return_index=True, return_inverse=True)
    labels = np.full(size, -1, dtype=np.int64)
    labels[is_core] = np.argsort(np.argsort(first))[member_of]
    return labels
