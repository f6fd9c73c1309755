"""The k best columns of every row, kept while scores arrive block by block.

A score is ⟨x, y⟩ − ‖y‖²/2: the larger it is for a row x, the nearer is y.  The larger score comes
first, the lower column wins a tie, so that the order of the blocks does not matter.
"""

from collections.abc import Callable

import numpy as np
import torch

from clustercontrast.clustering.compiled import compiled, in_blocks

WIDTH = 32  # columns that are compared at once with what a list ends with


class HostLists:
    """Lists on the CPU.

    Attributes:
        scores: (N, k) float32, descending; −inf where nothing was offered.
        columns: (N, k) int64; −1 likewise.
    """

    def __init__(self, size: int, k: int) -> None:
        self.scores = np.full((size, k), -np.inf, np.float32)
        self.columns = np.full((size, k), -1, np.int64)

    def offer(
        self, products: torch.Tensor, half: torch.Tensor, rows: np.ndarray, columns: np.ndarray
    ) -> None:
        """Offer columns to rows.

        Args:
            products: (n, m) ⟨x, y⟩.
            half: (m,) ‖y‖²/2 of the columns.
            rows: (n,) int64, none twice.
            columns: (m,) int64, none of which was offered to these rows before.
        """
        values, shifts = products.numpy(), half.numpy()
        lists = self.scores, self.columns
        _shared(lambda *part: _offer(values, shifts, rows, columns, *lists, *part), len(rows))

    def offer_back(
        self, products: torch.Tensor, half: torch.Tensor, rows: np.ndarray, columns: np.ndarray
    ) -> None:
        """Offer rows to columns: ``offer`` of the transposed products, which are not copied."""
        values, shifts = products.numpy(), half.numpy()
        lists = self.scores, self.columns
        _shared(
            lambda *part: _offer_back(values, shifts, rows, columns, *lists, *part), len(columns)
        )


class DeviceLists:
    """The same lists on a GPU, merged by topk.

    Of equal scores the one that was offered first stays, so columns are to be offered in ascending
    order where ties matter.
    """

    def __init__(self, size: int, k: int, device: torch.device) -> None:
        self._scores = torch.full((size, k), -torch.inf, device=device)
        self._columns = torch.full((size, k), -1, device=device)

    @property
    def scores(self) -> np.ndarray:
        """(N, k) float32, as in ``HostLists``."""
        return self._scores.cpu().numpy()

    @property
    def columns(self) -> np.ndarray:
        """(N, k) int64, as in ``HostLists``."""
        return self._columns.cpu().numpy()

    def offer(
        self, products: torch.Tensor, half: torch.Tensor, rows: np.ndarray, columns: np.ndarray
    ) -> None:
        """Offer columns to rows, see ``HostLists.offer``."""
        at, offered = (torch.from_numpy(own).to(products.device) for own in (rows, columns))
        k = self._scores.shape[1]
        scores = torch.cat([self._scores[at], products - half], dim=1)
        chosen = largest(scores, k)
        names = torch.cat([self._columns[at], offered.expand(len(at), -1)], dim=1)
        self._scores[at] = scores.gather(1, chosen)
        self._columns[at] = names.gather(1, chosen)

    def offer_back(
        self, products: torch.Tensor, half: torch.Tensor, rows: np.ndarray, columns: np.ndarray
    ) -> None:
        """Offer rows to columns, see ``HostLists.offer_back``."""
        self.offer(products.T, half, columns, rows)


BestLists = HostLists | DeviceLists


def best_lists(size: int, k: int, device: torch.device) -> BestLists:
    """Empty lists where the scores will be."""
    return HostLists(size, k) if device.type == "cpu" else DeviceLists(size, k, device)


def largest(scores: torch.Tensor, k: int) -> torch.Tensor:
    """Columns of the k largest scores of every row, descending; the lower column wins a tie."""
    values, columns = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    columns, order = columns.sort(dim=1)
    order = values.gather(1, order).argsort(dim=1, descending=True, stable=True)
    columns = columns.gather(1, order)[:, :k]
    # topk cuts through a tie anywhere; only such rows are worth a full sort.
    is_cut = values[:, k - 1] == values[:, -1]
    columns[is_cut] = scores[is_cut].argsort(dim=1, descending=True, stable=True)[:, :k]
    return columns


def _shared(work: Callable[[int, int], None], size: int) -> None:
    """Call work(first, last) for one part of the lists per thread."""
    in_blocks(work, size, -(-size // torch.get_num_threads()))


@compiled
def _offer(products, half, rows, columns, best, names, first, last):
    """Offer every column to the rows at ``first`` to ``last``."""
    end = best.shape[1] - 1
    for position in range(first, last):
        scores, found = best[rows[position]], names[rows[position]]
        for start in range(0, columns.size, WIDTH):
            values = products[position, start : start + WIDTH]
            shifts = half[start : start + WIDTH]
            near = 0  # counted without a branch, which the compiler vectorises
            for i in range(values.size):
                near += values[i] - shifts[i] >= scores[end]
            if near == 0:
                continue
            for i in range(values.size):
                _place(scores, found, values[i] - shifts[i], columns[start + i])


@compiled
def _offer_back(products, half, rows, columns, best, names, first, last):
    """Offer every row to the columns at ``first`` to ``last``."""
    end = best.shape[1] - 1
    limits = np.empty(last - first, dtype=np.float32)
    for i in range(limits.size):
        limits[i] = best[columns[first + i], end]
    for position in range(rows.size):
        shift = half[position]
        for start in range(0, limits.size, WIDTH):
            values = products[position, first + start : min(first + start + WIDTH, last)]
            ends = limits[start : start + WIDTH]
            near = 0
            for i in range(values.size):
                near += values[i] - shift >= ends[i]
            if near == 0:
                continue
            for i in range(values.size):
                column = columns[first + start + i]
                _place(best[column], names[column], values[i] - shift, rows[position])
                ends[i] = best[column, end]


@compiled
def _place(scores, found, score, column):
    """Put a column where it belongs in a list, if it does; the last one falls out."""
    place = scores.size
    while place > 0 and (
        score > scores[place - 1] or (score == scores[place - 1] and column < found[place - 1])
    ):
        place -= 1
    if place == scores.size:
        return
    for i in range(scores.size - 1, place, -1):
        scores[i], found[i] = scores[i - 1], found[i - 1]
    scores[place], found[place] = score, column
