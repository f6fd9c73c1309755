"""Prepared images: arrays on disk, checked when opened, on the device when they fit.

Images are decoded and resized once (:mod:`clustercontrast.data.writing`). Resizing is the first
operation of every transform, so a prepared array changes no result (COMMON-5).
"""

import os
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from clustercontrast.data.places import command_of, prepared_folder
from clustercontrast.data.provenance import MARKS, Provenance
from clustercontrast.data.samples import MODALITIES, PARTS, ImageList
from clustercontrast.data.verification import verify
from clustercontrast.files import UserError, check_shape, read_json

VERSION = 3
INDEX = "index.json"
LIST = {"modality": frozenset(MODALITIES), "paths": [str], "identities": [int], "cameras": [int],
        "sizes": [int], "files": [int], "checksums": [int]}  # fmt: skip
SHAPE = {
    "dataset": str,
    "source": str,
    "begun": int,
    "height": int,
    "width": int,
    "facts": dict.fromkeys(MARKS, bool),
    "trials": {...: {...: list}},
    "lists": {...: LIST},
    "digest": str,
}
"""What has to be in the index of a prepared folder."""
# Training needs most of the device for activations, and the host is shared with other programs.
DEVICE_SHARE = 0.25
HOST_SHARE = 0.5


class ImageArray:
    """The images of one list as pixels, row i belonging to path i.

    Attributes:
        index: the :class:`ImageList`.
        pixels: (N, H, W, 3) uint8 memory map; writing to it does not reach the disk.
        device: where :meth:`gather` and :meth:`chunks` deliver.
        residence: where the pixels are read from: "device", "pinned" or "map".
        was_read: whether any pixels have been asked for since it was last set to False.
    """

    def __init__(self, images: ImageList, pixels: np.ndarray):
        self.index = images
        self.pixels = pixels
        self.device = torch.device("cpu")
        self.residence = "map"
        self.was_read = False
        self._source = torch.from_numpy(pixels)

    def __len__(self) -> int:
        return len(self.index)

    def place(
        self, device: torch.device, budget_bytes: float | None = None, pins: bool = True
    ) -> str:
        """Choose where the pixels live from now on; what is delivered does not depend on it.

        Args:
            device: where batches are wanted. On the CPU the memory map is read without a copy.
            budget_bytes: device memory this array may take; by default a quarter of what is free.
            pins: host memory may be taken where the device's does not suffice.

        Returns:
            "device" (all of it there), "pinned" (page-locked host memory) or "map" (the disk).
        """
        self.device = torch.device(device)
        before, self.residence = self.residence, self._choose_residence(budget_bytes, pins)
        if before == self.residence == "pinned":
            return "pinned"  # a copy of its own already
        self._source = torch.from_numpy(self.pixels)
        if self.residence == "device":
            self._source = self._source.to(self.device)
        elif self.residence == "pinned":
            self._source = self._source.pin_memory()
        return self.residence

    def subset(self, rows: np.ndarray) -> "ImageArray":
        """The images at ``rows`` (M,) int64 as an array of their own, copied into memory."""
        return ImageArray(self.index.subset(rows), self.pixels[rows])

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """Images at ``rows`` (B,) int64 on the CPU: (B, H, W, 3) uint8 on the device."""
        self.was_read = True
        if self.residence == "device":
            return self._source[rows.to(self.device, non_blocking=True)]
        shape = (len(rows), *self._source.shape[1:])
        staged = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        # NumPy copies whole images; torch.index_select into a given tensor is 500 times slower.
        np.take(self._source.numpy(), rows.numpy(), axis=0, out=staged.numpy())
        return staged.to(self.device, non_blocking=True)

    def chunks(self, size: int, rows: torch.Tensor | None = None) -> Iterator[torch.Tensor]:
        """All images, or those at ``rows`` (M,) int64, in order: (up to size, H, W, 3) uint8."""
        if rows is not None:
            yield from map(self.gather, torch.as_tensor(rows).split(size))
            return
        self.was_read = True
        for part in self._source.split(size):
            yield part.to(self.device, non_blocking=True)

    def _choose_residence(self, budget_bytes: float | None, pins: bool) -> str:
        if self.device.type != "cuda":
            return "map"
        if budget_bytes is None:
            budget_bytes = DEVICE_SHARE * torch.cuda.mem_get_info(self.device)[0]
        if self.pixels.nbytes <= budget_bytes:
            return "device"
        if not pins:
            return "map"
        free_host = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        is_there = self.residence == "pinned"
        return "pinned" if is_there or self.pixels.nbytes <= HOST_SHARE * free_host else "map"


