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

from pathlib import Path

import numpy as np

from clustercontrast.data import lists
from clustercontrast.data.samples import ImageList, Listing, number_of_people
from clustercontrast.data.tree import Tree, check_not_converted
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
TURNED = False  # upstream shows images as they are stored, whatever EXIF says
SOURCE = (
    "SYSU-MM01 is handed out by its authors on request; 'python -m clustercontrast.rendering --out "
    "FOLDER' draws rendered identities in its layout"
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
    _check_disjoint(parts["train"], parts["val"])
    tree = Tree(root)
    _check_known(tree, parts)
    people = {"train": sorted(parts["train"] + parts["val"]), "test": sorted(parts["test"])}
    cameras = {"visible": VISIBLE_CAMERAS, "infrared": INFRARED_CAMERAS}
    images = {
        f"{part}_{modality}": _images(tree, modality, own, people[part])
        for part in people
        for modality, own in cameras.items()
    }
    return Listing(images, skipped=tree.skipped)


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
        check_not_converted(root, TITLE, "cam1 ... cam6 and exp")
        raise UserError(
            f"{root} has no {', '.join(missing)}, expected cam1 ... cam6 and exp: copy SYSU-MM01 "
            f"again or correct --data-dir. {SOURCE}"
        )


def _listed(root: Path, part: str) -> list[int]:
    """Identities of ``exp/<part>_id.txt``; only its first line counts."""
    expected = "expected one line of identity numbers separated by commas: copy exp again"
    return lists.identities(root / "exp" / f"{part}_id.txt", expected)


def _check_disjoint(train: list[int], val: list[int]) -> None:
    """No image is in the training lists twice."""
    shared = sorted(set(train) & set(val))
    if shared:
        raise UserError(
            f"identity {shared[0]:04d} is in exp/train_id.txt and in exp/val_id.txt, expected "
            "disjoint lists: copy exp again from the original dataset"
        )


def _check_known(tree: Tree, parts: dict[str, list[int]]) -> None:
    """Every listed identity has a folder; what else the cameras' folders hold is passed over."""
    listed = {f"{identity:04d}" for identities in parts.values() for identity in identities}
    known = {name for camera in CAMERAS for name in tree.folders(f"cam{camera}", listed)}
    for part, identities in parts.items():
        unknown = [identity for identity in sorted(identities) if f"{identity:04d}" not in known]
        if unknown:
            raise UserError(
                f"unknown identity {unknown[0]:04d} in {tree.root / 'exp'}/{part}_id.txt, expected "
                "its folder in one of cam1 ... cam6: copy the dataset again"
            )


def _images(
    tree: Tree, modality: str, cameras: tuple[int, ...], identities: list[int]
) -> ImageList:
    """All images of ``identities`` seen by ``cameras``; a missing folder means: not seen there."""
    found = [
        (f"{place}/{frame}", identity, camera)
        for identity in identities
        for camera in cameras
        for place in [f"cam{camera}/{identity:04d}"]
        for frame in tree.images(place, ".jpg")
    ]
    table = np.array([row[1:] for row in found], dtype=np.int64).reshape(-1, 2)
    return ImageList(modality, tuple(row[0] for row in found), table[:, 0], table[:, 1])
