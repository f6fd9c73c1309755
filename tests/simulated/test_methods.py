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
AGREEING = ["--candidates", "10", "--lr", "1e-6"]  # so that rankings by random weights agree
NETWORKS = {"sdcl": [*VIT, *AGREEING]}
MOST_WAITS = 2  # of the host for the device, per step


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
    flags = ("--device", "cuda", "--draws", "1")
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
