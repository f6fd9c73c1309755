"""Reader of LLCM in the layout its authors distribute, or described by a manifest.

::

    <root>/vis/<identity>/*.jpg   nir/<identity>/*.jpg                 every image
    <root>/test_vis/cam1 ... cam9/<identity>/*.jpg                     copies of the test images
    <root>/test_nir/cam1 ... cam9/<identity>/*.jpg                     there is no cam3
    <root>/idx/train_vis.txt  train_nir.txt                            lines: path, blank, label
    <root>/idx/test_id.txt                                             one line: identities

Images are named as 0351_c06_s200656_f4830_nir.jpg: identity, camera, sequence, frame, modality.
Nine cameras see visible light by day and, but for camera 3, near infrared by night.  Training
images are those of the index files; test images are the copies, whose folders say identity and
camera; no name may contradict its folders.  The labels of the index files are not used: identities
are those of the paths, comparable between the two parts.
"""

import re
from pathlib import Path

import numpy as np

from clustercontrast.data import lists, manifest
from clustercontrast.data.samples import ImageList, Listing, number_of_people
from clustercontrast.data.tree import Tree, check_layout
from clustercontrast.files import UserError

TITLE = "LLCM"
FOLDERS = {"visible": "vis", "infrared": "nir"}
WANTED = ("vis", "nir", "test_vis", "test_nir", "idx")
EXPECTED = f"{', '.join(WANTED)}, or a table {manifest.FILE}"
CAMERAS = {"visible": range(1, 10), "infrared": (1, 2, *range(4, 10))}
COUNTS = {
    "train_identities": 713,
    "test_identities": 351,
    "train_visible": 16946,
    "train_infrared": 13975,
    "test_visible": 8680,
    "test_infrared": 7166,
}
NAMES = {
    "train_identities": "training identities",
    "test_identities": "test identities",
    "train_visible": "visible training images",
    "train_infrared": "infrared training images",
    "test_visible": "visible test images",
    "test_infrared": "infrared test images",
}
RESAMPLING = manifest.RESAMPLING
TURNED = False  # the official code shows images as they are stored, whatever EXIF says
SOURCE = (
    "LLCM is handed out by the authors of DEEN (CVPR 2023) on request; 'python -m "
    "clustercontrast.rendering --layout llcm --out FOLDER' draws rendered identities in its layout"
)
AGAIN = "copy the idx folder again"
NAME = re.compile(
    r"(?P<identity>\d+)_c(?P<camera>\d+)(?=_)(?:.*_(?P<modality>vis|nir)\.\w+|.*)", re.ASCII
)
"""What the name of an image says of it; the modality may be left out."""


def read(root: Path) -> Listing:
    """List the images of LLCM.

    Training images are ascending by path, test images in (identity, camera, name).  A folder that
    holds a ``manifest.csv`` is read as :mod:`clustercontrast.data.manifest` says.

    Args:
        root: folder that contains vis, nir, test_vis, test_nir and idx, or the table.

    Raises:
        UserError: the folder is not in the layout above, or index files and folders contradict.
    """
    root = Path(root)
    if (root / manifest.FILE).is_file():
        return manifest.read(root, SOURCE)
    check_layout(root, TITLE, WANTED, "idx", EXPECTED, SOURCE)
    tree = Tree(root)
    people = sorted(lists.identities(root / "idx" / "test_id.txt", f"expected one line: {AGAIN}"))
    training = {f"train_{modality}": _training(tree, modality) for modality in FOLDERS}
    test = {f"test_{modality}": _test(tree, modality, people) for modality in FOLDERS}
    return Listing(training | test, skipped=tree.skipped)


def count(listing: Listing) -> dict[str, int]:
    """The numbers of ``COUNTS``."""
    found = listing.lists
    return {
        "train_identities": number_of_people(found["train_visible"], found["train_infrared"]),
        "test_identities": number_of_people(found["test_visible"], found["test_infrared"]),
        **{name: len(images) for name, images in found.items()},
    }


