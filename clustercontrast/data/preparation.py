"""Datasets verified and written as prepared images: by a command, or when first needed."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from clustercontrast.data import custom, llcm, market, regdb, sysu, sysu02
from clustercontrast.data import folder as image_folder
from clustercontrast.data.decoding import Rules
from clustercontrast.data.images import INDEX, Prepared, open_prepared
from clustercontrast.data.places import command_of
from clustercontrast.data.samples import Listing
from clustercontrast.data.verify import RENDERED, facts, verify_counts, verify_split
from clustercontrast.data.writing import (
    ELSEWHERE,
    are_unchanged,
    check_outside,
    prepare,
    rows_of,
)
from clustercontrast.files import UserError, alone, read_json, say

READERS: dict[str, ModuleType] = {
    "sysu": sysu,
    "regdb": regdb,
    "sysu02": sysu02,
    "llcm": llcm,
    "custom": custom,
}
"""Datasets that methods are trained and tested on."""

SOURCES: dict[str, ModuleType] = {"market": market, "folder": image_folder}
"""Kinds of source images of transfer methods; they have the one list "source"."""


TWINS_NAMED = 5
"""Of the images that are in training and in test, this many are named."""


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
        intensities: see :class:`clustercontrast.data.decoding.Rules`; stored with the images, too.
    """

    dataset: str
    root: Path
    folder: Path
    size: tuple[int, int]
    reading: Callable[[Path], Listing] | None = None
    intensities: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        Rules(self.intensities)  # refuses what is no range, before anything is read

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
        table = self.root / getattr(self.reading, "keywords", {}).get("table", "manifest.csv")
        beside = table.parent if (table.parent / RENDERED).exists() else self.root
        return facts(beside, self.reader) | self._manner()

    def verify(self, allow_incomplete: bool = False, allow_leak: bool = False) -> dict[str, bool]:
        """Compare the images with what there should be, and training with test identities.

        Returns:
            Facts to be stored with the images: "complete", all numbers are as they should be, and
            "leak", test identities are in training images.

        Raises:
            UserError: images are missing or identities are in both parts, and it is not allowed.
        """
        if self.listing.skipped:
            first, number = self.listing.skipped[0], len(self.listing.skipped)
            files = "file" if number == 1 else "files"
            say(f"{self.root}: passed over {number:,} {files}, such as {first}")
        for note in self.listing.notes:
            say(note)
        counts = self.facts["counts"]
        warnings = verify_counts(self.listing, self.reader, counts, allow_incomplete)
        for warning in warnings:
            say(f"warning: {warning}")
        leak = verify_split(self.listing, allow_leak)
        if leak:
            say("warning: test identities are in training images: every report will say so")
        return {"complete": not warnings, "leak": leak}

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

    def write(
        self,
        workers: int,
        checked: dict[str, bool],
        present: Callable[[], Prepared | None],
        overwrite: bool,
    ) -> None:
        """Decode and resize the images in threads; earlier images of the dataset are replaced.

        Args:
            workers: threads.
            checked: what :meth:`verify` found.
            present: finds images that are good as they are, perhaps of another process by now.
            overwrite: write in any case, over images of another dataset, too.

        Raises:
            UserError: see :func:`clustercontrast.data.writing.prepare`; or the folder holds images
                of another dataset.
        """
        check_outside(self.root, self.folder)
        with alone(self.folder, say, ELSEWHERE):
            if overwrite or present() is None:
                if not overwrite:
                    self._check_free()
                self._write(workers, checked)

    def _check_free(self) -> None:
        try:
            shape = {"dataset": str, "source": str}
            held = read_json(self.folder / INDEX, shape)
        except UserError:  # none, or a damaged one: see the writing
            return
        if (held["dataset"], held["source"]) != (self.dataset, str(self.root.resolve())):
            raise UserError(
                f"{self.folder} holds images of {held['dataset']} from {held['source']}, not of "
                f"{self.root}: give another --cache-dir or --cache-root, or run "
                f"{command_of('prepare', self.dataset)} with --overwrite"
            )

    def _write(self, workers: int, checked: dict[str, bool]) -> None:
        number = sum(map(len, self.listing.lists.values()))
        shape = f"{self.size[0]}x{self.size[1]} pixels"
        say(f"{self.folder}: preparing {number:,} images of {self.root} at {shape}, once")
        twins = prepare(
            self.root,
            self.folder,
            self.dataset,
            self.listing,
            self.reader.RESAMPLING,
            self.size,
            workers,
            self.facts | checked,
            Rules(self.intensities, self.reader.TURNED),
        )
        for learned, tested in twins[:TWINS_NAMED]:
            say(f"warning: the training image {learned} and the test image {tested} are the same")
        if len(twins) > TWINS_NAMED:
            say(f"warning: {len(twins):,} images of the test are training images, too")
        if twins:
            say("every report will say so")

    def _manner(self) -> dict[str, Any]:
        """How the dataset is read if not as usual, as it comes back from the index."""
        unusual = {
            "reading": getattr(self.reading, "keywords", None),
            "intensities": self.intensities,
        }
        return json.loads(json.dumps({key: own for key, own in unusual.items() if own}))

    def _opened(self) -> Prepared | None:
        """A whole prepared folder of this dataset, size and way of reading; None for any other."""
        try:
            prepared = open_prepared(self.folder, self.dataset)
        except UserError as error:
            if self.folder.exists():
                say(f"warning: {error}; this is done now")
            return None
        alike = (prepared.height, prepared.width) == self.size
        manner = {k: v for k, v in prepared.facts.items() if k in ("reading", "intensities")}
        return prepared if alike and manner == self._manner() else None

    def _shows_dataset(self, prepared: Prepared) -> bool:
        """Whether the files that lie in the dataset's folder are those that were prepared."""
        lists = self.listing.lists
        return (
            prepared.keys() == lists.keys()
            and prepared.rows == rows_of(self.listing)
            and all(prepared[name].index.is_like(images) for name, images in lists.items())
            and all(
                are_unchanged(
                    self.root,
                    images.paths,
                    (prepared.sizes[name], prepared.checksums[name]),
                    prepared.begun,
                )
                for name, images in lists.items()
            )
        )


def ensure(
    dataset: str,
    root: Path,
    folder: Path,
    size: tuple[int, int],
    read: Callable[[Path], Listing] | None = None,
    workers: int | None = None,
    allow_incomplete: bool = False,
    allow_leak: bool = False,
    intensities: tuple[float, float] | None = None,
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
        allow_leak: accept test identities in training images.
        intensities: see :class:`clustercontrast.data.decoding.Rules`.
        overwrite: write the images anew in any case.

    Raises:
        UserError: the images have to be written, and the dataset is missing, incomplete or damaged,
            or ``folder`` is something else.
    """
    wanted = Preparation(dataset, Path(root), Path(folder), size, read, intensities)
    prepared = None if overwrite else wanted.known()
    if prepared is not None:
        return prepared
    checked = wanted.verify(allow_incomplete, allow_leak)
    wanted.write(workers or os.cpu_count() or 1, checked, wanted.known, overwrite)
    return open_prepared(wanted.folder, dataset)
