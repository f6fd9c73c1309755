"""The commands behind the root scripts and ``python -m clustercontrast``: prepare, train, test."""

import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import torch

from clustercontrast.commands import results
from clustercontrast.commands.results import Evaluation
from clustercontrast.commands.training import train_runs
from clustercontrast.data.images import cache_folder, open_sized
from clustercontrast.data.preparation import READERS, Preparation
from clustercontrast.data.samples import Listing
from clustercontrast.data.verify import images_per_camera
from clustercontrast.engine.run import choose_device
from clustercontrast.files import UserError, alone, read_json, say, write_error
from clustercontrast.models import weights
from clustercontrast.report.tables import results_table
from clustercontrast.settings.flags import OneLineParser, count, draws, number
from clustercontrast.settings.recipes import RECIPES


def command(action: Callable[[], None]) -> None:
    """Run a command: a user's mistake is one line and exit code 2, Ctrl-C says how to go on."""
    signal.signal(signal.SIGTERM, _interrupt)
    # Before the first tensor operation, so that torch's threads inherit it: denormal numbers, which
    # fresh networks and Adam's moments are full of, make CPU steps several times slower.
    torch.set_flush_denormal(True)
    try:
        action()
    except UserError as error:
        _leave(2, f"error: {error}")
    except torch.OutOfMemoryError:
        _leave(2, "error: the GPU's memory is full: add --checkpoint-groups, --precision bf16 or "
                  "a smaller --batch-size; epochs already finished are saved")  # fmt: skip
    except ImportError as error:  # an optional backend
        _leave(2, f"error: {error}")
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        _leave(2, f"error: {write_error(Path(str(error.filename or 'a file')), error)}")
    except KeyboardInterrupt as error:
        _leave(130, f"interrupted{error.args[0] if error.args else ''}")


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise KeyboardInterrupt


def _leave(code: int, line: str) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.write(f"\n{line}\n")
    raise SystemExit(code)


# --- prepare ---


def prepare(dataset: str, argv: Sequence[str] | None = None) -> None:
    """Verify a dataset and write its prepared images."""
    command(lambda: _prepare(dataset, argv))


def _prepare(dataset: str, argv: Sequence[str] | None) -> None:
    title, default = READERS[dataset].TITLE, RECIPES["*", dataset]["data_dir"]
    parser = OneLineParser(description=f"Verify {title} and write its prepared images.")
    parser.add_argument("--data-dir", default=default, help=f"as downloaded [{default}]")
    parser.add_argument("--cache-dir", help="where to write [DATA_DIR-HxW]")
    parser.add_argument("--height", type=number(int, 16), default=288, help="pixels [288]")
    parser.add_argument("--width", type=number(int, 16), default=144, help="pixels [144]")
    workers = os.cpu_count() or 1
    parser.add_argument("-j", "--workers", type=count, default=workers, help="threads [all cores]")
    parser.add_argument("--allow-incomplete", action="store_true", help="accept missing images")
    parser.add_argument("--overwrite", action="store_true", help="write them anew")
    args = parser.parse_args(argv)

    size = args.height, args.width
    wanted = Preparation(dataset, Path(args.data_dir), cache_folder(args), size)
    wanted.verify(args.allow_incomplete)
    say(f"{wanted.root}: {'rendered people' if wanted.facts['rendered'] else 'verified'}")
    _say_counts(wanted.listing)
    if not args.overwrite and wanted.listed():
        say(f"{wanted.folder} is prepared already")
        return
    with alone(wanted.folder, say):
        if args.overwrite or not wanted.listed():  # another process may have written it, by now
            wanted.write(args.workers)
    say(f"wrote {wanted.folder}")


def _say_counts(listing: Listing) -> None:
    """Images of every part; all trials have the same numbers."""
    parts = listing.parts(1 if listing.trials else None)
    if listing.trials:
        say(f"  {len(listing.trials)} trials, each of")
    for name, cameras in images_per_camera(parts).items():
        shown = ", ".join(f"camera {camera}: {n:,}" for camera, n in cameras.items())
        say(f"  {name:15} {len(parts[name]):6,} images  ({shown})")


# --- train ---


def train(dataset: str, argv: Sequence[str] | None = None) -> None:
    """Train a method, stage by stage, then test it; trial by trial where there are trials."""
    command(lambda: train_runs(dataset, argv))


# --- test ---


def test(dataset: str, argv: Sequence[str] | None = None) -> None:
    """Test a run's models, or one checkpoint."""
    command(lambda: _test(dataset, argv))


def _test(dataset: str, argv: Sequence[str] | None) -> None:
    args = _test_parser(dataset).parse_args(argv)
    target = Path(args.run)
    if not target.exists():
        raise UserError(f"{target} does not exist: give a run's folder or a checkpoint")
    if target.is_file():
        _test_file(target, dataset, args)
        return
    trials = results.trials_of(target)
    for folder in _folders(target, trials, args):
        evaluation = open_evaluation(dataset, args, folder)
        results.report(folder, args.stage or results.last_stage(folder), evaluation)
    if trials:
        results.report_trials(target, dataset)


