"""Whole runs in seconds: rendered people of 32x16 pixels and a network of three layers.

The commands are the real ones; only ``build_encoder`` (and its counterpart that rebuilds a network
from saved weights) is exchanged where a test is about the engine and not about the ResNet.
"""

import atexit
import contextlib
import functools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import narrow_resnet
import numpy as np
import pytest
import torch
from torch import nn

from clustercontrast.commands import cli
from clustercontrast.data.images import open_prepared
from clustercontrast.data.preparation import SOURCES
from clustercontrast.engine.run import Run
from clustercontrast.engine.stage import Stage
from clustercontrast.files import UserError
from clustercontrast.methods import METHODS, clustering_stage
from clustercontrast.models import weights
from clustercontrast.rendering.layouts import SIZES, render_sysu
from clustercontrast.rendering.market import MARKET_SIZES, render_market
from clustercontrast.rendering.regdb import REGDB_SIZES, render_regdb
from clustercontrast.settings.command_line import parse, unread
from clustercontrast.settings.options import all_flags

SIZE = ["--height", "32", "--width", "16"]
TINY = {  # flag -> word of a short training, for methods that read the flag
    "height": "32", "width": "16", "epochs": "2", "iters": "2", "k1": "8", "k2": "3", "eps": "0.5",
    "min_samples": "3", "joint_k1": "10", "joint_k2": "4", "eps_joint": "0.6", "batch_size": "16",
    "batch_visible": "16", "num_instances": "4", "depth": "18", "pretrained": "random",
    "device": "cpu", "selection_images": "64", "eval_from": "0", "draws": "2", "eval_draws": "1",
}  # fmt: skip
CMAM_CLUSTERING = ("--k1", "8", "--k2", "3", "--eps", "0.6", "--min-samples", "3")
RENDER = {
    "sysu": lambda root, seed: render_sysu(root, SIZES["tiny"], seed),
    "regdb": lambda root, seed: render_regdb(root, REGDB_SIZES["tiny"], seed),
    "market": lambda root, seed: render_market(root, MARKET_SIZES["tiny"], seed),
}


@functools.cache
def dataset(name: str = "sysu", seed: int = 3) -> Path:
    """A tiny rendered set of a layout, rendered and prepared once per session."""
    folder = tempfile.TemporaryDirectory(prefix="clustercontrast-")
    atexit.register(folder.cleanup)
    root = Path(folder.name) / "people"
    RENDER[name](root, seed)
    if name in SOURCES:  # prepared by the run that uses it
        return root
    cli.prepare(name, ["--data-dir", str(root), *SIZE, "-j", "1"])
    return root


def arguments(method: str, logs: Path, *more: str, on: str = "sysu") -> list[str]:
    """Command line of a short training; what ``more`` says comes last and wins."""
    places = ["--method", method, "--data-dir", str(dataset(on)), "--logs-dir", str(logs)]
    return [*places, *tiny_flags(method, on, *more), *more]


def tiny_flags(method: str, on: str, *more: str) -> list[str]:
    """Words of ``TINY`` that a method reads beside the flags in ``more``."""
    with contextlib.suppress(UserError):
        options = parse(on, ["--method", method, *more])
        return [
            word
            for name, value in TINY.items()
            if any(unread(options, all_flags()[name], s) is None for s in options.recipe.stages)
            for word in (all_flags()[name].spelled, value)
        ]
    return ["--height", TINY["height"], "--width", TINY["width"]]


def cmam_arguments(logs: Path, *more: str, on: str = "sysu") -> list[str]:
    """Command line of a short training of all of CMAM-UDA's stages; what ``more`` says wins."""
    return [
        *("--method", "cmam", "--source", str(dataset("market"))),
        *("--source-splits", "train", "--data-dir", str(dataset(on))),
        *("--logs-dir", str(logs), "--height", "32", "--width", "16"),
        *("--fake-height", "16", "--fake-width", "8", "--depth", "10", "--pretrained", "random"),
        *("--precision", "fp32", "--device", "cpu", "--epochs", "2", "--phase-one", "1"),
        *(
            "--iters",
            "auxiliary=2",
            "diffusion=4",
            "pretrain=2",
            "selftrain=2",
            "finetune=2",
        ),
        *("--batch-size", "8", "--num-instances", "2", "--warm-iterations", "1"),
        *("--flat-iterations", "2", "--clusters", "10", "--test-batch", "64"),
        *(() if "import" in more else CMAM_CLUSTERING),
        *("--unet-width", "16"),
        *("--unet-multipliers", "1", "2", "--attention-at", "4", "--sampling-steps", "3"),
        *("--selection-images", "64", "--eval-from", "0", "--eval-step", "1"),
        *(("--draws", "2") if on == "sysu" else ()),
        *more,
    ]


def epochs_of(method: str) -> list[tuple[str, int]]:
    """Stage and number of every epoch of a short training."""
    options = parse("sysu", ["--method", method, *tiny_flags(method, "sysu")])
    stages = (make(options.at(make.name), None, None) for make in METHODS[method])
    return [(stage.name, epoch) for stage in stages for epoch in stage.epochs]


