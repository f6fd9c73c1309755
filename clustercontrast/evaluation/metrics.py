"""CMC, mAP and mINP of a similarity matrix.

Every query ranks the gallery by falling similarity, equal similarities in gallery order. Average
precision and inverse negative penalty count images; the CMC counts either distinct identities
(SYSU-MM01) or images (RegDB).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from clustercontrast.evaluation.pairs import Pairs

BLOCK_CELLS = 1 << 20
"""Cells of the similarity matrix ranked at a time: bounds the temporary memory to some 50 MB."""
HELD_CELLS = 1 << 27
"""Cells of the similarity matrix made at a time: 1 GB, all there are of the papers' datasets."""


@dataclass(frozen=True, eq=False)
class Retrieval:
    """Result of one evaluation; every average runs over the valid queries only.

    Attributes:
        cmc: (max_rank,) float64 in [0, 1]; entry k - 1 is the share of queries found by rank k.
        mAP: mean average precision in [0, 1].
        mINP: mean inverse negative penalty in [0, 1].
        queries: number of valid queries, those with a correct gallery image left.
    """

    cmc: np.ndarray
    mAP: float  # noqa: N815 - the name of the literature
    mINP: float  # noqa: N815
    queries: int


@dataclass(frozen=True, eq=False)
class Queries:
    """Scores of the valid queries one by one, those with a correct gallery image left.

    Attributes:
        rows: (n,) int64, which of the Q queries they are, ascending.
        hit_ranks: (n,) int64 rank of the first hit as the CMC counts it, 0 for the best.
        precisions: (n,) float64 average precision in [0, 1].
        penalties: (n,) float64 inverse negative penalty in [0, 1].
    """

    rows: np.ndarray
    hit_ranks: np.ndarray
    precisions: np.ndarray
    penalties: np.ndarray


def evaluate(
    similarity: np.ndarray | Pairs,
    query_identities: np.ndarray,
    gallery_identities: np.ndarray,
    excluded: np.ndarray | Pairs | None = None,
    cmc: Literal["identity", "image"] = "identity",
    max_rank: int = 20,
) -> Retrieval:
    """Score a retrieval (docs/methods/common.md#evaluation-protocols).

    With M correct images among the ranks 1..R that are left for a query, m_r marking them:
    AP = 1/M sum_r m_r (sum_{s<=r} m_s) / r and INP = M / rank of the last correct image. The CMC of
    "identity" collapses the ranked list to the first occurrence of every identity, that of "image"
    does not. Beyond the end of a list the CMC keeps its last value. Queries without a correct image
    are ignored.

    Args:
        similarity: (Q, G) finite, grows with likeness; ``Pairs`` are made for ``HELD_CELLS`` at a
            time.
        query_identities: (Q,) integers.
        gallery_identities: (G,) integers.
        excluded: (Q, G) bool, pairs removed from the ranking whatever their identity; or ``Pairs``.
        cmc: what a rank of the CMC counts.
        max_rank: length of the CMC.

    Raises:
        ValueError: no query is valid, the shapes disagree, a similarity is not finite, or ``cmc``
            or ``max_rank`` is out of range.
    """
    if max_rank < 1:
        raise ValueError(f"max_rank is {max_rank}, expected 1 or more")
    found = score_queries(similarity, query_identities, gallery_identities, excluded, cmc)
    counts = np.bincount(found.hit_ranks, minlength=max_rank)[:max_rank]
    return Retrieval(
        cmc=counts.cumsum() / len(found.rows),
        mAP=float(found.precisions.mean()),
        mINP=float(found.penalties.mean()),
        queries=len(found.rows),
    )


