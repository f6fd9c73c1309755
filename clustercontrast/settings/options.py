"""The values of a training: defaults, what each stage reads of them, where each comes from.

Flags are in :mod:`clustercontrast.settings.flags` and in the recipes, defaults in
:mod:`clustercontrast.settings.recipes`.  A stage sees the flags that its recipe names and no
others.
"""

import functools
import itertools
from argparse import Namespace
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from clustercontrast.files import UserError
from clustercontrast.settings.flags import SHARED, Flag
from clustercontrast.settings.recipes import all_recipes
from clustercontrast.settings.recipes.common import DATASETS, RUN, SHARED_ROWS, Recipe

DEPTHS = {"resnet": 50, "vit": 12}
"""Depth of an architecture unless --depth says another."""


@functools.cache
def all_flags() -> MappingProxyType[str, Flag]:
    """Every flag of every method by name."""
    own = (flag for recipe in all_recipes().values() for flag in recipe.flags)
    return MappingProxyType({flag.name: flag for flag in (*SHARED, *own)})


def flags_of_run(recipe: Recipe, dataset: str) -> set[str]:
    """Flags that are read for the run as a whole; every stage sees them."""
    return {*RUN, *recipe.run, *DATASETS[dataset].flags}


def flags_of_method(recipe: Recipe, dataset: str) -> list[Flag]:
    """Flags that a method reads on a dataset, in the order of the table."""
    names = flags_of_run(recipe, dataset).union(*recipe.stages.values())
    return [flag for name, flag in all_flags().items() if name in names]


class Options:
    """All values of a run, frozen, with their origins.

    Attributes:
        recipe: of the method.
        dataset: a key of ``DATASETS``.
        values: flag -> scalar, or {stage: scalar} where stages differ.
        origins: flag -> where the value comes from, in words.
    """

    def __init__(self, recipe: Recipe, dataset: str, values: dict, origins: dict[str, str]) -> None:
        self.recipe, self.dataset, self.values, self.origins = recipe, dataset, values, origins

    def at(self, stage: str) -> Namespace:
        """The flags that a stage reads, and those of the run, as scalars."""
        own = {*self.recipe.stages[stage], *flags_of_run(self.recipe, self.dataset)}
        flags = {
            name: value[stage] if isinstance(value, dict) else value
            for name, value in self.values.items()
            if name in own
        }
        for name in flags:
            leader = all_flags()[name].follows
            if leader and flags[name] is None:
                flags[name] = flags[leader]
        flags["seed"] = flags.get("shared_seed", flags["seed"])  # where runs share files
        if "depth" in flags and flags["depth"] is None:
            flags["depth"] = DEPTHS[flags["arch"]]
        if "first_epoch" in flags and flags["first_epoch"] is None:
            flags["first_epoch"] = self._epochs_before(stage)
        return Namespace(**flags)

    def _epochs_before(self, stage: str) -> int:
        """Epochs of all earlier stages of the method."""
        before = itertools.takewhile(lambda name: name != stage, self.recipe.stages)
        return sum(getattr(self.at(name), "epochs", 0) for name in before)

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
        return self if trial is None else self._of("trial", trial, trial=trial)

    def of_each_seed(self) -> list["Options"]:
        """The values of the run of every seed; without ``--seeds`` there is one run."""
        seeds = self.values["seeds"]
        return list(map(self.of_seed, seeds)) if seeds else [self]

    def of_seed(self, seed: int) -> "Options":
        """The values of one run of a group, whose seed replaces ``{seed}`` in paths of weights."""
        return self._of("seed", seed, seed=seed, seeds=[seed])

    def _of(self, word: str, number: int, **values: Any) -> "Options":
        """Other values, and a number in place of ``{word}`` in paths of weights."""
        sources = {
            name: self.values[name].replace(f"{{{word}}}", str(number))
            for name in ("pretrained", "start_from", "pseudo_labels")
            if self.values.get(name)
        }
        return Options(self.recipe, self.dataset, self.values | sources | values, self.origins)

    @property
    def group_seed(self) -> int | None:
        """The seed of one run of a group (``--seeds``); None for a run by itself."""
        if not self.values["seeds"]:
            return None
        (seed,) = self.values["seeds"]
        return seed

    @property
    def trial_number(self) -> int | None:
        """The trial of one model's values; None where the dataset has none."""
        (trial,) = self.trials()
        return trial

    def numbers(self) -> dict[str, Any]:
        """The values that the results depend on."""
        return {k: v for k, v in self.values.items() if not all_flags()[k].free}


# --- defaults ---


def defaults(
    recipe: Recipe, dataset: str, variant: str | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """A method's values before the command line, and where each comes from, in words.

    Raises:
        UserError: the method has no such variant.
    """
    variant = variant or recipe.variants[0]
    if variant not in recipe.variants:
        raise UserError(
            f"{recipe.title} has no variant '{variant}': choose from {', '.join(recipe.variants)}"
        )
    names = {flag.name for flag in flags_of_method(recipe, dataset)}
    values, origins = {"variant": variant}, {}
    for row in (*SHARED_ROWS, *DATASETS[dataset].rows, *recipe.rows):
        if row.dataset in (None, dataset) and row.variant in (None, variant):
            for name in names & row.values.keys():
                values[name] = _per_stage(row.values[name], readers(recipe, name))
                origins[name] = row.origin
    return values, origins


def _per_stage(value: Any, stages: Sequence[str]) -> Any:
    return dict(zip(stages, value, strict=True)) if isinstance(value, list) else value


def by_stage(value: Any, stages: Sequence[str]) -> dict[str, Any]:
    """A value of each stage that reads a flag."""
    return value if isinstance(value, dict) else dict.fromkeys(stages, value)


def readers(recipe: Recipe, name: str) -> list[str]:
    """Stages that read a flag, in the order of training.

    A dataset's flag with values per stage is read by those that are evaluated.
    """
    if all_flags()[name].per_stage and any(name in own.flags for own in DATASETS.values()):
        name = "eval_from"
    return [stage for stage, flags in recipe.stages.items() if name in flags]
