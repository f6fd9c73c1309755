"""Images decoded and resized once: arrays on disk, resident on the device when they fit.

Resizing is the first operation of every transform, so a prepared array changes no result
(COMMON-5). A prepared folder holds one ``<list>.npy`` per image list, ``index.json`` and the stamp
of :mod:`clustercontrast.data.verification`; it is written under another name and renamed when
complete, so an interrupted one never looks complete.
"""

import functools
import os
import shutil
import zlib
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from clustercontrast.data.decoding import Rules, decode
from clustercontrast.data.places import command_of, prepared_folder
from clustercontrast.data.provenance import Provenance
from clustercontrast.data.samples import MODALITIES, PARTS, ImageList, Listing
from clustercontrast.data.verification import STAMP, digest_of, put_stamp, verify
from clustercontrast.files import UserError, read_json, write_error, write_json

VERSION = 3
ELSEWHERE = "give --cache-root FOLDER, a place that can be written"
INDEX = "index.json"
LIST = {"modality": str, "paths": [str], "identities": [int], "cameras": [int],
        "sizes": [int], "files": [int], "checksums": [int]}  # fmt: skip
SHAPE = {
    "dataset": str,
    "source": str,
    "height": int,
    "width": int,
    "facts": {"rendered": bool, "complete": bool, "leak": bool},
    "trials": {...: {...: list}},
    "lists": {...: LIST},
    "digest": str,
}
"""What has to be in the index of a prepared folder."""
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
        facts: see :func:`clustercontrast.data.verify.facts`.
        sizes: bytes of every image's file when it was prepared, by list.
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
        self.height = index["height"]
        self.width = index["width"]
        self.facts = index["facts"]
        self.sizes = {name: entry["sizes"] for name, entry in index["lists"].items()}
        marks = {name: self.facts[name] for name in ("complete", "rendered", "leak")}
        self.provenance = Provenance(self.dataset, index["digest"], **marks)
        self.rows = index["trials"]
        self._arrays = {name: self._open(name, entry) for name, entry in index["lists"].items()}
        pixels = {name: array.pixels for name, array in self._arrays.items()}
        try:
            verify(self.folder, index, pixels)
        except UserError as error:
            raise UserError(f"{error}: {self._again()}") from error

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
        return _again(self.dataset)


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
    """Open what :func:`prepare` wrote of a dataset.

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
    index = read_json(folder / INDEX, SHAPE, _again(dataset))
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
    rules: Rules = Rules(),  # noqa: B008 - frozen
    progress: bool = True,
) -> list[tuple[str, str]]:
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
        rules: how files become pixels.
        progress: show a bar.

    Returns:
        Paths of training and test images whose files have the same content.

    Raises:
        UserError: an image cannot be read, all images of a list are constant, the disk is full, or
            ``folder`` is something else.
    """
    root, folder = Path(root), Path(folder)
    _check_outside(root, folder)
    height, width = size
    partial = folder.with_name(folder.name + ".partial")
    index = {
        "version": VERSION,
        "dataset": dataset,
        "source": str(root.resolve()),
        "height": height,
        "width": width,
        "resampling": resampling,
        "facts": facts,
        "trials": rows_of(listing),
    }
    try:
        _check_own(folder, listing.lists)
        _remove(partial, listing.lists)
        partial.mkdir(parents=True)
        total = sum(map(len, listing.lists.values()))
        with (
            tqdm(total=total, unit="image", desc="prepare", disable=not progress) as bar,
            ThreadPoolExecutor(workers) as pool,
        ):
            index["lists"] = {
                name: _write_list(
                    partial / f"{name}.npy",
                    root,
                    images,
                    (height, width, 3),
                    _resized(root, images.paths, (width, height), resampling[name], rules, pool),
                    bar,
                )
                for name, images in listing.lists.items()
            }
        index["digest"] = digest_of(index["lists"], index["trials"])
        write_json(partial / INDEX, index)
        put_stamp(partial, index["digest"], index["lists"])
        _replace(folder, partial, listing.lists)
        return twins_of(listing, index["lists"])
    except OSError as error:
        raise write_error(folder, error, ELSEWHERE) from error
    finally:
        _remove(partial, listing.lists)


def _check_outside(root: Path, folder: Path) -> None:
    """Never write into a dataset."""
    dataset, place = root.resolve(), folder.resolve()
    if dataset == place or dataset in place.parents:
        raise UserError(
            f"the prepared images would lie in {folder}, which is inside the dataset {root}: give "
            "--cache-dir or --cache-root outside it"
        )


def rows_of(listing: Listing) -> dict[str, dict[str, list]]:
    """Trial -> part -> [name of an array, rows], as the index holds it."""
    return {
        str(trial): {part: [name, rows.tolist()] for part, (name, rows) in parts.items()}
        for trial, parts in listing.trials.items()
    }


