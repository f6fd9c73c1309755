"""Trainings in processes of their own, which are killed, and what they have saved.

The processes are forked from one that has imported everything: what is killed is work, not imports.
"""

import json
import multiprocessing
import os
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import narrow_resnet
import numpy as np
import pytest
import tiny_runs
import torch

from clustercontrast.commands import cli, reporting

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["killed_runs", "warmed", "clustercontrast.commands.training"])
SECONDS = 240


def be_ready() -> None:
    """Return when all is imported: a run that waited for it would be measured too long."""
    process = SERVER.Process(target=int)
    process.start()
    process.join(SECONDS)


def start(argv: list[str]) -> BaseProcess:
    """A training on SYSU-MM01's layout, with networks of a few channels."""
    process = SERVER.Process(target=_train, args=(argv,))
    process.start()
    return process


def _train(argv: list[str]) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(quiet, stream)
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        if "--source" in argv:
            narrow_resnet.use(patch)
        else:
            tiny_runs.use_small_encoder(patch)
        patch.setattr(reporting, "curves", lambda *_: None)  # most of the time of a tiny run
        cli.train("sysu", argv)


def finish(argv: list[str]) -> float:
    """Train to the end; the seconds that it took."""
    started = time.perf_counter()
    process = start(argv)
    process.join(SECONDS)
    assert process.exitcode == 0
    return time.perf_counter() - started


def is_killed_after(argv: list[str], seconds: float) -> bool:
    """Start a training and kill it; false if it had ended before."""
    process = start(argv)
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def is_killed_in_an_epoch(argv: list[str], logs: Path, stage: str) -> bool:
    """Start a training and kill it in an epoch of a stage; false if the epoch had ended before."""
    process, before = start(argv), _moments(logs, stage)
    until = time.monotonic() + SECONDS
    while process.is_alive() and time.monotonic() < until and _moments(logs, stage) <= before:
        time.sleep(0.001)
    process.kill()
    process.join()
    last = {log: lines[-1] for log, lines in _lines(logs).items() if lines}
    inside = any(stage in line and '"epoch"' not in line[:20] for line in last.values())
    return process.exitcode == -signal.SIGKILL and (inside or stage == "generation")


def _moments(logs: Path, stage: str) -> int:
    """How often a stage has said in its epochs that it is at work."""
    if stage == "generation":  # it trains nothing: rows that are done
        files = logs.glob("shared/generation-*/*.done.npy")
        return sum(int(np.load(file).sum()) for file in files)
    lines = (line for own in _lines(logs).values() for line in own)
    return sum('"progress"' in line and f'"{stage}"' in line for line in lines)


def _lines(logs: Path) -> dict[Path, list[str]]:
    """Whole lines of every log for programs."""
    return {
        path: path.read_text().rpartition("\n")[0].splitlines()
        for path in logs.rglob("metrics.jsonl")
    }


def everything(logs: Path) -> dict[str, object]:
    """All that runs have saved: checkpoints, arrays and labels by path, and their epochs."""
    content: dict[str, object] = {}
    for path in sorted(file for file in logs.rglob("*") if file.is_file()):
        place = str(path.relative_to(logs))
        if path.suffix == ".pth":
            content[place] = torch.load(path, weights_only=True)
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                content[place] = {name: arrays[name] for name in arrays.files}
        elif path.suffix == ".npy":
            content[place] = np.load(path)
        elif path.name == "metrics.jsonl" and "generation-" not in place:  # counts what it made
            content[place] = tiny_runs.events(path.parent)
        elif path.name == "report.json":
            content[place] = json.loads(path.read_text())
    return content
