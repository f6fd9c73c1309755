"""Where prepared images lie, and the commands that make and use them; nothing heavy is imported."""

import functools
import importlib
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clustercontrast.files import UserError

SCRIPTS = ("sysu", "regdb")  # datasets that have scripts of their own


CONSOLE = "clustercontrast"
"""The command of an installed package."""


def program() -> str:
    """How this program is called: by its command where that was used, or through Python."""
    return CONSOLE if Path(sys.argv[0]).stem == CONSOLE else f"python -m {CONSOLE}"


def command_of(action: str, dataset: str) -> str:
    """The command line of "prepare", "train" or "test" on a dataset, without its flags.

    It names a script where there are scripts: in a checkout of the repository.
    """
    script = f"{action}_{dataset}.py"
    if dataset in SCRIPTS and program() != CONSOLE and Path(script).exists():
        return f"python {script}"
    return f"{program()} {action} --dataset {dataset}"


def beside(root: str, size: tuple[int, int], cache_root: str | None, chosen: str = "") -> Path:
    """Usual folder of a dataset's prepared images: named after it, never inside it.

    Args:
        root: the dataset's folder.
        size: (height, width) of the prepared images, pixels.
        cache_root: folder that it lies in; the one that the dataset lies in where it is None.
        chosen: what tells a part of the dataset from the whole.
    """
    dataset = Path(root)
    if dataset.name in ("", ".."):
        dataset = dataset.resolve()
    place = Path(cache_root) if cache_root else dataset.parent
    return place / f"{dataset.name}{chosen}-{size[0]}x{size[1]}"


def table_and_folder(
    manifest: str | None, data_dir: str | None, usual: tuple[str, str]
) -> tuple[str, str]:
    """The table that describes a dataset, and the folder that its paths start from.

    Args:
        manifest: the table if it was named.  Its paths then start from its own folder.
        data_dir: the folder if it was named.  The table lies there as it usually does.
        usual: both where neither was named.
    """
    if manifest:
        return manifest, data_dir or str(Path(manifest).parent)
    if data_dir:
        return os.path.normpath(Path(data_dir) / os.path.relpath(*usual)), data_dir
    return usual


def reading(dataset: str, args: Namespace) -> Callable[[Path], Any] | None:
    """How flags say that a dataset's folder is read; None: as its reader does.

    Args:
        dataset: its name.
        args: ``data_dir``, and ``manifest`` where a table describes the dataset.
    """
    if not hasattr(args, "manifest"):
        return None
    reader = importlib.import_module(f"clustercontrast.data.{dataset}")
    return functools.partial(reader.read, table=os.path.relpath(args.manifest, args.data_dir))


def usual_folder(args: Namespace, size: tuple[int, int]) -> Path:
    """Where a dataset's prepared images of a size, (height, width), usually lie.

    It is beside the table where one describes the dataset, named after its folder and itself: one
    folder may hold several tables.
    """
    if not hasattr(args, "manifest"):
        return beside(args.data_dir, size, args.cache_root)
    table = Path(args.manifest)
    chosen = "" if table.name == "manifest.csv" else f"-{table.stem}"
    return beside(str(table.parent), size, args.cache_root, chosen)


def cache_folder(args: Namespace) -> Path:
    """Prepared images: ``--cache-dir``, or where they usually lie."""
    usual = usual_folder(args, (args.height, args.width))
    return Path(args.cache_dir) if args.cache_dir else usual


def prepared_folder(args: Namespace, dataset: str) -> Path:
    """The folder of the prepared images that ``data_dir``, ``height`` and ``width`` name.

    Where a table describes the dataset, ``manifest`` does so, too.

    Raises:
        UserError: it is not there.
    """
    folder = cache_folder(args)
    if not (folder / "index.json").exists():
        names = ("manifest", "data_dir", "cache_dir", "cache_root", "height", "width")
        flags = {f"--{name.replace('_', '-')}": getattr(args, name, None) for name in names}
        given = " ".join(f"{flag} {value}" for flag, value in flags.items() if value)
        raise UserError(
            f"no prepared images in {folder}: run {command_of('prepare', dataset)} {given}"
        )
    return folder
