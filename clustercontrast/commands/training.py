"""One command line, trained: run folders, refusals, configuration, stages, report."""

import contextlib
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from clustercontrast.commands import circumstances, evaluating, reporting, results, runs
from clustercontrast.commands.configuration import configuration
from clustercontrast.commands.planning import Planner
from clustercontrast.data.images import INDEX, ImageArray
from clustercontrast.data.places import cache_folder
from clustercontrast.data.provenance import MARKS, Provenance
from clustercontrast.data.target import TargetImages
from clustercontrast.engine import checkpoint
from clustercontrast.engine.pipeline import last_epoch, run_pipeline
from clustercontrast.engine.run import Run, choose_device
from clustercontrast.engine.sharing import basis_of, places, process_of
from clustercontrast.engine.stage import HANDED_OVER, Stage
from clustercontrast.evaluation.features import extract
from clustercontrast.evaluation.protocols import protocol_of, summarise
from clustercontrast.evaluation.scoring import cycle_rows, retrieve, training_cycle
from clustercontrast.files import UserError, alone, read_json, say, write_json
from clustercontrast.methods import METHODS
from clustercontrast.models import weights
from clustercontrast.processes import ranks
from clustercontrast.report.beside import line_beside
from clustercontrast.report.tables import UNTESTED
from clustercontrast.settings.command_line import COMMAND_LINE
from clustercontrast.settings.options import Options, all_flags


class SomeSeedsError(UserError):
    """Of the runs of a group; those of other seeds are trained and reported."""


def train_runs(options: Options, words: str) -> Path:
    """Train what a command line asks for: one model, or one per trial and seed.

    Runs that are finished and reported are left as they are.

    Args:
        options: the values of the command line.
        words: the command line as it was typed, for the record.

    Returns:
        The folder of the run, or of the group of runs.

    Raises:
        SomeSeedsError: not all of them.
        UserError: the flags, the images, or what lies in the folder do not allow it.
        KeyboardInterrupt: interrupted; its text says how to go on.
    """
    ranks.join(choose_device(options.device))
    folder = run_folder(options)
    ranks.first(lambda: check_kind(options, folder))
    failed = {}
    for own in options.of_each_seed():
        try:
            _train_trials(own, words)
        except UserError as error:
            if own.group_seed is None or ranks.count() > 1:  # where the others are, is not known
                raise
            failed[own.group_seed] = error
            sys.stderr.write(f"error: seed {own.group_seed}: {error}\n")
    ranks.first(lambda: _report_seeds(options, folder, failed))
    ranks.leave()
    return folder


def _train_trials(options: Options, words: str) -> None:
    """Train and report the run of one seed."""
    folder = seed_folder(options)
    for trial in options.trials():
        _train_run(options.of_trial(trial), folder_of_trial(folder, trial), words)
    ranks.first(lambda: _report_trials(options, folder))


def _report_trials(options: Options, folder: Path) -> None:
    if options.trials() != [None] and runs.trials_of(folder):  # none: shared stages alone
        reporting.report_trials(folder)


def _report_seeds(options: Options, folder: Path, failed: Mapping[int, UserError]) -> None:
    """Report the group of the runs of several seeds.

    Raises:
        UserError: a seed failed, or they are not to be averaged.
    """
    seeds = options.seeds or []
    trained = [own for own in seeds if own not in failed]
    there = runs.seeds_of(folder)
    others = [str(own) for own in there if own not in seeds]
    if trained and there:
        reporting.report_seeds(folder)
    if trained and others:
        say(f"in these means are also seeds of earlier commands: {', '.join(others)}")
    if failed:
        kind = SomeSeedsError if trained else UserError
        raise kind(f"{len(failed)} of {len(seeds)} seeds failed: {', '.join(map(str, failed))}")


def run_folder(options: Options) -> Path:
    """logs/<dataset>/<method>/<name>, of a run or of a group of runs with other seeds.

    The name defaults to the seed, of a group to "seeds", and to the variant if it is unusual.
    """
    usual = options.recipe.variants[0]
    variant = "" if options.variant == usual else f"{options.variant}-"
    name = options.name or f"{variant}{'seeds' if options.seeds else f'seed{options.seed}'}"
    return Path(options.logs_dir) / options.dataset / options.method / name