def score_queries(
    similarity: np.ndarray | Pairs,
    query_identities: np.ndarray,
    gallery_identities: np.ndarray,
    excluded: np.ndarray | Pairs | None = None,
    cmc: Literal["identity", "image"] = "identity",
) -> Queries:
    """Score every query of a retrieval by itself; see :func:`evaluate`.

    Raises:
        ValueError: no query is valid, the shapes disagree, a similarity is not finite, or ``cmc``
            is unknown.
    """
    query_identities = np.asarray(query_identities)
    gallery_identities = np.asarray(gallery_identities)
    excluded = np.broadcast_to(False, similarity.shape) if excluded is None else excluded
    _check(similarity, query_identities, gallery_identities, excluded)
    if cmc not in ("identity", "image"):
        raise ValueError(f"cmc is {cmc!r}, expected 'identity' or 'image'")

    groups = _identity_groups(gallery_identities) if cmc == "identity" else None
    scores = [
        _scores(block, own, query_identities[block, None] == gallery_identities, excluded, groups)
        for block, own in _blocks(similarity)
    ]
    found = Queries(*(np.concatenate(part) for part in zip(*scores, strict=True)))
    if not len(found.rows):
        raise ValueError("no query has a correct gallery image: nothing can be evaluated")
    return found


def _blocks(similarity: np.ndarray | Pairs) -> Iterator[tuple[slice, np.ndarray]]:
    """Queries that are ranked together, and their similarities (n, G)."""
    queries, gallery = similarity.shape
    rows = max(1, BLOCK_CELLS // gallery)
    held = rows * max(1, HELD_CELLS // (rows * gallery))
    for start in range(0, queries, held):
        made = similarity[start : start + held]
        if not np.isfinite(made).all():
            raise ValueError("the similarities contain NaN or infinity: the features are broken")
        for first in range(0, len(made), rows):
            own = made[first : first + rows]
            yield slice(start + first, start + first + len(own)), own


def _check(
    similarity: np.ndarray | Pairs,
    queries: np.ndarray,
    gallery: np.ndarray,
    excluded: np.ndarray | Pairs,
) -> None:
    """Refuse inputs whose result would be meaningless."""
    shape = (len(queries), len(gallery))
    if similarity.shape != shape or excluded.shape != shape:
        raise ValueError(
            f"similarity {similarity.shape} and excluded {excluded.shape} must both be "
            f"(queries, gallery) = {shape}"
        )
    if 0 in shape:
        raise ValueError(f"nothing to rank: {shape[0]} queries, {shape[1]} gallery images")


def _identity_groups(identities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gallery columns ordered by identity, and where each identity starts among them."""
    columns = np.argsort(identities, kind="stable")
    ordered = identities[columns]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    return columns, starts


def _scores(
    block: slice,
    similarity: np.ndarray,
    correct: np.ndarray,
    excluded: np.ndarray | Pairs,
    groups: tuple[np.ndarray, np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What :class:`Queries` holds, of the valid queries of one block."""
    excluded = excluded[block]
    # Excluded pairs go behind everything else: no rank of a kept image counts them.
    order = _ascending(np.where(excluded, np.inf, -similarity))
    hits = np.take_along_axis(correct & ~excluded, order, axis=1)
    valid = hits.any(axis=1)
    order, hits = order[valid], hits[valid]
    found = hits.cumsum(axis=1)
    ranks = np.arange(1, hits.shape[1] + 1)
    precisions = (hits * found / ranks).sum(axis=1) / found[:, -1]
    penalties = found[:, -1] / (hits.shape[1] - hits[:, ::-1].argmax(axis=1))
    first = hits.argmax(axis=1)
    if groups is not None:
        first = _identities_before(order, first, *groups)
    return block.start + np.flatnonzero(valid), first, precisions, penalties


def _ascending(values: np.ndarray) -> np.ndarray:
    """Columns of every row by rising value, equal ones in their order but for infinite ones.

    The stable sort takes several times as long, and matters only in rows with equal values.
    """
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    is_equal = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] < np.inf)
    tied = is_equal.any(axis=1)
    order[tied] = np.argsort(values[tied], axis=1, kind="stable")
    return order


def _identities_before(
    order: np.ndarray, first: np.ndarray, columns: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    """(n,) number of distinct identities ranked before position ``first`` of every query."""
    positions = np.empty_like(order)
    np.put_along_axis(positions, order, np.arange(order.shape[1])[None], axis=1)
    best = np.minimum.reduceat(positions[:, columns], starts, axis=1)
    return (best < first[:, None]).sum(axis=1)
