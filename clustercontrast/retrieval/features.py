"""Features of a list of images, with what they were made from; their files."""

import csv
import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from clustercontrast.data.samples import MODALITIES
from clustercontrast.files import UserError, atomic, fault
from clustercontrast.retrieval.blocks import DAMAGED
from clustercontrast.retrieval.digests import digest_of
from clustercontrast.retrieval.extras import package

MADE_WITH = {
    "digest": str,
    "height": int,
    "width": int,
    "flip": bool,
    "precision": str,
    "source": str,
    "about": dict,
}
"""What has to be known of the model that features were made with."""

SAME = ("digest", "height", "width", "flip", "precision")
"""What features must have in common to be compared."""


@dataclass(frozen=True, eq=False)
class Features:
    """Features of N images, a row each.

    Attributes:
        rows: (N, d) float32 unit rows: their products are cosine similarities.
        paths: of the images, as they were given; "image 3" for what has no path.
        modality: "visible" or "infrared".
        made_with: the model, see ``MADE_WITH``; files of features carry it.
        skipped: (path, reason) of images that could not be read.
        passed_over: files and folders that are no images by their names, or cannot be entered.
    """

    rows: np.ndarray
    paths: tuple[str, ...]
    modality: str
    made_with: Mapping[str, Any]
    skipped: tuple[tuple[str, str], ...] = ()
    passed_over: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        return f"Features({len(self)} {self.modality} images, {self.rows.shape[1]} numbers each)"

    def save(self, path: str | Path) -> None:
        """Write them: ``.npz``, ``.parquet`` (needs pyarrow) or ``.csv``.

        A CSV holds path and numbers alone; it cannot be searched in, since it does not say which
        model made it.

        Raises:
            UserError: another ending, no pyarrow, or a place that cannot be written.
        """
        path = Path(path)
        check_ending(path)
        WRITERS[path.suffix](self, path)

    @classmethod
    def load(cls, path: str | Path) -> "Features":
        """Read a file of :meth:`save`, ``.npz`` or ``.parquet``.

        Raises:
            UserError: it is missing, damaged, of another kind, or a CSV.
        """
        path = Path(path)
        if path.suffix not in READERS:
            raise UserError(f"{path} holds no features to search in: give .npz or .parquet")
        if not path.is_file():
            raise UserError(f"{path} does not exist: make it with the command features")
        try:
            rows, paths, said = READERS[path.suffix](path)
        except DAMAGED as error:
            raise UserError(
                f"{path} is damaged, or no file of features ({error}): make it again with the "
                "command features"
            ) from error
        if fault(said, SAID) or said["checksum"] != _checksum(rows, paths, said):
            raise UserError(
                f"{path} is damaged, or no file of features of this program: make it again with "
                "the command features"
            )
        skipped = tuple((name, reason) for name, reason in said["skipped"])
        return cls(rows, paths, said["modality"], said["made_with"], skipped)

    def said(self) -> dict[str, Any]:
        """All but rows and paths, as JSON keeps it, with a checksum of everything."""
        skipped = [list(pair) for pair in self.skipped]
        said = {"modality": self.modality, "made_with": dict(self.made_with), "skipped": skipped}
        return said | {"checksum": _checksum(self.rows, self.paths, said)}


SAID = {
    "modality": frozenset(MODALITIES),
    "made_with": MADE_WITH,
    "skipped": [[str]],
    "checksum": str,
}
"""What a file of features says beside rows and paths."""


def _checksum(rows: np.ndarray, paths: Sequence[str], said: Mapping[str, Any]) -> str:
    """Of all that a file of features holds."""
    facts = {key: own for key, own in said.items() if key != "checksum"}
    text = json.dumps([rows.shape, str(rows.dtype), list(paths), facts], sort_keys=True)
    return digest_of([text.encode("utf-8", "surrogatepass"), rows])


def check_same_model(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Refuse to compare features of different models.

    Args:
        one: ``made_with`` of features.
        other: likewise.

    Raises:
        UserError: it says what differs.
    """
    differing = [key for key in SAME if one[key] != other[key]]
    if differing:
        key = differing[0]
        raise UserError(
            "features can be compared if one model has made them with one set of flags, and their "
            f"{key} differs, {one[key]} ({one['source']}) and {other[key]} ({other['source']}): "
            "make one of them again"
        )


def check_ending(path: Path) -> None:
    """Refuse a name of a file that cannot be written, before work begins.

    Raises:
        UserError: the ending is unknown, or its package is missing.
    """
    if path.suffix not in WRITERS:
        raise UserError(f"{path}: features are written as {', '.join(WRITERS)}: give such a name")
    if path.suffix == ".parquet":
        pyarrow()


def pyarrow() -> ModuleType:
    """The module that knows Parquet.

    Raises:
        UserError: it is not installed.
    """
    return package("pyarrow.parquet", "parquet", "for features as .parquet; .npz needs nothing")


# --- files ---


def _write_npz(features: Features, path: Path) -> None:
    said = np.array(json.dumps(features.said()))
    with atomic(path, "wb") as file:
        np.savez(file, features=features.rows, paths=np.array(features.paths), said=said)


def _read_npz(path: Path) -> tuple[np.ndarray, tuple[str, ...], Any]:
    with np.load(path, allow_pickle=False) as file:
        return file["features"], tuple(file["paths"].tolist()), json.loads(str(file["said"]))


def _write_csv(features: Features, path: Path) -> None:
    with atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", *(f"f{number}" for number in range(features.rows.shape[1]))])
        for name, row in zip(features.paths, features.rows, strict=True):
            writer.writerow([name, *(f"{value:.9g}" for value in row)])  # exact for float32


def _write_parquet(features: Features, path: Path) -> None:
    parquet = pyarrow()
    arrow = importlib.import_module("pyarrow")
    flat = arrow.array(features.rows.ravel())
    table = arrow.table(
        {
            "path": [name.encode("utf-8", "replace").decode() for name in features.paths],
            "feature": arrow.FixedSizeListArray.from_arrays(flat, features.rows.shape[1]),
        }
    ).replace_schema_metadata({"clustercontrast": json.dumps(features.said())})
    with atomic(path, "wb") as file:
        parquet.write_table(table, file)


def _read_parquet(path: Path) -> tuple[np.ndarray, tuple[str, ...], Any]:
    table = pyarrow().read_table(path)
    flat = table["feature"].combine_chunks().flatten().to_numpy().copy()  # to be written to
    said = json.loads((table.schema.metadata or {})[b"clustercontrast"])
    return flat.reshape(len(table), -1), tuple(table["path"].to_pylist()), said


WRITERS = {".npz": _write_npz, ".csv": _write_csv, ".parquet": _write_parquet}
READERS = {".npz": _read_npz, ".parquet": _read_parquet}
