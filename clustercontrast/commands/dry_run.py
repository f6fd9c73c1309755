"""A training without its epochs: everything is checked, two steps of every stage are timed.

Nothing is written below the folder of logs, and no lock is taken.
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from clustercontrast.commands import training
from clustercontrast.commands.planning import GIB, Planner
from clustercontrast.data import pseudo_labels
from clustercontrast.data.target import TargetImages
from clustercontrast.engine import checkpoint
from clustercontrast.engine.memory import process_peak
from clustercontrast.engine.stage import HANDED_OVER, Stage
from clustercontrast.files import UserError, say
from clustercontrast.methods import METHODS
from clustercontrast.methods.rehearsal import Rehearsal, rehearse
from clustercontrast.settings.options import Options

RULES = 2
"""Best models that a stage keeps: by the test set, and by cycle consistency."""
HEADINGS = ("stage", "images/step", "s/step", "steps", "forward s/epoch", "hours", "peak GiB")


def dry_run(options: Options) -> None:
    """Check what a command line asks for, print the memory plan, and how long it will take.

    Where there are several trials or seeds, the first one is looked at.

    Args:
        options: the values of the command line.

    Raises:
        UserError: the flags, the images, the weights, the GPU or the disk do not allow it.
    """
    seeds, trials = options.of_each_seed(), options.trials()
    one, every = seeds[0].of_trial(trials[0]), METHODS[options.method]
    run, stages = training.run_folder(options), training.asked_stages(options)
    folder = training.folder_of_trial(training.seed_folder(one), trials[0])
    _check_place(run)
    training.check_kind(options, run)
    data = training.images_of(one, every)
    training.check_run(one, folder, data, [stage for stage in stages if not stage.reads])
    _check_earlier(one, folder, data, stages)
    say(f"{folder}: {options.method} ({options.variant}) on {data.device}, dry run")
    if any(run.glob(f"**/{checkpoint.LAST}")):
        say("note: some epochs are saved there already; all are counted below")
    rehearsals = [_rehearsed(make, one, data) for make in stages]
    say(table(rehearsals, len(trials), len(seeds)))
    check_disk(run, data, rehearsals, len(trials) * len(seeds))


def _rehearsed(make: type[Stage], options: Options, data: TargetImages) -> tuple[Rehearsal, float]:
    """Two real steps and a forward of a stage; the most memory in bytes, images included.

    Initial weights are read where they are files, so that one that does not fit is found.
    """
    args, line = Planner(options, data)(make, options.at(make.name))
    if line:
        say(line)
    if getattr(args, "pseudo_labels", None):
        lists = data.visible.index, data.infrared.index
        pseudo_labels.load(Path(args.pseudo_labels), lists, say)
    is_gpu = data.device.type == "cuda"
    # A first step tries algorithms out on a GPU, and compiles.
    done = rehearse(make, args, data, data.device, warm_up=int(is_gpu or args.compile))
    return done, done.peak + data.bytes_on_device() if is_gpu else process_peak()


def table(rehearsals: Sequence[tuple[Rehearsal, float]], trials: int, seeds: int = 1) -> str:
    """A row per stage, and what all of them take.

    Args:
        rehearsals: of the stages, each with the most bytes of memory.
        trials: so many times all of it is done.
        seeds: so many times all trials are done.
    """
    rows, total, most = [HEADINGS], 0.0, 0.0
    for done, peak in rehearsals:
        hours = done.epochs * done.epoch_seconds / 3600
        total, most = total + hours, max(most, peak)
        rows.append(
            (
                done.stage,
                f"{done.images}",
                f"{done.step_seconds:.3f}",
                f"{done.epochs} x {done.iterations}",
                f"{done.forward_seconds:.1f}",
                f"{hours:.2f}",
                f"{peak / GIB:.2f}",
            )
        )
    rows.append(("in all", *[""] * 4, f"{total * trials * seeds:.2f}", f"{most / GIB:.2f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.rjust, row, widths)).rstrip() for row in rows]
    counts = {"seeds": seeds, "trials": trials}
    times = "".join(f"{number} {of}; " for of, number in counts.items() if number > 1)
    return "\n".join(
        (*lines, f"{times}clustering, matching, evaluation and saving come on top of these hours")
    )


def _check_earlier(
    options: Options, folder: Path, data: TargetImages, stages: Sequence[type[Stage]]
) -> None:
    """Look for what the stages take from earlier ones that are not asked for.

    Raises:
        UserError: weights are not there.
    """
    names, every = {stage.name for stage in stages}, METHODS[options.method]
    for make in stages:
        args = options.at(make.name)
        if args.__dict__.get("start_from") in HANDED_OVER:
            origins = make(args, data, None).starts_from.values()
            for earlier in {origin.partition(".")[0] for origin in origins} - names:
                if checkpoint.record(folder / earlier) is None:
                    raise UserError(
                        f"stage {make.name} starts from stage {earlier}, and {folder / earlier} "
                        f"has no finished epoch: run --stages {earlier} too, or give --start-from "
                        "PATH"
                    )
    last = max(map(every.index, stages))
    for make in every[:last]:
        if make.reads and make.name not in names:
            place = data.places[make.name] / make.name
            if not (place / checkpoint.LAST).exists():
                say(f"note: {place} is not there yet: run --stages {make.name} first")


def _check_place(folder: Path) -> None:
    """Refuse a place where no run can be written.

    Raises:
        UserError: something on the way is no folder, or may not be written to.
    """
    place = _existing(folder)
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise UserError(
            f"{folder} cannot be made: {place} is no folder that may be written to; give another "
            "--logs-dir"
        )


def check_disk(
    folder: Path, data: TargetImages, rehearsals: Iterable[tuple[Rehearsal, float]], models: int
) -> None:
    """Compare what will be written with what is free, by so many models.

    Raises:
        UserError: the disk is too small.
    """
    states = [done.state_bytes for done, _ in rehearsals]
    best = sum((RULES + 1) * done.model_bytes for done, _ in rehearsals)
    fakes = sum(done.file_bytes for done, _ in rehearsals)
    whole = sum(states) + best + fakes
    wanted = models * whole + max(states, default=0)  # a file is written beside the old one
    there = sum(map(_size, {folder, *data.places.values()}))
    free = shutil.disk_usage(_existing(folder)).free
    if wanted - there > free:
        raise UserError(
            f"a run writes about {wanted / 1e9:.1f} GB to {data.options.logs_dir}, where "
            f"{free / 1e9:.1f} GB are free: free some space, or give another --logs-dir"
        )
    say(f"disk: about {wanted / 1e9:.1f} GB will be written, {free / 1e9:.1f} GB are free")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    whole = folder.absolute()
    return next(place for place in (whole, *whole.parents) if place.exists())
