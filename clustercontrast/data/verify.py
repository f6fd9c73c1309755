"""Is the dataset complete, and are its test identities unseen in training?"""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np

from clustercontrast.data.samples import MODALITIES, ImageList, Listing, known_people
from clustercontrast.files import UserError, read_json

RENDERED = "rendered.json"
"""File that marks the images in its folder as drawn by this repository."""


def facts(root: Path, reader: ModuleType) -> dict:
    """What is known beforehand about the dataset at ``root``.

    Args:
        root: the dataset's folder, or that of the table which describes it.
        reader: the module that reads its layout, with ``TITLE`` and ``COUNTS``; one without counts
            reads images of any layout.

    Returns:
        ``rendered`` (bool) and ``counts`` (the keys of ``COUNTS``): those of the dataset, or, for
        images drawn by this repository, the content of the ``rendered.json`` beside them (also
        ``seed`` and ``note``).

    Raises:
        UserError: ``rendered.json`` lacks its counts, or belongs to another layout.
    """
    path = Path(root) / RENDERED
    if not path.exists():
        return {"rendered": False, "counts": dict(reader.COUNTS)}
    content = read_json(path)
    layout = content.get("layout") if isinstance(content, dict) else None
    if reader.COUNTS and layout not in (None, reader.TITLE):
        raise UserError(f"{root} was rendered in the layout of {layout}, not of {reader.TITLE}")
    known = content.get("counts") if isinstance(content, dict) else None
    if not isinstance(known, dict) or not reader.COUNTS.keys() <= known.keys():
        raise UserError(
            f"{path} lacks counts of {', '.join(reader.COUNTS)}: delete the folder and render the "
            "images again"
        )
    return {**content, "rendered": True}


def verify_counts(
    listing: Listing, reader: ModuleType, expected: dict[str, int], allow_incomplete: bool
) -> list[str]:
    """Compare what was found with what there should be.

    Args:
        listing: what the reader found.
        reader: the module that read it, with ``TITLE``, ``COUNTS``, ``NAMES`` and ``count``, which
            leaves out what was not asked for.
        expected: the ``counts`` of :func:`facts`.
        allow_incomplete: go on in spite of differences.

    Returns:
        One warning per count that differs; empty when all agree.

    Raises:
        UserError: counts differ and ``allow_incomplete`` is off; it names each of them. An empty
            list of images is an error in either case.
    """
    found = reader.count(listing)
    owner = reader.TITLE if expected == reader.COUNTS else "rendered.json"
    differing = [
        f"found {found[key]:,} {name}, {owner} has {expected[key]:,}"
        for key, name in reader.NAMES.items()
        if key in found and found[key] != expected[key]
    ]
    empty = [name for key, name in reader.NAMES.items() if found.get(key) == 0]
    if empty:
        raise UserError(f"found no {', no '.join(empty)}: copy the dataset again")
    if differing and not allow_incomplete:
        raise UserError(
            f"{'; '.join(differing)}: copy the missing files again, or pass --allow-incomplete "
            "and do not compare the results with published ones"
        )
    return differing


def verify_split(listing: Listing, allow_leak: bool) -> bool:
    """Look for identities that are in training and in test images, in every trial.

    Args:
        listing: what the reader found; lists that are not split are passed over.
        allow_leak: go on in spite of such identities.

    Returns:
        Whether there are any; identities below 0 are unknown and do not count.

    Raises:
        UserError: there are, and ``allow_leak`` is off.
    """
    shared = _shared_people(listing)
    if shared and not allow_leak:
        trial, people = next(iter(shared.items()))
        where = "" if trial is None else f" of trial {trial}"
        number = f" ({len(people):,} identities are)" if len(people) > 1 else ""
        raise UserError(
            f"identity {people[0]} is in the training and in the test part{where}{number}: correct "
            "the lists of the dataset, or pass --allow-leak, which marks every report"
        )
    return bool(shared)


def _shared_people(listing: Listing) -> dict[int | None, list[int]]:
    """Trial, None where there are none, -> identities of both parts, if there are any."""
    if not listing.is_split:
        return {}
    found = {}
    for trial in listing.trials or [None]:
        parts = listing.parts(trial)
        learned, tested = (
            known_people(*(parts[f"{part}_{modality}"] for modality in MODALITIES))
            for part in ("train", "test")
        )
        found[trial] = np.intersect1d(learned, tested).tolist()
    return {trial: people for trial, people in found.items() if people}


def images_per_camera(lists: Mapping[str, ImageList]) -> dict[str, dict[int, int]]:
    """Number of images of every list by camera, for the report."""
    table = {}
    for name, images in lists.items():
        cameras, numbers = np.unique(images.cameras, return_counts=True)
        table[name] = dict(zip(cameras.tolist(), numbers.tolist(), strict=True))
    return table
