"""Programs on the simulated device, for tests: run in a process of their own, report read."""

import atexit
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulated import toolchain

TESTS = Path(__file__).parents[1]
needed = pytest.mark.skipif(toolchain.missing() is not None, reason=f"no {toolchain.missing()}")
"""Mark of tests that need the device: skipped, with the missing thing named, where it cannot be."""


class Report:
    """What a program did on the device.

    Attributes:
        code: its exit code.
        output: what it printed.
        content: what ``Records.json`` of records.py describes.
    """

    def __init__(self, code: int, output: str, content: dict) -> None:
        self.code, self.output, self.content = code, output, content
        self.mistakes: list[str] = content["mistakes"]
        self.iterations: dict[str, int] = content["iterations"]

    def events(self, phase: str, kind: str) -> list[dict]:
        """Events of a kind ("wait", "pageable copy", ...) in a phase."""
        return [e for e in self.content["events"] if (e["phase"], e["kind"]) == (phase, kind)]

    def per_step(self, stage: str, kind: str) -> float:
        """Events of a kind, per training iteration of a stage."""
        found = self.events(f"{stage}:steps", kind)
        return sum(event["count"] for event in found) / self.iterations[stage]

    def operations_per_step(self, stage: str) -> float:
        """Operations that the device was given, per training iteration of a stage."""
        phase, all_of_it = f"{stage}:steps", self.content["operations"]
        return sum(o["count"] for o in all_of_it if o["phase"] == phase) / self.iterations[stage]

    def peak(self, stage: str, place: str = "steps") -> int:
        """Most bytes that tensors held on the device in a phase."""
        return self.content["peaks"][f"{stage}:{place}"]


def run(
    folder: Path, *program: str, gib: float = 24, goes_on: bool = False, code: int | None = 0
) -> Report:
    """Run a Python file (or ``-m`` and a module) with its arguments on the simulated device.

    Args:
        folder: where the report is written.
        program: as after ``python``; relative paths are of the repository's root.
        gib: the device's memory.
        goes_on: mistakes are recorded and the program goes on.
        code: the exit code that is expected; None for any.
    """
    file, said = folder / "simulated.json", folder / "simulated.txt"
    environment = {"SIMULATED_BYTES": str(int(gib * 2**30))}
    environment |= {"SIMULATED_GOES_ON": "1"} if goes_on else {}
    asked = {"output": str(said), "environment": environment, "arguments": [str(file), *program]}
    found, output = _answer(json.dumps(asked)), said.read_text()
    assert code is None or found == code, output
    return Report(found, output, json.loads(file.read_text()))


def _answer(request: str) -> int:
    """The exit code of a program that is asked for."""
    process = _process()
    process.stdin.write(f"{request}\n")
    process.stdin.flush()
    return int(process.stdout.readline())


@functools.cache
def _process() -> subprocess.Popen:
    """The process that programs are forked from; it ends with this one."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]),
        "OMP_NUM_THREADS": "1",
        "LD_PRELOAD": str(toolchain.runtime()),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "simulated.forking"],
        cwd=TESTS.parent, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    atexit.register(process.communicate)
    return process