def _training(tree: Tree, modality: str) -> ImageList:
    """The images of one index file."""
    folder = FOLDERS[modality]
    file = tree.root / "idx" / f"train_{folder}.txt"
    pattern = re.compile(rf"{folder}/(\d+)/\d+_c(\d+)_[^/]*", re.ASCII)
    rows = []
    for path in sorted(lists.labels(file, tree, AGAIN)):
        parsed = pattern.fullmatch(path)
        if parsed is None:
            raise UserError(
                f"{file} lists {path}, expected paths like {folder}/0001/0001_c01_s0_f0.jpg with "
                f"identity and camera; test images are for testing alone: {AGAIN}"
            )
        identity, camera = int(parsed[1]), int(parsed[2])
        _check_image(tree.root / path, modality, identity, camera)
        rows.append((path, identity, camera))
    missing = [path for path, _, _ in rows if tree.find(path) is None]
    if missing:
        raise UserError(
            f"{file} lists {missing[0]}, which is missing ({len(missing):,} of {len(rows):,} "
            "images are): copy the images again"
        )
    return _image_list(modality, rows)


def _test(tree: Tree, modality: str, people: list[int]) -> ImageList:
    """The copies of the test images; a missing folder means: not seen there."""
    above, known = f"test_{FOLDERS[modality]}", {f"{person:04d}": person for person in people}
    rows = [
        (f"{above}/cam{camera}/{person}/{name}", known[person], camera)
        for camera in _cameras(tree, modality, above)
        for person in tree.folders(f"{above}/cam{camera}", known)
        for name in tree.images(f"{above}/cam{camera}/{person}", ".jpg")
    ]
    for path, identity, camera in rows:
        _check_image(tree.root / path, modality, identity, camera)
    return _image_list(modality, sorted(rows, key=lambda row: (row[1], row[2], row[0])))


def _cameras(tree: Tree, modality: str, above: str) -> list[int]:
    """Cameras that have a folder."""
    numbers = {f"cam{camera}": camera for camera in CAMERAS[modality]}
    for name in tree.names(above):
        if name not in numbers and re.fullmatch(r"cam\d+", name):
            raise UserError(
                f"{tree.root / above / name}: LLCM has no such {modality} camera, it has "
                f"{', '.join(numbers)}: remove the folder or copy LLCM again"
            )
    return [numbers[name] for name in tree.folders(above, numbers)]


def _check_image(path: Path, modality: str, identity: int, camera: int) -> None:
    """Stop where the name of an image contradicts its place, or its camera does not exist.

    Args:
        path: of the image.
        modality: of its folder.
        identity: of its folder.
        camera: of its folder; of its name for training images.
    """
    again = "correct the name or copy LLCM again"
    if camera not in CAMERAS[modality]:
        numbers = ", ".join(map(str, CAMERAS[modality]))
        raise UserError(
            f"{path} is of camera {camera}, but {modality} cameras of LLCM are {numbers}: {again}"
        )
    said, folder = NAME.fullmatch(path.name), FOLDERS[modality]
    if said is None:
        return
    place = {"identity": identity, "camera": camera, "modality": folder}
    name = said.groupdict(default=folder)
    name |= {"identity": int(name["identity"]), "camera": int(name["camera"])}
    wrong = [key for key in place if place[key] != name[key]]
    if wrong:
        raise UserError(
            f"{path} contradicts itself: its name says {wrong[0]} {name[wrong[0]]}, its folder "
            f"{place[wrong[0]]}: {again}"
        )


def _image_list(modality: str, rows: list[tuple[str, int, int]]) -> ImageList:
    table = np.array([row[1:] for row in rows], dtype=np.int64).reshape(-1, 2)
    return ImageList(modality, tuple(row[0] for row in rows), table[:, 0], table[:, 1])
