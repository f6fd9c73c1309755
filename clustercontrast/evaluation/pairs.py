"""What is known of every pair of query and gallery image, made for some queries at a time."""

import functools
from collections.abc import Callable

import numpy as np

GALLERY_BYTES = 1 << 29
"""Of gallery features as float64 that are held at a time."""


class Pairs:
    """A matrix (Q, G) whose rows are made when they are asked for.

    Attributes:
        shape: (Q, G).

    Args:
        shape: (Q, G).
        rows: slice of the queries -> (n, G); it must not depend on what else is asked for.
    """

    def __init__(self, shape: tuple[int, int], rows: Callable[[slice], np.ndarray]) -> None:
        self.shape = shape
        self._rows = rows

    def __getitem__(self, queries: slice) -> np.ndarray:
        return self._rows(queries)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._rows(slice(None)), dtype)


def cosines(queries: np.ndarray, gallery: np.ndarray) -> Pairs:
    """(Q, G) float64 cosines of unit rows (Q, d) and (G, d)."""
    shape = len(queries), len(gallery)
    return Pairs(shape, functools.partial(_products, queries, gallery))


def _products(queries: np.ndarray, gallery: np.ndarray, block: slice) -> np.ndarray:
    """(n, G) float64 products of some queries with the whole gallery."""
    own = queries[block].astype(np.float64)
    products = np.empty((len(own), len(gallery)))
    length = max(1, GALLERY_BYTES // max(1, own[:1].nbytes))
    for start in range(0, len(gallery), length):
        part = slice(start, start + length)
        products[:, part] = own @ gallery[part].astype(np.float64).T
    return products
