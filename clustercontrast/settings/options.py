"""The command line of training: per-stage values, and where each value comes from.

Flags are in :mod:`clustercontrast.settings.flags`, defaults in
:mod:`clustercontrast.settings.recipes`.  A method knows the flags that its recipe rows name; giving
it another is an error, so that no flag is silently ignored.
"""

import argparse
import itertools
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from clustercontrast.files import UserError
from clustercontrast.settings.flags import REJECTED, OneLineParser, Reject, add_flags
from clustercontrast.settings.recipes import RECIPES, UNUSED, matching, variants

# A flag whose value is None takes this one's.
FOLLOWS = {
    "eps_visible": "eps",
    "eps_infrared": "eps",
    "eps_joint": "eps",
    "k1_visible": "k1",
    "first_momentum": "momentum",
    "clusters_infrared": "clusters",
}

DEPTHS = {"resnet": 50, "vit": 12}
"""Depth of an architecture unless --depth says another."""

RESNETS = (10, 18, 34, 50)
"""Depths of a ResNet."""

RUN_ONLY = {  # where and how to run: may change when a run is resumed
    "device", "logs_dir", "data_dir", "cache_dir", "print_freq", "overwrite", "stages", "name",
    "test_batch", "checkpoint_groups", "draws", "allow_leak", "shard",
    "allow_incomplete",
}  # fmt: skip


class Options:
    """All values of a run, frozen, with their origins.

    Attributes:
        values: flag -> scalar, or {stage: scalar} where stages differ.
        origins: flag -> "*/sysu", "pclhd/*/paper" ... (the recipe row) or "command line".
    """

    def __init__(self, values: dict, origins: dict[str, str]) -> None:
        self.values, self.origins = values, origins

    def at(self, stage: str) -> Namespace:
        """Flags of one stage, as scalars."""
        flags = {
            name: value[stage] if isinstance(value, dict) else value
            for name, value in self.values.items()
        }
        for name, leader in FOLLOWS.items():
            if name in flags and flags[name] is None:
                flags[name] = flags[leader]
        flags["depth"] = flags["depth"] or DEPTHS[flags["arch"]]
        if flags["first_epoch"] is None:
            flags["first_epoch"] = self._epochs_before(stage)
        if "dynamic_weight" in flags and flags["dynamic_weight"] is None:
            flags["dynamic_weight"] = 1 - flags["hard_weight"]  # Eq. 23: λ and 1 - λ
        if not flags.get("hpcl", True) and flags["memory"] == "hybrid":
            flags["memory"] = "sequential"
        return Namespace(**flags)

    def _epochs_before(self, stage: str) -> int:
        """Epochs of all earlier stages of the method."""
        before = itertools.takewhile(lambda name: name != stage, self.values["first_epoch"])
        epochs = self.values["epochs"]
        return sum(epochs[name] if isinstance(epochs, dict) else epochs for name in before)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None

    def trials(self) -> list[int | None]:
        """Trials to train on; ``[None]`` where the dataset has none."""
        trial = self.values.get("trial")
        return trial if isinstance(trial, list) else [trial]

    def of_trial(self, trial: int | None) -> "Options":
        """The values of one trial, whose number replaces ``{trial}`` in paths of weights."""
        if trial is None:
            return self
        sources = {
            name: self.values[name].replace("{trial}", str(trial))
            for name in ("pretrained", "start_from", "pseudo_labels")
            if self.values.get(name)
        }
        return Options(self.values | sources | {"trial": trial}, self.origins)

    @property
    def trial_number(self) -> int | None:
        """The trial of one model's values; None where the dataset has none."""
        (trial,) = self.trials()
        return trial

    def numbers(self) -> dict[str, Any]:
        """The values that the results depend on."""
        return {k: v for k, v in self.values.items() if k not in RUN_ONLY}


