"""Reader of visible images in Market-1501's layout.

::

    <root>/bounding_box_train, bounding_box_test, query
    <identity>_c<camera>s<sequence>_<frame>_<box>.jpg           0002_c1s1_000451_03.jpg

Identity -1 marks junk, wrong detections of the test folder, and 0 distractors.  All of them are
read: without labels they could not be told apart.  ``gt_bbox`` and ``gt_query`` are ignored.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from clustercontrast.data.samples import ImageList, Listing
from clustercontrast.data.tree import Tree
from clustercontrast.files import UserError

TITLE = "Market-1501"
SPLITS = {"train": "bounding_box_train", "gallery": "bounding_box_test", "query": "query"}
COUNTS = {"train": 12936, "gallery": 19732, "query": 3368}
NAMES = {"train": "training images", "gallery": "gallery images", "query": "query images"}
RESAMPLING = {"source": "bicubic"}
TURNED = False  # the codes that use it show images as they are stored, whatever EXIF says
SOURCE = (
    "Market-1501 is handed out by its authors (ICCV 2015); 'python -m clustercontrast.rendering "
    "--layout market --out FOLDER' draws rendered identities in its layout"
)
NAME = re.compile(r"(-1|\d+)_c(\d+)s\d+_\d+_\d+\.jpg", re.IGNORECASE | re.ASCII)


def read(root: Path, splits: Sequence[str] = tuple(SPLITS)) -> Listing:
    """List the images of some splits in the order of ``splits``, each ascending by file name.

    Args:
        root: folder that contains bounding_box_train, bounding_box_test and query.
        splits: keys of ``SPLITS``, each once; the folders of the others need not be there.

    Returns:
        The one list "source" of visible images; identities and cameras are those of the file
        names, with identity -1 for distractors too, who are many identities.

    Raises:
        UserError: an unknown split, or the folder is not in the layout above.
    """
    root = Path(root)
    _check_splits(splits)
    _check_layout(root, [SPLITS[split] for split in splits])
    tree = Tree(root)
    paths = [path for split in splits for path in _paths(tree, SPLITS[split])]
    table = np.array([_numbers(root, path) for path in paths], dtype=np.int64)
    images = ImageList("visible", tuple(paths), table[:, 0], table[:, 1])
    return Listing({"source": images}, skipped=tree.skipped)


def count(listing: Listing) -> dict[str, int]:
    """Images per split; splits that were not read are left out."""
    found = Counter(path.split("/")[0] for path in listing.lists["source"].paths)
    return {split: found[folder] for split, folder in SPLITS.items() if folder in found}


def _check_splits(splits: Sequence[str]) -> None:
    if not splits or len(set(splits)) < len(splits) or not set(splits) <= SPLITS.keys():
        raise UserError(
            f"splits {', '.join(splits) or '(none)'} asked for, expected some of "
            f"{', '.join(SPLITS)}, each once"
        )


def _check_layout(root: Path, folders: list[str]) -> None:
    """Stop unless ``folders`` are there, pointing at them when they are one folder deeper."""
    if not root.is_dir():
        raise UserError(f"no folder {root}, expected {TITLE} there: {SOURCE}")
    missing = [name for name in folders if not (root / name).is_dir()]
    if not missing:
        return
    deeper = sorted(folder.parent for folder in root.glob(f"*/{missing[0]}") if folder.is_dir())
    if deeper:
        raise UserError(f"{root} has no {missing[0]}, but {deeper[0]} has: give that folder")
    raise UserError(
        f"{root} has no {', '.join(missing)}, expected {', '.join(folders)}: copy {TITLE} again, "
        f"correct the folder, or read other splits. {SOURCE}"
    )


def _paths(tree: Tree, folder: str) -> Iterable[str]:
    """Images of one split; files that systems leave behind are passed over."""
    names = tree.names(folder)
    if not names:
        raise UserError(f"{tree.root / folder} has no images: copy {TITLE} again")
    return (f"{folder}/{name}" for name in names)


def _numbers(root: Path, path: str) -> tuple[int, int]:
    """Identity and camera of a file name."""
    parsed = NAME.fullmatch(path.rpartition("/")[2])
    if parsed is None:
        raise UserError(
            f"{root / path} is not named like 0002_c1s1_000451_03.jpg (identity, camera, "
            "sequence, frame, box): remove it, or read the images as a plain folder"
        )
    return int(parsed[1]) or -1, int(parsed[2])