def _remove(folder: Path, lists: Iterable[str]) -> None:
    """Delete a folder of prepared images, whole or not; nothing else."""
    _check_own(folder, lists)
    shutil.rmtree(folder, ignore_errors=True)


def _check_own(folder: Path, lists: Iterable[str]) -> None:
    """Refuse a folder that holds anything but prepared images.

    Args:
        folder: need not exist.
        lists: whose arrays may lie there, besides those that its index names.

    Raises:
        UserError: it names what is foreign.
    """
    if not folder.is_dir():
        if folder.exists():
            raise UserError(f"{folder} is a file: choose another --cache-dir")
        return
    names = {path.name.removesuffix(".tmp") for path in folder.iterdir()}  # of a killed write, too
    known = _lists_of(folder / INDEX)
    arrays = {f"{name}.npy" for name in (*lists, *known)}
    foreign = sorted(names - arrays - {INDEX, STAMP})
    if names and not known and not names & arrays:
        foreign = sorted(names)
    if foreign:
        raise UserError(
            f"{folder} is not a folder of prepared images, it holds {foreign[0]}: choose another "
            "--cache-dir, or delete the folder yourself"
        )


def _lists_of(index: Path) -> list[str]:
    """Names of the lists in an index of any version; none in any other file."""
    try:
        shape = {"version": int, "dataset": str, "lists": {...: {"paths": [str]}}}
        return list(read_json(index, shape)["lists"])
    except UserError:
        return []


def _replace(folder: Path, partial: Path, lists: Iterable[str]) -> None:
    """Give ``partial`` its name; an earlier folder is removed only when that has succeeded."""
    earlier = folder.with_name(folder.name + ".earlier")
    _remove(earlier, lists)
    if folder.exists():
        folder.rename(earlier)
    partial.rename(folder)
    _remove(earlier, lists)


def _resized(
    root: Path,
    paths: tuple[str, ...],
    size: tuple[int, int],
    resampling: str,
    rules: Rules,
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[np.ndarray, int]]:
    """(H, W, 3) uint8 images in the order of the paths, with the checksums of their files."""
    read = functools.partial(decode, size=size, resample=FILTERS[resampling], rules=rules)
    varied = False
    for start in range(0, len(paths), IMAGES_AT_ONCE):
        block = [root / path for path in paths[start : start + IMAGES_AT_ONCE]]
        for pixels, file in pool.map(read, block):
            varied = varied or pixels.min() < pixels.max()
            yield pixels, file
    if paths and not varied:
        raise UserError(
            f"all {len(paths):,} images like {root / paths[0]} have a single value each and show "
            "nothing: copy them again, or correct --intensity-range"
        )


def _write_list(
    path: Path,
    root: Path,
    images: ImageList,
    shape: tuple[int, int, int],
    decoded: Iterator[tuple[np.ndarray, int]],
    bar: tqdm,
) -> dict:
    """Write the array of one list, (N, *shape) uint8, and return the list's entry in the index."""
    files, checksums = [], []
    # Plain writes, no memory map: a full disk is then an error instead of a killed process.
    layout = {"descr": "|u1", "fortran_order": False, "shape": (len(images), *shape)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, layout)
        for pixels, of_file in decoded:
            file.write(pixels.data)
            files.append(of_file)
            checksums.append(zlib.crc32(pixels))
            bar.update()
        file.flush()
        os.fsync(file.fileno())
    return {
        "modality": images.modality,
        "paths": images.paths,
        "identities": images.identities.tolist(),
        "cameras": images.cameras.tolist(),
        "sizes": sizes_of(root, images.paths),
        "files": files,
        "checksums": checksums,
    }


def twins_of(listing: Listing, lists: Mapping[str, Mapping]) -> list[tuple[str, str]]:
    """Paths of training and test images, of any trial, whose files have the same content."""
    content = {
        path: key
        for own in lists.values()
        for path, *key in zip(own["paths"], own["sizes"], own["files"], strict=True)
    }
    found = {}
    for trial in listing.trials or [None] if listing.is_split else []:
        parts = listing.parts(trial)
        learned, tested = (
            [path for modality in MODALITIES for path in parts[f"{part}_{modality}"].paths]
            for part in ("train", "test")
        )
        first = {tuple(content[path]): path for path in learned}
        keys = ((tuple(content[path]), path) for path in tested)
        found |= {(first[key], path): None for key, path in keys if key in first}
    return list(found)


def sizes_of(root: Path, paths: Iterable[str]) -> list[int]:
    """Bytes of the files of images."""
    return [(root / path).stat().st_size for path in paths]
