"""metrics.jsonl as series of numbers, for the tools that show such: a tag, a step, a time.

Tags are ``<stage>/<what>/<name>``: of epochs ``loss``, ``clusters``, ``scores`` and ``seconds``,
whose step is the epoch as the log counts it; of running means ``progress``, whose step is the
iteration, counted from 1 over the epochs of the stage.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from clustercontrast.report.figures import flattened

DATE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)  (\w+) (?:epoch (\d+)|\[(\d+)\]\[(\d+)/)")
"""A line of log.txt that says when an epoch, or an iteration of it, ended."""
Times = Mapping[tuple[str, int, int | None], float]
"""Stage, epoch, and iteration or None, of what ended -> seconds since 1970."""


@dataclass(frozen=True)
class Point:
    """The numbers of one event.

    Attributes:
        stage: of the run.
        step: epoch, or iteration.
        is_epoch: which of both.
        values: tag -> number.
        time: seconds since 1970; None if it is not known.
    """

    stage: str
    step: int
    is_epoch: bool
    values: Mapping[str, float]
    time: float | None


def points(events: Sequence[Mapping[str, Any]], times: Times) -> Iterator[Point]:
    """The numbers of a run in the order of the log; events that have none are left out.

    Args:
        events: of metrics.jsonl.
        times: of the run's log.
    """
    counted = _Iterations()
    for event in events:
        kind, stage, epoch = event["event"], event.get("stage"), event.get("epoch")
        if kind == "progress":
            step = counted.step(stage, epoch, event["iteration"])
            time = times.get((stage, epoch, event["iteration"]))
            yield Point(stage, step, False, _tagged(event, stage, "progress"), time)
        elif kind in ("epoch", "saved"):
            time = times.get((stage, epoch, None))
            yield Point(stage, epoch, True, _tagged(event, stage), time)


class _Iterations:
    """Iterations of a stage, counted over its epochs and the streams of an epoch."""

    def __init__(self) -> None:
        self.before: dict[str, int] = defaultdict(int)
        self.last: dict[str, tuple[int, int]] = {}

    def step(self, stage: str, epoch: int, iteration: int) -> int:
        """Number of an iteration; the count of an epoch or stream begins anew at 1."""
        earlier, reached = self.last.get(stage, (epoch, 0))
        if earlier != epoch or iteration <= reached:
            self.before[stage] += reached
        self.last[stage] = epoch, iteration
        return self.before[stage] + iteration


PARTS = {
    "epoch": ("loss", "clusters", "scores"),
    "saved": ("seconds",),
    "progress": ("loss", "learning_rates", "gradient_norms", "images_per_second"),
}
"""Event -> what of it becomes series."""


def _tagged(event: Mapping[str, Any], stage: str, *below: str) -> dict[str, float]:
    chosen = {part: event[part] for part in PARTS[event["event"]] if part in event}
    plain = {name: _by_number(own) for name, own in chosen.items()}
    return {"/".join((stage, *below, *k.split("."))): v for k, v in flattened(plain)}


def _by_number(content: Any) -> Any:
    """Lists, such as the rates of parameter groups, as mappings; one alone as itself."""
    if isinstance(content, Mapping):
        return {name: _by_number(own) for name, own in content.items()}
    if isinstance(content, list):
        return content[0] if len(content) == 1 else dict(zip(map(str, range(99)), content))  # noqa: B905
    return content


def times(log_txt: Path) -> dict[tuple[str, int, int | None], float]:
    """When epochs and iterations ended, as log.txt dates them in local time; the last one counts.

    There is none where the file is gone.
    """
    try:
        lines = log_txt.read_text("utf-8", "replace").splitlines()
    except OSError:
        return {}
    found = {}
    for date, stage, epoch, of, iteration in (m.groups() for m in map(DATE.match, lines) if m):
        key = (stage, int(epoch), None) if epoch else (stage, int(of), int(iteration))
        found[key] = datetime.fromisoformat(date).timestamp()
    return found
