"""Reader of RegDB in the layout its authors distribute.

::

    <root>/Visible/<person>/<sex>_<view>_v_<frame>_<person>.bmp
    <root>/Thermal/<person>/<sex>_<view>_t_<frame>_<person>.bmp
    <root>/idx/{train,test}_{visible,thermal}_{1..10}.txt        lines: relative path, blank, label

412 identities with 10 visible and 10 thermal images each.  Each of the ten trials trains on 206 of
them (2,060 + 2,060 images) and tests on the other 206; a model belongs to its trial.  Labels number
the identities of one part of one trial: they are compared, never used as identities beyond it.
"""

from collections import Counter
from pathlib import Path

import numpy as np

from clustercontrast.data import lists
from clustercontrast.data.samples import ImageList, Listing, number_of_people
from clustercontrast.data.tree import Tree, check_layout
from clustercontrast.files import UserError

TITLE = "RegDB"
FOLDERS = {"visible": "Visible", "infrared": "Thermal"}
WANTED = (*FOLDERS.values(), "idx")
WORDS = {"visible": "visible", "infrared": "thermal"}  # in the names of the index files
CAMERAS = {"visible": 1, "infrared": 2}
COUNTS = {
    "trials": 10,
    "visible": 4120,
    "infrared": 4120,
    "train_identities": 206,
    "test_identities": 206,
    "train_visible": 2060,
    "train_infrared": 2060,
    "test_visible": 2060,
    "test_infrared": 2060,
}
NAMES = {
    "trials": "trials",
    "visible": "visible images",
    "infrared": "thermal images",
    "train_identities": "training identities per trial",
    "test_identities": "test identities per trial",
    "train_visible": "visible training images per trial",
    "train_infrared": "thermal training images per trial",
    "test_visible": "visible test images per trial",
    "test_infrared": "thermal test images per trial",
}
# Any image is a training image of some trials and a test image of the others, and the two are
# resized by different filters (COMMON-5).
FILTERS = {"train": "bicubic", "test": "lanczos"}
RESAMPLING = {f"{m}_{resample}": resample for m in FOLDERS for resample in FILTERS.values()}
TURNED = False  # upstream shows images as they are stored, whatever EXIF says
SOURCE = (
    "RegDB is handed out by its authors on request; 'python -m clustercontrast.rendering --layout "
    "regdb --out FOLDER' draws rendered identities in its layout"
)
AGAIN = "copy the idx folder again"


def read(root: Path) -> Listing:
    """List the images of RegDB and the parts of its trials.

    Images are ascending in (identity, file name).  The rows of a part are ascending in the text
    "<label>_c1_<file name>", unpadded: the order of upstream's prepared files, in which clusters
    are numbered (COMMON-23).

    Args:
        root: folder that contains Visible, Thermal and idx.

    Returns:
        Lists "visible_bicubic", "infrared_bicubic", "visible_lanczos" and "infrared_lanczos" of all
        images, identities being the numbers of the persons' folders, and the trials' parts.

    Raises:
        UserError: the folder is not in the layout above, or index files and folders contradict.
    """
    root = Path(root)
    check_layout(root, TITLE, WANTED, "Visible", "Visible, Thermal and idx", SOURCE)
    tree = Tree(root)
    images = {modality: _images(tree, modality) for modality in FOLDERS}
    trials = {trial: _trial(tree, trial, images) for trial in _trials(root)}
    every = {name: images[name.split("_")[0]] for name in RESAMPLING}
    listing = Listing(every, trials, tree.skipped)
    _check_alike(listing)
    return listing


def count(listing: Listing) -> dict[str, int]:
    """The numbers of ``COUNTS``; all trials have the same."""
    parts = listing.parts(1)
    return {
        "trials": len(listing.trials),
        "visible": len(listing.lists["visible_bicubic"]),
        "infrared": len(listing.lists["infrared_bicubic"]),
        "train_identities": number_of_people(parts["train_visible"], parts["train_infrared"]),
        "test_identities": number_of_people(parts["test_visible"], parts["test_infrared"]),
        **{part: len(images) for part, images in parts.items()},
    }


