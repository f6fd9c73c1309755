"""A command line of training, laid over the defaults of a method.

What would be ignored is refused: a flag of another method, stage or dataset, or one that is not
read beside the values of other flags.
"""

import argparse
import functools
import importlib.util
import itertools
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clustercontrast.files import UserError
from clustercontrast.settings import like
from clustercontrast.settings.flags import NOT_GIVEN, Flag, Where, switch
from clustercontrast.settings.official import FLAGS as OFFICIAL_FLAGS
from clustercontrast.settings.official import MEMORIES, SAME, method_name
from clustercontrast.settings.options import (
    Options,
    all_flags,
    by_stage,
    defaults,
    flags_of_method,
    readers,
)
from clustercontrast.settings.parser import (
    LIKE,
    OneLineParser,
    TrainingParser,
    choices_of,
    help_text,
    shown,
)
from clustercontrast.settings.recipes import all_recipes
from clustercontrast.settings.recipes.common import DATASETS, DEFAULT_METHOD, Recipe

COMMAND_LINE = "command line"
"""Origin of a value that was typed."""

FILES = ("pretrained", "start_from", "pseudo_labels", "source_labels")
NO_FILES = ("imagenet", "random", "pretrained", "test", "cycle", "last")
"""Flags that name files, and their values that do not."""

NO_WEIGHTS = (
    "give imagenet, random or the PATH of a checkpoint (a vision transformer starts from "
    "vit_base_ics_cfs_lup.pth, released with TransReID-SSL)"
)

RESNETS = (10, 18, 34, 50)
"""Depths of a ResNet."""


def parse(dataset: str, argv: Sequence[str] | None = None) -> Options:
    """Read ``--method`` and ``--variant``, lay their defaults out, then the command line over them.

    Between the two go the values of the run that ``--like`` names.

    Args:
        dataset: a key of ``DATASETS``.
        argv: the command line; the process's own by default.

    Raises:
        UserError: the command line is wrong.
        SystemExit: it asked for ``--help``.
    """
    first = OneLineParser(add_help=False, allow_abbrev=False)
    first.add_argument(LIKE)
    known, argv = first.parse_known_args(sys.argv[1:] if argv is None else argv)
    first.add_argument("--method", type=method_name)
    first.add_argument("--variant")
    typed, _ = first.parse_known_args(argv)
    _check_one_method(argv)
    repeated = like.read(known.like) if known.like is not None else None
    if repeated:
        repeated.check(dataset, typed.method, typed.variant)
    method = typed.method or (repeated.method if repeated else DEFAULT_METHOD)
    recipe = _recipe(method, repeated)
    variant = repeated.variant if repeated else typed.variant
    values, origins = defaults(recipe, dataset, variant)
    values["method"] = method
    if repeated:
        read = CommandLine(method, recipe, dataset, {}).value
        values, origins = repeated.over(recipe, values, origins, read)
    flags = flags_of_method(recipe, dataset)
    described = functools.partial(help_text, dataset, recipe, flags, values, origins)
    given = vars(TrainingParser(method, all_flags().values(), described).parse_args(argv))
    return CommandLine(method, recipe, dataset, given).over(values, origins)


def _recipe(method: str, repeated: like.Repeated | None) -> Recipe:
    """The recipe of a method, whose name may come from a file."""
    if method not in all_recipes():
        raise UserError(f"{repeated.path} names no method of this version: '{method}'")
    return all_recipes()[method]


def _check_one_method(argv: Sequence[str]) -> None:
    """Refuse two methods, such as the first word of a script and a --method behind it."""
    pairs = itertools.pairwise([*argv, ""])
    named = {value for word, value in pairs if word == "--method"}
    named |= {word.partition("=")[2] for word in argv if word.startswith("--method=")}
    if len(named) > 1:
        raise UserError(f"{len(named)} methods are named, {' and '.join(sorted(named))}: name one")


def without_effect_there(options: Options) -> list[str]:
    """Lines on typed flags that change the run, and nothing in the method's official code."""
    usual, _ = defaults(options.recipe, options.dataset, options.variant)
    lines = []
    for flag in OFFICIAL_FLAGS:
        name = flag.names[-1].lstrip("-").replace("-", "_")
        typed = options.origins.get(name) == COMMAND_LINE and not all_flags()[name].free
        if options.method in flag.dead and flag.here == SAME and typed:
            now, before = (shown(values[name]) for values in (options.values, usual))
            if now != before:
                lines.append(
                    f"{flag.names[-1]} {now} changes this run; it has no effect in the official "
                    f"code of {options.recipe.title}, which runs {before}"
                )
    return lines


