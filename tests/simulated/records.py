"""What happened on the device, by phase of the run and place in the package."""

import collections
import contextlib
import functools
import importlib.util
import inspect
import threading
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(importlib.util.find_spec("clustercontrast").origin).parent


class Records:
    """Counts of a run.

    Attributes:
        phase: where the run is, such as "intra:steps".
        iterations: training iterations by stage.
        events: (phase, kind, operation, place) -> how often; the kinds are "mistake", "wait",
            "pageable copy" and "unfinished copy".
        operations: (phase, operation, place) -> how often the device was given it.
        peaks: phase -> most bytes held in it.
    """

    def __init__(self) -> None:
        self.phase = "start"
        self.iterations: collections.Counter[str] = collections.Counter()
        self.events: collections.Counter[tuple[str, ...]] = collections.Counter()
        self.operations: collections.Counter[tuple[str, ...]] = collections.Counter()
        self.peaks: dict[str, int] = {}
        self.lock = threading.Lock()  # backward passes and fetches have threads of their own

    @contextlib.contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Name the phase of a block."""
        before, self.phase = self.phase, phase
        try:
            yield
        finally:
            self.phase = before

    def event(self, kind: str, operation: str) -> None:
        """Count something that should be rare."""
        with self.lock:
            self.events[self.phase, kind, operation, place()] += 1

    def operation(self, name: str) -> None:
        """Count an operation that the device is given."""
        with self.lock:
            self.operations[self.phase, name, place()] += 1

    def held(self, count: int) -> None:
        """Note the bytes that tensors hold now."""
        self.peaks[self.phase] = max(count, self.peaks.get(self.phase, 0))

    def json(self) -> dict:
        """All of it, largest counts first; ``mistakes`` as lines of their own."""
        events = _rows(self.events, ("phase", "kind", "operation", "place"))
        return {
            "mistakes": [
                f"{e['phase']}: {e['operation']} at {e['place']}"
                for e in events
                if e["kind"] == "mistake"
            ],
            "iterations": dict(self.iterations),
            "events": events,
            "operations": _rows(self.operations, ("phase", "operation", "place")),
            "peaks": self.peaks,
        }


def _rows(counts: collections.Counter, keys: tuple[str, ...]) -> list[dict]:
    return [dict(zip(keys, k, strict=True)) | {"count": n} for k, n in counts.most_common()]


def place() -> str:
    """The line of the package that is being run, and the line that called it."""
    found, frame = [], inspect.currentframe()
    while frame is not None and len(found) < 2:
        if name := _in_the_package(frame.f_code.co_filename):
            found.append(f"{name}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(found) or "elsewhere"  # a backward pass, or an optimiser on its own thread


@functools.cache  # asked for every frame of every operation
def _in_the_package(file: str) -> str | None:
    """The path of a source file within the package; None for other files."""
    path = Path(file)
    return str(path.relative_to(PACKAGE)) if path.is_relative_to(PACKAGE) else None


RECORDS = Records()
"""Of this process."""