class Prepared(Mapping[str, ImageArray]):
    """A prepared folder: its arrays by name and what is known about them.

    Attributes:
        folder: where it is.
        dataset: its name, such as "sysu".
        source: the dataset's folder when the images were prepared, absolute.
        begun: when that was, nanoseconds since 1970.
        height: of every image, pixels.
        width: of every image, pixels.
        facts: see :func:`clustercontrast.data.verify.facts`.
        sizes: (N,) int64 bytes of every image's file when it was prepared, by list.
        checksums: (N,) int64 CRC-32 of these files, by list.
        provenance: what must be known of figures on these images.
        rows: trial as text -> part -> [name of an array, rows]; empty when the arrays are the
            parts.

    Raises:
        UserError: an array is missing or is not the one that was prepared.
    """

    def __init__(self, folder: Path, index: dict):
        self.folder = Path(folder)
        self.dataset = index["dataset"]
        self.source = index["source"]
        self.begun = index["begun"]
        self.height = index["height"]
        self.width = index["width"]
        self.facts = index["facts"]
        lists = index["lists"].items()
        self.sizes = {name: np.array(entry["sizes"], np.int64) for name, entry in lists}
        self.checksums = {name: np.array(entry["files"], np.int64) for name, entry in lists}
        marks = {name: self.facts[name] for name in MARKS}
        self.provenance = Provenance(self.dataset, index["digest"], **marks)
        self.rows = index["trials"]
        self._arrays = {name: self._open(name, entry) for name, entry in lists}
        pixels = {name: array.pixels for name, array in self._arrays.items()}
        try:
            verify(self.folder, index, pixels)
        except UserError as error:
            raise UserError(f"{error}: {_again(self.dataset)}") from error

    def parts(self, trial: int | None = None) -> dict[str, ImageArray]:
        """Image arrays of ``PARTS``, of one trial where the dataset has trials.

        A trial's arrays are copies in memory: RegDB has 1 GB per trial at 288x144.

        Raises:
            UserError: no such trial, or none was named.
        """
        if trial is None and self.rows:
            raise UserError(f"{self.folder} has {len(self.rows)} trials: name one with --trial")
        if trial is None:
            return {part: self[part] for part in PARTS}
        if str(trial) not in self.rows:
            raise UserError(f"{self.folder} has no trial {trial}: it has 1 to {len(self.rows)}")
        rows = self.rows[str(trial)]
        return {part: self[rows[part][0]].subset(np.array(rows[part][1])) for part in PARTS}

    @property
    def files(self) -> dict[str, list[tuple[int, int]]]:
        """(bytes, CRC-32) of every image's file when it was prepared, by list."""
        return {name: self._files(name, slice(None)) for name in self}

    def contents(self, part: str, trial: int | None) -> set[tuple[int, int]]:
        """(bytes, CRC-32) of the files of one of ``PARTS``, of a trial where there are trials."""
        if trial is None:
            return set(self._files(part, slice(None)))
        return set(self._files(*self.rows[str(trial)][part]))

    def _files(self, name: str, rows: Sequence[int] | slice) -> list[tuple[int, int]]:
        columns = (known[name][rows].tolist() for known in (self.sizes, self.checksums))
        return list(zip(*columns, strict=True))

    def __getitem__(self, name: str) -> ImageArray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def _open(self, name: str, entry: dict) -> ImageArray:
        path, again = self.folder / f"{name}.npy", _again(self.dataset)
        identities, cameras = (np.array(entry[key], np.int64) for key in ("identities", "cameras"))
        tracks = np.array(entry["tracks"], np.int64) if "tracks" in entry else None
        images = ImageList(entry["modality"], entry["paths"], identities, cameras, tracks)
        expected = (len(images), self.height, self.width, 3)
        try:
            # Copy on write: torch refuses to share memory that cannot be written.
            pixels = np.load(path, mmap_mode="c")
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is missing or damaged ({error}): {again}") from error
        if pixels.shape != expected or pixels.dtype != np.uint8:
            raise UserError(
                f"{path} holds {pixels.dtype} {pixels.shape}, but its index says uint8 {expected}: "
                f"{again}"
            )
        return ImageArray(images, pixels)


def _again(dataset: str) -> str:
    return f"run {command_of('prepare', dataset)} again"


def open_sized(args: Namespace, dataset: str) -> Prepared:
    """Open the prepared images that ``data_dir``, ``cache_dir``, ``height`` and ``width`` name.

    Raises:
        UserError: they are not there, or of another size.
    """
    folder = prepared_folder(args, dataset)
    prepared = open_prepared(folder, dataset)
    if (prepared.height, prepared.width) != (args.height, args.width):
        raise UserError(
            f"{folder} holds images of {prepared.height}x{prepared.width} pixels, not "
            f"{args.height}x{args.width}: give another --cache-dir, or --height and --width"
        )
    return prepared


def open_prepared(folder: Path, dataset: str) -> Prepared:
    """Open the prepared images of a dataset.

    Its arrays are read when they may have changed since they were last compared with their
    checksums (:mod:`clustercontrast.data.verification`), and else not.

    Raises:
        UserError: the folder is missing, of another version or dataset, or damaged.
    """
    folder = Path(folder)
    if not (folder / INDEX).exists():
        command = command_of("prepare", dataset)
        raise UserError(f"no prepared images in {folder}: run {command} first")
    index = read_json(folder / INDEX, remedy=_again(dataset))
    if index.get("version") != VERSION:
        raise UserError(
            f"{folder} has format version {index.get('version')}, expected {VERSION}: "
            f"{_again(dataset)}"
        )
    check_shape(folder / INDEX, index, SHAPE, _again(dataset))
    if index["dataset"] != dataset:
        raise UserError(
            f"{folder} holds images of {index['dataset']}, not of {dataset}: correct --data-dir"
        )
    return Prepared(folder, index)
