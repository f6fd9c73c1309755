"""Devices by name, on machines with and without GPUs."""

import pytest
import torch

from clustercontrast.engine.run import choose_device
from clustercontrast.files import UserError


def machine(monkeypatch, gpus, rank=None):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    for name, value in zip(names, (rank, "4", rank, "127.0.0.1", "29500"), strict=True):
        if rank is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("gpus", "rank", "name", "found"),
    [
        (0, None, "auto", "cpu"),
        (0, "1", "auto", "cpu"),
        (2, None, "auto", "cuda:0"),
        (2, "1", "auto", "cuda:1"),
        (2, None, "cpu", "cpu"),
        (2, "1", "cuda", "cuda:1"),
        (2, None, "cuda", "cuda"),
        (2, None, "cuda:1", "cuda:1"),
    ],
)
def test_devices_that_there_are(monkeypatch, gpus, rank, name, found):
    machine(monkeypatch, gpus, rank)
    assert choose_device(name) == torch.device(found)


@pytest.mark.parametrize(
    "name",
    ["meta", "mps", "xpu", "hip", "", " ", "cpu:3", "cpu:0", "gpu", "CUDA", "cuda:", "cuda:-1",
     "cuda:x", "cuda:\u0661", "cuda:1:1", "cuda:99999999999999999999", "0", "vulkan", "xla"],
)  # fmt: skip
@pytest.mark.parametrize("gpus", [0, 2])
def test_other_names_are_one_line(monkeypatch, gpus, name):
    machine(monkeypatch, gpus)
    with pytest.raises(UserError, match="not a device here: give auto, cpu, cuda or cuda:N") as e:
        choose_device(name)
    assert "\n" not in str(e.value)


def test_a_gpu_that_is_not_there_is_named(monkeypatch):
    machine(monkeypatch, 0)
    with pytest.raises(UserError, match="--device cuda:99: this machine has no usable GPU"):
        choose_device("cuda:99")
    machine(monkeypatch, 2)
    with pytest.raises(UserError, match="--device cuda:99: this machine has 2 usable GPUs"):
        choose_device("cuda:99")
    machine(monkeypatch, 2, rank="2")
    with pytest.raises(UserError, match="2 usable GPUs on this machine and more processes"):
        choose_device("auto")
