"""The engine's places in the records: rehearsal, refresh, steps, tick, evaluation, saving."""

import contextlib
import functools
from typing import Any

from clustercontrast.engine import loop
from clustercontrast.engine.run import Run
from clustercontrast.methods.rehearsal import RehearsedRun
from simulated.records import RECORDS


def follow() -> None:
    """Let the records know where the engine is.  Phases are "stage:place"."""
    loop.train_on = _named(loop.train_on, _steps)
    Run.close_epoch = _closing(Run.close_epoch)
    Run.tick = _counted(_named(Run.tick, lambda run, stage, *rest: f"{stage.name}:tick"))
    Run.timed = _timed(Run.timed)
    Run.open_epoch = _opening(Run.open_epoch)


def _steps(batches, stage, run, epoch) -> str:
    """Steps that the memory plan rehearses are not those of the training."""
    return f"{stage.name}:{'rehearsal' if isinstance(run, RehearsedRun) else 'steps'}"


def _named(function: Any, name: Any) -> Any:
    @functools.wraps(function)
    def inside(*args):
        with RECORDS.during(name(*args)):
            return function(*args)

    return inside


def _counted(tick: Any) -> Any:
    @functools.wraps(tick)
    def counting(run, stage, *rest):
        RECORDS.iterations[stage.name] += 1
        return tick(run, stage, *rest)

    return counting


def _timed(timed: Any) -> Any:
    @contextlib.contextmanager
    def inside(run, what):
        stage = RECORDS.phase.partition(":")[0]
        with RECORDS.during(f"{stage}:{what}"), timed(run, what):
            yield

    return inside


def _opening(open_epoch: Any) -> Any:
    @functools.wraps(open_epoch)
    def opened(run, stage, epoch):
        RECORDS.phase = f"{stage.name}:refresh"  # until the steps begin, and between streams
        return open_epoch(run, stage, epoch)

    return opened


def _closing(close_epoch: Any) -> Any:
    @functools.wraps(close_epoch)
    def closed(run, stage, epoch):
        RECORDS.phase = f"{stage.name}:closing"
        close_epoch(run, stage, epoch)
        RECORDS.phase = "between epochs"

    return closed
