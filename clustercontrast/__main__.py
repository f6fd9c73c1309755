"""The command clustercontrast, also python -m clustercontrast: one word for everything it does.

What follows the word is handed to a command of :mod:`clustercontrast.commands`.  On a dataset
(prepare, train, test) it is the one that the scripts <action>_sysu.py and <action>_regdb.py in the
root of the repository call.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

from clustercontrast.commands import cli, overview, report, sweep, use
from clustercontrast.data.places import program
from clustercontrast.files import UserError, say
from clustercontrast.settings.official import script_answer
from clustercontrast.settings.parser import OneLineParser
from clustercontrast.settings.recipes.common import DATASETS

ON_DATASET = {
    "prepare": (cli.prepare, "verify a dataset and write its images, resized once"),
    "train": (cli.train, "train a method, stage by stage, then test it"),
    "test": (cli.test, "test a run's models, or one checkpoint"),
}
"""Action on a dataset -> its command, what it does."""

OTHERS = {
    "report": (report.main, "tables, figures and pages of runs"),
    "sweep": (sweep.main, "a grid of runs, and their table"),
    "features": (use.features, "features of a folder of images"),
    "search": (use.search, "search a gallery for the people of query images"),
    "export": (cli.export, "take a model elsewhere: ONNX, safetensors, the official programs"),
    "methods": (overview.methods, "methods, datasets, and what each needs"),
}
"""Action that needs no dataset, or names it itself -> its command, what it does."""

HELP = "--help lists them"


def main(argv: Sequence[str] | None = None) -> None:
    """Run an action; a user's mistake is one line and exit code 2."""
    words = sys.argv[1:] if argv is None else list(argv)
    cli.command(lambda: _start(words))


def _start(words: Sequence[str]) -> None:
    if words[:1] and words[0] in OTHERS:
        OTHERS[words[0]][0](words[1:])
        return
    # The commands themselves refuse --dataset, which a script's name says.
    parser = OneLineParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--dataset", choices=DATASETS)
    known, rest = parser.parse_known_args(words)
    action, *flags = rest or [""]
    if action in OTHERS:
        raise UserError(f"{action} stands before --dataset: {program()} {action} ...")
    if known.dataset is None and (not rest or {"-h", "--help"} & set(rest)):
        say(usage())
        return
    if action not in ON_DATASET:
        unknown = f"'{action}' is not one of {', '.join([*ON_DATASET, *OTHERS])} ({HELP})"
        raise UserError(script_answer(action) or unknown)
    if known.dataset is None:
        raise UserError(f"{action} needs --dataset: {', '.join(DATASETS)} ({HELP})")
    ON_DATASET[action][0](known.dataset, flags)


def usage() -> str:
    """How to say it, and the datasets with the places they come from."""
    readers = {name: import_module(f"clustercontrast.data.{name}") for name in DATASETS}
    datasets = [f"  {name:8} {reader.TITLE}: {reader.SOURCE}" for name, reader in readers.items()]
    actions = {name: says for name, (_, says) in (ON_DATASET | OTHERS).items()}
    return "\n".join(
        [
            f"usage: {program()} {{{','.join(ON_DATASET)}}} --dataset DATASET [--FLAG VALUE ...]",
            f"       {program()} {{{','.join(OTHERS)}}} ...",
            "",
            *(f"  {name:9} {says}" for name, says in actions.items()),
            "",
            "datasets:",
            *datasets,
            "",
            f"Flags of an action: {program()} ACTION --help, with --dataset DATASET for "
            f"{', '.join(ON_DATASET)}",
        ]
    )


if __name__ == "__main__":
    main()
