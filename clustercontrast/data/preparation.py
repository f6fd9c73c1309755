"""Datasets verified and written as prepared images: by a command, or when first needed."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from clustercontrast.data import folder as image_folder
from clustercontrast.data import llcm, market, regdb, sysu, sysu02
from clustercontrast.data.images import ELSEWHERE, Prepared, open_prepared, prepare, sizes_of
from clustercontrast.data.samples import Listing
from clustercontrast.data.verify import facts, verify_counts
from clustercontrast.files import UserError, alone, say

READERS: dict[str, ModuleType] = {"sysu": sysu, "regdb": regdb, "sysu02": sysu02, "llcm": llcm}
"""Datasets that methods are trained and tested on."""

SOURCES: dict[str, ModuleType] = {"market": market, "folder": image_folder}
"""Kinds of source images of transfer methods; they have the one list "source"."""


@dataclass(frozen=True)
class Preparation:
    """A dataset where it lies, and the folder that its prepared images belong in.

    Attributes:
        dataset: a key of ``READERS`` or ``SOURCES``.
        root: the dataset's folder.
        folder: of the prepared images.
        size: (height, width) of the prepared images, pixels.
        reading: reads ``root`` instead of the reader's own ``read``; the keyword arguments of a
            ``functools.partial`` are stored with the images, which belong to them.
    """

    dataset: str
    root: Path
    folder: Path
    size: tuple[int, int]
    reading: Callable[[Path], Listing] | None = None

    @property
    def reader(self) -> ModuleType:
        """The module that knows the layout."""
        return (READERS | SOURCES)[self.dataset]

    @cached_property
    def listing(self) -> Listing:
        """What lies in the dataset's folder; read when first asked for.

        Raises:
            UserError: it is not there, or not in its layout.
        """
        return (self.reading or self.reader.read)(self.root)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What is known of the dataset beforehand, and how it is read if not as usual."""
        reading = self._reading()
        return facts(self.root, self.reader) | ({"reading": reading} if reading else {})

    @cached_property
    def marks(self) -> dict[str, bool]:
        """Whether the images are complete, and whether test identities are trained on."""
        counts = self.facts["counts"]
        differing = verify_counts(self.listing, self.reader, counts, allow_incomplete=True)
        return {"complete": not differing, "leak": False}

    def verify(self, allow_incomplete: bool = False) -> None:
        """Compare the number of images with what there should be.

        Raises:
            UserError: images are missing and ``allow_incomplete`` is off.
        """
        counts = self.facts["counts"]
        for warning in verify_counts(self.listing, self.reader, counts, allow_incomplete):
            say(f"warning: {warning}")

    def listed(self) -> Prepared | None:
        """The prepared images if they are whole and show what lies in the dataset's folder."""
        prepared = self._opened()
        return prepared if prepared and self._shows_dataset(prepared) else None

    def known(self) -> Prepared | None:
        """The prepared images if they are whole and were made from the dataset's folder.

        The folder is read only if they were made from another one, as when both were moved.  If the
        dataset's images no longer exist, the prepared ones are accepted.
        """
        prepared = self._opened()
        if prepared is None:
            return None
        same = not self.root.is_dir() or prepared.source == str(self.root.resolve())
        return prepared if same or self._shows_dataset(prepared) else None

    def write(self, workers: int, is_wanted: Callable[[], bool]) -> bool:
        """Decode and resize the images in ``workers`` threads; an earlier folder is replaced.

        Args:
            workers: threads.
            is_wanted: asked when no other process is at work on the folder.

        Returns:
            Whether it was wanted.

        Raises:
            UserError: see :func:`clustercontrast.data.images.prepare`.
        """
        with alone(self.folder, say, ELSEWHERE):
            if not is_wanted():
                return False
            self._write(workers)
            return True

    def _write(self, workers: int) -> None:
        number = sum(map(len, self.listing.lists.values()))
        shape = f"{self.size[0]}x{self.size[1]} pixels"
        say(f"{self.folder}: preparing {number:,} images of {self.root} at {shape}, once")
        prepare(
            self.root,
            self.folder,
            self.dataset,
            self.listing,
            self.reader.RESAMPLING,
            self.size,
            workers,
            self.facts | self.marks,
        )

    def _reading(self) -> dict[str, Any]:
        """Keyword arguments of ``reading``, as they come back from the index."""
        return json.loads(json.dumps(getattr(self.reading, "keywords", {})))

    def _opened(self) -> Prepared | None:
        """A whole prepared folder of this dataset, size and way of reading; None for any other."""
        try:
            prepared = open_prepared(self.folder, self.dataset)
        except UserError as error:
            if self.folder.exists():
                say(f"warning: {error}; this is done now")
            return None
        alike = (prepared.height, prepared.width) == self.size
        return prepared if alike and prepared.facts.get("reading", {}) == self._reading() else None

    def _shows_dataset(self, prepared: Prepared) -> bool:
        """Whether the files that lie in the dataset's folder are those that were prepared."""
        lists = self.listing.lists
        return (
            prepared.keys() == lists.keys()
            and len(prepared.trials) == len(self.listing.trials)
            and all(prepared[name].index.is_like(images) for name, images in lists.items())
            and all(prepared.sizes[n] == sizes_of(self.root, i.paths) for n, i in lists.items())
        )


def ensure(
    dataset: str,
    root: Path,
    folder: Path,
    size: tuple[int, int],
    read: Callable[[Path], Listing] | None = None,
    workers: int | None = None,
    allow_incomplete: bool = False,
    overwrite: bool = False,
) -> Prepared:
    """Open prepared images, after verifying and writing them where that has not been done.

    Existing prepared images are opened without reading the dataset, which may be missing.  A folder
    that is damaged, or of another size, dataset or source, is replaced.

    Args:
        dataset: a key of ``READERS`` or ``SOURCES``.
        root: the dataset's folder.
        folder: of the prepared images.
        size: (height, width), pixels.
        read: reads ``root`` instead of the reader's own ``read``, such as a ``functools.partial``
            of it with JSON-like keyword arguments.
        workers: threads that decode; all cores by default.
        allow_incomplete: accept missing images.
        overwrite: write the images anew in any case.

    Raises:
        UserError: the images have to be written, and the dataset is missing, incomplete or damaged,
            or ``folder`` is something else.
    """
    wanted = Preparation(dataset, Path(root), Path(folder), size, read)
    prepared = None if overwrite else wanted.known()
    if prepared is not None:
        return prepared
    wanted.verify(allow_incomplete)
    # Another process may have written them, by now.
    wanted.write(workers or os.cpu_count() or 1, lambda: overwrite or wanted.known() is None)
    return open_prepared(wanted.folder, dataset)
