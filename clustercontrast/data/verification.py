"""Are prepared arrays what was written? Checksums of their images, and a stamp once they agree."""

import contextlib
import hashlib
import json
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from clustercontrast.data.provenance import MARKS
from clustercontrast.files import UserError, read_json, write_json

STAMP = "verified.json"
"""Sizes and times of the arrays whose checksums have agreed; a changed file has others."""

IMAGES_AT_ONCE = 256  # of one thread: a task for each would outweigh small images

COVERED = ("modality", "paths", "identities", "cameras", "checksums", "tracks")
"""What the digest of images covers of every list, where it has it: few datasets have tracks."""


def digest_of(index: Mapping[str, Any]) -> str:
    """Digest of an index: of its images by list, of the trials' rows, and of what marks reports."""
    lists, facts = index["lists"], index["facts"]
    covered = {
        name: [entry[key] for key in COVERED if key in entry]
        for name, entry in sorted(lists.items())
    }
    marks = {name: facts[name] for name in MARKS}
    content = json.dumps([covered, index["trials"], marks], sort_keys=True).encode()
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def verify(folder: Path, index: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Compare the images of arrays (N, H, W, 3) with their checksums in the index.

    Files that have agreed before and have not been written since are not read.

    Raises:
        UserError: an image differs, or the index does not have its own digest.
    """
    if digest_of(index) != index["digest"]:
        raise UserError(f"{folder / 'index.json'} was changed after its images were prepared")
    if _kept(folder) == _stamp(folder, index["digest"], arrays):
        return
    total = sum(map(len, arrays.values()))
    with tqdm(total=total, unit="image", desc="verify", disable=None, leave=False) as bar:
        for name, pixels in arrays.items():
            _verify_array(folder / f"{name}.npy", index["lists"][name], pixels, bar)
    put_stamp(folder, index["digest"], arrays)


def put_stamp(folder: Path, digest: str, arrays: Mapping[str, Any]) -> None:
    """Note that the arrays of a folder agree with their checksums; not in a read-only folder."""
    with contextlib.suppress(UserError):
        write_json(folder / STAMP, _stamp(folder, digest, arrays))


def _verify_array(path: Path, entry: Mapping[str, Any], pixels: np.ndarray, bar: tqdm) -> None:
    known, starts = entry["checksums"], range(0, len(pixels), IMAGES_AT_ONCE)
    blocks = (pixels[start : start + IMAGES_AT_ONCE] for start in starts)
    with ThreadPoolExecutor() as pool:
        wrong = []
        for start, found in zip(starts, pool.map(_checksums, blocks), strict=True):
            wrong += [row for row, one in enumerate(found, start) if one != known[row]]
            bar.update(len(found))
    if wrong:
        raise UserError(
            f"{path}: {len(wrong):,} of {len(known):,} images are not those that were prepared, "
            f"such as {entry['paths'][wrong[0]]}"
        )


def _checksums(pixels: np.ndarray) -> list[int]:
    return list(map(zlib.crc32, pixels))


def _stamp(folder: Path, digest: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    stats = {name: (folder / f"{name}.npy").stat() for name in arrays}
    # Unlike the time of writing, the time of change cannot be set by hand.
    return {"digest": digest, "files": {n: [s.st_size, s.st_ctime_ns] for n, s in stats.items()}}


def _kept(folder: Path) -> Any:
    with contextlib.suppress(UserError):
        return read_json(folder / STAMP)
    return None
