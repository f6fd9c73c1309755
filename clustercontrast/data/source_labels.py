"""Pseudo labels of the source images: the file that stage 0 of CMAM-UDA leaves.

A ``.npz`` with, for N images::

    relpath  (N,) text, relative to the dataset's folder, forward slashes
    split    (N,) text, first folder of the path, empty without one
    cam      (N,) int32 cameras, -1 unknown
    label    (N,) int32 classes 0 ... C-1, -1 for images without one
    meta     JSON text: how the labels were made, of which images, and how many classes there are

Rows are joined by path, never by position.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clustercontrast.data import lists
from clustercontrast.data.label_files import compacted, joined, read_arrays, say_unknown
from clustercontrast.data.samples import ImageList
from clustercontrast.files import UserError, atomic, say

FILE = "labels.npz"


def save_labels(path: Path, images: ImageList, labels: np.ndarray, meta: dict) -> None:
    """Write labels (N,) of ``images``, atomically.

    Args:
        path: the file.
        images: N images.
        labels: (N,) integers, classes 0 ... C-1 without gaps, -1 for none.
        meta: how the labels were made; the images' fingerprint and the class count are added.
    """
    counted = {"fingerprint": fingerprint(images), "clusters": int(labels.max(initial=-1)) + 1}
    with atomic(path, "wb") as file:
        np.savez_compressed(
            file,
            relpath=np.array(images.paths),
            split=np.array([_first_folder(name) for name in images.paths]),
            cam=images.cameras.astype(np.int32),
            label=labels.astype(np.int32),
            meta=np.array(json.dumps(meta | counted)),
        )


def load_labels(path: Path, images: ImageList) -> np.ndarray:
    """Labels of ``images`` from a file of :func:`save_labels`.

    Args:
        path: the file; it may know further images.
        images: N images.

    Returns:
        (N,) int64 classes 0 ... C-1 without gaps, -1 for images without one.

    Raises:
        UserError: the file is missing, damaged, or does not know every image.
    """
    if not path.exists():
        raise UserError(f"there are no labels {path}: run --stages auxiliary first")
    rows, labels = joined(path, *_read_npz(path), images)
    if (rows < 0).any():
        raise UserError(
            f"{path} holds labels of other images: it has {np.count_nonzero(rows >= 0):,} of the "
            f"{len(images):,} source images; make the labels again, or give the images it was "
            "made of"
        )
    return compacted(labels)


def import_labels(path: Path, images: ImageList, say: Callable[[str], None] = say) -> np.ndarray:
    """Labels of ``images`` made elsewhere (``--label-method import``).

    Args:
        path: ``.npz`` with arrays ``relpath`` and ``label``, or ``.csv`` with these columns.
        images: N images.
        say: what to tell a person with, as how many images the file knows if not all.

    Returns:
        (N,) int64 classes 0 ... C-1 without gaps; -1 for images that the file does not know or
        calls -1, and for images that are alone in their cluster.

    Raises:
        UserError: the file is missing, damaged, holds other than whole numbers from -1, or knows
            none of the images.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"--source-labels {path}: there is no such file; correct the path")
    content = _read_csv(path) if path.suffix.lower() == ".csv" else _read_npz(path)
    rows, labels = joined(path, *content, images)
    if (rows < 0).all():
        raise UserError(
            f"{path} has none of the {len(images):,} source images: its relpath must be relative "
            f"to the folder of the images, such as {images.paths[0]}"
        )
    say_unknown(path, {"source": rows}, say)
    return compacted(labels, smallest=2)


def fingerprint(images: ImageList) -> dict:
    """What tells image lists apart: their number and a hash of the sorted names."""
    names = "\n".join(sorted(images.paths)).encode()
    return {"images": len(images), "names": hashlib.sha256(names).hexdigest()}


def _first_folder(name: str) -> str:
    folder, separator, _ = name.partition("/")
    return folder if separator else ""


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Paths and labels of a file."""
    content = read_arrays(path, ("relpath", "label"))
    return content["relpath"], content["label"]


def _read_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Paths and labels of a table, whose other columns are not looked at."""
    advice = "expected a table with the columns relpath and label: correct it"
    (_, header), *rows = lists.table(path, advice) or [(1, [])]
    if header.count("relpath") != 1 or header.count("label") != 1:
        raise UserError(f"{path}, line 1 is {','.join(header)!r}, {advice}")
    names, labels = [], []
    for number, row in rows:
        place = f"{path}, line {number}"
        if len(row) != len(header):
            raise UserError(f"{place} has {len(row)} fields, expected {len(header)}: correct it")
        names.append(row[header.index("relpath")])
        labels.append(lists.integer(place, "label", row[header.index("label")]))
    return np.array(names, dtype=str), np.array(labels, dtype=np.int64)