def check_needs(options: Options) -> None:
    """Ask for what has no default, and for files and packages that are not there.

    Raises:
        UserError: a flag that the stages asked for need was not given, names no file, or needs a
            package that is not installed.
    """
    search = options.values.get("neighbours")
    if search in ("faiss", "ivf", "hnsw") and importlib.util.find_spec("faiss") is None:
        raise UserError(
            f"--neighbours {search} needs faiss: pip install faiss-cpu, or leave it out"
        )
    for name in FILES:
        _check_file(options, name)
    asked = set(options.stages or options.recipe.stages)
    for need in options.recipe.needs:
        holds = all(options.values[name] in wanted for name, wanted in need.when.items())
        if options.values[need.flag] is None and holds and asked - set(need.without):
            raise UserError(need.text)


def check_processes(options: Options, count: int, is_dry: bool) -> None:
    """Refuse what several processes cannot share.

    Args:
        options: of the training.
        count: of processes.
        is_dry: steps are timed, and nothing is trained.

    Raises:
        UserError: a batch, or its BatchNorm groups, do not divide by the processes.
    """
    if count == 1:
        return
    for flag in ("--dry-run",) * is_dry + ("--shard",) * bool(options.values.get("shard")):
        raise UserError(f"{flag} is of one process: leave it out, or start without torchrun")
    for stage in options.stages or options.recipe.stages:
        args = options.at(stage)
        groups = getattr(args, "bn_groups", None)
        if groups is None and "epochs" in args and args.batch_size % count:
            raise UserError(
                f"--batch-size {args.batch_size} of stage {stage} does not divide by {count} "
                "processes: start fewer"
            )
        if groups is not None and groups % count:
            raise UserError(
                f"{count} processes cannot share the {groups} BatchNorm group(s) of stage {stage}, "
                f"each whole: start {_divisors(groups)}, or give --bn-groups {stage}="
                f"{math.lcm(groups, count)}, which is another training"
            )


def _divisors(groups: int) -> str:
    """Numbers of processes that share so many groups, in words."""
    found = [str(n) for n in range(1, groups + 1) if groups % n == 0]
    return "one process" if found == ["1"] else f"{' or '.join(found)} processes"


def _check_file(options: Options, name: str) -> None:
    value, origin = options.values.get(name), options.origins.get(name, "")
    if not value or value in NO_FILES or not origin.startswith((COMMAND_LINE, like.AS_IN)):
        return
    runs = [own for one in options.of_each_seed() for own in map(one.of_trial, one.trials())]
    for path in dict.fromkeys(run.values[name] for run in runs):
        if Path(path).is_dir():
            raise UserError(
                f"{all_flags()[name].spelled} {path} is a folder: give a file, of an exported "
                "model its model.safetensors, which export --safetensors writes"
            )
        if not Path(path).is_file():
            advice = NO_WEIGHTS if name == "pretrained" else "correct the path"
            raise UserError(f"{all_flags()[name].spelled} {path}: there is no such file; {advice}")


