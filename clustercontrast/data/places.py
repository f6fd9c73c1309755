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


def cache_folder(args: Namespace) -> Path:
    """Prepared images: ``--cache-dir``, or a folder beside the dataset named after their size."""
    return Path(args.cache_dir or f"{args.data_dir}-{args.height}x{args.width}")


def prepared_folder(args: Namespace, dataset: str) -> Path:
    """The folder of the prepared images that ``data_dir``, ``height`` and ``width`` name.

    Raises:
        UserError: it is not there.
    """
    folder = cache_folder(args)
    if not (folder / "index.json").exists():
        raise UserError(
            f"no prepared images in {folder}: run {command_of('prepare', dataset)} "
            f"--data-dir {args.data_dir} --height {args.height} --width {args.width}"
        )
    return folder
