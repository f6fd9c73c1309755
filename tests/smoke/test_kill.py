"""``kill -9`` of the real script while it writes its second checkpoint, and the command again."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_runs
import torch

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