def seed_folder(options: Options) -> Path:
    """The folder of one run: its own, or the one of its seed in that of its group."""
    folder, seed = run_folder(options), options.group_seed
    return folder if seed is None else runs.seed_folder(folder, seed)


def folder_of_trial(folder: Path, trial: int | None) -> Path:
    """Folder of one model: the run's, or that of a trial in it."""
    return folder if trial is None else runs.trial_folder(folder, trial)


def check_kind(options: Options, folder: Path) -> None:
    """Refuse a group of runs in the folder of a run, and a run in that of a group.

    Raises:
        UserError: the name is taken by the other.
    """
    remedy = "give another --name, or move that one away"
    if options.seeds and ((folder / "config.json").exists() or runs.trials_of(folder)):
        raise UserError(f"{folder} is the folder of one run, and --seeds makes several: {remedy}")
    if not options.seeds and runs.seeds_of(folder):
        raise UserError(f"{folder} holds runs of several seeds (--seeds), no single one: {remedy}")
    if options.seeds:
        _check_group(options, folder)


def _check_group(options: Options, folder: Path) -> None:
    """Refuse other flags than those of the seeds that are there: no mean could be taken of them.

    Raises:
        UserError: names the flags, before a seed is trained.
    """
    given = options.seeds if options.overwrite else []
    for seed in (own for own in runs.seeds_of(folder) if own not in given):
        for place in runs.models_of(runs.seed_folder(folder, seed)):
            own = options.of_seed(seed).of_trial(runs.about(place)["trial"])
            changed = _changed(runs.config(place)["numbers"], own.numbers())
            if changed:
                raise UserError(
                    f"{place} is of a run with another {changed}, and the seeds of one name are "
                    "averaged: give what stands there, or give these another --name"
                )


def asked_stages(options: Options) -> list[type[Stage]]:
    """Stages that a command line asks for, in order."""
    every = METHODS[options.method]
    return [stage for stage in every if not options.stages or stage.name in options.stages]


def check_run(
    options: Options, folder: Path, data: TargetImages, own: Sequence[type[Stage]]
) -> None:
    """Refuse what training would refuse before its first epoch.

    Args:
        options: of one model.
        folder: of the run, which need not exist.
        data: its images.
        own: stages that make the run's model.

    Raises:
        UserError: says what is wrong.
    """
    if not own:
        return
    if not options.overwrite:
        _check_flags(options, folder)
        _check_images(data, folder)
    check_search(options, data)
    _with_marks_of_weights(_about(options, data), options)


def check_search(options: Options, data: TargetImages) -> None:
    """Refuse before the first epoch what could not be tested, or chosen, after it.

    Raises:
        UserError: nobody can be found under the rules of the search; or the test is to choose a
            model, and there is nobody to search for.
    """
    images = evaluating.searched_images(data.parts)
    if evaluating.has_people(images):
        protocol = protocol_of(options.dataset, evaluating.rules_of(options))
        lists = images["visible"].index, images["infrared"].index
        protocol.searches(*lists, list(protocol.modes), 1)
    elif options.values.get("start_from") == "test":
        raise UserError(
            "--start-from test chooses a model by its test, and these images have no test "
            "identity: give --start-from cycle or last"
        )


