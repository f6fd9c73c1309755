"""The values of a training: defaults, the command line over them, and what each stage reads.

Flags are in :mod:`clustercontrast.settings.flags` and in the recipes, defaults in
:mod:`clustercontrast.settings.recipes`.  A stage sees the flags that its recipe names and no
others.  What would be ignored is refused: a flag of another method, stage or dataset, or one that
is not read beside the values of other flags.
"""

import argparse
import functools
import itertools
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from clustercontrast.files import UserError
from clustercontrast.settings.flags import NOT_GIVEN, SHARED, Flag, switch
from clustercontrast.settings.parser import (
    OneLineParser,
    TrainingParser,
    choices_of,
    help_text,
    shown,
)
from clustercontrast.settings.recipes import all_recipes
from clustercontrast.settings.recipes.common import (
    DATASETS,
    DEFAULT_METHOD,
    RUN,
    SHARED_ROWS,
    Recipe,
)

DEPTHS = {"resnet": 50, "vit": 12}
"""Depth of an architecture unless --depth says another."""

RESNETS = (10, 18, 34, 50)
"""Depths of a ResNet."""

COMMAND_LINE = "command line"
OFFICIAL_MEMORIES = {"CM": "sequential", "CMhard": "hard", "CMhybrid": "hybrid", "CMhcl": "hybrid"}


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
        if trial is None:
            return self
        sources = {
            name: self.values[name].replace("{trial}", str(trial))
            for name in ("pretrained", "start_from", "pseudo_labels")
            if self.values.get(name)
        }
        values = self.values | sources | {"trial": trial}
        return Options(self.recipe, self.dataset, values, self.origins)

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
    for row in (*SHARED_ROWS, DATASETS[dataset].row, *recipe.rows):
        if row.dataset in (None, dataset) and row.variant in (None, variant):
            for name in names & row.values.keys():
                values[name] = _per_stage(row.values[name], readers(recipe, name))
                origins[name] = row.origin
    return values, origins


def _per_stage(value: Any, stages: Sequence[str]) -> Any:
    return dict(zip(stages, value, strict=True)) if isinstance(value, list) else value


def readers(recipe: Recipe, name: str) -> list[str]:
    """Stages that read a flag, in the order of training."""
    return [stage for stage, flags in recipe.stages.items() if name in flags]


# --- the command line ---


def parse(dataset: str, argv: Sequence[str] | None = None) -> Options:
    """Read ``--method`` and ``--variant``, lay their defaults out, then the command line over them.

    Args:
        dataset: a key of ``DATASETS``.
        argv: the command line; the process's own by default.

    Raises:
        UserError: the command line is wrong.
        SystemExit: it asked for ``--help``.
    """
    argv = sys.argv[1:] if argv is None else argv
    first = OneLineParser(add_help=False, allow_abbrev=False)
    first.add_argument("--method", default=DEFAULT_METHOD, choices=list(all_recipes()))
    first.add_argument("--variant")
    known, _ = first.parse_known_args(argv)
    recipe = all_recipes()[known.method]
    values, origins = defaults(recipe, dataset, known.variant)
    values["method"] = known.method
    flags = flags_of_method(recipe, dataset)
    text = help_text(dataset, recipe, flags, values, origins)
    given = vars(TrainingParser(all_flags().values(), text).parse_args(argv))
    return CommandLine(known.method, recipe, dataset, given).over(values, origins)


