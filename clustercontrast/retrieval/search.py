"""Searches: which gallery images are most like every query; exact, or through an index."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from clustercontrast.clustering.best_lists import largest
from clustercontrast.evaluation.reranking import Reranking
from clustercontrast.files import UserError, atomic
from clustercontrast.retrieval.features import Features, check_same_model
from clustercontrast.retrieval.index import Index
from clustercontrast.retrieval.model import check_count

QUERIES, GALLERY = 1024, 8192
"""Rows of a block of similarities: 34 MB; larger and smaller ones are slower."""

CELLS = 1 << 25
"""Re-ranked distances that are held at a time."""

K_RECIPROCAL = "k-reciprocal"


@dataclass(frozen=True, eq=False)
class Ranked:
    """The first gallery images of every query.

    Attributes:
        measure: what orders them: "similarity", which falls with the rank, or "distance".
        rows: (Q, top) int64 rows of the gallery, the best first.
        scores: (Q, top) float32, of that measure.
    """

    measure: str
    rows: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, eq=False)
class Found:
    """What a search has found.

    Attributes:
        queries: the features searched for.
        gallery: what was searched in.
        ranked: by cosine similarity.
        reranked: by k-reciprocal re-ranking, a result of its own; None where it was not asked for.
    """

    queries: Features
    gallery: Features | Index
    ranked: Ranked
    reranked: Ranked | None = None

    @property
    def rows(self) -> np.ndarray:
        """(Q, top) int64 rows of the gallery by falling cosine similarity."""
        return self.ranked.rows

    @property
    def similarity(self) -> np.ndarray:
        """(Q, top) float32 cosine similarities."""
        return self.ranked.scores

    def paths(self, query: int) -> list[str]:
        """The answer to one query, the best image first."""
        return [self.gallery.paths[row] for row in self.rows[query]]

    def save(self, path: str | Path) -> None:
        """Write a CSV: query, rank from 1, gallery image, similarity.

        A re-ranked result goes to a file of its own beside it (:func:`reranked_file`).

        Raises:
            UserError: the place cannot be written.
        """
        self._write(Path(path), self.ranked)
        if self.reranked is not None:
            self._write(reranked_file(Path(path)), self.reranked)

    def _write(self, path: Path, ranked: Ranked) -> None:
        with atomic(path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["query", "rank", "gallery", ranked.measure])
            writer.writerows(self._lines(ranked))

    def _lines(self, ranked: Ranked) -> Iterator[tuple]:
        for name, rows, scores in zip(self.queries.paths, ranked.rows, ranked.scores, strict=True):
            for rank, (row, score) in enumerate(zip(rows, scores, strict=True), start=1):
                yield name, rank, self.gallery.paths[row], f"{score:.6f}"


def reranked_file(path: Path) -> Path:
    """Where a re-ranked result goes: result.csv -> result.reranked.csv."""
    return path.with_name(f"{path.stem}.reranked{path.suffix}")


def search(
    queries: Features,
    gallery: Features | Index,
    top: int = 10,
    rerank: str | None = None,
    k1: int | None = None,
    k2: int | None = None,
    weight: float | None = None,
) -> Found:
    """Find the gallery images that are most like every query.

    Args:
        queries: features of Q images.
        gallery: features of G images, which are compared block by block, exactly; or a faiss index
            over them.  Equally similar images stand in gallery order.
        top: images of an answer; at most G.
        rerank: "k-reciprocal" adds a re-ranked result (docs/using.md#re-ranking).
        k1: neighbours of the re-ranking, 20 unless given.
        k2: neighbours of its query expansion, 6 unless given.
        weight: of the original distance in it, 0.3 unless given.

    Raises:
        UserError: the features are of different models, there is nothing to search, or the
            re-ranking has only an index.

    >>> import clustercontrast
    >>> model = clustercontrast.load("logs/sysu/pclhd/seed1")
    >>> queries = model.features("queries", modality="infrared")
    >>> gallery = model.features("gallery", modality="visible")
    >>> found = clustercontrast.search(queries, gallery, top=3)
    >>> found.rows.shape
    (6, 3)
    >>> len(found.paths(0))
    3
    """
    given = {"k1": k1, "k2": k2, "weight": weight}
    parameters = {name: value for name, value in given.items() if value is not None}
    _check(queries, gallery, top, rerank, parameters)
    top = min(top, len(gallery))
    if isinstance(gallery, Index):
        return Found(queries, gallery, Ranked("similarity", *gallery.nearest(queries.rows, top)))
    ranked = Ranked("similarity", *_most_similar(queries.rows, gallery.rows, top))
    if rerank is None:
        return Found(queries, gallery, ranked)
    reranking = _reranking(queries, gallery, parameters)
    return Found(queries, gallery, ranked, _reranked(reranking, len(queries), len(gallery), top))


def _reranking(queries: Features, gallery: Features, given: Mapping[str, float]) -> Reranking:
    rows = (torch.from_numpy(own.rows) for own in (queries, gallery))
    try:
        return Reranking(*rows, **given)
    except (TypeError, ValueError) as error:
        raise UserError(f"this cannot be re-ranked ({error})") from error


def _check(
    queries: Features,
    gallery: Features | Index,
    top: int,
    rerank: str | None,
    parameters: Mapping[str, float],
) -> None:
    for side, kinds in ((queries, Features), (gallery, Features | Index)):
        if not isinstance(side, kinds):
            raise UserError(
                f"a search takes features, of model.features or of a file, not a "
                f"{type(side).__name__}"
            )
    check_count("top", top)
    if not len(queries) or not len(gallery):
        raise UserError("there is nothing to search: queries or gallery are empty")
    if parameters and rerank is None:
        raise UserError(f"{', '.join(parameters)}: read with rerank alone, leave it out")
    if rerank not in (None, K_RECIPROCAL):
        raise UserError(f"there is no re-ranking '{rerank}': give {K_RECIPROCAL}, or None")
    if rerank and isinstance(gallery, Index):
        raise UserError(
            "re-ranking compares gallery images with each other, and an index holds no features: "
            "give the features themselves"
        )
    check_same_model(queries.made_with, gallery.made_with)


def _most_similar(queries: np.ndarray, gallery: np.ndarray, top: int) -> tuple[np.ndarray, ...]:
    """Rows (Q, top) int64 and similarities (Q, top) float32, in blocks of both."""
    found = [
        _best(torch.from_numpy(queries[start : start + QUERIES]), gallery, top)
        for start in range(0, len(queries), QUERIES)
    ]
    rows, scores = zip(*found, strict=True)
    return torch.cat(rows).numpy(), torch.cat(scores).numpy()


def _best(queries: torch.Tensor, gallery: np.ndarray, top: int) -> tuple[torch.Tensor, ...]:
    """Rows and similarities of a block of queries; the best so far stand before the next block."""
    rows = torch.empty(len(queries), 0, dtype=torch.int64)
    scores = torch.empty(len(queries), 0)
    for start in range(0, len(gallery), GALLERY):
        products = queries @ torch.from_numpy(gallery[start : start + GALLERY]).T
        columns = largest(products, min(top, products.shape[1]))
        scores = torch.cat([scores, products.gather(1, columns)], dim=1)
        rows = torch.cat([rows, columns + start], dim=1)
        columns = largest(scores, min(top, scores.shape[1]))
        rows, scores = rows.gather(1, columns), scores.gather(1, columns)
    return rows, scores


def _reranked(reranking: Reranking, queries: int, gallery: int, top: int) -> Ranked:
    size = max(1, CELLS // gallery)
    rows, scores = [], []
    for start in range(0, queries, size):
        distances = torch.from_numpy(reranking.distances(slice(start, start + size)))
        columns = largest(-distances, top)
        rows.append(columns)
        scores.append(distances.gather(1, columns))
    return Ranked("distance", torch.cat(rows).numpy(), torch.cat(scores).numpy())
