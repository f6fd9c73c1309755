"""Whole trainings in two processes: as in one, killed and resumed, on two machines."""

import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import killed_runs
import numpy as np
import pytest
import tiny_runs
import together
import torch
import whole_runs

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@functools.cache
def alone(method: str) -> dict:
    """What one process saves."""
    with tempfile.TemporaryDirectory() as logs:
        argv = whole_runs.arguments(method, Path(logs))
        assert together.finish(together.start(1, whole_runs.train, argv)) == [0]
        return killed_runs.everything(Path(logs))


def check(found: dict, expected: dict) -> None:
    """Labels, fakes, scores and reports are equal, weights to 1e-6."""
    assert found.keys() == expected.keys()
    for place, own in expected.items():
        if place.endswith(".pth"):
            _check_state(found[place], own, place)
        elif place.endswith("report.json"):
            assert found[place]["results"] == own["results"], place
        elif place.endswith("metrics.jsonl"):
            _check_events(found[place], own)
        else:
            assert tiny_runs.differences(found[place], own, place) == []


def _check_state(found: object, expected: object, place: str) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for key in expected:
            _check_state(found[key], expected[key], f"{place}/{key}")
    elif isinstance(expected, torch.Tensor):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6, msg=place)


def _check_events(found: list[dict], expected: list[dict]) -> None:
    for own, other in zip(found, expected, strict=True):
        assert own["clusters"] == other["clusters"]
        assert own["scores"] == other["scores"]
        for name, value in other["loss"].items():
            assert own["loss"][name] == pytest.approx(value, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("method", ["pclhd", "sdcl", "cmam", "united"])
def test_two_processes_train_what_one_does(method, tmp_path):
    argv = whole_runs.arguments(method, tmp_path)
    assert together.finish(together.start(2, whole_runs.train, argv)) == [0, 0]
    check(killed_runs.everything(tmp_path), alone(method))


@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_dies_ends_all_and_one_process_goes_on(killed, tmp_path):
    argv, said = whole_runs.arguments("pclhd", tmp_path / "logs"), tmp_path / "said"
    processes = together.start(2, whole_runs.train, argv, said)
    _await_epoch(tmp_path / "logs", processes)
    os.kill(processes[killed].pid, signal.SIGKILL)
    started = time.monotonic()
    codes = together.finish(processes, 60)
    assert time.monotonic() - started < 60
    assert codes[killed] == -signal.SIGKILL
    assert codes[1 - killed] == 1
    (line,) = [line for line in said.read_text().splitlines() if line.startswith("error")]
    assert "another process of this training has ended" in line
    assert together.finish(together.start(1, whole_runs.train, argv)) == [0]
    check(killed_runs.everything(tmp_path / "logs"), alone("pclhd"))


def _await_epoch(logs: Path, processes: list) -> None:
    """Until the first epoch is saved and another has begun."""
    until = time.monotonic() + together.SECONDS
    while time.monotonic() < until and all(process.is_alive() for process in processes):
        if any(logs.rglob("last.pth")):
            return
        time.sleep(0.01)
    raise AssertionError("no epoch was saved")


def test_two_machines_of_two_processes(tmp_path):
    """Two torchruns meet on the loopback interface; each starts the processes of a machine."""
    argv = [*whole_runs.arguments("pclhd", tmp_path), "--bn-groups", "4", "--epochs", "1"]
    port = together.free_port()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    nodes = [
        subprocess.Popen(
            [
                sys.executable, "-m", "torch.distributed.run", "--nnodes", "2",
                "--nproc_per_node", "2", "--node_rank", str(node), "--master_addr", "127.0.0.1",
                "--master_port", str(port), "train_sysu.py", *argv,
            ],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for node in (0, 1)
    ]  # fmt: skip
    texts = [node.communicate(timeout=together.SECONDS)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], texts
    assert "cross-modality mAP" in texts[0]
    assert "epoch 0" not in texts[1]  # the first process alone speaks
    (report,) = tmp_path.rglob("report.json")
    assert json.loads(report.read_text())["results"]
    labels = np.load(next(tmp_path.rglob("epoch_000.npz")))
    assert labels["visible"].max() > 0