def parse(
    dataset: str, methods: dict[str, Sequence[str]], argv: Sequence[str] | None = None
) -> Options:
    """Read ``--method`` and ``--variant``, overlay their recipe rows, then parse for real.

    Args:
        dataset: "sysu" or "regdb".
        methods: method -> names of its stages.
        argv: the command line; the process's own by default.

    Raises:
        UserError: the command line is wrong.
        SystemExit: it asked for ``--help``.
    """
    first = OneLineParser(add_help=False, allow_abbrev=False)
    first.add_argument("--method", default="pclhd", choices=list(methods))
    first.add_argument("--variant")
    known, _ = first.parse_known_args(argv)
    stages = methods[known.method]
    recipe, origins = defaults(known.method, dataset, known.variant, stages)

    recipe |= {"method": known.method}
    parser = OneLineParser(
        usage="%(prog)s [--FLAG VALUE ...]",
        description=f"{known.method} on {dataset}. Behind each flag: its default, and the row of "
        "clustercontrast/recipes.py it comes from.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    add_flags(parser, stages)
    for flag, reason in REJECTED.items():
        parser.add_argument(flag, nargs="*", action=Reject, reason=reason, help=argparse.SUPPRESS)
    _describe(parser, recipe, origins)
    return _merge(dataset, recipe, origins, vars(parser.parse_args(argv)), stages)


def defaults(
    method: str, dataset: str, variant: str | None, stages: Sequence[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """A method's values before the command line, and the recipe row each comes from.

    Raises:
        UserError: the method has no such variant.
    """
    names = variants(method)
    recipe: dict[str, Any] = {}
    for key in matching(method, dataset):
        recipe |= RECIPES[key] if len(key) == 2 else {}
    variant = variant or recipe["variant"]
    if variant not in names:
        raise UserError(f"{method} has no variant '{variant}': choose from {', '.join(names)}")
    recipe, origins = {}, {}
    for key in matching(method, dataset, variant):
        recipe |= RECIPES[key]
        origins |= dict.fromkeys(RECIPES[key], "/".join(key))
    for name in UNUSED.get(method, ()):
        del recipe[name], origins[name]
    per_stage = {
        name: dict(zip(stages, value, strict=True)) if isinstance(value, list) else value
        for name, value in recipe.items()
    }
    return per_stage | {"variant": variant}, origins


def _describe(parser: argparse.ArgumentParser, recipe: dict, origins: dict[str, str]) -> None:
    """Put defaults and origins behind the help texts; leave out flags the method does not read."""
    for action in parser._actions:
        if action.dest not in recipe and action.dest != "help":
            action.help = argparse.SUPPRESS
        elif recipe.get(action.dest) is not None and action.dest in origins:
            default = _shown(recipe[action.dest])
            action.help += f" [{default}; {origins[action.dest]}]".replace("%", "%%")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{stage}={_shown(v)}" for stage, v in value.items())
    if isinstance(value, tuple):
        return " ".join(map(_shown, value))
    return ("off", "on")[value] if isinstance(value, bool) else str(value)


def _merge(
    dataset: str, recipe: dict, origins: dict, given: dict, stages: Sequence[str]
) -> Options:
    """Lay the command line over the recipe."""
    values, origins = dict(recipe), dict(origins)
    for name, value in given.items():
        if name not in values:
            flag = "--" + name.replace("_", "-")
            raise UserError(f"{values['method']} on {dataset} does not use {flag}: leave it out")
        per_stage = isinstance(value, list) and value and isinstance(value[0], tuple)
        values[name] = _spread(name, value, values[name], stages) if per_stage else value
        origins[name] = "command line"
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    if values.get("arch", "resnet") == "resnet" and values["depth"] not in (None, *RESNETS):
        raise UserError(
            f"--depth {values['depth']} is no ResNet of this project: choose from "
            f"{', '.join(map(str, RESNETS))}"
        )
    if values.get("stage1"):
        values |= {"start_from": values["stage1"], "stages": values["stages"] or list(stages[1:])}
    return Options(values, origins)


def _spread(name: str, given: list[tuple], default: Any, stages: Sequence[str]) -> Any:
    """One value for all stages, one per stage, or named stages over the recipe's values."""
    plain = [value for stage, value in given if stage is None]
    if len(plain) == 1 and len(given) == 1:
        return plain[0]
    if len(plain) == len(given) == len(stages):
        return dict(zip(stages, plain, strict=True))
    if plain:
        raise UserError(
            f"--{name.replace('_', '-')} takes one value, {len(stages)} values (one per stage: "
            f"{', '.join(stages)}) or STAGE=VALUE"
        )
    base = default if isinstance(default, dict) else dict.fromkeys(stages, default)
    return base | dict(given)
