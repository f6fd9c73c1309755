"""Is the dataset complete? Counts of what was found against counts of what there should be."""

from pathlib import Path

import numpy as np

from clustercontrast.data import sysu
from clustercontrast.data.samples import ImageList
from clustercontrast.files import UserError, read_json

NAMES = {
    "train_identities": "training identities",
    "test_identities": "test identities",
    "train_visible": "visible training images",
    "train_infrared": "infrared training images",
    "query": "infrared query images",
    "gallery": "visible gallery images",
    "gallery_draw": "pairs of test identity and visible camera",
}


def facts(root: Path) -> dict:
    """What is known beforehand about the dataset at ``root``.

    Returns:
        ``rendered`` (bool) and ``counts`` (the keys of ``sysu.COUNTS``): those of SYSU-MM01, or,
        for images drawn by this repository, the content of the ``rendered.json`` beside them
        (also ``seed`` and ``note``).

    Raises:
        UserError: ``rendered.json`` lacks its counts.
    """
    path = Path(root) / "rendered.json"
    if not path.exists():
        return {"rendered": False, "counts": dict(sysu.COUNTS)}
    content = read_json(path)
    known = content.get("counts") if isinstance(content, dict) else None
    if not isinstance(known, dict) or not sysu.COUNTS.keys() <= known.keys():
        raise UserError(f"{path} lacks counts of {', '.join(sysu.COUNTS)}: render the images again")
    return {**content, "rendered": True}


def counts(lists: dict[str, ImageList]) -> dict[str, int]:
    """The seven numbers of ``sysu.COUNTS``, counted; ``gallery_draw`` is one gallery's length."""
    train, test = ("train_visible", "train_infrared"), ("query", "gallery")
    gallery = lists["gallery"]
    return {
        "train_identities": _number_of_identities(lists, train),
        "test_identities": _number_of_identities(lists, test),
        **{name: len(lists[name]) for name in train + test},
        "gallery_draw": len(set(zip(gallery.identities, gallery.cameras, strict=True))),
    }


def verify_counts(
    lists: dict[str, ImageList], expected: dict[str, int], allow_incomplete: bool
) -> list[str]:
    """Compare what was found with what there should be.

    Args:
        lists: as :func:`clustercontrast.data.sysu.read` returns them.
        expected: the ``counts`` of :func:`facts`.
        allow_incomplete: go on in spite of differences.

    Returns:
        One warning per count that differs; empty when all agree.

    Raises:
        UserError: counts differ and ``allow_incomplete`` is off; it names each of them. An empty
            list of images is an error in either case.
    """
    found = counts(lists)
    owner = "SYSU-MM01" if expected == sysu.COUNTS else "rendered.json"
    differing = [
        f"found {found[key]:,} {NAMES[key]}, {owner} has {expected[key]:,}"
        for key in NAMES
        if found[key] != expected[key]
    ]
    empty = [NAMES[key] for key in NAMES if found[key] == 0]
    if empty:
        raise UserError(f"found no {', no '.join(empty)}: copy the dataset again")
    if differing and not allow_incomplete:
        raise UserError(
            f"{'; '.join(differing)}: copy the missing files again, or pass --allow-incomplete "
            "and do not compare the results with published ones"
        )
    return differing


def images_per_camera(lists: dict[str, ImageList]) -> dict[str, dict[int, int]]:
    """Number of images of every list by camera, for the report."""
    table = {}
    for name, images in lists.items():
        cameras, numbers = np.unique(images.cameras, return_counts=True)
        table[name] = dict(zip(cameras.tolist(), numbers.tolist(), strict=True))
    return table


def _number_of_identities(lists: dict[str, ImageList], names: tuple[str, ...]) -> int:
    return len(np.unique(np.concatenate([lists[name].identities for name in names])))
