"""Reader of any folder of visible images, without labels."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from clustercontrast.data.samples import ImageList, Listing
from clustercontrast.data.tree import Tree
from clustercontrast.files import UserError

TITLE = "a folder of images"
COUNTS: dict[str, int] = {}  # it is not known how many there should be
NAMES: dict[str, str] = {}
RESAMPLING = {"source": "bicubic"}
TURNED = True  # crops may come from any camera: EXIF says which side is up
SOURCE = "any folder of person crops, with or without folders in it"
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")


def read(root: Path, camera_pattern: str | None = None) -> Listing:
    """List all images below a folder, ascending by relative path.

    Args:
        root: the folder; links are followed, names that start with a dot are passed over.
        camera_pattern: regular expression with one group, searched in the path relative to
            ``root`` (with forward slashes); the group is the camera's number.

    Returns:
        The one list "source" of visible images; identities are -1, cameras -1 without a pattern.

    Raises:
        UserError: no such folder, no image in it, or a pattern that does not give every image a
            camera.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"no folder {root}, expected images there: {SOURCE}")
    tree = Tree(root)
    paths = tuple(sorted(_images(tree)))
    if not paths:
        raise UserError(f"{root} has no image ({', '.join(ENDINGS)}): correct the folder")
    identities = np.full(len(paths), -1, dtype=np.int64)
    images = ImageList("visible", paths, identities, _cameras(paths, camera_pattern))
    return Listing({"source": images}, skipped=tree.skipped)


def count(listing: Listing) -> dict[str, int]:
    """The number of images; there is no expected number."""
    return {"images": len(listing.lists["source"])}


def _images(tree: Tree) -> Iterator[str]:
    for path in tree.every():
        if path.lower().endswith(ENDINGS):
            yield path
        else:
            tree.skip(path)


def _cameras(paths: tuple[str, ...], pattern: str | None) -> np.ndarray:
    """(N,) int64 cameras, -1 without a pattern."""
    if pattern is None:
        return np.full(len(paths), -1, dtype=np.int64)
    compiled = _compiled(pattern)
    return np.array([_camera(path, compiled) for path in paths], dtype=np.int64)


def _compiled(pattern: str) -> re.Pattern:
    advice = r"give a regular expression with one group for the number, such as 'c(\d+)'"
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"the camera pattern {pattern!r} is malformed ({error}): {advice}"
        ) from error
    if compiled.groups != 1:
        raise UserError(f"the camera pattern {pattern!r} has {compiled.groups} groups: {advice}")
    return compiled


def _camera(path: str, pattern: re.Pattern) -> int:
    found = pattern.search(path)
    try:
        return int(found[1])
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the camera pattern {pattern.pattern!r} finds no number in {path}: correct the "
            "pattern, or give none (cameras unknown)"
        ) from error