class CommandLine:
    """What was typed, laid over the defaults of a method, or refused.

    Args:
        method: its name.
        recipe: of the method.
        dataset: a key of ``DATASETS``.
        given: flag -> words; none of a switch alone.
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
            value = self._read(flag, words)
            if isinstance(value, dict):
                named[name] = list(value)
                value = by_stage(values[name], readers(self.recipe, name)) | value
            values[name], origins[name] = value, COMMAND_LINE
        self._lead(values, named)
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
        if values.get("stage1"):
            values |= self._in_place_of_the_first_stage(values)
        options = Options(self.recipe, self.dataset, values, origins)
        self._check(options, named)
        return options

    # words -> values

    def _read(self, flag: Flag, words: Sequence[str]) -> Any:
        """A value, or {stage: value} where stages were told apart."""
        words = words or ["on"]  # of a switch
        if not flag.per_stage:
            found = [self.value(flag, word) for word in words]
            if len(found) > 1 and not flag.many:
                raise UserError(f"{flag.spelled} takes one value, not {' '.join(words)}")
            return found if flag.many else found[0]
        stages = readers(self.recipe, flag.name)
        pairs = [self._pair(flag, word, stages) for word in words]
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
        if len(dict(pairs)) < len(pairs):
            raise UserError(f"{flag.spelled} names a stage twice: {' '.join(words)}")
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
        return stage or None, self.value(flag, value)

    def value(self, flag: Flag, word: str) -> Any:
        """One word as a value of a flag.

        Raises:
            UserError: it is none that the method knows.
        """
        try:
            value = flag.kind(word)
        except argparse.ArgumentTypeError as error:
            raise UserError(f"{flag.spelled}: {error} (--help lists the flags)") from error
        choices = choices_of(flag, self.recipe)
        if choices and value not in choices:
            raise UserError(
                f"{flag.spelled} of {self.method}: '{word}' is not one of "
                f"{', '.join(map(str, choices))}"
            )
        return value

    # flags that lead others

    def _lead(self, values: dict[str, Any], named: Mapping[str, Iterable[str]]) -> None:
        """Followers with a default of their own follow a flag that was typed."""
        for name in values.keys() - self.given.keys():
            leader = all_flags()[name].follows
            if leader in self.given:
                stages = readers(self.recipe, name)
                led = dict.fromkeys(named.get(leader, stages))  # None: as its leader
                own = by_stage(values[name], stages) | {s: None for s in stages if s in led}
                values[name] = own if any(value is not None for value in own.values()) else None

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
                why = _joined({s: own for s, own in zip(stages, reasons, strict=True) if own})
                raise UserError(f"{self.method} does not read {flag.spelled} here: {why}")
        arch, depth = options.values.get("arch", "resnet"), options.depth
        if arch == "resnet" and depth not in (None, *RESNETS):
            raise UserError(
                f"--depth {depth} is not a ResNet of this project: choose from "
                f"{', '.join(map(str, RESNETS))}"
            )
        self._check_seeds(options)
        self._check_parts(options)
        self._check_official(options)

    def _check_seeds(self, options: Options) -> None:
        seeds = options.seeds or []
        if seeds and "seed" in self.given:
            raise UserError("--seeds stands in place of --seed: leave one of them out")
        if len({*seeds}) < len(seeds):
            raise UserError(f"--seeds {shown(seeds)} names a seed twice: give each once")

    def _check_parts(self, options: Options) -> None:
        """Refuse a joint clustering of a second part where there is but one."""
        flag = all_flags()["joint_half"]
        asked = options.stages or self.recipe.stages
        for stage in (name for name in readers(self.recipe, flag.name) if name in asked):
            share, half = options.at(stage).visible_share, options.joint_half
            if 0.5 < share < 1 and half == "other" and unread(options, flag, stage) is None:
                raise UserError(
                    f"--visible-share {share} leaves no second part of the visible images for the "
                    f"joint clustering of stage {stage}: give 0.5 or less, or --joint-half same or "
                    "all"
                )

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
            runs = f"-a {self.recipe.arch}" if self.recipe.arch else "a network of its own"
            raise UserError(
                f"-a {arch} is not what {self.method} runs, which is {runs}: leave it out, or say "
                "--arch and --depth"
            )
        if arch and options.origins.get("arch") == COMMAND_LINE:
            raise UserError(f"-a {arch} and --arch {options.arch}: leave one of them out")
        memory = said.get("official_memory")
        if memory is None:
            return
        kinds = options.values.get("memory")
        first = next(iter(kinds.values())) if isinstance(kinds, dict) else kinds
        if kinds is None or MEMORIES.get(memory) != first:
            raise UserError(
                f"-mb {memory} is not what {self.method} runs ({first}): say --memory "
                f"{MEMORIES.get(memory, 'sequential, hard or hybrid')}"
            )


def _joined(reasons: Mapping[str, str]) -> str:
    """Reasons of stages in one line; the stage is named where they differ."""
    if len({*reasons.values()}) == 1:
        return next(iter(reasons.values()))
    return "; ".join(
        why if stage in why else f"in stage {stage} {why}" for stage, why in reasons.items()
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
            if isinstance(wanted, Where):
                return f"it is read with {other} {wanted.words}, which is {now}"
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
