"""Nearest neighbours, step 1 of the k-reciprocal distance: exact ones, or approximate ones."""

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from clustercontrast.clustering import approximate_search, exact_search
from clustercontrast.clustering.feature_rows import FeatureRows, Features

EXACT_UP_TO = 100_000
"""Rows up to which "auto" searches exactly on a CPU (docs/benchmarks.md#neighbour-search)."""


def _silent(line: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Search:
    """A way to search, and who hears what is to be known of it.

    Attributes:
        kind: "torch" – exact, by matrix products; "faiss" – exact, IndexFlatL2 on the CPU; "ivf"
            and "hnsw" – approximate, see ``approximate_search``; "auto" – "torch", or "ivf" for
            more than ``EXACT_UP_TO`` rows on a CPU where faiss is installed.
        say: takes a line: the recall of an approximate search, the time of a long exact one.
    """

    kind: str = "torch"
    say: Callable[[str], None] = _silent


def nearest(
    features: Features,
    k: int,
    backend: Search | str = "torch",
    device: torch.device | str | None = None,
) -> np.ndarray:
    """Indices of the k nearest rows of every row by squared Euclidean distance.

    An exact search is exact up to float32 rounding, whatever the process allows of TF32.  A row is
    normally its own first neighbour.  Among equally near rows the lower index comes first, as far
    as rounding leaves them equal.  Memory beside features and result does not grow with N².

    Several processes that hold the same features and call this together share the work
    (``ranks``); all of them receive the result.

    Args:
        features: (N, d) rows of any length, see ``FeatureRows``: float16 or memory-mapped ones are
            not copied as a whole, but for "faiss".
        k: neighbours per row, self included, 1 ≤ k ≤ N; callers clamp larger values to N.
        backend: how to search, or its kind alone.
        device: where products are computed; default: the device of the features.

    Returns:
        (N, k) int64, ascending distance.

    Raises:
        ValueError: empty or non-finite features, k out of range, unknown backend.
        ImportError: faiss is asked for and not installed.
    """
    search = Search(backend) if isinstance(backend, str) else backend
    rows = FeatureRows(features, device)
    if not 1 <= k <= len(rows):
        raise ValueError(f"k is {k}, expected 1 to {len(rows)} (the number of rows)")
    kind = _automatic(rows, search.say) if search.kind == "auto" else search.kind
    if kind == "torch":
        return exact_search.search_all(rows, k)
    if kind in approximate_search.KINDS:
        return approximate_search.search_all(rows, k, kind, search.say)
    if kind == "faiss":
        return approximate_search.search_flat(rows, k)
    kinds = ", ".join(map(repr, ("torch", "faiss", *approximate_search.KINDS, "auto")))
    raise ValueError(f"backend is {kind!r}, expected one of {kinds}")


def nearest_of_both(
    visible: torch.Tensor, infrared: torch.Tensor, count: int, rank: str = "dot"
) -> tuple[np.ndarray, np.ndarray]:
    """The visible and the infrared rows most like every row (BMIL-9).

    The search is exact.  Several processes share it as in :func:`nearest`.

    Args:
        visible: (N_v, d) float32.
        infrared: (N_r, d), same space and device.
        count: h, rows of either modality, at most N_v and N_r.
        rank: "dot" – by dot product, so that a row need not be its own first neighbour – or "l2" –
            by Euclidean distance.

    Returns:
        (N, 2h) int64: the h visible rows of each of the N = N_v + N_r rows, the likest first, then
        its h infrared ones; visible rows are 0 … N_v − 1, infrared ones N_v … N − 1.
        (N, 2h) int64: the same rows, the likest of both modalities first.

    Raises:
        ValueError: empty or non-finite features, or an unknown rank.
    """
    _check_rank(rank)
    sides, columns, scores = (visible, infrared), [], []
    for number, gallery in enumerate(map(FeatureRows, sides)):
        half = gallery.half_squares * (rank == "l2")
        found = [exact_search.best_between(queries, gallery, count, half) for queries in sides]
        columns.append(np.concatenate([own for own, _ in found]) + number * len(visible))
        scores.append(np.concatenate([own for _, own in found]))
    own = np.concatenate(columns, axis=1)
    order = np.argsort(-np.concatenate(scores, axis=1), axis=1, kind="stable")
    return own, np.take_along_axis(own, order, axis=1)


def nearest_of_groups(
    features: torch.Tensor, groups: np.ndarray, count: int, rank: str = "dot"
) -> list[np.ndarray]:
    """The rows of every group that are most like every row.

    The search is exact.  Several processes share it as in :func:`nearest`.

    Args:
        features: (N, d) float32.
        groups: (N,) integers.
        count: rows of a group; of a smaller one, all.
        rank: as in :func:`nearest_of_both`.

    Returns:
        For every group, ascending: (N, k) int64 rows of that group, the likest first.

    Raises:
        ValueError: empty or non-finite features, or an unknown rank.
    """
    _check_rank(rank)
    found = []
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        gallery = FeatureRows(features[torch.from_numpy(members)])
        half = gallery.half_squares * (rank == "l2")
        k = min(count, len(members))
        found.append(members[exact_search.best_between(features, gallery, k, half)[0]])
    return found


def _check_rank(rank: str) -> None:
    """Refuse what is no likeness.

    Raises:
        ValueError: it is another word.
    """
    if rank not in ("dot", "l2"):
        raise ValueError(f"rank is {rank!r}, expected 'dot' or 'l2'")


def _automatic(rows: FeatureRows, say: Callable[[str], None]) -> str:
    """Kind of search for so many rows."""
    if len(rows) <= EXACT_UP_TO or rows.device.type != "cpu":
        return "torch"
    if importlib.util.find_spec("faiss"):
        return "ivf"
    say(
        f"the exact search among {len(rows)} images may take {_exact_minutes(rows):.0f} min: "
        "pip install faiss-cpu for approximate neighbours (--neighbours ivf)"
    )
    return "torch"


def _exact_minutes(rows: FeatureRows) -> float:
    """Minutes of the products of an exact search, by the time of a small one."""
    some = rows.take(slice(0, exact_search.PANEL_ROWS))
    some @ some.T  # the first product loads libraries
    started = time.perf_counter()
    some @ some.T
    per_product = (time.perf_counter() - started) / len(some) ** 2
    return per_product * len(rows) ** 2 / 2 / 60
