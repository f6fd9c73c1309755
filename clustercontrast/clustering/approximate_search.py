"""Approximate nearest neighbours, and how good they are; faiss's searches.

Both kinds look at features along the axes in which they vary (``projection``), where that makes
them shorter: "ivf" by cells (``cells``), "hnsw" by faiss's graph of neighbours, on the CPU.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from clustercontrast.clustering.cells import search_cells
from clustercontrast.clustering.exact_search import search_between
from clustercontrast.clustering.feature_rows import FeatureRows
from clustercontrast.clustering.packages import faiss
from clustercontrast.clustering.projection import projected
from clustercontrast.processes import ranks

KINDS = ("ivf", "hnsw")

SAMPLE = 1000
"""Rows whose exact neighbours an approximate search is compared with."""

LINKS, IN_SIGHT = 32, 128
"""Links of a row in the graph, and rows that a search keeps in sight (efSearch)."""


def search_all(features: FeatureRows, k: int, kind: str, say: Callable[[str], None]) -> np.ndarray:
    """The k nearest rows of every row, most of them; the recall is measured and said.

    Args:
        features: N rows, the same in every process; each searches for its share.
        k: 1 to N.
        kind: "ivf" or "hnsw".
        say: takes the line about the recall.

    Returns:
        (N, k) int64, ascending distance; the same in every process.

    Raises:
        ImportError: faiss is not installed.
    """
    size, narrow = len(features), projected(features)
    sample = np.random.default_rng(0).permutation(size)[:SAMPLE]
    exact = _exactly(features, sample, k)
    own = np.arange(size)[ranks.share(size)]
    if kind == "ivf":
        found, how = search_cells(narrow, k, own, sample, exact)
    else:
        found, how = _search_graph(narrow, k, own), f"{IN_SIGHT} rows in sight"
    incomplete = (found < 0).any(axis=1)
    if incomplete.any():
        found[incomplete] = _exactly(features, own[incomplete], k)
    found = ranks.gathered(torch.from_numpy(found)).numpy()
    say(
        f"approximate neighbours of {size} images ({kind}, {how}, {narrow.width} of "
        f"{features.width} numbers): recall {recall(found[sample], exact):.3f} of the {k} nearest, "
        f"measured on {len(sample)} images"
    )
    return found


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """Share of the exact neighbours (n, k) that stand in the same row of those found (n, k)."""
    size = max(found.max(), exact.max()) + 1
    first = np.arange(len(exact))[:, None] * size
    return float(np.isin(first + exact, first + found).mean())


def search_flat(features: FeatureRows, k: int) -> np.ndarray:
    """Exact neighbours (N, k) int64 by faiss's IndexFlatL2, on the CPU.

    Raises:
        ImportError: faiss is not installed.
    """
    return _search_index(faiss().IndexFlatL2(features.width), features, k, slice(None))


def _exactly(features: FeatureRows, rows: np.ndarray, k: int) -> np.ndarray:
    return search_between(FeatureRows(features.take(rows)), features, k)


def _search_graph(features: FeatureRows, k: int, own: np.ndarray) -> np.ndarray:
    """Neighbours (n, k) of consecutive rows; −1 where the graph finds fewer."""
    index = faiss().IndexHNSWFlat(features.width, LINKS)
    index.hnsw.efSearch = max(IN_SIGHT, 2 * k)
    return _search_index(index, features, k, slice(own[0], own[-1] + 1) if own.size else slice(0))


def _search_index(index: Any, features: FeatureRows, k: int, part: slice) -> np.ndarray:
    """Neighbours of a part of the rows, by an index of faiss that receives all of them."""
    for _, rows in features.blocks():
        index.add(rows.cpu().numpy())
    found = [index.search(rows.cpu().numpy(), k)[1] for _, rows in features.blocks(part)]
    return np.concatenate([*found, np.empty((0, k), np.int64)])
