"""The skeleton of a method in docs/contributing.md: two files make a method that trains."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_runs

ROOT = Path(__file__).parents[1]
FILE = re.compile(r"```python\n# (clustercontrast/\S+)\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The package with the skeleton's files in it."""
    place = tmp_path_factory.mktemp("skeleton")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "clustercontrast", place / "clustercontrast", ignore=ignored)
    files = FILE.findall((ROOT / "docs/contributing.md").read_text())
    assert len(files) == 2
    for name, text in files:
        assert not (place / name).exists()
        (place / name).write_text(text)
    yield place
    shutil.rmtree(place)


def run(place, *words):
    """The command of the package in ``place``."""
    command = [sys.executable, "-m", "clustercontrast", *words]
    environment = os.environ | {"PYTHONPATH": str(place)}
    done = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_its_help_shows_its_flag(copy):
    shown = run(copy, "train", "--dataset", "sysu", "--method", "skeleton", "--help")
    assert "skeleton on sysu: Its title, venue year" in shown
    assert re.search(r"--infrared-weight V per stage\s+weight .* \[0.5; official script\]", shown)
    assert "skeleton" in next(line for line in shown.splitlines() if "--method" in line)


@pytest.mark.slow
def test_it_trains_and_is_reported(copy):
    numbers = tiny_runs.tiny_flags("adca", "sysu")
    data = ["--data-dir", str(tiny_runs.dataset()), "--logs-dir", str(copy / "logs")]
    words = ["--method", "skeleton", *data, *numbers, "--depth", "10", "--infrared-weight", "2"]
    run(copy, "train", "--dataset", "sysu", *words)
    folder = copy / "logs/sysu/skeleton/seed1"
    report = json.loads((folder / "report.json").read_text())
    assert report["about"]["method"] == "skeleton"
    assert {row["selection"] for row in report["results"]} >= {"last", "test", "cycle"}
    assert "Skeleton" not in (ROOT / "README.md").read_text()
