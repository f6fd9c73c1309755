"""Exact nearest neighbours by panels of matrix products.

X Xᵀ is symmetric, so every panel serves its rows and its columns, and only those on and above the
diagonal are computed.  Scores are float32.
"""

from collections.abc import Iterator

import numpy as np
import torch

from clustercontrast.clustering.best_lists import BestLists, best_lists
from clustercontrast.clustering.feature_rows import FeatureRows, float32_products
from clustercontrast.processes import ranks

PANEL_ROWS, PANEL_COLUMNS = 1024, 16384  # 64 MiB of products at a time
MERGED_ROWS = 65536  # whose lists are exchanged between processes at a time


def search_all(features: FeatureRows, k: int) -> np.ndarray:
    """The k nearest rows of every row, shared among all processes.

    Args:
        features: N rows, the same in every process.
        k: 1 to N.

    Returns:
        (N, k) int64, ascending distance, ties by the lower index; the same in every process.
    """
    lists = best_lists(len(features), k, features.device)
    with float32_products():
        for rows, columns in _panels(len(features), ranks.number(), ranks.count()):
            _offer_panel(features, lists, rows, columns)
    return lists.columns if ranks.count() == 1 else _merged(lists)


def search_between(queries: FeatureRows, gallery: FeatureRows, k: int) -> np.ndarray:
    """The k nearest gallery rows of every query.

    Args:
        queries: Q rows.
        gallery: G rows on the same device.
        k: 1 to G.

    Returns:
        (Q, k) int64, ascending distance, ties by the lower index.
    """
    return lists_between(queries, gallery, k, gallery.half_squares).columns


def best_between(
    queries: torch.Tensor, gallery: FeatureRows, k: int, half: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """What :func:`lists_between` finds, shared among all processes.

    Args:
        queries: (Q, d), the same in every process, like the rest.
        gallery: G rows on the same device.
        k: 1 to G.
        half: (G,) h.

    Returns:
        Columns (Q, k) int64 and scores (Q, k) float32 of every query, the best first; the same in
        every process.
    """
    own = queries[ranks.share(len(queries))]
    columns, scores = np.empty((0, k), np.int64), np.empty((0, k), np.float32)
    if len(own):  # there may be more processes than queries
        lists = lists_between(FeatureRows(own), gallery, k, half)
        columns, scores = lists.columns, lists.scores
    return tuple(ranks.gathered(torch.from_numpy(part)).numpy() for part in (columns, scores))


def lists_between(
    queries: FeatureRows, gallery: FeatureRows, k: int, half: torch.Tensor
) -> BestLists:
    """The k gallery rows y of every query x with the largest ⟨x, y⟩ − h_y, and these scores.

    Args:
        queries: Q rows.
        gallery: G rows on the same device.
        k: 1 to G.
        half: (G,) h: ‖y‖²/2 for the nearest rows, 0 for those with the largest dot product.
    """
    lists = best_lists(len(queries), k, queries.device)
    with float32_products():
        for rows, own in queries.blocks():
            for columns, others in gallery.blocks():
                for part, some in _parts(rows, own):
                    lists.offer(some @ others.T, half[columns], part, _numbers(columns))
    return lists


def _parts(rows: slice, own: torch.Tensor) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    numbers = torch.from_numpy(_numbers(rows))
    for part, some in zip(numbers.split(PANEL_ROWS), own.split(PANEL_ROWS), strict=True):
        yield part.numpy(), some


def _panels(size: int, number: int, count: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the panels of one of several processes.

    The columns of a row arrive in ascending order.
    """
    for start in range(number * PANEL_ROWS, size, count * PANEL_ROWS):
        rows = slice(start, min(start + PANEL_ROWS, size))
        for first in range(start, size, PANEL_COLUMNS):
            yield rows, slice(first, min(first + PANEL_COLUMNS, size))


def _offer_panel(features: FeatureRows, lists: BestLists, rows: slice, columns: slice) -> None:
    products = features.take(rows) @ features.take(columns).T
    half, numbers = features.half_squares, (_numbers(rows), _numbers(columns))
    lists.offer(products, half[columns], *numbers)
    beyond = max(0, rows.stop - columns.start)  # columns that are rows of this panel, too
    lists.offer_back(products[:, beyond:], half[rows], numbers[0], numbers[1][beyond:])


def _numbers(part: slice) -> np.ndarray:
    return np.arange(part.start, part.stop)


def _merged(lists: BestLists) -> np.ndarray:
    """The best of the lists of all processes, (N, k) int64."""
    scores, columns = lists.scores, lists.columns
    for start in range(0, len(columns), MERGED_ROWS):
        part = slice(start, start + MERGED_ROWS)
        both = (_side_by_side(torch.from_numpy(own[part])) for own in (scores, columns))
        columns[part] = _best(*both, columns.shape[1])
    return columns


def _side_by_side(own: torch.Tensor) -> np.ndarray:
    """Lists (n, k) of R processes as (n, R k)."""
    everyones = ranks.gathered(own).view(ranks.count(), *own.shape)
    return everyones.transpose(0, 1).flatten(1).numpy()


def _best(scores: np.ndarray, columns: np.ndarray, k: int) -> np.ndarray:
    order = np.lexsort((columns, -scores), axis=1)[:, :k]
    return np.take_along_axis(columns, order, axis=1)
