"""Loops over rows that numba compiles and threads share."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import torch

BLOCK_ROWS = 1024  # rows one thread handles at a time


def compiled(function: Callable, **options: Any) -> Callable:
    """Numba's version of a function, kept for later processes where a place can be written."""
    try:
        return numba.njit(function, nogil=True, cache=True, **options)
    except RuntimeError:  # neither the code's folder nor HOME
        return numba.njit(function, nogil=True, **options)


def in_blocks(work: Callable, rows: int, length: int | None = None) -> list:
    """Results of work(first, last) for consecutive blocks of rows, in order, on torch's threads.

    Args:
        work: its result must not depend on where blocks end.
        rows: how many there are.
        length: rows of a block; default: ``BLOCK_ROWS``.
    """
    starts = range(0, rows, length or BLOCK_ROWS)
    stops = [*starts[1:], rows]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(work, starts, stops))
