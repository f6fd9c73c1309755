"""Approximate neighbours by cells ("ivf"): faiss divides the space by k-means.

A row is compared with the members of the cells nearest to it, all visitors of a cell at once by a
matrix product, because every row is a query.
"""

from collections.abc import Iterator

import numpy as np
import torch

from clustercontrast.clustering.best_lists import BestLists, best_lists
from clustercontrast.clustering.exact_search import search_between
from clustercontrast.clustering.feature_rows import FeatureRows, float32_products
from clustercontrast.clustering.packages import faiss

RECALL = 0.95
"""Share of a sample's exact neighbours that visited cells hold, as far as ``VISITED`` allows."""

VISITED = 8, 64
"""Fewest and most cells that a row is compared with: few would part clusters at their borders."""

CELLS = 1.5
"""Cells per square root of the number of rows."""

TRAINED_ON, ROUNDS = 40, 8
"""Rows per cell that k-means sees, and its iterations."""

MEMBERS, VISITORS = 8192, 1024
"""Most rows of a cell, and most of its visitors, in one product."""


def search_cells(
    features: FeatureRows, k: int, own: np.ndarray, sample: np.ndarray, exact: np.ndarray
) -> tuple[np.ndarray, str]:
    """Neighbours of some rows.

    Args:
        features: N rows.
        k: 1 to N.
        own: (n,) int64, the rows.
        sample: (s,) int64, rows whose neighbours are known; they decide how many cells are visited.
        exact: (s, k) int64, their neighbours.

    Returns:
        (n, k) int64, ascending distance, −1 where the visited cells hold fewer rows; and how many
        cells were visited, in words.

    Raises:
        ImportError: faiss is not installed.
    """
    cells = _nearest_cells(features, _centres(features))
    visited = enough(cells, sample, exact)
    lists = best_lists(len(features), k, features.device)
    with float32_products():
        for members, visitors in _meetings(cells, own, visited):
            _compare(features, lists, visitors, members)
    return lists.columns[own], f"{visited} of {cells.max() + 1} cells"


def _centres(features: FeatureRows) -> FeatureRows:
    """Means of the cells."""
    size, library = len(features), faiss()
    count = min(size, round(CELLS * size**0.5))
    some = np.random.default_rng(1).permutation(size)[: TRAINED_ON * count]
    on_gpu = features.device.type == "cuda" and library.get_num_gpus() > 0
    means = library.Kmeans(
        features.width, count, niter=ROUNDS, gpu=on_gpu, min_points_per_centroid=1
    )
    means.train(features.take(np.sort(some)).cpu().numpy())
    return FeatureRows(torch.from_numpy(means.centroids), features.device)


def _nearest_cells(features: FeatureRows, centres: FeatureRows) -> np.ndarray:
    """Nearest cells (N, ≤ VISITED) int32 of every row, the one it belongs to first."""
    count = min(VISITED[1], len(centres))
    return search_between(features, centres, count).astype(np.int32)


def enough(cells: np.ndarray, sample: np.ndarray, exact: np.ndarray) -> int:
    """Fewest cells that hold enough of the exact neighbours (s, k) of the sample (s,)."""
    holds = cells[sample][:, None, :] == cells[exact, 0][:, :, None]
    share = holds.mean(axis=(0, 1)).cumsum()
    return min(max(VISITED[0], 1 + int((share < RECALL).sum())), cells.shape[1])


def _meetings(
    cells: np.ndarray, own: np.ndarray, visited: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Members of every cell, and the own rows that visit it; first those that belong to it.

    Lists that hold near rows already are fast to offer farther ones to.
    """
    count = cells.max() + 1
    members = _grouped(cells[:, 0], count)
    for visits in (cells[own, :1], cells[own, 1:visited]):
        visitors = _grouped(visits.ravel(), count)
        for inside, positions in zip(members, visitors, strict=True):
            yield inside, own[positions // max(1, visits.shape[1])]


def _grouped(numbers: np.ndarray, count: int) -> list[np.ndarray]:
    """Positions of every number below the count, ascending."""
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.cumsum(np.bincount(numbers, minlength=count))[:-1])


def _compare(
    features: FeatureRows, lists: BestLists, visitors: np.ndarray, members: np.ndarray
) -> None:
    """Offer the members of a cell to its visitors, in parts."""
    for columns in _parts(members, MEMBERS):
        others, half = features.take(columns), features.half_squares[columns]
        for rows in _parts(visitors, VISITORS):
            lists.offer(features.take(rows) @ others.T, half, rows, columns)


def _parts(rows: np.ndarray, length: int) -> list[np.ndarray]:
    return [rows[start : start + length] for start in range(0, len(rows), length)]