def _images(tree: Tree, modality: str) -> ImageList:
    """All images of one modality."""
    folder = FOLDERS[modality]
    people = sorted(_person(tree.root / folder / name) for name in tree.names(folder))
    found = [
        (person, name) for person in people for name in tree.images(f"{folder}/{person}", ".bmp")
    ]
    paths = tuple(f"{folder}/{person}/{name}" for person, name in found)
    identities = np.array([person for person, _ in found], dtype=np.int64)
    return ImageList(modality, paths, identities, np.full(len(found), CAMERAS[modality]))


def _person(place: Path) -> int:
    if not place.is_dir() or not place.name.isdecimal() or place.name != str(int(place.name)):
        raise UserError(f"{place} is not the folder of an identity, expected a number: remove it")
    return int(place.name)


def _trials(root: Path) -> range:
    """Trials that have an index file, 1 to the last without a gap."""
    numbers = sorted(
        int(number)
        for path in (root / "idx").glob("train_visible_*.txt")
        if (number := path.stem.rpartition("_")[2]).isdecimal()
    )
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        raise UserError(
            f"{root / 'idx'} has train_visible files of the trials {numbers}, expected 1 to "
            f"{COUNTS['trials']}: {AGAIN}"
        )
    return range(1, len(numbers) + 1)


def _trial(
    tree: Tree, trial: int, images: dict[str, ImageList]
) -> dict[str, tuple[str, np.ndarray]]:
    """Part -> (list, rows) of one trial, checked against itself."""
    parts, folder = {}, tree.root / "idx"
    for part, resample in FILTERS.items():
        labelled = set()
        for modality, every in images.items():
            file = folder / f"{part}_{WORDS[modality]}_{trial}.txt"
            entries = lists.labels(file, tree, AGAIN)
            rows = _rows(file, entries, every)
            labelled |= {(every.identities[row], entries[every.paths[row]]) for row in rows}
            parts[f"{part}_{modality}"] = f"{modality}_{resample}", rows
        _check_labels(f"{folder}/{part}_*_{trial}.txt", labelled)
    return parts


def _rows(file: Path, entries: dict[str, int], images: ImageList) -> np.ndarray:
    """Rows of the listed images in the order of upstream's prepared files."""
    known = {path: row for row, path in enumerate(images.paths)}
    unknown = [path for path in entries if path not in known]
    if unknown:
        raise UserError(
            f"{file} lists {unknown[0]}"
            + (f" and {len(unknown) - 1} more files" if len(unknown) > 1 else "")
            + f", not found in {file.parents[1]}: copy the images again"
        )
    ordered = sorted(entries, key=lambda path: f"{entries[path]}_c1_{path.rpartition('/')[2]}")
    return np.array([known[path] for path in ordered], dtype=np.int64)


def _check_labels(files: str, labelled: set[tuple[int, int]]) -> None:
    """One label per identity and one identity per label, the same in both modalities."""
    for which, name in enumerate(("identity", "label")):
        several = Counter(pair[which] for pair in labelled).most_common(1)
        if several and several[0][1] > 1:
            raise UserError(
                f"{files}: {name} {several[0][0]} has {several[0][1]} different "
                f"{('labels', 'identities')[which]}, expected one: {AGAIN}"
            )


def _check_alike(listing: Listing) -> None:
    """All trials have parts of the same sizes."""
    sizes = {
        trial: {part: len(rows) for part, (_, rows) in parts.items()}
        for trial, parts in listing.trials.items()
    }
    for trial, own in sizes.items():
        for part, size in own.items():
            if size != sizes[1][part]:
                raise UserError(
                    f"trial {trial} lists {size:,} images for {part}, trial 1 lists "
                    f"{sizes[1][part]:,}: {AGAIN}"
                )
