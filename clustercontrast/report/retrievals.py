"""Ranked retrievals behind the page of a run: what every query found, and which queries to show.

Ranks here count images: the excluded pairs of a search are left out, nothing else is.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from clustercontrast.data.samples import ImageList
from clustercontrast.evaluation.protocols import Search

BLOCK_CELLS = 1 << 20
"""Cells of the similarity matrix ranked at a time."""


@dataclass(frozen=True)
class Hit:
    """One gallery image in the answer to a query.

    Attributes:
        rank: from 1.
        row: of the gallery modality's test images.
        similarity: cosine, in [-1, 1].
        right: it shows the identity of the query.
    """

    rank: int
    row: int
    similarity: float
    right: bool


@dataclass(frozen=True)
class Answer:
    """The answer to one query.

    Attributes:
        row: the query's, of the query modality's test images.
        precision: average precision in [0, 1].
        hits: the first gallery images by rank.
        first: the first right one, wherever it stands.
    """

    row: int
    precision: float
    hits: tuple[Hit, ...]
    first: Hit


class Ranking:
    """The gallery of a search in the order in which every query ranks it.

    Similarity falls with the rank; equal ones stand in gallery order.

    Attributes:
        search: what is ranked.
        people: (Q,) int64 identities of the queries.
        similarity: (Q, G) float64 cosines.
        same: (Q, G) bool, query and gallery image show the same identity.
        excluded: (Q, G) bool, pairs that are not ranked.
    """

    def __init__(
        self, search: Search, images: Mapping[str, ImageList], features: Mapping[str, np.ndarray]
    ) -> None:
        """Compare queries and gallery.

        Args:
            search: what is ranked.
            images: test images by modality.
            features: (N, d) unit rows by modality; rows that the search does not use are not read.
        """
        rows = {search.query: search.query_rows, search.gallery: search.gallery_rows}
        used = {name: features[name][own].astype(np.float64) for name, own in rows.items()}
        people = {name: images[name].identities[own] for name, own in rows.items()}
        self.search, self.people = search, people[search.query]
        self.similarity = used[search.query] @ used[search.gallery].T
        self.same = people[search.query][:, None] == people[search.gallery]
        none = np.broadcast_to(False, self.same.shape)
        self.excluded = none if search.excluded is None else np.asarray(search.excluded)

    @functools.cached_property
    def precisions(self) -> np.ndarray:
        """(Q,) average precision in [0, 1], NaN for a query without a correct image."""
        size = max(1, BLOCK_CELLS // self.similarity.shape[1])
        starts = range(0, len(self.similarity), size)
        return np.concatenate([self._precisions(slice(i, i + size)) for i in starts])

    def spread(self, count: int) -> np.ndarray:
        """Queries at the middles of ``count`` equal parts of the order by AP, the best first."""
        order = self._by_precision()[::-1]
        middles = (np.arange(count) + 0.5) / count * len(order)
        return order[np.unique(middles.astype(np.int64))]

    def worst(self, count: int) -> np.ndarray:
        """The ``count`` queries of lowest AP, one per identity, equal ones in query order.

        Shots of one walk fail alike: without that rule they would fill the page.
        """
        order = self._by_precision()
        _, first = np.unique(self.people[order], return_index=True)
        return order[np.sort(first)[:count]]

    def answer(self, query: int, length: int) -> Answer:
        """What one query found.

        Args:
            query: 0..Q-1, one that has a correct image.
            length: images of the answer; fewer when fewer are left.
        """
        (order,), (right,) = self._ranked(slice(query, query + 1))
        left = len(order) - int(self.excluded[query].sum())
        ranks = range(min(length, left))
        hits = [self._hit(query, order, right, rank) for rank in (*ranks, int(right.argmax()))]
        row = int(self.search.query_rows[query])
        return Answer(row, float(self.precisions[query]), tuple(hits[:-1]), hits[-1])

    def _hit(self, query: int, order: np.ndarray, right: np.ndarray, rank: int) -> Hit:
        column = order[rank]
        row = int(self.search.gallery_rows[column])
        return Hit(rank + 1, row, float(self.similarity[query, column]), bool(right[rank]))

    def _ranked(self, queries: slice) -> tuple[np.ndarray, np.ndarray]:
        """Gallery columns by rank, excluded ones last, and which of them are right: (n, G) each."""
        excluded = self.excluded[queries]
        distances = np.where(excluded, np.inf, -self.similarity[queries])
        order = np.argsort(distances, axis=1, kind="stable")
        return order, np.take_along_axis(self.same[queries] & ~excluded, order, axis=1)

    def _precisions(self, queries: slice) -> np.ndarray:
        _, right = self._ranked(queries)
        found = right.cumsum(axis=1)
        sums = (right * found / np.arange(1, right.shape[1] + 1)).sum(axis=1)
        return np.divide(sums, found[:, -1], out=np.full(len(sums), np.nan), where=found[:, -1] > 0)

    def _by_precision(self) -> np.ndarray:
        """Queries with a correct image, by rising AP."""
        order = np.argsort(self.precisions, kind="stable")  # NaN comes last
        return order[: np.isfinite(self.precisions).sum()]
