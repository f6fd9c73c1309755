"""Runs for TensorBoard and for Weights & Biases, written from what they have left behind."""

import os
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clustercontrast.commands import runs
from clustercontrast.data.provenance import Provenance
from clustercontrast.files import UserError, read_events, say, write_error
from clustercontrast.report.scalars import Point, points, times

EVENTS = "events.out.tfevents.clustercontrast"
"""Name of the file, one for a run: written again, it takes the place of the one before."""


def tensorboard(args: Namespace) -> None:
    """Write an event file per run.

    Args:
        args: ``runs`` (folders, of single trials or of all), ``out`` (folder; None for the runs'
            own).

    Raises:
        UserError: a run has no event yet, or a place cannot be written.
    """
    for folder in _folders(args.runs):
        place = args.out / _name(folder) if args.out else folder
        _write_events(folder, place / EVENTS)
        say(f"wrote {place / EVENTS}")
    say(f"tensorboard --logdir {args.out or args.runs[0]}")


def _write_events(folder: Path, path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    found, known = _points(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tensorboard-") as own:
            with SummaryWriter(own) as writer:
                writer.add_text("run", _about(folder), walltime=known)
                for point in found:
                    for tag, value in point.values.items():
                        writer.add_scalar(tag, value, point.step, point.time or known)
            (written,) = Path(own).iterdir()
            written.replace(path)
    except OSError as error:
        raise write_error(path, error) from error


def wandb(args: Namespace) -> None:
    """Write an offline run of Weights & Biases per run; ``wandb sync`` sends it, if one wants to.

    Args:
        args: ``runs`` (folders, of single trials or of all), ``out`` (folder), ``project``.

    Raises:
        UserError: a run has no event yet.
    """
    import wandb as client

    args.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("WANDB_SILENT", "true")
    for folder in _folders(args.runs):
        config = runs.config(folder)
        own = client.init(
            project=args.project,
            name=_name(folder),
            dir=str(args.out),
            mode="offline",
            config=config["values"],
            notes=_about(folder),
            settings=client.Settings(console="off", save_code=False, disable_git=True),
        )
        _log(own, _points(folder)[0])
        place = Path(own.dir).parent
        own.finish()
        say(f"wrote {place}")
    say(f"wandb sync {place} sends the last one; nothing was sent")


def _log(own: Any, found: Sequence[Point]) -> None:
    """Give every stage an axis of epochs, and one of iterations."""
    for stage in dict.fromkeys(point.stage for point in found):
        for axis, tags in (("epoch", "*"), ("iteration", "progress/*")):
            own.define_metric(f"{stage}/{axis}")
            own.define_metric(f"{stage}/{tags}", step_metric=f"{stage}/{axis}")
    for point in found:
        axis = f"{point.stage}/{'epoch' if point.is_epoch else 'iteration'}"
        time = {} if point.time is None else {"_timestamp": point.time}
        own.log({axis: point.step, **point.values, **time})


def _points(folder: Path) -> tuple[list[Point], float]:
    """The numbers of a run, and a time for those whose own is not known: the end of its log."""
    path = folder / "metrics.jsonl"
    found = list(points(read_events(path), times(folder / "log.txt")))
    if not found:
        raise UserError(f"{path} has no event yet: nothing can be written")
    return found, path.stat().st_mtime


def _folders(places: Sequence[Path]) -> list[Path]:
    """Folders of single models: of every trial, of every seed, each once.

    Raises:
        UserError: two are called alike, and one would take the place of the other.
    """
    found = dict.fromkeys(folder for place in places for folder in runs.models_of(place))
    named: dict[str, Path] = {}
    for folder in found:
        other = named.setdefault(_name(folder), folder)
        if other != folder:
            raise UserError(
                f"{other} and {folder} are both called {_name(folder)}: write one of them, or both "
                "with an --out of its own"
            )
    return list(found)


def _name(folder: Path) -> str:
    config = runs.config(folder)
    about = config["about"]
    trial = [] if about["trial"] is None else [f"trial{about['trial']}"]
    name = about["name"].replace("/", "-")  # of a seed, NAME/seedN
    return "-".join((about["dataset"], about["method"], name, *trial))


def _about(folder: Path) -> str:
    """The command of a run, and what must be read with its figures."""
    config = runs.config(folder)
    notes = Provenance.of(config["about"]).notes()
    return "  \n".join([f"`{config.get('command', folder)}`", *notes])
