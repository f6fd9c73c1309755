"""Where prepared images lie, and the commands that make and use them; nothing heavy is imported."""

import sys
from argparse import Namespace
from pathlib import Path

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


def cache_folder(args: Namespace) -> Path:
    """Prepared images: ``--cache-dir``, or where they usually lie."""
    usual = beside(args.data_dir, (args.height, args.width), args.cache_root)
    return Path(args.cache_dir) if args.cache_dir else usual


def prepared_folder(args: Namespace, dataset: str) -> Path:
    """The folder of the prepared images that ``data_dir``, ``height`` and ``width`` name.

    Raises:
        UserError: it is not there.
    """
    folder = cache_folder(args)
    if not (folder / "index.json").exists():
        places = {"--cache-dir": args.cache_dir, "--cache-root": args.cache_root}
        given = "".join(f" {flag} {place}" for flag, place in places.items() if place)
        raise UserError(
            f"no prepared images in {folder}: run {command_of('prepare', dataset)} "
            f"--data-dir {args.data_dir}{given} --height {args.height} --width {args.width}"
        )
    return folder
