"""The command methods: what there is, and what each needs."""

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from importlib import import_module

from clustercontrast.commands import cli
from clustercontrast.data.places import command_of, program
from clustercontrast.files import say
from clustercontrast.settings.options import defaults
from clustercontrast.settings.parser import OneLineParser
from clustercontrast.settings.recipes import all_recipes
from clustercontrast.settings.recipes.common import DATASETS, Recipe, shared_defaults

WEIGHTS = {
    "imagenet": "ImageNet weights, fetched when first needed",
    "random": "random weights",
}
EVERY = (
    "Every method trains on every dataset; a stage that learns from true identities says so where "
    "the training images have none."
)
INDENT = " " * 18


def methods(argv: Sequence[str] | None = None) -> None:
    """Print the methods and the datasets."""
    cli.command(lambda: _methods(argv))


def _methods(argv: Sequence[str] | None) -> None:
    OneLineParser(
        prog=f"{program()} methods",
        description="List methods and datasets, and what each needs.",
    ).parse_args(argv)
    say(overview())


def overview() -> str:
    """Methods and datasets as text, no wider than the terminal."""
    parts = ["Methods (--method):"]
    for name, recipe in all_recipes().items():
        parts += ["", *_entry(name, _of_method(recipe))]
    parts += ["", "", "Datasets (--dataset):"]
    for name in DATASETS:
        parts += ["", *_entry(name, _of_dataset(name))]
    flags = f"Flags: {program()} train --dataset DATASET --method METHOD --help"
    return "\n".join([*parts, "", *textwrap.wrap(EVERY, _width()), flags])


def _of_method(recipe: Recipe) -> dict[str, str]:
    usual = next(iter(DATASETS))
    weights = defaults(recipe, usual)[0]["pretrained"]
    found = {
        "": f"{recipe.title}: {recipe.paper}",
        "stages": ", ".join(recipe.stages),
        "starts from": WEIGHTS.get(weights, f"the file {weights} (--pretrained names another)"),
    }
    needs = [need.text for need in recipe.needs if not need.when]
    if needs:
        found["needs"] = "; ".join(needs)
    if len(recipe.variants) > 1:
        found["variants"] = ", ".join(recipe.variants)
    return found


def _of_dataset(name: str) -> dict[str, str]:
    reader = import_module(f"clustercontrast.data.{name}")
    return {
        "": reader.TITLE,
        "from": reader.SOURCE,
        "place": f"{shared_defaults(name)['data_dir']} (--data-dir names another)",
        "prepare": command_of("prepare", name),
    }


def _entry(name: str, facts: dict[str, str]) -> Iterable[str]:
    """A name and its facts, each in lines that fit the terminal."""
    for label, text in facts.items():
        first = f"  {name}" if not label else f"    {label}"
        yield from textwrap.wrap(
            text,
            _width(),
            initial_indent=f"{first:<{len(INDENT)}}" if len(first) < len(INDENT) else f"{first} ",
            subsequent_indent=INDENT,
            break_on_hyphens=False,
            break_long_words=False,
        )


def _width() -> int:
    """Letters of a line."""
    return max(60, shutil.get_terminal_size((100, 20)).columns)
