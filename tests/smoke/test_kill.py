"""``kill -9`` at any moment, and the same command again: the result of an undisturbed run."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import killed_runs
import pytest
import tiny_runs
import torch
from method_runs import RUNS

from clustercontrast.commands import cli

ROOT = Path(__file__).parents[2]
SECONDS = 240


def start(argv):
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, str(ROOT / "train_sysu.py"), *argv]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env=environment, **quiet)


def kill_during_the_second_checkpoint(process, folder):
    until = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < until:
        if (folder / "last.pth").exists() and (folder / "last.pth.tmp").exists():
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_killed_while_saving_and_started_again_equals_undisturbed(tmp_path):
    flags = ["--stages", "intra", "--iters", "1", "--depth", "10"]
    cli.train("sysu", tiny_runs.arguments("adca", tmp_path / "a", *flags))
    expected = tiny_runs.saved(tiny_runs.run_folder(tmp_path / "a", "adca"))
    shutil.rmtree(tmp_path / "a")

    argv = tiny_runs.arguments("adca", tmp_path / "b", *flags)
    folder = tiny_runs.run_folder(tmp_path / "b", "adca")
    process = start(argv)
    kill_during_the_second_checkpoint(process, folder / "intra")
    assert process.returncode == -signal.SIGKILL
    assert (folder / "intra" / "last.pth.tmp").exists()
    assert torch.load(folder / "intra" / "last.pth")["epoch"] == 0
    assert not (folder / "report.json").exists()

    assert start(argv).wait(SECONDS) == 0
    assert tiny_runs.differences(tiny_runs.saved(folder), expected) == []
    assert (folder / "report.json").exists()


# --- whole runs, killed while they work ---

STAGES = {
    name: list(dict.fromkeys(s for s, _ in tiny_runs.epochs_of(RUNS[name][0]))) for name in RUNS
}
STAGES["cmam"] = ["auxiliary", "diffusion", "generation", "pretrain", "selftrain"]
KILLS = 3
"""Of every run at moments spread evenly over its time; with other moments for other runs."""


def arguments(name: str, logs: Path) -> list[str]:
    more = ["--print-freq", "1", "--name", name]
    if name == "cmam":
        return tiny_runs.cmam_arguments(logs, *more)
    method, flags = RUNS[name]
    return tiny_runs.arguments(method, logs, "--iters", "4", *flags, *more)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What an undisturbed run has saved, and its seconds, made when first asked for."""
    made = {}
    killed_runs.be_ready()

    def of(name):
        if name not in made:
            logs = tmp_path_factory.mktemp("undisturbed")
            seconds = killed_runs.finish(arguments(name, logs))
            made[name] = killed_runs.everything(logs), seconds
            shutil.rmtree(logs)
        return made[name]

    return of


@pytest.mark.slow
@pytest.mark.parametrize("kill", range(KILLS))
@pytest.mark.parametrize("name", STAGES)
def test_killed_at_any_time_and_started_again(tmp_path, undisturbed, name, kill):
    expected, seconds = undisturbed(name)
    share = (kill + (list(STAGES).index(name) + 0.5) / len(STAGES)) / KILLS
    while not killed_runs.is_killed_after(arguments(name, tmp_path), share * seconds):
        share *= 0.9  # this time the run was faster than the one that was measured
        shutil.rmtree(tmp_path)
    killed_runs.finish(arguments(name, tmp_path))
    assert tiny_runs.differences(killed_runs.everything(tmp_path), expected) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_every_stage_is_killed_in_an_epoch_and_goes_on(tmp_path, undisturbed, name):
    expected, _ = undisturbed(name)
    argv = arguments(name, tmp_path)
    for stage in STAGES[name]:
        tries = (killed_runs.is_killed_in_an_epoch(argv, tmp_path, stage) for _ in range(2))
        assert any(tries), stage  # a stage has two epochs
    killed_runs.finish(argv)
    assert tiny_runs.differences(killed_runs.everything(tmp_path), expected) == []
