"""LLCM, described by a manifest: nine cameras in low light, all labelled."""

from pathlib import Path

from clustercontrast.data import manifest
from clustercontrast.data.samples import Listing, number_of_people

TITLE = "LLCM"
COUNTS = {
    "train_identities": 713,
    "test_identities": 351,
    "train_visible": 16946,
    "train_infrared": 13975,
    "images": 46767,
}
NAMES = {
    "train_identities": "training identities",
    "test_identities": "test identities",
    "train_visible": "visible training images",
    "train_infrared": "infrared training images",
    "images": "images in total",
}
RESAMPLING = manifest.RESAMPLING
SOURCE = (
    "LLCM is handed out by the authors of DEEN (CVPR 2023) on request; 'python -m "
    "clustercontrast.rendering --layout llcm --out FOLDER' draws rendered identities in its place"
)


def read(root: Path) -> Listing:
    """List the images of LLCM.

    Args:
        root: folder with the table of :mod:`clustercontrast.data.manifest` and the images.

    Raises:
        UserError: see :func:`clustercontrast.data.manifest.read`.
    """
    return manifest.read(root, SOURCE)


def count(listing: Listing) -> dict[str, int]:
    """The numbers of ``COUNTS``."""
    lists = listing.lists
    return {
        "train_identities": number_of_people(lists["train_visible"], lists["train_infrared"]),
        "test_identities": number_of_people(lists["test_visible"], lists["test_infrared"]),
        "train_visible": len(lists["train_visible"]),
        "train_infrared": len(lists["train_infrared"]),
        "images": sum(map(len, lists.values())),
    }
