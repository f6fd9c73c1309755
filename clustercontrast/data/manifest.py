"""Reader of datasets that a table of their images describes.

If the layout of a dataset is not known beforehand, a table describes it::

    <root>/manifest.csv

    path,split,modality,camera,identity
    night1/cam1/000001.jpg,train,visible,1,-1
    night2/cam3/000752.png,test,infrared,3,17

Columns are found by their names, in any order.  ``path`` (or ``relpath``) is relative to the root;
``split`` is train or test; ``modality`` visible or infrared; ``camera`` a number; ``identity`` a
number, or -1 for training images whose identity is unknown.  The order of the lines does not
matter.

A user's own table (``own``) may say less, and say it in words: identity and camera may be missing
or empty, or words in place of numbers, and paths may be absolute.  It may also have a column
``track`` (or ``group``), the same for images of one person in one walk.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from clustercontrast.data import lists
from clustercontrast.data.samples import (
    MODALITIES,
    PARTS,
    ImageList,
    Listing,
    known_people,
    number_of_people,
)
from clustercontrast.data.tree import Tree
from clustercontrast.files import UserError

FILE = "manifest.csv"
SPELLINGS = {
    "path": ("path", "relpath"),
    "split": ("split",),
    "modality": ("modality",),
    "camera": ("camera",),
    "identity": ("identity",),
    "track": ("track", "group"),
}
"""Column -> its names in a table."""
NEEDED = ("path", "split", "modality", "camera", "identity")
NEEDED_OF_OWN = NEEDED[:3]
SPLITS = ("train", "test")
UNKNOWN = ("", "-1")
"""Fields that say nothing of an identity, a camera or a track."""
RESAMPLING = {part: "bicubic" if part.startswith("train") else "lanczos" for part in PARTS}
"""By list; as in SYSU-MM01, training and testing resize with different filters (COMMON-5)."""
TURNED = True  # images may come from any camera: EXIF says which side is up


class Entry(NamedTuple):
    """One image of the table, as it is written there."""

    line: int
    path: str
    split: str
    modality: str
    camera: str
    identity: str
    track: str


def read(root: Path, source: str, table: str = FILE, own: bool = False) -> Listing:
    """List the images of a table, each list ascending by path as text.

    Args:
        root: folder that the paths of the table start from.
        source: where the dataset comes from, for messages.
        table: the table, relative to ``root``.
        own: the table of a user, see above.  Words are numbered from 1 in the order of the text,
            hence whatever the order of the lines; a column of numbers alone is taken as it is.

    Returns:
        The four lists of ``PARTS``; identity -1 means unknown.

    Raises:
        UserError: the table is missing or malformed, or images it lists are; of a user's own table
            also: no training image of a modality, or test identities none of which is in both.
    """
    tree, file = Tree(root), Path(root) / table
    columns, entries = _entries(tree, file, source, own)
    _check_files(tree, file, entries)
    numbers = {
        name: _numbers(file, name, entries) for name in ("identity", "camera") if name in columns
    }
    if own and any(entry.track not in UNKNOWN for entry in entries):
        _check_tracks(file, entries)
        numbers["track"] = _numbers(file, "track", entries)
    found = {part: _images(part, entries, numbers) for part in PARTS}
    if not own:
        return Listing(found)
    _check_parts(file, found)
    return Listing(found, notes=(*_unread(file, columns), *_notes(found, entries, numbers)))


# --- lines ---


def _entries(tree: Tree, file: Path, source: str, own: bool) -> tuple[dict[str, int], list[Entry]]:
    """Columns of the table, and its lines ascending by path; paths as they are on disk."""
    needed = NEEDED_OF_OWN if own else NEEDED
    advice = f"expected a table with the columns {', '.join(needed)}: write it, or correct "
    advice += f"{'--manifest' if own else '--data-dir'}. {source}"
    (_, header), *rows = lists.table(file, advice) or [(1, [])]
    columns = _columns(f"{file}, line 1", header, needed)
    found: dict[str, Entry] = {}
    for line, row in rows:
        place = f"{file}, line {line}"
        if len(row) != len(header):
            raise UserError(f"{place} has {len(row)} fields, expected {len(header)}: correct it")
        entry = _entry(place, line, {name: row[at] for name, at in columns.items()}, own)
        path = _within(tree.root, entry.path)
        entry = entry._replace(path=tree.find(path) or path)
        if entry.path in found:
            raise UserError(f"{place} repeats {entry.path}: remove one of its lines")
        found[entry.path] = entry
    return columns, [found[path] for path in sorted(found)]


def _columns(place: str, header: Sequence[str], needed: Sequence[str]) -> dict[str, int]:
    """Columns of the header -> position; those that are understood under their own name."""
    known = {spelling: name for name, own in SPELLINGS.items() for spelling in own}
    names = [known.get(word.lower(), word) for word in header]
    twice = [name for name in SPELLINGS if names.count(name) > 1]
    missing = [name for name in needed if name not in names]
    if twice or missing:
        wrong = f"has two columns {twice[0]}" if twice else f"has no column {missing[0]}"
        raise UserError(
            f"{place} {wrong}: {','.join(header)!r}, expected the columns {', '.join(needed)}, "
            "in any order: correct it"
        )
    return {name: position for position, name in enumerate(names)}


def _entry(place: str, line: int, row: Mapping[str, str], own: bool) -> Entry:
    """One line of the table; ``place`` says which."""
    path = lists.posix(row["path"])
    _check_path(place, path, own)
    for column, words in (("split", SPLITS), ("modality", MODALITIES)):
        if row[column].lower() not in words:
            raise UserError(
                f"{place} has the {column} {row[column]!r}, expected {' or '.join(words)}: "
                "correct it"
            )
    split, modality = row["split"].lower(), row["modality"].lower()
    camera, identity, track = (row.get(name, "") for name in ("camera", "identity", "track"))
    if not own:
        lists.integer(place, "camera", camera)
        if lists.integer(place, "identity", identity) < (-1 if split == "train" else 0):
            raise UserError(
                f"{place} has the identity {identity} in the {split} split, expected a number from "
                "0, or -1 for an unknown identity of the train split: correct it"
            )
    return Entry(line, path, split, modality, camera, identity, track)


def _check_path(place: str, path: str, own: bool) -> None:
    pure = PurePosixPath(path)
    is_plain = pure.as_posix() == path and (own or not pure.is_absolute())
    if not is_plain or ".." in pure.parts or path == ".":
        other = ", or an absolute one" if own else ""
        raise UserError(
            f"{place} has the path {path!r}, expected a plain path below the table's folder"
            f"{other}: correct it"
        )


def _within(root: Path, path: str) -> str:
    """An absolute path below the root as one that starts there: it stays right when both move."""
    pure = PurePosixPath(path)
    if not pure.is_absolute():
        return path
    above = [place for place in (root.absolute(), root.resolve()) if pure.is_relative_to(place)]
    return pure.relative_to(above[0]).as_posix() if above else path


# --- the table as a whole ---


def _check_files(tree: Tree, file: Path, entries: Sequence[Entry]) -> None:
    missing = [entry.path for entry in entries if tree.find(entry.path) is None]
    if missing:
        raise UserError(
            f"{file} lists {missing[0]}, which is missing ({len(missing):,} of {len(entries):,} "
            "images are): copy the images again or correct the table"
        )


def _check_tracks(file: Path, entries: Sequence[Entry]) -> None:
    """Refuse a track of more than one person, or in more than one place."""
    first: dict[str, Entry] = {}
    for entry in entries:
        if entry.track in UNKNOWN:
            continue
        other = first.setdefault(entry.track, entry)
        for column in ("modality", "split", "identity", "camera"):
            one, two = getattr(other, column), getattr(entry, column)
            if one != two:
                raise UserError(
                    f"{file}: images of the track {entry.track!r} differ in their {column}: "
                    f"{one!r} in line {other.line}, {two!r} in line {entry.line}: correct it, or "
                    "give them tracks of their own"
                )


def _numbers(file: Path, column: str, entries: Sequence[Entry]) -> np.ndarray:
    """(N,) int64 numbers of a column, -1 for fields that say nothing."""
    fields = [getattr(entry, column) for entry in entries]
    if not _are_words(fields):
        numbers = [int(text) if text not in UNKNOWN else -1 for text in fields]
        wrong = next((i for i, number in enumerate(numbers) if number < -1), None)
        if wrong is not None:
            raise UserError(
                f"{file}, line {entries[wrong].line} has the {column} {fields[wrong]}, expected a "
                "number from 0, or -1 where it is unknown: correct it"
            )
        return np.array(numbers, np.int64)
    known = _names(fields)
    return np.array([known.get(text, -1) for text in fields], np.int64)


def _are_words(fields: Sequence[str]) -> bool:
    """Whether any field of a column that says something is no number."""
    return not all(lists.INTEGER.fullmatch(text) for text in fields if text not in UNKNOWN)


def _names(fields: Sequence[str]) -> dict[str, int]:
    """Words of a column with their numbers."""
    return {text: n for n, text in enumerate(sorted({*fields} - {*UNKNOWN}), start=1)}


def _images(part: str, entries: Sequence[Entry], numbers: Mapping[str, np.ndarray]) -> ImageList:
    rows = [i for i, entry in enumerate(entries) if f"{entry.split}_{entry.modality}" == part]
    unknown = np.full(len(rows), -1, np.int64)
    identities, cameras = (
        numbers[name][rows] if name in numbers else unknown for name in ("identity", "camera")
    )
    tracks = numbers["track"][rows] if "track" in numbers else None
    paths = tuple(entries[row].path for row in rows)
    return ImageList(part.partition("_")[2], paths, identities, cameras, tracks)


# --- of a user's own table ---


def _check_parts(file: Path, found: Mapping[str, ImageList]) -> None:
    empty = [name for name in MODALITIES if not len(found[f"train_{name}"])]
    if empty:
        raise UserError(
            f"{file} has no {empty[0]} training image: add lines with the split train and the "
            f"modality {empty[0]}"
        )
    people = [set(known_people(found[f"test_{name}"]).tolist()) for name in MODALITIES]
    if any(people) and not set.intersection(*people):
        raise UserError(
            f"{file}: no identity has both visible and infrared test images, there is nothing to "
            "search for: correct the table, or leave these identities empty, which trains without "
            "a test"
        )


def _unread(file: Path, columns: Mapping[str, int]) -> list[str]:
    """A line on columns that are not understood."""
    names = [name or "one without a name" for name in columns if name not in SPELLINGS]
    if not names:
        return []
    known = ", ".join(" or ".join(own) for own in SPELLINGS.values())
    return [f"{file}: not read are the columns {', '.join(names)} (known: {known})"]


def _notes(
    found: Mapping[str, ImageList], entries: Sequence[Entry], numbers: Mapping[str, np.ndarray]
) -> list[str]:
    """Lines on what the table says of the images besides their number."""
    notes = []
    for split in SPLITS:
        own = [found[f"{split}_{name}"] for name in MODALITIES]
        unknown = sum(int((images.identities < 0).sum()) for images in own)
        tracks = sum(images.number_of_tracks for images in own)
        notes.append(
            f"{split}: {number_of_people(*own):,} identities, {unknown:,} images of unknown "
            f"identity, {tracks:,} tracks"
        )
    cameras = [entry.camera for entry in entries]
    if "camera" in numbers and _are_words(cameras):
        shown = ", ".join(f"{number} {name}" for name, number in _names(cameras).items())
        notes.append(f"cameras are numbered: {shown}")
    return notes