def _train_run(options: Options, folder: Path, words: str) -> None:
    """Train and report one model, of a dataset or of one trial of it."""
    every, stages = METHODS[options.method], asked_stages(options)
    own = [stage for stage in stages if not stage.reads]
    if own and not options.overwrite:
        ranks.first(lambda: _check_flags(options, folder))  # before waiting for another command
    with _alone(folder) if own else contextlib.nullcontext():
        if own and ranks.first(lambda: _is_done(options, folder, own)):
            say(f"{folder}: trained and tested before, left as it is")
            return
        data = images_of(options, every)
        if own:
            ranks.first(lambda: _prepare_folder(options, folder, own, data))
        _make_shared([stage for stage in stages if stage.reads], stages, data, words)
        if own:
            _train_own(own, data, folder, words)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one command at a time work on a folder, with all its processes."""
    with alone(folder, say) if ranks.is_first() else contextlib.nullcontext():
        ranks.first(lambda: None)  # until the first process has the folder
        yield


def _is_done(options: Options, folder: Path, own: Sequence[type[Stage]]) -> bool:
    """Whether there is nothing left to do.

    Raises:
        UserError: the run in the folder is another.
    """
    if options.overwrite:
        return False
    _check_flags(options, folder)
    if not _is_finished(options, folder, own):
        return False
    _check_finished(options, folder)
    return True


def _prepare_folder(
    options: Options, folder: Path, own: Sequence[type[Stage]], data: TargetImages
) -> None:
    """Delete what ``--overwrite`` says, and refuse to go on with another run.

    Raises:
        UserError: the run in the folder is another, or nothing could be tested.
    """
    if options.overwrite:
        _clear(folder, own)
        _check_flags(options, folder)  # of the stages that are left
    _check_images(data, folder)
    check_search(options, data)


def images_of(options: Options, stages: Sequence[type[Stage]]) -> TargetImages:
    """The images that the stages of a method see."""
    make = stages[0].opens or TargetImages
    data = make(options.dataset, options, choose_device(options.device))
    ranks.first(lambda: len(data.provenance))  # one process prepares what is missing
    data.places = places(data, stages)
    return data


def _make_shared(
    shared: Sequence[type[Stage]], asked: Sequence[type[Stage]], data: TargetImages, words: str
) -> None:
    """Make the files that several runs share, each stage in a folder of its own.

    Raises:
        UserError: several processes were started for what only one can do.
    """
    options = data.options
    number, count = process_of(options) if options.values.get("shard") else (0, 1)
    alone_only = [stage.name for stage in asked if not stage.is_divisible]
    if shared and count > 1 and alone_only:
        can = [stage.name for stage in METHODS[options.method] if stage.is_divisible]
        raise UserError(
            f"--shard divides --stages {' '.join(can)} alone: run the others without it"
        )
    for stage in shared:
        folder = data.places[stage.name] / (f"shard{number}" if number else "")
        with _alone(folder):  # another command may want the same files just now
            run = Run(
                folder,
                data.device,
                options.precision,
                print_freq=options.print_freq,
                deterministic=options.deterministic,
            )
            basis = basis_of(stage, data)
            if ranks.is_first():
                write_json(folder / "config.json", {"command": words, "basis": basis})
            run.log.say(f"{stage.name}: files in {data.places[stage.name]}")
            _run_stages([stage], data, run, asked[asked.index(stage) + 1 :])


def _train_own(stages: Sequence[type[Stage]], data: TargetImages, folder: Path, words: str) -> None:
    """Train the stages that make the run's model, and report it."""
    options, last = data.options, stages[-1]
    about = _about(options, data) | last.about(options.at(last.name), data)
    about["images"] = _with_marks_of_weights(about, options).json()
    tested = last.tested_parts(data.parts, about)
    run = Run(
        folder,
        data.device,
        options.precision,
        evaluate=lambda stage: _scores(stage, data.dataset, tested),
        rules={"test": options.select, "cycle": "cycle"},
        print_freq=options.print_freq,
        about=about,
        numbers=options.numbers(),
        deterministic=options.deterministic,
        beside=partial(line_beside, about),
        others=[own for own in runs.models_of(run_folder(options)) if own != folder],
    )
    if ranks.is_first():
        _write_config(options, run, words)
    data.placed({name: own for name, own in tested.items() if own is not data.parts[name]})
    what = f"{options.method} ({options.variant}) on {run.device}"
    run.log.say(f"{folder}: {what}; epochs are counted from 0 in every stage")
    if options.deterministic and run.device.type != "cuda":
        run.log.say("--deterministic: on a CPU a training repeats exactly without it")
    for line in first_stages(options, stages):
        run.log.say(line)
    is_tested = evaluating.has_people(evaluating.searched_images(tested))
    if not is_tested:
        run.log.say(f"{UNTESTED}; epochs are chosen by cycle consistency alone")
    _run_stages(stages, data, run)
    if is_tested:
        evaluation = evaluating.Evaluation.of(data.prepared, tested, options, run.device)
        reporting.report(folder, last.name, evaluation)
        ranks.first(lambda: last.finish(options, data, folder))
    else:
        ranks.first(lambda: reporting.report_untested(folder, last.name))


