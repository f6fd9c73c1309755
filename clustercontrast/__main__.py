"""Any dataset by its name: python -m clustercontrast ACTION --dataset DATASET [--FLAG VALUE ...].

ACTION is prepare, train or test.  What follows is handed to the command of that dataset, the same
that the scripts <action>_sysu.py and <action>_regdb.py in the root of the repository call.  The
action export needs no dataset.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

from clustercontrast.commands import cli
from clustercontrast.files import UserError, say
from clustercontrast.settings.official import script_answer
from clustercontrast.settings.parser import OneLineParser
from clustercontrast.settings.recipes.common import DATASETS

ACTIONS = {"prepare": cli.prepare, "train": cli.train, "test": cli.test}
EXPORT = "export"
HELP = "--help lists the datasets"


def main(argv: Sequence[str] | None = None) -> None:
    """Run an action on a dataset; a user's mistake is one line and exit code 2."""
    words = sys.argv[1:] if argv is None else list(argv)
    cli.command(lambda: _start(words))


def _start(words: Sequence[str]) -> None:
    # The commands themselves refuse --dataset, which a script's name says.
    parser = OneLineParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--dataset", choices=DATASETS)
    known, rest = parser.parse_known_args(words)
    if rest[:1] == [EXPORT]:
        if known.dataset:
            raise UserError("export takes no --dataset, the model decides: leave it out")
        cli.export(rest[1:])
        return
    if known.dataset is None and (not rest or {"-h", "--help"} & set(rest)):
        say(usage())
        return
    action, *flags = rest or [""]
    if action not in ACTIONS:
        unknown = f"'{action}' is not one of {', '.join([*ACTIONS, EXPORT])} ({HELP})"
        raise UserError(script_answer(action) or unknown)
    if known.dataset is None:
        raise UserError(f"{action} needs --dataset: {', '.join(DATASETS)} ({HELP})")
    ACTIONS[action](known.dataset, flags)


def usage() -> str:
    """How to say it, and the datasets with the places they come from."""
    readers = {name: import_module(f"clustercontrast.data.{name}") for name in DATASETS}
    datasets = [f"  {name:8} {reader.TITLE}: {reader.SOURCE}" for name, reader in readers.items()]
    return "\n".join(
        [
            "usage: python -m clustercontrast {prepare,train,test} --dataset DATASET "
            "[--FLAG VALUE ...]",
            "",
            "  prepare  verify a dataset and write its images, resized once",
            "  train    train a method, stage by stage, then test it",
            "  test     test a run's models, or one checkpoint",
            "  export   write a model for other programs: "
            "export RUN [--onnx DIR] [--safetensors DIR] [--official FILE]",
            "",
            "datasets:",
            *datasets,
            "",
            "Flags of an action: python -m clustercontrast ACTION --dataset DATASET --help",
        ]
    )


if __name__ == "__main__":
    main()
