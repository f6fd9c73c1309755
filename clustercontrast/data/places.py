"""Where prepared images lie, and the commands that make and use them; nothing heavy is imported."""

from argparse import Namespace
from pathlib import Path

from clustercontrast.files import UserError

SCRIPTS = ("sysu", "regdb")  # datasets that have scripts of their own


def command_of(action: str, dataset: str) -> str:
    """The command line of "prepare", "train" or "test" on a dataset, without its flags."""
    if dataset in SCRIPTS:
        return f"python {action}_{dataset}.py"
    return f"python -m clustercontrast {action} --dataset {dataset}"


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
