"""Reader of data sets that a table of their images describes.

If the layout of a data set is not known beforehand, a table describes it::

    <root>/manifest.csv

    relpath,split,modality,camera,identity
    night1/cam1/000001.jpg,train,visible,1,-1
    night2/cam3/000752.png,test,infrared,3,17

``relpath`` is relative to the root; ``split`` is train or test; ``modality`` visible or infrared;
``camera`` a number; ``identity`` a number, or -1 for training images whose identity is unknown.
The order of the lines does not matter.
"""

from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from clustercontrast.data import lists
from clustercontrast.data.samples import MODALITIES, PARTS, ImageList, Listing
from clustercontrast.data.tree import Tree
from clustercontrast.files import UserError

FILE = "manifest.csv"
HEADER = ("relpath", "split", "modality", "camera", "identity")
SPLITS = ("train", "test")
RESAMPLING = {part: "bicubic" if part.startswith("train") else "lanczos" for part in PARTS}
"""By list; as in SYSU-MM01, training and testing resize with different filters (COMMON-5)."""
TURNED = True  # images may come from any camera: EXIF says which side is up


class Entry(NamedTuple):
    """One image of the table."""

    path: str
    part: str
    camera: int
    identity: int


def read(root: Path, source: str) -> Listing:
    """List the images of ``manifest.csv``, each list ascending by path as text.

    Args:
        root: folder that contains the table and the images.
        source: where the data set comes from, for messages.

    Returns:
        The four lists of ``PARTS``; identity -1 means unknown.

    Raises:
        UserError: the table is missing or malformed, or images it lists are.
    """
    tree = Tree(root)
    entries = _entries(tree, source)
    _check_files(tree, entries)
    return Listing({part: _images(part, entries) for part in PARTS})


def _entries(tree: Tree, source: str) -> list[Entry]:
    """The table, ascending by path; paths as they are on disk."""
    file = tree.root / FILE
    advice = (
        f"expected a table with the columns {', '.join(HEADER)}: write it, or correct --data-dir. "
        f"{source}"
    )
    (_, header), *rows = lists.table(file, advice) or [(1, [])]
    _check_header(file, header)
    found: dict[str, Entry] = {}
    for line, row in rows:
        entry = _entry(f"{file}, line {line}", row)
        entry = entry._replace(path=tree.find(entry.path) or entry.path)
        if entry.path in found:
            raise UserError(f"{file}, line {line} repeats {entry.path}: remove one of its lines")
        found[entry.path] = entry
    return [found[path] for path in sorted(found)]


def _check_header(file: Path, header: list[str]) -> None:
    if tuple(header) != HEADER:
        raise UserError(
            f"{file}, line 1 is {','.join(header)!r}, expected {','.join(HEADER)!r}: correct it"
        )


def _entry(place: str, row: list[str]) -> Entry:
    """One line of the table; ``place`` says which."""
    if len(row) != len(HEADER):
        raise UserError(f"{place} has {len(row)} fields, expected {','.join(HEADER)}: correct it")
    path, split, modality, camera, identity = row
    path = lists.posix(path)
    _check_path(place, path)
    for column, word, words in (("split", split, SPLITS), ("modality", modality, MODALITIES)):
        if word not in words:
            raise UserError(
                f"{place} has the {column} {word!r}, expected {' or '.join(words)}: correct it"
            )
    entry = Entry(
        path,
        f"{split}_{modality}",
        lists.integer(place, "camera", camera),
        lists.integer(place, "identity", identity),
    )
    if entry.identity < (-1 if split == "train" else 0):
        raise UserError(
            f"{place} has the identity {identity} in the {split} split, expected a number from 0, "
            "or -1 for an unknown identity of the train split: correct it"
        )
    return entry


def _check_path(place: str, path: str) -> None:
    pure = PurePosixPath(path)
    is_plain = pure.as_posix() == path and not pure.is_absolute()
    if not is_plain or ".." in pure.parts or path == ".":
        raise UserError(
            f"{place} has the relpath {path!r}, expected a plain path below the table's folder: "
            "correct it"
        )


def _check_files(tree: Tree, entries: list[Entry]) -> None:
    missing = [entry.path for entry in entries if tree.find(entry.path) is None]
    if missing:
        raise UserError(
            f"{tree.root / FILE} lists {missing[0]}, which is missing ({len(missing):,} of "
            f"{len(entries):,} images are): copy the images again or correct the table"
        )


def _images(part: str, entries: list[Entry]) -> ImageList:
    own = [entry for entry in entries if entry.part == part]
    table = np.array([(entry.identity, entry.camera) for entry in own], np.int64).reshape(-1, 2)
    paths = tuple(entry.path for entry in own)
    return ImageList(part.partition("_")[2], paths, table[:, 0], table[:, 1])
