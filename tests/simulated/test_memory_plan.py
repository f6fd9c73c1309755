"""The memory plan's estimates against what a training takes, on the simulated device."""

import json

import method_runs
import pytest
import tiny_runs

from clustercontrast.methods import METHODS
from simulated import launch

BATCHES = {"mmm": ["128", "128", "24"]}  # the last stage has few classes here, none drawn twice
NETWORKS = {"sdcl": ["--depth", "3", "--vit-width", "64"], "cmam": []}
DEVIATION = 0.15
DRY = ["--depth", "10", "--device", "cuda", "--test-batch", "64"]


def arguments(method, logs):
    flags = ["--device", "cuda", "--epochs", "1", "--iters", "2", "--eval-draws", "1"]
    if method in method_runs.FROM_A_SOURCE:
        return [
            *tiny_runs.cmam_arguments(logs),
            *("--device", "cuda", "--batch-size", "64", "--num-instances", "4"),
            *("--phase-one", "0", "--epochs", "1", "--last-iters", "2"),
        ]
    own = [*NETWORKS.get(method, ["--depth", "10"]), *method_runs.FLAGS[method]]
    own += ["--warm-epochs", "0"] if method == "mmm" else []  # so that the only epoch is a late one
    sizes = BATCHES.get(method, ["128"])
    batches = ["--batch-size", *sizes, "--batch-visible", "128"]  # activations outweigh weights
    return tiny_runs.arguments(method, logs, *own, *batches, *flags, "--test-batch", "64")


@launch.needed
@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_estimate_of_every_stage_is_close_to_its_peak(method, tmp_path):
    file = tmp_path / "found.json"
    launch.run(
        tmp_path, "tests/simulated/planned.py", str(file), *arguments(method, tmp_path / "logs")
    )
    found = json.loads(file.read_text())
    assert found.keys() == {stage.name for stage in METHODS[method]} - {"finetune"}
    wrong = {
        name: f"{estimate / 2**20:.1f} MiB expected, {peak / 2**20:.1f} MiB taken"
        for name, (estimate, peak) in found.items()
        if abs(estimate / peak - 1) > DEVIATION
    }
    assert not wrong, wrong


@launch.needed
@pytest.mark.slow
def test_a_dry_run_prints_the_plan_or_what_would_fit(tmp_path):
    logs = tmp_path / "logs"
    words = tiny_runs.arguments("supervised", logs, *DRY)
    done = launch.run(tmp_path, "train_sysu.py", *words, "--dry-run")
    assert "supervised: memory plan: 0." in done.output
    assert "of 24.0 GiB that are free, nothing recomputed, 64 images per forward" in done.output
    assert "in all" in done.output
    full = launch.run(tmp_path, "train_sysu.py", *words, "--dry-run", gib=0.9, code=2)
    (line,) = [line for line in full.output.splitlines() if line.startswith("error")]
    assert "stage supervised does not fit" in line
    assert "0.90 GiB are free" in line
    assert not logs.exists()
