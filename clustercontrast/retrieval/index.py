"""A faiss index over a gallery: approximate searches, faster than exact ones, saved to disk."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from clustercontrast.clustering.best_lists import largest
from clustercontrast.data.samples import MODALITIES
from clustercontrast.files import UserError, atomic, read_json, write_json
from clustercontrast.retrieval.digests import digest_of
from clustercontrast.retrieval.extras import package
from clustercontrast.retrieval.features import MADE_WITH, Features

KINDS = ("hnsw", "ivf", "flat")
"""A graph of neighbours; cells around means; all rows, exactly."""

NEIGHBOURS, SEARCHED = 32, 128
"""Links of a row in the graph, and rows that a search keeps in sight (efSearch)."""

VISITED = 16
"""One of this many cells is searched."""

SAMPLE = 200
"""Rows whose exact neighbours an index is compared with."""

FILES = ("gallery.faiss", "gallery.json")
SHAPE = {
    "kind": frozenset(KINDS),
    "modality": frozenset(MODALITIES),
    "paths": [str],
    "made_with": MADE_WITH,
    "recall": float,
    "checksum": str,
}


@dataclass(frozen=True, eq=False)
class Index:
    """A gallery that is searched through faiss.

    Attributes:
        kind: see ``KINDS``.
        index: of faiss, with inner products.
        paths: of the gallery's images.
        modality: of the gallery.
        made_with: the model, as of the features.
        recall: share of the ten nearest images that it finds, measured on gallery images when it
            was built.
    """

    kind: str
    index: Any
    paths: tuple[str, ...]
    modality: str
    made_with: Mapping[str, Any]
    recall: float

    @classmethod
    def build(cls, gallery: Features, kind: str = "hnsw") -> "Index":
        """Build an index over a gallery.

        Args:
            gallery: its features.
            kind: "hnsw" (a graph; the fastest search), "ivf" (cells; built sooner) or "flat" (all
                rows, exactly).

        Raises:
            UserError: faiss is not installed, or there is no such kind.
        """
        if kind not in KINDS:
            raise UserError(f"there is no index '{kind}': choose from {', '.join(KINDS)}")
        rows = np.ascontiguousarray(gallery.rows)
        index = _empty(kind, rows)
        index.add(rows)
        return cls(
            kind,
            index,
            gallery.paths,
            gallery.modality,
            gallery.made_with,
            _recall(index, rows),
        )

    def __len__(self) -> int:
        return len(self.paths)

    def nearest(self, queries: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows (Q, top) int64 and similarities (Q, top) float32 of queries (Q, d).

        Raises:
            UserError: the index finds fewer images than that.
        """
        scores, rows = self.index.search(np.ascontiguousarray(queries), top)
        if (rows < 0).any():
            raise UserError(
                f"the {self.kind} index finds fewer than {top} images for some queries: lower "
                "--top, or search without an index"
            )
        return rows, scores

    def save(self, folder: str | Path) -> None:
        """Write it into a folder.

        Raises:
            UserError: the place cannot be written, or holds something else.
        """
        folder = Path(folder)
        check_place(folder)
        index = faiss().serialize_index(self.index)
        said = {
            "kind": self.kind,
            "modality": self.modality,
            "paths": list(self.paths),
            "made_with": dict(self.made_with),
            "recall": self.recall,
        }
        with atomic(folder / FILES[0], "wb") as file:
            file.write(index.data)
        write_json(folder / FILES[1], said | {"checksum": _checksum(index, said)})

    @classmethod
    def load(cls, folder: str | Path) -> "Index":
        """Read what :meth:`save` has written.

        Raises:
            UserError: it is missing or damaged, or faiss is not installed.
        """
        folder = Path(folder)
        said = read_json(folder / FILES[1], SHAPE, "build the index again")
        try:
            content = np.fromfile(folder / FILES[0], np.uint8)
        except OSError as error:
            raise UserError(f"{folder / FILES[0]} is missing: build the index again") from error
        if said["checksum"] != _checksum(content, said):
            raise UserError(f"the index in {folder} is damaged: build it again")
        index = faiss().deserialize_index(content)
        own = (said[key] for key in ("modality", "made_with", "recall"))
        return cls(said["kind"], index, tuple(said["paths"]), *own)


def is_index(place: Path) -> bool:
    """Whether an index, perhaps a damaged one, was saved there."""
    return any((place / name).is_file() for name in FILES)


def check_place(folder: Path) -> None:
    """Refuse a folder for an index that holds something else.

    Raises:
        UserError: it does.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: give a folder for the index")
    foreign = sorted({path.name for path in folder.glob("*")} - {*FILES})
    if foreign:
        raise UserError(f"{folder} holds {foreign[0]}: give a folder of its own for the index")


def _checksum(index: np.ndarray, said: Mapping[str, Any]) -> str:
    facts = {key: own for key, own in said.items() if key != "checksum"}
    return digest_of([json.dumps(facts, sort_keys=True).encode(), index])


def faiss() -> ModuleType:
    """The package of indexes.

    Raises:
        UserError: it is not installed.
    """
    return package("faiss", "faiss", "for an index; an exact search needs nothing")


def _empty(kind: str, rows: np.ndarray) -> Any:
    """An index without rows, trained on them where it needs that."""
    library, (count, length) = faiss(), rows.shape
    if kind == "flat":
        return library.IndexFlatIP(length)
    if kind == "hnsw":
        index = library.IndexHNSWFlat(length, NEIGHBOURS, library.METRIC_INNER_PRODUCT)
        index.hnsw.efSearch = SEARCHED
        return index
    cells = max(1, round(np.sqrt(count)))
    cells_of = library.IndexFlatIP(length)
    index = library.IndexIVFFlat(cells_of, length, cells, library.METRIC_INNER_PRODUCT)
    index.own_fields = True
    cells_of.this.disown()
    index.nprobe = -(-cells // VISITED)
    index.cp.min_points_per_centroid = 1  # a small gallery is no reason for a warning
    index.train(rows)
    return index


def _recall(index: Any, rows: np.ndarray) -> float:
    """Share of the ten exactly nearest rows that are found, over some rows spread evenly."""
    some = np.ascontiguousarray(rows[np.unique(np.linspace(0, len(rows) - 1, SAMPLE, dtype=int))])
    top = min(10, len(rows))
    exact = largest(torch.from_numpy(some) @ torch.from_numpy(rows).T, top).numpy()
    found = index.search(some, top)[1]
    return float(np.mean([len({*a} & {*b}) / top for a, b in zip(exact, found, strict=True)]))
