"""SYSU-MM02, described by a manifest: unlabelled training images, labelled test images.

Camera 1 is visible, cameras 2 and 3 are near-infrared; of three nights, one is for training.  The
paper counts 2,360 visible test images of 118 identities and, in words, ten images per identity
and camera, which would be 1,180: the reader takes what is there (A38).
"""

from pathlib import Path

from clustercontrast.data import manifest
from clustercontrast.data.samples import Listing, number_of_people

TITLE = "SYSU-MM02"
COUNTS = {
    "train_visible": 7440,
    "train_infrared": 13614,
    "test_identities": 118,
    "test_visible": 2360,
    "test_infrared": 2360,
}
NAMES = {
    "train_visible": "visible training images",
    "train_infrared": "infrared training images",
    "test_identities": "test identities",
    "test_visible": "visible test images",
    "test_infrared": "infrared test images",
}
RESAMPLING = manifest.RESAMPLING
TURNED = manifest.TURNED
SOURCE = (
    "SYSU-MM02 must be requested from the authors of CMAM-UDA (IEEE TCSVT 2024) and may not be "
    "available; 'python -m clustercontrast.rendering --layout sysu02 --out FOLDER' draws rendered "
    "identities in its place"
)


def read(root: Path) -> Listing:
    """List the images of SYSU-MM02; training identities are -1.

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
        "test_identities": number_of_people(lists["test_visible"], lists["test_infrared"]),
        **{name: len(images) for name, images in lists.items()},
    }
