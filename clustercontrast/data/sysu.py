"""Reader of SYSU-MM01 in the layout its authors distribute.

::

    <root>/cam1 ... cam6/<identity, 4 digits>/<frame, 4 digits>.jpg
    <root>/exp/train_id.txt  val_id.txt  test_id.txt      one line: integers separated by commas

Cameras 1, 2, 4, 5 are visible, 3 and 6 infrared. An identity need not appear in every camera.

========================================  ==========  ======
part                                      identities  images
========================================  ==========  ======
train and validation, visible                    395  22,258
train and validation, infrared                   395  11,909
test, infrared: all of it is the query            96   3,803
test, visible: the pool of the galleries          96   6,775
one all-search gallery, single shot               96     301
========================================  ==========  ======
"""

import itertools
from pathlib import Path

import numpy as np

from clustercontrast.data.samples import ImageList, Listing, number_of_people
from clustercontrast.files import UserError

TITLE = "SYSU-MM01"
VISIBLE_CAMERAS = (1, 2, 4, 5)
INFRARED_CAMERAS = (3, 6)
CAMERAS = tuple(sorted(VISIBLE_CAMERAS + INFRARED_CAMERAS))
COUNTS = {
    "train_identities": 395,
    "test_identities": 96,
    "train_visible": 22258,
    "train_infrared": 11909,
    "test_visible": 6775,
    "test_infrared": 3803,
    "gallery_draw": 301,
}
NAMES = {
    "train_identities": "training identities",
    "test_identities": "test identities",
    "train_visible": "visible training images",
    "train_infrared": "infrared training images",
    "test_infrared": "infrared query images",
    "test_visible": "visible gallery images",
    "gallery_draw": "pairs of test identity and visible camera",
}
# Upstream resizes for training and clustering with one filter and for retrieval with another
# (COMMON-5).
RESAMPLING = {
    "train_visible": "bicubic",
    "train_infrared": "bicubic",
    "test_visible": "lanczos",
    "test_infrared": "lanczos",
}
SOURCE = (
    "SYSU-MM01 is handed out by its authors on request; 'bash run_demo.sh' needs no dataset at all"
)


def read(root: Path) -> Listing:
    """List the images of SYSU-MM01, each list ascending in (identity, camera, frame).

    Args:
        root: folder that contains cam1 ... cam6 and exp.

    Returns:
        ``train_visible`` and ``train_infrared`` (identities of train and validation),
        ``test_infrared`` (all of it is the query) and ``test_visible`` (the pool of the galleries).

    Raises:
        UserError: the folder is not in the layout above, or lists and folders contradict.
    """
    root = Path(root)
    _check_layout(root)
    parts = {part: _listed(root, part) for part in ("train", "val", "test")}
    _check_disjoint(parts)
    _check_known(root, parts)
    train, test = sorted(parts["train"] + parts["val"]), sorted(parts["test"])
    return Listing(
        {
            "train_visible": _images(root, "visible", VISIBLE_CAMERAS, train),
            "train_infrared": _images(root, "infrared", INFRARED_CAMERAS, train),
            "test_visible": _images(root, "visible", VISIBLE_CAMERAS, test),
            "test_infrared": _images(root, "infrared", INFRARED_CAMERAS, test),
        }
    )


def count(listing: Listing) -> dict[str, int]:
    """The numbers of ``COUNTS``; ``gallery_draw`` is the length of one all-search gallery."""
    lists = listing.lists
    gallery = lists["test_visible"]
    return {
        "train_identities": number_of_people(lists["train_visible"], lists["train_infrared"]),
        "test_identities": number_of_people(lists["test_visible"], lists["test_infrared"]),
        **{name: len(images) for name, images in lists.items()},
        "gallery_draw": len(set(zip(gallery.identities, gallery.cameras, strict=True))),
    }


def _check_layout(root: Path) -> None:
    """Stop unless cam1 ... cam6 are there, pointing at them when they are one folder deeper."""
    if not root.is_dir():
        raise UserError(f"no folder {root}, expected SYSU-MM01 there (--data-dir): {SOURCE}")
    missing = [f"cam{camera}" for camera in CAMERAS if not (root / f"cam{camera}").is_dir()]
    deeper = sorted(folder.parent for folder in root.glob("*/cam1") if folder.is_dir())
    if len(missing) == len(CAMERAS) and deeper:
        raise UserError(f"{root} has no cam1 ... cam6, but {deeper[0]} has: give that --data-dir")
    if missing:
        raise UserError(
            f"{root} has no {', '.join(missing)}, expected cam1 ... cam6 and exp: copy SYSU-MM01 "
            f"again or correct --data-dir. {SOURCE}"
        )


def _listed(root: Path, part: str) -> list[int]:
    """Identities of ``exp/<part>_id.txt``; only its first line counts."""
    path = root / "exp" / f"{part}_id.txt"
    expected = "expected one line of identity numbers separated by commas: copy exp again"
    try:
        first_line, *_ = path.read_text(encoding="ascii").splitlines() or [""]
        identities = [int(field) for field in first_line.split(",")]
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}), {expected}") from error
    except ValueError as error:
        raise UserError(f"{path} is empty or malformed, {expected}") from error
    if len(set(identities)) < len(identities) or min(identities) < 0 or max(identities) > 9999:
        raise UserError(f"{path} has repeated numbers or numbers outside 0 ... 9999, {expected}")
    return identities


def _check_disjoint(parts: dict[str, list[int]]) -> None:
    for one, other in itertools.combinations(parts, 2):
        shared = sorted(set(parts[one]) & set(parts[other]))
        if shared:
            raise UserError(
                f"identity {shared[0]:04d} is in exp/{one}_id.txt and in exp/{other}_id.txt, "
                "expected disjoint lists: copy exp again from the original dataset"
            )


def _check_known(root: Path, parts: dict[str, list[int]]) -> None:
    known = {path.name for camera in CAMERAS for path in (root / f"cam{camera}").iterdir()}
    for part, identities in parts.items():
        unknown = [identity for identity in sorted(identities) if f"{identity:04d}" not in known]
        if unknown:
            raise UserError(
                f"unknown identity {unknown[0]:04d} in {root / 'exp'}/{part}_id.txt, expected its "
                "folder in one of cam1 ... cam6: copy the dataset again"
            )


def _images(
    root: Path, modality: str, cameras: tuple[int, ...], identities: list[int]
) -> ImageList:
    """All images of ``identities`` seen by ``cameras``; a missing folder means: not seen there."""
    found = [
        (f"cam{camera}/{identity:04d}/{frame}", identity, camera)
        for identity in identities
        for camera in cameras
        for frame in _frames(root / f"cam{camera}" / f"{identity:04d}")
    ]
    table = np.array([row[1:] for row in found], dtype=np.int64).reshape(-1, 2)
    return ImageList(modality, tuple(row[0] for row in found), table[:, 0], table[:, 1])


def _frames(folder: Path) -> list[str]:
    """Sorted file names of one identity folder; files that systems leave behind are passed over."""
    if not folder.is_dir():
        return []
    names = sorted(path.name for path in folder.iterdir())
    names = [name for name in names if not name.startswith(".") and name != "Thumbs.db"]
    for name in names:
        if not name.lower().endswith(".jpg"):
            raise UserError(f"{folder / name} is not a .jpg image: remove it from the dataset")
    return names
