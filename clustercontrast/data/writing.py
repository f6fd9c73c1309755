"""Images decoded, resized and written as a prepared folder, whole or not at all.

A prepared folder holds one ``<list>.npy`` per image list, ``index.json`` and the stamp of
:mod:`clustercontrast.data.verification`. It is written under another name and renamed when
complete, so that an interrupted one never looks complete.
"""

import functools
import os
import shutil
import time
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from clustercontrast.data.decoding import Rules, decode
from clustercontrast.data.images import INDEX, VERSION
from clustercontrast.data.paths import Paths
from clustercontrast.data.samples import MODALITIES, ImageList, Listing
from clustercontrast.data.verification import STAMP, digest_of, put_stamp
from clustercontrast.files import UserError, read_json, write_error, write_json

ELSEWHERE = "give --cache-root FOLDER, a place that can be written"
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
IMAGES_AT_ONCE = 256  # bounds what waits in memory between decoding and writing


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
    root, folder = Path(root), Path(folder).resolve()  # a link stays, its folder is replaced
    check_outside(root, folder)
    height, width = size
    partial = folder.with_name(folder.name + ".partial")
    index = {
        "version": VERSION,
        "dataset": dataset,
        "source": str(root.resolve()),
        "begun": time.time_ns(),
        "height": height,
        "width": width,
        "resampling": resampling,
        "facts": facts,
        "trials": rows_of(listing),
    }
    try:
        _check_own(folder, listing.lists, whole=True)
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
        twins = twins_of(listing, index["lists"])
        index["facts"] = facts | {"leak": facts["leak"] or bool(twins)}
        index["digest"] = digest_of(index)
        write_json(partial / INDEX, index)
        put_stamp(partial, index["digest"], index["lists"])
        _replace(folder, partial, listing.lists)
        return twins
    except OSError as error:
        raise write_error(folder, error, ELSEWHERE) from error
    finally:
        _remove(partial, listing.lists)


def check_outside(root: Path, folder: Path) -> None:
    """Never write into a dataset.

    Raises:
        UserError: ``folder`` is ``root`` or lies in it.
    """
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


def _check_own(folder: Path, lists: Iterable[str], whole: bool = False) -> None:
    """Refuse a folder that holds anything but prepared images.

    Args:
        folder: need not exist.
        lists: whose arrays may lie there, besides those that its index names.
        whole: it has an index, if perhaps a damaged one; else it may be what a kill has left.

    Raises:
        UserError: it names what is foreign.
    """
    if not folder.is_dir():
        if folder.exists():
            raise UserError(f"{folder} is a file: choose another --cache-dir")
        return
    known = _lists_of(folder / INDEX)
    arrays = {f"{name}.npy" for name in (*lists, *known)}
    names = {path.name.removesuffix(".tmp") for path in folder.iterdir()}  # of a killed write, too
    is_ours = known or (names & arrays and (INDEX in names or not whole))
    alike = _is_array if not known else Path.is_file  # an array that the index names may be damaged
    own = {INDEX, STAMP, *(name for name in arrays if alike(folder / name))}
    foreign = sorted(names - own if is_ours else names)
    if foreign:
        raise UserError(
            f"{folder} is not a folder of prepared images, it holds {foreign[0]}: choose another "
            "--cache-dir, or delete the folder yourself"
        )


def _is_array(path: Path) -> bool:
    """Whether a file begins as an array does, or would if it were not cut."""
    magic = np.lib.format.MAGIC_PREFIX
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return magic.startswith(file.read(len(magic)))


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
    paths: Paths,
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
    files, checksums = array("q"), array("q")
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
    tracks = {} if images.tracks is None else {"tracks": images.tracks.tolist()}
    return tracks | {
        "modality": images.modality,
        "paths": list(images.paths),
        "identities": images.identities.tolist(),
        "cameras": images.cameras.tolist(),
        "sizes": [(root / path).stat().st_size for path in images.paths],
        "files": files.tolist(),
        "checksums": checksums.tolist(),
    }


def twins_of(listing: Listing, lists: Mapping[str, Mapping]) -> list[tuple[str, str]]:
    """Paths of training and test images, of any trial, whose files have the same content."""
    contents = _content_numbers(lists)
    found = {}
    for trial in listing.trials or [None] if listing.is_split else []:
        rows = listing.rows(trial)
        learned, tested = (
            [rows[f"{part}_{modality}"] for modality in MODALITIES] for part in ("train", "test")
        )
        known, asked = (
            np.concatenate([contents[name][own] for name, own in part])
            for part in (learned, tested)
        )
        order = np.argsort(known, kind="stable")
        for place in np.flatnonzero(np.isin(asked, known)):
            last = np.searchsorted(known, asked[place], side="right", sorter=order) - 1
            pair = _path_at(order[last], learned, lists), _path_at(place, tested, lists)
            found[pair] = None
    return list(found)


def _content_numbers(lists: Mapping[str, Mapping]) -> dict[str, np.ndarray]:
    """(N,) int64 numbers of the images' files by list, equal where size and checksum are."""
    files = [np.array([own["sizes"], own["files"]], dtype=np.int64) for own in lists.values()]
    _, number = np.unique(np.concatenate(files, axis=1), axis=1, return_inverse=True)
    ends = np.cumsum([own.shape[1] for own in files])
    return dict(zip(lists, np.split(number.ravel(), ends[:-1]), strict=True))


def _path_at(
    place: int, parts: Sequence[tuple[str, np.ndarray]], lists: Mapping[str, Mapping]
) -> str:
    """The path at a place in the rows of several lists, one after the other."""
    for name, rows in parts:
        if place < len(rows):
            return lists[name]["paths"][rows[place]]
        place -= len(rows)
    raise IndexError(f"{place} lies behind the last row")


def are_unchanged(
    root: Path, paths: Paths, known: tuple[np.ndarray, np.ndarray], since: int
) -> bool:
    """Whether files have the sizes and, if they were touched later, the checksums of a preparation.

    Args:
        root: the dataset's folder.
        paths: of its files.
        known: (N,), (N,) int64 bytes and CRC-32 of each.
        since: when the preparation began, nanoseconds since 1970.
    """
    for path, size, checksum in zip(paths, *map(memoryview, known), strict=True):
        stat = (root / path).stat()
        if stat.st_size != size:
            return False
        if stat.st_ctime_ns >= since and zlib.crc32((root / path).read_bytes()) != checksum:
            return False
    return True
