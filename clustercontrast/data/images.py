"""Images decoded and resized once: arrays on disk, resident on the device when they fit.

Resizing is the first operation of every transform, so a prepared array changes no result
(COMMON-5). A prepared folder holds one ``<list>.npy`` per image list and ``index.json``; it is
written under another name and renamed when complete, so an interrupted one never looks complete.
"""

import functools
import io
import os
import shutil
import zlib
from argparse import Namespace
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from clustercontrast.data.places import command_of, prepared_folder
from clustercontrast.data.provenance import Provenance
from clustercontrast.data.samples import PARTS, ImageList, Listing
from clustercontrast.files import UserError, read_json, write_error, write_json

VERSION = 2
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
IMAGES_AT_ONCE = 256  # bounds what waits in memory between decoding and writing
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
    """

    def __init__(self, images: ImageList, pixels: np.ndarray):
        self.index = images
        self.pixels = pixels
        self.device = torch.device("cpu")
        self.residence = "map"
        self._source = torch.from_numpy(pixels)

    def __len__(self) -> int:
        return len(self.index)

    def place(self, device: torch.device, budget_bytes: int | None = None) -> str:
        """Choose where the pixels live from now on; what is delivered does not depend on it.

        Args:
            device: where batches are wanted. On the CPU the memory map is read without a copy.
            budget_bytes: device memory this array may take; by default a quarter of what is free.

        Returns:
            "device" (all of it there), "pinned" (page-locked host memory) or "map" (the disk).
        """
        self.device = torch.device(device)
        self._source = torch.from_numpy(self.pixels)
        self.residence = self._choose_residence(budget_bytes)
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
        for part in self._source.split(size):
            yield part.to(self.device, non_blocking=True)

    def _choose_residence(self, budget_bytes: int | None) -> str:
        if self.device.type != "cuda":
            return "map"
        if budget_bytes is None:
            budget_bytes = DEVICE_SHARE * torch.cuda.mem_get_info(self.device)[0]
        if self.pixels.nbytes <= budget_bytes:
            return "device"
        free_host = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return "pinned" if self.pixels.nbytes <= HOST_SHARE * free_host else "map"


class Prepared(Mapping[str, ImageArray]):
    """A prepared folder: its arrays by name and what is known about them.

    Attributes:
        folder: where it is.
        dataset: its name, such as "sysu".
        source: the dataset's folder when the images were prepared, absolute.
        height: of every image, pixels.
        width: of every image, pixels.
        rendered: the images were drawn by this repository, they are not the real dataset.
        facts: see :func:`clustercontrast.data.verify.facts`.
        provenance: where the images come from, as runs and reports say it.
        trials: trial -> part -> (name of an array, rows); empty when the arrays are the parts.
    """

    def __init__(self, folder: Path, index: dict):
        self.folder = Path(folder)
        self.dataset = index["dataset"]
        self.source = index["source"]
        self.height = index["height"]
        self.width = index["width"]
        self.rendered = index["rendered"]
        self.facts = index["facts"]
        self.provenance = Provenance(
            dataset=self.dataset,
            digest="",
            complete=self.facts.get("complete", True),
            rendered=self.rendered,
            leak=self.facts.get("leak", False),
        )
        self.trials = {int(trial): parts for trial, parts in index["trials"].items()}
        self._arrays = {name: self._open(name, entry) for name, entry in index["lists"].items()}

    def parts(self, trial: int | None = None) -> dict[str, ImageArray]:
        """Image arrays of ``PARTS``, of one trial where the dataset has trials.

        A trial's arrays are copies in memory: RegDB has 1 GB per trial at 288x144.

        Raises:
            UserError: no such trial.
        """
        if trial is None:
            return {part: self[part] for part in PARTS}
        if trial not in self.trials:
            raise UserError(f"{self.folder} has no trial {trial}: it has 1 to {len(self.trials)}")
        rows = self.trials[trial]
        return {part: self[rows[part][0]].subset(np.array(rows[part][1])) for part in PARTS}

    def __getitem__(self, name: str) -> ImageArray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def _open(self, name: str, entry: dict) -> ImageArray:
        path = self.folder / f"{name}.npy"
        identities, cameras = (np.array(entry[key], np.int64) for key in ("identities", "cameras"))
        images = ImageList(entry["modality"], tuple(entry["paths"]), identities, cameras)
        expected = (len(images), self.height, self.width, 3)
        try:
            # Copy on write: torch refuses to share memory that cannot be written.
            pixels = np.load(path, mmap_mode="c")
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is missing or damaged ({error}): {self._again()}") from error
        if pixels.shape != expected or pixels.dtype != np.uint8:
            raise UserError(
                f"{path} holds {pixels.dtype} {pixels.shape}, but its index says uint8 {expected}: "
                f"{self._again()}"
            )
        return ImageArray(images, pixels)

    def _again(self) -> str:
        return f"run {command_of('prepare', self.dataset)} again"


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
    """Open what :func:`prepare` wrote of a dataset; no pixel is read.

    Raises:
        UserError: the folder is missing, of another version or dataset, or contradicts its index.
    """
    folder = Path(folder)
    if not (folder / "index.json").exists():
        command = command_of("prepare", dataset)
        raise UserError(f"no prepared images in {folder}: run {command} first")
    index = read_json(folder / "index.json")
    found = index.get("version") if isinstance(index, dict) else None
    if found != VERSION:
        again = f"run {command_of('prepare', dataset)} again"
        raise UserError(f"{folder} has format version {found}, expected {VERSION}: {again}")
    if index["dataset"] != dataset:
        raise UserError(
            f"{folder} holds images of {index['dataset']}, not of {dataset}: correct --data-dir"
        )
    return Prepared(folder, index)


def prepare(
    root: Path,
    folder: Path,
    dataset: str,
    listing: Listing,
    resampling: dict[str, str],
    size: tuple[int, int],
    workers: int,
    facts: dict,
    progress: bool = True,
) -> None:
    """Decode and resize all images and write them to ``folder``, whole or not at all.

    Args:
        root: the dataset's folder, which the paths of the lists are relative to.
        folder: the prepared folder; an earlier one is replaced.
        dataset: its name, such as "sysu".
        listing: image lists by name, and the trials' parts.
        resampling: "bicubic" or "lanczos" by the names of the lists.
        size: (height, width) of the resized images.
        workers: threads that decode.
        facts: of :func:`clustercontrast.data.verify.facts`, stored in the index.
        progress: show a bar.

    Raises:
        UserError: an image cannot be read, the disk is full, or ``folder`` is something else.
    """
    root, folder = Path(root), Path(folder)
    height, width = size
    partial = folder.with_name(folder.name + ".partial")
    index = {
        "version": VERSION,
        "dataset": dataset,
        "source": str(root.resolve()),
        "height": height,
        "width": width,
        "resampling": resampling,
        "rendered": bool(facts.get("rendered", False)),
        "facts": facts,
        "trials": {
            trial: {part: (name, rows.tolist()) for part, (name, rows) in parts.items()}
            for trial, parts in listing.trials.items()
        },
    }
    try:
        _check_replaceable(folder)
        _make_empty(partial)
        total = sum(map(len, listing.lists.values()))
        with (
            tqdm(total=total, unit="image", desc="prepare", disable=not progress) as bar,
            ThreadPoolExecutor(workers) as pool,
        ):
            index["lists"] = {
                name: _write_list(
                    partial / f"{name}.npy",
                    images,
                    (height, width, 3),
                    _resized(root, images.paths, (width, height), resampling[name], pool),
                    bar,
                )
                for name, images in listing.lists.items()
            }
        write_json(partial / "index.json", index)
        _replace(folder, partial)
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_replaceable(folder: Path) -> None:
    """Never remove a folder that this module did not write."""
    if folder.exists() and not (folder / "index.json").exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty and not a prepared folder: choose another one")


def _make_empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _replace(folder: Path, partial: Path) -> None:
    """Give ``partial`` its name; an earlier folder is removed only when that has succeeded."""
    earlier = folder.with_name(folder.name + ".earlier")
    shutil.rmtree(earlier, ignore_errors=True)
    if folder.exists():
        folder.rename(earlier)
    partial.rename(folder)
    shutil.rmtree(earlier, ignore_errors=True)


def _resized(
    root: Path,
    paths: tuple[str, ...],
    size: tuple[int, int],
    resampling: str,
    pool: ThreadPoolExecutor,
) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 images in the order of the paths."""
    read = functools.partial(_read_image, size=size, resample=FILTERS[resampling])
    for start in range(0, len(paths), IMAGES_AT_ONCE):
        yield from pool.map(read, [root / path for path in paths[start : start + IMAGES_AT_ONCE]])


def _read_image(path: Path, size: tuple[int, int], resample: Image.Resampling) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB").resize(size, resample))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(
            f"cannot read the image {path} ({error}): copy it again from the dataset"
        ) from error


def _write_list(
    path: Path,
    images: ImageList,
    shape: tuple[int, int, int],
    pixels: Iterator[np.ndarray],
    bar: tqdm,
) -> dict:
    """Write the array of one list, (N, *shape) uint8, and return the list's entry in the index."""
    # Plain writes, no memory map: a full disk is then an error instead of a killed process.
    header = io.BytesIO()
    layout = {"descr": "|u1", "fortran_order": False, "shape": (len(images), *shape)}
    np.lib.format.write_array_header_1_0(header, layout)
    checksum = zlib.crc32(header.getvalue())
    with path.open("wb") as file:
        file.write(header.getvalue())
        for image in pixels:
            file.write(image.data)
            checksum = zlib.crc32(image.data, checksum)
            bar.update()
        file.flush()
        os.fsync(file.fileno())
    return {
        "modality": images.modality,
        "crc32": f"{checksum:08x}",
        "paths": images.paths,
        "identities": images.identities.tolist(),
        "cameras": images.cameras.tolist(),
    }
