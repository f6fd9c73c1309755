"""Recorded steps of the official trainers on several GPUs, followed by as many processes."""

import importlib
import sys
from pathlib import Path

import golden_set
import pytest
import together
import torch
from official import matrix_convolution

from clustercontrast.processes import ranks

METHODS = Path(__file__).parents[1] / "methods"
ONES = [f for f in golden_set.files("trajectories") if "replicas" in f]
OTHERS = {
    "rpnr": ("test_rpnr_trajectories", "test_rpnr_follows_the_official_trainer"),
    "mmm": ("test_rpnr_trajectories", "test_mmm_joint_follows_the_official_trainer"),
    "pca": ("test_pca_trajectories", "test_pca_follows_the_official_trainers"),
    "sdcl": ("test_sdcl_trajectories", "test_sdcl_follows_the_official_trainer"),
}
SPLIT = [
    "rpnr/traj_s2_even_split2_adam.npz",
    "mmm/traj_joint_split2_adam.npz",
    "pca/traj_s2_split2_adam.npz",
    "sdcl/traj_p2_even_split2_up.npz",
]


def follow(module: str, test: str, file: str, *more: object) -> None:
    """Run a test of one process in each of several."""
    sys.path.insert(0, str(METHODS))
    if module != "test_trajectories":  # which rounds momenta as its recordings do
        torch.set_default_dtype(torch.float64)
    ranks.join(torch.device("cpu"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Conv2d, "forward", matrix_convolution)
        getattr(importlib.import_module(module), test)(file, *more)
    ranks.leave()


def check(count: int, *test: object) -> None:
    assert together.finish(together.start(count, follow, *test)) == [0] * count


@pytest.mark.slow
@pytest.mark.parametrize("file", ONES)
def test_processes_follow_the_official_replicas(file):
    count = golden_set.entry(file)["parameters"]["virtual_replicas"]
    test = "test_trajectories", "test_stage_follows_the_official_trainer"
    check(count, *test, file, torch.device("cpu"))


@pytest.mark.slow
@pytest.mark.parametrize("file", SPLIT)
def test_two_processes_follow_the_official_halves(file):
    check(2, *OTHERS[file.split("/")[0]], file)
