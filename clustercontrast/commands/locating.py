"""Where a dataset lies while no --data-dir says so: in its usual place, or in another known one."""

import importlib
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from clustercontrast.data.places import beside, table_and_folder
from clustercontrast.files import UserError, say
from clustercontrast.settings.command_line import COMMAND_LINE
from clustercontrast.settings.options import Options
from clustercontrast.settings.recipes.common import DATASETS, shared_defaults

FOUND = "the folder that is there"
"""Origin of a place that is not the usual one."""
OTHER = "as {} says"
"""Origin of the table of a dataset, or its folder, where the other one was typed."""


def known_places(dataset: str) -> list[str]:
    """Folders that a dataset is looked for in, the usual one first."""
    return [shared_defaults(dataset)["data_dir"], *DATASETS[dataset].places]


def located(dataset: str, place: str, is_there: Callable[[str], bool]) -> str:
    """The given place of a dataset, or the first other known one if that is not there.

    A place that is not among the known ones stays as it is.

    Raises:
        UserError: no known place is there.
    """
    known = known_places(dataset)
    if place not in known:
        return place
    found = next(filter(is_there, dict.fromkeys([place, *known])), None)
    if found is None:
        reader = importlib.import_module(f"clustercontrast.data.{dataset}")
        raise UserError(
            f"no folder {' or '.join(known)}, expected {reader.TITLE} there (--data-dir names "
            f"another): {reader.SOURCE}"
        )
    return found


def is_folder(place: str) -> bool:
    """Whether a dataset itself is there."""
    return Path(place).is_dir()


def has_images(args: Namespace) -> Callable[[str], bool]:
    """Says of a place whether a dataset, or its prepared images beside it, are there.

    Args:
        args: ``height``, ``width`` and ``cache_root`` of the prepared images.
    """

    def is_there(place: str) -> bool:
        prepared = beside(place, (args.height, args.width), args.cache_root)
        return is_folder(place) or (prepared / "index.json").exists()

    return is_there


def locate(options: Options) -> None:
    """Put the place that is there into the values of a training.

    It is not looked for where a --data-dir, or a --cache-dir with prepared images, was typed, and
    not where a table describes the dataset, which says where its images are.
    """
    if "manifest" in options.values:
        _locate_table(options)
        return
    if options.origins["data_dir"] == COMMAND_LINE or options.cache_dir:
        return
    place = located(options.dataset, options.data_dir, has_images(options))
    if place != options.data_dir:
        options.values["data_dir"], options.origins["data_dir"] = place, FOUND


def _locate_table(options: Options) -> None:
    """Put the table and its folder into the values of a training, one as the other says."""
    names = ("manifest", "data_dir")
    typed = [name for name in names if options.origins[name] == COMMAND_LINE]
    given = [options.values[name] if name in typed else None for name in names]
    places = table_and_folder(*given, usual=tuple(options.values[name] for name in names))
    options.values.update(zip(names, places, strict=True))
    if len(typed) == 1:
        other = next(name for name in names if name not in typed)
        options.origins[other] = OTHER.format(f"--{typed[0].replace('_', '-')}")


def say_located(options: Options) -> None:
    """Say which place was found for a training, if it is not the usual one."""
    if options.origins["data_dir"] == FOUND:
        say_place(known_places(options.dataset)[0], options.data_dir)


def say_place(wanted: str, place: str) -> None:
    """Say that a dataset is taken from another place than where it was expected."""
    if place != wanted:
        say(f"{wanted} is not there: the images are those of {place}")
