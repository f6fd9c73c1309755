"""The files below a dataset's folder: what is an image, what is passed over, what a path means."""

import os
from collections.abc import Container, Iterator, Sequence
from functools import cache
from pathlib import Path, PurePath

from clustercontrast.files import UserError

LEFT_BEHIND = ("thumbs.db", "desktop.ini", "__macosx")
"""Names that systems leave behind in folders, besides those that start with a dot."""

CONVERTED = ("rgb_modify", "ir_modify")
"""Folders of images that the official programs copy under other names, beside the originals."""


def check_layout(
    root: Path, title: str, wanted: Sequence[str], landmark: str, expected: str, source: str
) -> None:
    """Stop unless a dataset's folders are there, pointing at them when they are one folder deeper.

    Args:
        root: the dataset's folder.
        title: name of the dataset.
        wanted: names of the folders in it.
        landmark: the one of them that tells where the dataset is.
        expected: what there should be, for the message.
        source: where the dataset comes from, for the message.

    Raises:
        UserError: a folder is missing.
    """
    if not root.is_dir():
        raise UserError(f"no folder {root}, expected {title} there (--data-dir): {source}")
    missing = [name for name in wanted if not (root / name).is_dir()]
    deeper = sorted(path.parent for path in root.glob(f"*/{landmark}") if path.is_dir())
    if missing and deeper:
        raise UserError(f"{root} has no {missing[0]}, but {deeper[0]} has: give that --data-dir")
    if missing:
        check_not_converted(root, title, expected)
        raise UserError(
            f"{root} has no {', '.join(missing)}, expected {expected}: copy {title} again or "
            f"correct --data-dir. {source}"
        )


def check_not_converted(root: Path, title: str, expected: str) -> None:
    """Stop at a folder that holds nothing but images which an official program has converted.

    Args:
        root: the dataset's folder, which lacks what there should be.
        title: name of the dataset.
        expected: what there should be, for the message.

    Raises:
        UserError: it is such a folder.
    """
    found = [name for name in CONVERTED if (root / name).is_dir()]
    if found:
        raise UserError(
            f"{root} holds images that an official program has converted ({', '.join(found)}), "
            f"without {expected}: give the folder of {title} as downloaded (--data-dir)"
        )


class Tree:
    """The folders below a root; links to files and folders are followed.

    Args:
        root: the dataset's folder.
        enters_all: refuse folders that cannot be read; else they are passed over.

    Attributes:
        root: likewise.
    """

    def __init__(self, root: Path, enters_all: bool = True) -> None:
        self.root, self._enters_all = Path(root), enters_all
        self._entries, self._by_ending = cache(self._read), cache(self._index)
        self._skipped: dict[str, None] = {}

    @property
    def skipped(self) -> tuple[str, ...]:
        """Paths that were passed over so far."""
        return tuple(self._skipped)

    def skip(self, path: str) -> None:
        """Remember a path that is passed over."""
        self._skipped[path] = None

    def names(self, place: str) -> list[str]:
        """Sorted names in a folder without those that systems leave behind.

        Args:
            place: the folder, relative to the root; one that does not exist is empty.

        Raises:
            UserError: the folder cannot be read.
        """
        found = []
        for name in sorted(self._entries(place)):
            if name.startswith(".") or name.lower() in LEFT_BEHIND:
                self.skip(_below(place, name))
            else:
                found.append(name)
        return found

    def images(self, place: str, ending: str) -> list[str]:
        """Sorted names in a folder that holds images of one kind and nothing else.

        Args:
            place: the folder, relative to the root.
            ending: of the names, such as ".jpg"; its case does not matter.

        Raises:
            UserError: there is something else.
        """
        names = self.names(place)
        for name in names:
            if not name.lower().endswith(ending):
                path = self.root / place / name
                raise UserError(f"{path} is not a {ending} image: remove it from the dataset")
        return names

    def folders(self, place: str, wanted: Container[str]) -> list[str]:
        """Sorted names of the folders in a place that are wanted; all else in it is passed over.

        Empty folders hold nothing that could be passed over.

        Args:
            place: the folder, relative to the root.
            wanted: names of folders.

        Raises:
            UserError: a folder cannot be read.
        """
        found = []
        for name in self.names(place):
            path, is_folder = _below(place, name), self._entries(place)[name]
            if is_folder and name in wanted:
                found.append(name)
            elif not is_folder or self._entries(path):
                self.skip(path)
        return found

    def every(self, place: str = "", above: tuple[str, ...] = ()) -> Iterator[str]:
        """Paths of all files in a folder and in those below it, relative to the root.

        A link that leads back to a folder above it is passed over.

        Args:
            place: the folder.
            above: real paths of the folders above.
        """
        above = (*above, os.path.realpath(self.root / place))
        for name in self.names(place):
            path = _below(place, name)
            if not self._entries(place)[name]:
                yield path
            elif os.path.realpath(self.root / path) in above:
                self.skip(f"{path} (a link that leads back)")
            else:
                yield from self.every(path, above)

    def find(self, path: str) -> str | None:
        """The path of a file as it is on disk, where the case of its ending may be another.

        Args:
            path: relative to the root, with forward slashes.

        Returns:
            The path; None if there is no such file.
        """
        place, _, name = path.rpartition("/")
        entries = self._entries(place)
        if name not in entries:
            name = self._by_ending(place).get(_small_ending(name), "")
        return None if entries.get(name, True) else _below(place, name)

    def _read(self, place: str) -> dict[str, bool]:
        """Name -> whether it is a folder, of all that is in a folder."""
        folder = self.root / place
        try:
            with os.scandir(folder) as entries:
                return {entry.name: _is_folder(entry) for entry in entries}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            if not self._enters_all:
                self.skip(f"{place or folder} ({error.strerror})")
                return {}
            raise UserError(f"cannot read {folder} ({error.strerror}): check its rights") from error

    def _index(self, place: str) -> dict[str, str]:
        """Name with its ending in small letters -> name, of all that is in a folder."""
        return {_small_ending(name): name for name in self._entries(place)}


def _is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder or leads to one; a link that leads nowhere does not."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _small_ending(name: str) -> str:
    ending = PurePath(name).suffix
    return name.removesuffix(ending) + ending.lower()


def _below(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name
