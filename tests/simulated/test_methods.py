"""Every method on the simulated device: iterated, tested, saved, interrupted and resumed.

The commands are the real ones and the networks the real ones in narrow; values are the CPU's.
"""

import json

import method_runs
import pytest
import tiny_runs

from clustercontrast.methods import METHODS
from simulated import launch

VIT = ["--arch", "vit", "--depth", "2", "--vit-width", "64", "--drop-path", "0.2"]
NETWORKS = {"sdcl": [*VIT, *method_runs.AGREEING]}
MOST_WAITS = 2  # of the host for the device, per step
# Given to the device, per step: a quarter more than was counted.  The clusters of so short a run,
# and with them the turns of memories, differ between processors: the highest count is taken.
MOST_OPERATIONS = {
    "adca": {"intra": 1200, "cross": 1200},
    "pgm": {"intra": 1850, "cross": 1950},
    "pclhd": {"intra": 930, "progressive": 2250},
    "rpnr": {"intra": 930, "robust": 1300},
    "mmm": {"intra": 850, "joint": 2000, "final": 500},
    "pca": {"intra": 930, "invariant": 1300},
    "sdcl": {"intra": 2600, "agreed": 2600},
    "posed": {"intra": 1550, "unified": 1400},
    "gur": {"bottomup": 1150},
    "bmil": {"intra": 1600, "invariance": 2500},
    "united": {"intra": 1550, "united": 2600},
    "supervised": {"supervised": 770},
    "cmam": {"auxiliary": 350, "diffusion": 1050, "pretrain": 1450, "selftrain": 1600},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The logs and the report of a method's training."""
    made = {}

    def run(method):
        if method not in made:
            logs = tmp_path_factory.mktemp(method)
            made[method] = (
                logs,
                launch.run(logs, "tests/simulated/training.py", *arguments(method, logs)),
            )
        return made[method]

    return run


def arguments(method, logs):
    flags = ("--device", "cuda", "--draws", "1", "--deterministic")
    if method in method_runs.FROM_A_SOURCE:
        return tiny_runs.cmam_arguments(logs, *flags)
    network = NETWORKS.get(method, ["--depth", "10"])
    return tiny_runs.arguments(method, logs, *method_runs.FLAGS[method], *network, *flags)


every_method = pytest.mark.parametrize("method", METHODS)


@launch.needed
@pytest.mark.slow
@every_method
def test_it_trains_is_resumed_and_tested_without_a_mistake(trained, method):
    logs, report = trained(method)
    assert report.mistakes == []
    trained_stages = {e["stage"] for e in tiny_runs.events(tiny_runs.run_folder(logs, method))}
    assert trained_stages <= set(report.iterations)
    results = json.loads((tiny_runs.run_folder(logs, method) / "report.json").read_text())
    assert {r["model"] for r in results["results"]} >= {"last epoch"}


@launch.needed
@pytest.mark.slow
@every_method
def test_its_steps_hardly_wait_for_the_device(trained, method):
    _, report = trained(method)
    for stage in report.iterations:
        waits = report.events(f"{stage}:steps", "wait") + report.events(f"{stage}:tick", "wait")
        per_step = sum(event["count"] for event in waits) / report.iterations[stage]
        assert per_step <= MOST_WAITS, waits
        assert report.events(f"{stage}:steps", "pageable copy") == []
        assert report.events(f"{stage}:steps", "unfinished copy") == []


@launch.needed
@pytest.mark.slow
@every_method
def test_its_steps_are_few_operations(trained, method):
    """Forward, losses, memories and optimiser, of narrow networks on tiny batches."""
    _, report = trained(method)
    for stage, most in MOST_OPERATIONS[method].items():
        assert 0 < report.operations_per_step(stage) <= most, stage
    assert MOST_OPERATIONS[method].keys() == report.iterations.keys()
