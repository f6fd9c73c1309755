"""Every stage of every method, two iterations: the GPU does what the CPU does.

Labels are equal, losses, memory rows and statistics are close: what differs is rounding, which two
steps of Adam enlarge. Nothing is drawn on the device, so both see the same batches.
"""

import both_devices
import method_runs
import narrow_resnet
import pytest
import tiny_cmam
import tiny_runs
import torch

from clustercontrast.evaluation.features import extract
from clustercontrast.methods import METHODS
from clustercontrast.methods.clustering_stage import ClusteringStage

pytestmark = pytest.mark.gpu

VIT = ["--arch", "vit", "--depth", "2", "--vit-width", "64", "--drop-path", "0"]
EPOCH = {"sdcl": 1, "pca": 1, "mmm": 1}  # the first with all losses
CLUSTERING = [
    (method, make)
    for method in method_runs.METHODS_ALONE
    for make in METHODS[method]
]  # fmt: skip
TRAINED = [make for make in METHODS["cmam"] if make.name != "generation"]
CMAM = [
    *("--unet-dropout", "0", "--labelled", "0.5"),
    *("--k1", "6", "--k2", "2", "--eps", "0.5", "--min-samples", "2"),
]
FIRST, SECOND = 1e-4, 2e-2
"""Relative differences of the losses that rounding explains, before and after a step."""


@pytest.fixture
def both(monkeypatch, tmp_path):
    """A stage of a method on the CPU and on the GPU, with the same weights and batches."""
    narrow_resnet.use(monkeypatch)

    def make_on(device, method, stage):
        flags = [*(VIT if method == "sdcl" else ["--depth", "10"]), *method_runs.FLAGS[method]]
        folder = tmp_path / device
        both_devices.leave_labels(folder)
        words = ["--precision", "fp32", *flags]
        return tiny_runs.make_stage(stage, method, folder, *words, device=device)

    def make(method, stage):
        return [make_on(device, method, stage) for device in ("cpu", "cuda")]

    return make


def compare(stages, epoch, monkeypatch):
    expected, ours = (both_devices.trained(stage, epoch, monkeypatch) for stage in stages)
    assert len(ours) == len(expected) > 1
    for number, (got, wanted) in enumerate(zip(ours, expected, strict=True)):
        tolerance = FIRST if number == 0 else SECOND
        both_devices.assert_alike(got, wanted, tolerance, tolerance)
    here, there = (stage.labels for stage in stages)
    assert here.keys() == there.keys()
    for name, labels in here.items():
        assert (labels == there[name]).all(), name
    rows = [both_devices.banks(vars(stage)) for stage in stages]
    both_devices.assert_alike(rows[1], rows[0], SECOND, 5e-3)
    statistics = [both_devices.statistics(stage) for stage in stages]
    both_devices.assert_alike(statistics[1], statistics[0], SECOND, SECOND)


@pytest.mark.parametrize(("method", "make"), CLUSTERING, ids=lambda own: getattr(own, "name", own))
def test_losses_labels_and_memories(both, monkeypatch, method, make):
    stages = both(method, make)
    for stage in stages:
        both_devices.plant(stage)
        assert all(p.device == stage.run.device or p.is_cuda for p in stage.encoder.parameters())
    compare(stages, max(EPOCH.get(method, 0), stages[0].epochs[0]), monkeypatch)


@pytest.mark.parametrize("make", TRAINED, ids=lambda make: make.name)
def test_losses_of_cmam(monkeypatch, tmp_path, make):
    stages = [
        tiny_cmam.make_stage(make, tmp_path / device, *CMAM, device=device)
        for device in ("cpu", "cuda")
    ]
    compare(stages, 0, monkeypatch)


@pytest.mark.parametrize("method", ["pclhd", "sdcl"])
def test_features_of_the_training_images(both, method):
    stages = both(method, METHODS[method][0])
    expected, ours = (stage.extract(stage.encoder) for stage in stages)
    for got, wanted in zip(ours, expected, strict=True):
        assert len(wanted) > 100
        torch.testing.assert_close(got.cpu(), wanted.cpu(), rtol=1e-3, atol=1e-4)


def test_batches_of_extraction_change_rounding_alone(both):
    stage = both("pclhd", METHODS["pclhd"][0])[1]
    assert isinstance(stage, ClusteringStage)
    with stage.evaluating(stage.encoder):
        whole, parts = (extract(stage.encoder, stage.data.visible, size) for size in (250, 7))
    torch.testing.assert_close(parts.cpu(), whole.cpu(), rtol=1e-3, atol=1e-4)