def run_folder(logs: Path, method: str, name: str = "seed1", on: str = "sysu") -> Path:
    return logs / on / method / name


class SmallEncoder(nn.Module):
    """What the stages know of a network: two stems, a shared part with BatchNorm, a neck.

    With ``shallow``, rows are [deep; shallow] and not normalised, as a vision transformer's.
    """

    width = 16

    def __init__(self, shallow: bool = False) -> None:
        super().__init__()
        self.stems = nn.ModuleDict(
            {name: nn.Conv2d(3, 8, 5, stride=4) for name in ("visible", "infrared")}
        )
        self.stems["infrared"].load_state_dict(self.stems["visible"].state_dict())
        self.shared = nn.Sequential(
            nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.neck = nn.BatchNorm1d(16)
        self.shallow_neck = nn.BatchNorm1d(8) if shallow else None

    def forward(self, visible, infrared):
        rows = self.features(self.stemmed(visible, infrared))
        return rows.split([len(visible), len(infrared)])

    def features(self, maps):
        deep = self.neck(self.shared(maps).mean((2, 3)))
        if self.shallow_neck is None:
            return deep
        return torch.cat([deep, self.shallow_neck(maps.amax((2, 3))).repeat(1, 2)], dim=1)

    def pooled(self, visible, infrared):
        pooled = self.shared(self.stemmed(visible, infrared)).mean((2, 3))
        return pooled, self.neck(pooled)

    def stemmed(self, visible, infrared):
        return torch.cat([self.stems["visible"](visible), self.stems["infrared"](infrared)])

    def embed(self, images, modality):
        rows = self.features(self.stems[modality](images))
        return rows if self.shallow_neck else rows / rows.norm(dim=1, keepdim=True)


def rebuilt(state: dict) -> SmallEncoder:
    network = SmallEncoder("shallow_neck.weight" in state)
    network.load_state_dict(state)
    return network


def never_trained(state: dict) -> dict:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallEncoder("shallow_neck.weight" in state).state_dict()


def use_small_encoder(patch: pytest.MonkeyPatch) -> None:
    small = lambda args, shallow=False: SmallEncoder(shallow)  # noqa: E731
    patch.setattr(clustering_stage, "build_encoder", small)
    patch.setattr(weights, "network_for", rebuilt)
    patch.setattr(weights, "untrained", never_trained)
    narrow_resnet.use_classifier(patch)


def make_stage(
    make: type[Stage], method: str, folder: Path, *flags: str, device: str = "cpu"
) -> Stage:
    """A stage on the rendered people, set up but not trained."""
    elsewhere = len(METHODS[method]) == 1 or {"--stage1", "--start-from"} & set(flags)
    start = [] if elsewhere else ["--start-from", "pretrained"]
    options = parse("sysu", arguments(method, folder, *start, *flags))
    prepared = open_prepared(Path(f"{dataset()}-32x16"), "sysu")
    data = SimpleNamespace(visible=prepared["train_visible"], infrared=prepared["train_infrared"])
    run = Run(folder, torch.device(device), options.precision)
    for images in vars(data).values():
        images.place(run.device)
    run.generator.manual_seed(5)
    torch.manual_seed(5)
    stage = make(options.at(make.name), data, run)
    stage.setup()
    return stage


def open_epoch(stage: Stage, epoch: int = 0) -> Iterator:
    """The batches of an epoch whose labels and memories are made; networks in train mode."""
    batches = next(stage.refresh(epoch))
    for network in stage.networks.values():
        network.train()
    return batches


def events(folder: Path) -> list[dict]:
    """Epoch events of a run, without the seconds they took."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [
        {key: value for key, value in line.items() if key != "seconds"}
        for line in lines
        if line["event"] == "epoch"
    ]


def saved(folder: Path) -> dict[str, object]:
    """Everything a run has saved: checkpoints and labels by path, and its events."""
    content: dict[str, object] = {"events": events(folder)}
    for path in sorted(folder.rglob("*.pth*")):
        content[str(path.relative_to(folder))] = torch.load(path, weights_only=True)
    for path in sorted(folder.rglob("*.npz*")):
        with np.load(path) as labels:
            content[str(path.relative_to(folder))] = {k: labels[k] for k in labels.files}
    return content


def differences(a: object, b: object, place: str = "") -> list[str]:
    """Places at which two nested contents are not equal bit for bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        missing = [f"{place}/{key} in one only" for key in a.keys() ^ b.keys()]
        common = [key for key in a if key in b]
        return sum((differences(a[k], b[k], f"{place}/{k}") for k in common), missing)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return differences(dict(enumerate(a)), dict(enumerate(b)), place)
    if isinstance(a, np.ndarray) and a.dtype.kind == "U":
        return [] if np.array_equal(a, b) else [place]
    if isinstance(a, torch.Tensor | np.ndarray):
        a, b = torch.as_tensor(a), torch.as_tensor(b)
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [place]
    return [] if a == b else [f"{place}: {a} and {b}"]
