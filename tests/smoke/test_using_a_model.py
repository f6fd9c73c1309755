"""What docs/using.md says of a trained model, run as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import runnable
import tiny_runs

PAGE = runnable.ROOT / "docs" / "using.md"
SHORT = ["--epochs", "1", "--iters", "1", "--stages", "intra", "--depth", "10"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run that was trained there, on rendered people."""
    place = tmp_path_factory.mktemp("work")
    words = tiny_runs.arguments("adca", Path("logs"), *SHORT)
    done = subprocess.run(
        [sys.executable, "-m", "clustercontrast", "train", "--dataset", "sysu", *words],
        cwd=place, env=os.environ | {"PYTHONPATH": str(runnable.ROOT)}, check=False,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return place


@pytest.mark.slow
def test_every_example_of_a_trained_model_runs(folder):
    rerank, activations = runnable.blocks(PAGE, "trained")
    printed = runnable.run(*rerank, folder)
    table = printed[printed.index("Comparison, re-ranked") :]
    assert "last epoch, re-ranked, k1 20, k2 6, λ 0.3" in table
    assert "wrote logs/sysu/adca/seed1/report.html" in runnable.run(*activations, folder)
    text = (folder / "logs/sysu/adca/seed1/report.html").read_text()
    assert "stage intra, re-ranked" in text
    assert len(re.findall(r'<div class="pair">', text)) == 12