class CommandLine:
    """What was typed, laid over the defaults of a method, or refused.

    Args:
        method: its name.
        recipe: of the method.
        dataset: a key of ``DATASETS``.
        given: flag -> words, or True or False of a switch.
    """

    def __init__(self, method: str, recipe: Recipe, dataset: str, given: Mapping[str, Any]) -> None:
        self.method, self.recipe, self.dataset = method, recipe, dataset
        agw = given.get("arch") == ["agw"]  # -a agw, written out
        given = dict(given) | ({"official_arch": given["arch"]} if agw else {})
        self.official = {name: given.pop(name)[0] for name in list(given) if "official_" in name}
        self.given = {name: own for name, own in given.items() if not (agw and name == "arch")}

    def over(self, values: dict[str, Any], origins: dict[str, str]) -> Options:
        """The values of the run.

        Raises:
            UserError: a value is wrong, or a flag would be ignored.
        """
        named: dict[str, list[str]] = {}  # flag -> stages that it was given for
        values, origins = dict(values), dict(origins)
        for name, words in self.given.items():
            flag = all_flags()[name]
            if name not in values:
                self._refuse_foreign(flag)
            by_stage = self._read(flag, words)
            if isinstance(by_stage, dict):
                before = values[name]
                before = before if isinstance(before, dict) else dict.fromkeys(
                    readers(self.recipe, name), before
                )  # fmt: skip
                named[name] = list(by_stage)
                by_stage = before | by_stage
            values[name] = by_stage
            origins[name] = COMMAND_LINE
        self._lead(values, named)
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
        if values.get("stage1"):
            values |= self._in_place_of_the_first_stage(values)
        options = Options(self.recipe, self.dataset, values, origins)
        self._check(options, named)
        return options

    # words -> values

    def _read(self, flag: Flag, words: Any) -> Any:
        """A value, or {stage: value} where stages were told apart."""
        if isinstance(words, bool):
            return words
        if not flag.per_stage:
            found = [self._value(flag, word) for word in words]
            return found if flag.many else found[0]
        stages = readers(self.recipe, flag.name)
        pairs = [self._pair(flag, word, stages) for word in words or ["on"]]
        plain = [value for stage, value in pairs if stage is None]
        if len(pairs) == len(plain) == 1:
            return plain[0]
        if len(plain) == len(pairs) == len(stages):
            return dict(zip(stages, plain, strict=True))
        if plain:
            raise UserError(
                f"{flag.spelled} takes one value, {len(stages)} values (one for each stage that "
                f"reads it: {', '.join(stages)}) or STAGE=VALUE"
            )
        return dict(pairs)

    def _pair(self, flag: Flag, word: str, stages: Sequence[str]) -> tuple[str | None, Any]:
        stage, equals, value = word.rpartition("=")
        if equals and stage not in self.recipe.stages:
            names = ", ".join(self.recipe.stages)
            raise UserError(f"{flag.spelled}: no stage '{stage}': the stages are {names}")
        if equals and stage not in stages:
            raise UserError(
                f"stage {stage} of {self.method} does not read {flag.spelled}: "
                f"{_listed(stages)}; leave it out"
            )
        return stage or None, self._value(flag, value)

    def _value(self, flag: Flag, word: str) -> Any:
        try:
            value = flag.kind(word)
        except argparse.ArgumentTypeError as error:
            raise UserError(f"{flag.spelled}: {error} (--help lists the flags)") from error
        choices = choices_of(flag, self.recipe)
        if choices and value not in choices:
            raise UserError(
                f"{flag.spelled}: '{word}' is not one of {', '.join(map(str, choices))}"
            )
        return value

    # flags that lead others

    def _lead(self, values: dict[str, Any], named: Mapping[str, Iterable[str]]) -> None:
        """Followers with a default of their own follow a flag that was typed."""
        for name in values.keys() - self.given.keys():
            leader = all_flags()[name].follows
            if leader in self.given:
                stages = readers(self.recipe, name)
                own = values[name] if isinstance(values[name], dict) else dict.fromkeys(
                    stages, values[name]
                )  # fmt: skip
                led = set(named.get(leader, stages))
                by_stage = {s: None if s in led else own[s] for s in stages}
                values[name] = by_stage if len({*by_stage.values()}) > 1 else None

    def _in_place_of_the_first_stage(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What ``--stage1`` stands for."""
        first, *later = self.recipe.stages
        if "start_from" in self.given or first in (values["stages"] or ()):
            raise UserError(
                f"--stage1 takes the place of stage {first}: leave out --start-from, and {first} "
                "among --stages"
            )
        return {"start_from": values["stage1"], "stages": values["stages"] or later}

    # refusals

    def _refuse_foreign(self, flag: Flag) -> None:
        datasets = [name for name, own in DATASETS.items() if flag.name in own.flags]
        others = [
            name
            for name, recipe in all_recipes().items()
            if flag in flags_of_method(recipe, self.dataset)
        ]
        who = f"it is a flag of {', '.join(datasets)}" if datasets else _listed(others)
        raise UserError(
            f"{self.method} on {self.dataset} does not read {flag.spelled}: {who}; leave it out"
        )

    def _check(self, options: Options, named: Mapping[str, Sequence[str]]) -> None:
        for name in self.given:
            flag = all_flags()[name]
            stages = named.get(name) or readers(self.recipe, name) or list(self.recipe.stages)
            reasons = [unread(options, flag, stage) for stage in stages]
            if all(reasons) or (name in named and any(reasons)):
                why = next(filter(None, reasons))
                raise UserError(f"{self.method} does not read {flag.spelled} here: {why}")
        arch, depth = options.values.get("arch", "resnet"), options.depth
        if arch == "resnet" and depth not in (None, *RESNETS):
            raise UserError(
                f"--depth {depth} is not a ResNet of this project: choose from "
                f"{', '.join(map(str, RESNETS))}"
            )
        self._check_official(options)

    def _check_official(self, options: Options) -> None:
        """Flags of the official scripts: accepted where they say what is run anyway."""
        said = self.official
        dataset = said.get("official_dataset")
        if dataset and dataset.lower().partition("_")[0] != self.dataset:
            raise UserError(
                f"-d {dataset}: this command trains on {self.dataset}; for another dataset: "
                "python -m clustercontrast train --dataset DATASET"
            )
        arch = said.get("official_arch")
        if arch and arch != self.recipe.arch:
            raise UserError(f"-a {arch} is not what {self.method} runs: say --arch and --depth")
        if arch and options.origins.get("arch") == COMMAND_LINE:
            raise UserError(f"-a {arch} and --arch {options.arch}: leave one of them out")
        memory = said.get("official_memory")
        if memory is None:
            return
        kinds = options.values.get("memory")
        first = next(iter(kinds.values())) if isinstance(kinds, dict) else kinds
        if kinds is None or OFFICIAL_MEMORIES.get(memory) != first:
            raise UserError(
                f"-mb {memory} is not what {self.method} runs ({first}): say --memory "
                f"{OFFICIAL_MEMORIES.get(memory, 'sequential, hard or hybrid')}"
            )


def unread(options: Options, flag: Flag, stage: str) -> str | None:
    """Why a stage does not read a flag beside the values of the others; None if it does."""
    recipe, values = options.recipe, vars(options.at(stage))
    if flag.name not in values:
        return f"stage {stage} does not"
    if flag.also_with in values and unread(options, all_flags()[flag.also_with], stage) is None:
        return None
    followers = [own for own in all_flags().values() if own.follows == flag.name]
    if any(f.name in values and unread(options, f, stage) is None for f in followers):
        return None
    unmet = [_unmet(values, conditions) for conditions in conditions_of(flag, recipe)]
    return unmet[0] if all(unmet) else None


def conditions_of(flag: Flag, recipe: Recipe) -> list[dict[str, tuple]]:
    """Conditions on other flags, one of which has to hold for a flag to be read."""
    own = flag.when if isinstance(flag.when, tuple) else (flag.when,)
    return [{**conditions, **recipe.when.get(flag.name, {})} for conditions in own]


def _unmet(values: Mapping[str, Any], conditions: Mapping[str, tuple]) -> str | None:
    """The first condition that does not hold, in words."""
    for name, wanted in conditions.items():
        if name in values and values[name] not in wanted:
            other, now = all_flags()[name].spelled, shown(values[name])
            if wanted == NOT_GIVEN:
                return f"it is not read beside {other}"
            if all_flags()[name].kind is switch:
                return f"it is read with {other} alone, which is {now}"
            return f"it is read with {other} {' or '.join(map(shown, wanted))}, which is {now}"
    return None


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "nothing does"
    return f"{', '.join(names)} {'does' if len(names) == 1 else 'do'}"