def first_stages(options: Options, stages: Sequence[type[Stage]]) -> list[str]:
    """What the log says of the weights that later stages start from.

    Args:
        options: of one model.
        stages: those that are asked for.

    Returns:
        A line per stage that starts from an earlier one, and one that offers the weights which the
        authors publish, where they are there and nothing was said of the first stage.
    """
    lines, every = [], METHODS[options.method]
    for earlier, stage in itertools.pairwise(every):
        if stage in stages and stage.starts_from:
            source = options.at(stage.name).start_from
            if source in HANDED_OVER:
                source = f"stage {earlier.name} of this run ({source} model)"
            lines.append(f"{stage.name} starts from {source}")
    published = options.recipe.first_stages.get(options.dataset)
    said = {options.origins.get(name) for name in ("stage1", "start_from", "stages")}
    if published and Path(published).is_file() and COMMAND_LINE not in said:
        lines.append(
            f"{published} is there, where the authors' first stage belongs: --stage1 "
            f"{published} takes it in place of stage {stages[0].name} (with a --name of its own)"
        )
    return lines


def _run_stages(
    stages: Sequence[type[Stage]],
    data: TargetImages,
    run: Run,
    later: Sequence[type[Stage]] = (),
) -> None:
    try:
        run_pipeline(stages, data.options, data, run, Planner(data.options, data), later)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f" {run.position}: every epoch before is saved in {run.folder}; the same command goes "
            "on"
        ) from None


def _is_finished(options: Options, folder: Path, stages: Sequence[type[Stage]]) -> bool:
    """Whether every stage is trained to its end and the last one tested after that."""
    ends = [folder / stage.name / checkpoint.LAST for stage in stages]
    if not all(end.exists() for end in ends):
        return False
    report = reporting.report_folder(folder, stages[-1].name) / "report.json"
    if not report.exists():
        return False
    reached = [checkpoint.last(end.parent)["epoch"] for end in ends]
    wanted = [last_epoch(stage, options) for stage in stages]
    return reached == wanted and report.stat().st_mtime >= ends[-1].stat().st_mtime


def _about(options: Options, data: TargetImages) -> dict:
    """What is said of a run wherever its models and results go."""
    rules = evaluating.rules_of(options)
    return {
        "method": options.method,
        "dataset": options.dataset,
        "variant": options.variant,
        "name": name_of(options),
        "seed": options.seed,
        "trial": options.trial_number,
        "height": options.height,
        "width": options.width,
        **{name: images.json() for name, images in data.provenance.items()},
        **configuration(options, data.prepared.provenance.digest),
        **({"rules": rules} if rules else {}),
    }


def name_of(options: Options) -> str:
    """What a run is called: its name, and its seed in a group of runs."""
    name, seed = run_folder(options).name, options.group_seed
    return name if seed is None else f"{name}/seed{seed}"


def _with_marks_of_weights(about: dict, options: Options) -> Provenance:
    """A run's images, with the marks of those that its initial weights were trained on.

    Raises:
        UserError: weights have seen this trial's test identities, and --allow-leak was not given.
    """
    images = Provenance.of(about)
    for source in (options.pretrained, options.values.get("start_from")):
        if not source or not Path(source).is_file():
            continue
        model, trial = weights.about(Path(source)), (about["dataset"], about["trial"])
        if not options.values.get("allow_leak"):
            results.check_trial(model, *trial, source)
        seen = {name: own for name, own in model.get("images", {}).items() if name in MARKS}
        images = images.marked(**seen)
        images = images.marked(leak=results.is_of_another_trial(model, *trial))
    return images


def _scores(stage: Stage, dataset: str, parts: dict[str, ImageArray]) -> dict[str, float]:
    """Test scores of a stage's network, in percent, and its cycle consistency."""
    images = evaluating.searched_images(parts)
    with stage.evaluating(stage.networks[stage.retrieval]):
        found = _test(stage, dataset, images) if evaluating.has_people(images) else {}
        cycle = {"cycle": _cycle(stage, parts)} if "infrared" in stage.labels else {}
    return found | cycle


def _test(stage: Stage, dataset: str, images: dict[str, ImageArray]) -> dict[str, float]:
    """Scores of the search that chooses models, in percent."""
    a, network = stage.args, stage.networks[stage.retrieval]
    protocol = protocol_of(dataset, evaluating.rules_of(a))
    lists = (images["visible"].index, images["infrared"].index)
    draws = min(getattr(a, "eval_draws", protocol.draws), protocol.draws)
    searches = protocol.searches(*lists, [protocol.selection], draws)
    summary = summarise(retrieve(network, images, searches, a.test_batch)[protocol.selection])
    return {name: summary[name]["mean"] for name in ("rank1", "mAP", "mINP")}


