"""How far two feature spaces agree on the neighbours of an image (PPLR's cross-agreement)."""

import numpy as np
import torch

from clustercontrast.clustering.neighbours import Search, nearest


def neighbours_without_self(
    features: torch.Tensor, k: int, backend: Search | str = "torch"
) -> np.ndarray:
    """Indices of the k nearest other rows of every row.

    Args:
        features: (N, d) rows of any length.
        k: neighbours per row, self excluded; clamped to N - 1.
        backend: neighbour search, see ``nearest``.

    Returns:
        (N, k) int64, ascending distance.

    Raises:
        ValueError: k < 1, fewer than two rows, or non-finite features.
    """
    size = len(features)
    if k < 1 or size < 2:
        raise ValueError(f"k is {k} among {size} rows, expected a neighbour for every row")
    k = min(k, size - 1)
    found = nearest(features, k + 1, backend)
    is_self = found == np.arange(size)[:, None]
    # A row with more than k exact duplicates may not be among its own neighbours.
    is_self[~is_self.any(axis=1), -1] = True
    return found[~is_self].reshape(size, k)


def cross_agreement(global_neighbours: np.ndarray, part_neighbours: np.ndarray) -> np.ndarray:
    """Jaccard overlap |R_g ∩ R_p| / |R_g ∪ R_p| of two lists of neighbours, row by row.

    Args:
        global_neighbours: (N, k) int64 rows without repetition, k ≥ 1.
        part_neighbours: (N, k), likewise.

    Returns:
        (N,) float64 in [0, 1].

    Raises:
        ValueError: the shapes differ, or there are no neighbours.
    """
    shape = global_neighbours.shape
    if shape != part_neighbours.shape or len(shape) != 2 or shape[1] == 0:
        raise ValueError(f"neighbours {shape} and {part_neighbours.shape}, expected (N, k) twice")
    both = np.sort(np.concatenate([global_neighbours, part_neighbours], axis=1), axis=1)
    shared = np.count_nonzero(both[:, 1:] == both[:, :-1], axis=1)
    return shared / (both.shape[1] - shared)