def _test_parser(dataset: str) -> OneLineParser:
    parser = OneLineParser(description="Test a run (its folder) or one checkpoint (its file).")
    parser.add_argument("run", help="logs/<dataset>/<method>/<name>/, or a .pth, .pth.tar file")
    recipe = RECIPES["*", dataset]
    if "trial" in recipe:
        parser.add_argument(
            "--trial", nargs="+", type=count, help="trials to test on [all trained, each its own]"
        )
        parser.add_argument(
            "--allow-leak", action="store_true", help="test a model on another trial than its own"
        )
    if "draws" in recipe:
        default = recipe["draws"]
        parser.add_argument(
            "--draws", type=draws, default=default, help=f"gallery draws [{default}]"
        )
    parser.add_argument("--stage", help="stage of the run [the last one trained]")
    add_evaluation_flags(parser)
    return parser


def add_evaluation_flags(parser: OneLineParser) -> None:
    """Flags that say which images models are tested on, and how."""
    parser.add_argument("--data-dir", help="the dataset [the run's]")
    parser.add_argument("--cache-dir", help="prepared images [DATA_DIR-HxW]")
    parser.add_argument("--height", type=number(int, 16), help="pixels [the run's, or 288]")
    parser.add_argument("--width", type=number(int, 16), help="pixels [the run's, or 144]")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N [auto]")
    parser.add_argument("--test-batch", type=count, default=256, help="images per forward [256]")


def _folders(run: Path, trials: Sequence[int], args: Namespace) -> list[Path]:
    """The run's folder, or those of the trials that were asked for."""
    if not trials:
        return [run]
    missing = sorted(set(args.trial or []) - set(trials))
    if missing:
        raise UserError(f"{run} has no model of trial {missing[0]}: train it with --trial first")
    return [results.trial_folder(run, trial) for trial in args.trial or trials]


def open_evaluation(
    dataset: str, args: Namespace, folder: Path | None = None, about: dict | None = None
) -> Evaluation:
    """The test people that flags ask for, and else the config of a run's folder.

    Args:
        dataset: a key of ``READERS``.
        args: those of :func:`add_evaluation_flags`, and ``draws`` or ``trial`` and ``allow_leak``.
        folder: of the run, or of one trial of it; None for a bare checkpoint.
        about: what a bare checkpoint says of itself.
    """
    said = about or {}
    config = read_json(folder / "config.json") if folder else {"values": said, "about": said}
    values = config["values"]
    recipe = RECIPES["*", "*"] | RECIPES["*", dataset]
    own = Namespace(**vars(args))
    for name in ("data_dir", "cache_dir", "height", "width"):
        if getattr(args, name) is None:
            setattr(own, name, values.get(name, recipe[name]))
    own.fakes = config["about"].get("fakes")
    asked = getattr(args, "trial", None) or []
    own.trial_number = asked[0] if len(asked) == 1 else values.get("trial")
    return Evaluation.of(dataset, open_sized(own, dataset), own, choose_device(args.device))


def _test_file(file: Path, dataset: str, args: Namespace) -> None:
    """Test one checkpoint: print its table, write nothing."""
    about = weights.about(file)
    if "trial" in args and args.trial is None:
        if "trial" not in about:
            raise UserError(f"{file} does not say which trial it was trained on: add --trial N")
        args.trial = [about["trial"]]
    evaluation = open_evaluation(dataset, args, about=about)
    results.check_model(about, evaluation, file)
    found = results.retrieve_with(weights.read(file), evaluation)
    described = results.describe(file.name, found, evaluation)
    table = results_table(dataset, described, evaluation.rendered, str(file), about.get("method"))
    say(table.text())


# --- the page of a run ---


def html(argv: Sequence[str] | None = None) -> None:
    """Write the page of a run, or of each of its trials."""
    command(lambda: _html(argv))


def _html(argv: Sequence[str] | None) -> None:
    parser = OneLineParser(
        prog="python -m clustercontrast.report html",
        description="Write report.html into the folder of a run, or of each of its trials.",
    )
    parser.add_argument("run", type=Path, help="logs/<dataset>/<method>/<name>/, or a trial of it")
    chosen = ("last", "test", "cycle")
    parser.add_argument("--model", choices=chosen, default="last", help="model it shows [last]")
    add_evaluation_flags(parser)
    args = parser.parse_args(argv)
    trials = results.trials_of(args.run)
    for folder in [results.trial_folder(args.run, trial) for trial in trials] or [args.run]:
        dataset = results.about(folder)["dataset"]
        say(f"wrote {results.html(folder, args.model, open_evaluation(dataset, args, folder))}")