def _cycle(stage: Stage, parts: dict[str, ImageArray]) -> float:
    """Cycle consistency of a stage's network on the training images and their labels."""
    a, network = stage.args, stage.networks[stage.retrieval]
    labels = stage.labels["visible"], stage.labels["infrared"]
    rows = cycle_rows(labels, a.selection_images)
    features = stage.features_at(rows)
    if features is None:
        arrays = parts["train_visible"], parts["train_infrared"]
        features = [
            extract(network, array, a.test_batch, own)
            for array, own in zip(arrays, rows, strict=True)
        ]
    return training_cycle(features, labels, rows)


RESULTS = (
    *("report.*", "tested-on-*", "curves.png", "times.*", "pseudo_labels.npz"),
    "events.out.tfevents.*",
)
"""Files that a run leaves beside its checkpoints, or a stage of it."""


def _clear(folder: Path, stages: Sequence[type[Stage]]) -> None:
    """Delete what was trained before (``--overwrite``), and what was reported of it."""
    for stage in stages:
        checkpoint.remove(folder / stage.name)
    for place in (folder, *(folder / stage.name for stage in stages)):
        for path in (path for pattern in RESULTS for path in place.glob(pattern)):
            path.unlink()


def _records(folder: Path) -> dict[Path, dict]:
    """What a run's states say of themselves, and its config.json; nothing before the first epoch.

    Raises:
        UserError: there are states, and config.json or a state is missing or damaged.
    """
    states = {path: checkpoint.record(path.parent) for path in folder.glob(f"*/{checkpoint.LAST}")}
    return {folder / "config.json": runs.config(folder), **states} if states else {}


def _check_flags(options: Options, folder: Path) -> None:
    """Refuse to go on with a run under other flags; ``--overwrite`` starts it anew.

    Raises:
        UserError: the flags differ from those of config.json or of a stage's state.
    """
    for place, found in _records(folder).items():
        changed = _changed(found["numbers"], options.numbers())
        if changed:
            raise UserError(
                f"{place} is of a run with another {changed}: give what stands there to go on with "
                "it, give this one another --name, or --overwrite to delete that one"
            )


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Flags whose values are others now, in words; empty if there are none."""
    flags = all_flags()
    names = [k for k in now if k not in before or not flags[k].is_same(before[k], now[k])]
    return ", ".join(f"--{k.replace('_', '-')} ({before.get(k)} there)" for k in names)


def _check_images(data: TargetImages, folder: Path) -> None:
    """Refuse to go on with a run on other images than it began with.

    Raises:
        UserError: the images differ from those of config.json or of a stage's state.
    """
    for place, found in _records(folder).items():
        for name, images in data.provenance.items():
            if found["about"].get(name, {}).get("digest") != images.digest:
                flag = "--source" if name == "source_images" else _place_flag(data.options)
                raise _other_images(place, images.dataset, flag)


def _check_finished(options: Options, folder: Path) -> None:
    """Refuse to call a run on other images finished; these need not be there any more.

    Raises:
        UserError: the prepared images that the flags name are not those of the run.
    """
    index = cache_folder(options) / INDEX
    digest = runs.about(folder)["images"]["digest"]
    if index.exists() and read_json(index, {"digest": str})["digest"] != digest:
        raise _other_images(folder / "config.json", options.dataset, _place_flag(options))


def _place_flag(options: Options) -> str:
    """The flag that says which images a run is on."""
    return "--manifest" if "manifest" in options.values else "--data-dir"


def _other_images(place: Path, dataset: str, flag: str) -> UserError:
    return UserError(
        f"{place} is of a run on other images of {dataset}: correct {flag}, or give this run "
        "another --name, or --overwrite to delete that one"
    )


def _write_config(options: Options, run: Run, words: str) -> None:
    """Say what a run is made with; what earlier commands have trained of it keeps its record."""
    before = _records(run.folder).get(run.folder / "config.json", {})
    now = circumstances.hardware(run.device, ranks.count())
    write_json(
        run.folder / "config.json",
        {
            "about": run.about,
            "command": words,
            "numbers": options.numbers(),
            "values": options.values,
            "origins": options.origins,
            "versions": circumstances.versions(),
            "commits": circumstances.added(before.get("commits", []), circumstances.commit()),
            "hardware": circumstances.added(before.get("hardware", []), now),
        },
    )
