"""Images of one's own, visible and infrared, described by a table (``--manifest``).

Nothing is known of them beforehand: no counts, no cameras, perhaps no identities.  What the table
says is read by :mod:`clustercontrast.data.manifest`.
"""

from pathlib import Path

from clustercontrast.data import manifest
from clustercontrast.data.samples import Listing

TITLE = "images of your own"
COUNTS: dict[str, int] = {}  # it is not known how many there should be
NAMES: dict[str, str] = {}
RESAMPLING = manifest.RESAMPLING
TURNED = manifest.TURNED
SOURCE = (
    "--manifest FILE names a table of their paths, modalities and splits; docs/datasets.md shows "
    "how to write it"
)


def read(root: Path, table: str = manifest.FILE) -> Listing:
    """List the images of a table.

    Args:
        root: folder that the paths of the table start from.
        table: the table, relative to ``root``.

    Raises:
        UserError: see :func:`clustercontrast.data.manifest.read`.
    """
    return manifest.read(root, SOURCE, table, own=True)


def count(listing: Listing) -> dict[str, int]:
    """The number of images of every list; there are no expected numbers."""
    return {name: len(images) for name, images in listing.lists.items()}
