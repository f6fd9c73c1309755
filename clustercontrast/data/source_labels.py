"""Pseudo labels of the source images: the file that stage 0 of CMAM-UDA leaves.

A ``.npz`` with, for N images::

    relpath  (N,) text, relative to the dataset's folder, forward slashes
    split    (N,) text, first folder of the path, empty without one
    cam      (N,) int32 cameras, -1 unknown
    label    (N,) int32 classes 0 ... C-1, -1 for images without one
    meta     JSON text: how the labels were made, of which images, and how many classes there are

Rows are joined by path, never by position.
"""

import csv
import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np

from clustercontrast.data.samples import ImageList
from clustercontrast.files import UserError, atomic

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
    rows, labels = _joined(path, _read_npz(path), images)
    if (rows < 0).any():
        raise UserError(
            f"{path} holds labels of other images: it has {np.count_nonzero(rows >= 0):,} of the "
            f"{len(images):,} source images; make the labels again, or give the images it was "
            "made of"
        )
    return compacted(labels, smallest=1)


def import_labels(path: Path, images: ImageList) -> np.ndarray:
    """Labels of ``images`` made elsewhere (``--label-method import``).

    Args:
        path: ``.npz`` with arrays ``relpath`` and ``label``, or ``.csv`` with these columns.
        images: N images.

    Returns:
        (N,) int64 classes 0 ... C-1 without gaps; -1 for images that the file does not know or
        calls negative, and for images that are alone in their cluster.

    Raises:
        UserError: the file is missing or damaged, or knows none of the images.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"--source-labels {path}: there is no such file; correct the path")
    content = _read_csv(path) if path.suffix == ".csv" else _read_npz(path)
    rows, labels = _joined(path, content, images)
    if (rows < 0).all():
        raise UserError(
            f"{path} has none of the {len(images):,} source images: its relpath must be relative "
            f"to the folder of the images, such as {images.paths[0]}"
        )
    return compacted(labels, smallest=2)


def compacted(labels: np.ndarray, smallest: int) -> np.ndarray:
    """Labels (N,) renumbered 0 ... C-1 in order; clusters below ``smallest`` images get -1."""
    clusters, member_of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    is_kept = (clusters >= 0) & (sizes >= smallest)
    return np.where(is_kept, np.cumsum(is_kept) - 1, -1)[member_of]


def fingerprint(images: ImageList) -> dict:
    """What tells image lists apart: their number and a hash of the sorted names."""
    names = "\n".join(sorted(images.paths)).encode()
    return {"images": len(images), "names": hashlib.sha256(names).hexdigest()}


def _first_folder(name: str) -> str:
    folder, separator, _ = name.partition("/")
    return folder if separator else ""


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Paths and labels of a file."""
    try:
        with np.load(path) as content:
            return content["relpath"], content["label"]
    except FileNotFoundError as error:
        raise UserError(f"there are no labels {path}: run --stages auxiliary first") from error
    except (OSError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"cannot read the labels {path} ({error}): it needs the arrays relpath and label; make "
            "it again"
        ) from error


def _read_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            pairs = [(row["relpath"], int(row["label"])) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(
            f"cannot read the labels {path} ({error}): it needs a first line 'relpath,label' and "
            "whole numbers as labels"
        ) from error
    return np.array([name for name, _ in pairs]), np.array([y for _, y in pairs], dtype=np.int64)


def _joined(
    path: Path, content: tuple[np.ndarray, np.ndarray], images: ImageList
) -> tuple[np.ndarray, np.ndarray]:
    """Row of every image in the file, -1 for unknown ones, and its label (N,) int64."""
    names, labels = content
    if names.shape != labels.shape or names.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(
            f"{path} is damaged: it has {names.shape} relpath and {labels.dtype} {labels.shape} "
            "label, expected as many whole numbers as paths"
        )
    place = {name: row for row, name in enumerate(names.tolist())}
    if len(place) < len(names):
        raise UserError(f"{path} names {len(names) - len(place)} images more than once: correct it")
    rows = np.array([place.get(name, -1) for name in images.paths], dtype=np.int64)
    return rows, np.append(labels.astype(np.int64), -1)[rows]
