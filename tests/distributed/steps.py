"""Three iterations of every stage of every method, with everything that they leave behind."""

import hashlib
import itertools
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import method_runs
import narrow_resnet
import numpy as np
import pytest
import tiny_cmam
import tiny_runs
import torch

from clustercontrast.engine.loop import resumed_under, share_networks, take_step
from clustercontrast.methods import METHODS
from clustercontrast.processes import ranks

GROUPS = 4
CMAM = ("auxiliary", "diffusion", "pretrain", "selftrain", "finetune")
NAMES = [
    *((method, make.name) for method in method_runs.METHODS_ALONE for make in METHODS[method]),
    *(("cmam", name) for name in CMAM),
]
ITERATIONS = 3
LABELLED = {"mmm": "final"}
"""Stages that begin with the labels of another, which a file has to bring."""


def all_stages(people: Path, labels: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What three iterations of every stage leave, in float64.

    Args:
        people: a rendered set, prepared.
        labels: file of their clusters and features.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_runs, "dataset", lambda *_: people)
        narrow_resnet.use(patch)
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        torch.set_default_dtype(torch.float64)
        return {name: _kept(_three_iterations(*name, labels)) for name in NAMES}


def _kept(left: dict[str, Any]) -> dict[str, Any]:
    """All of what the first process is left with; of the others the memories, and digests.

    Losses and memories have no digest: every process computes them for itself, and where numbers
    lie in its memory moves the last bit of a sum.
    """
    digests = {key: digest(left[key]) for key in left.keys() - {"losses", "memories"}}
    return {"digests": digests, **(left if ranks.is_first() else {"memories": left["memories"]})}


def _stage(method: str, name: str, labels: str, folder: Path) -> Any:
    make = next(make for make in METHODS[method] if make.name == name)
    flags = ["--iters", str(ITERATIONS), "--bn-groups", str(GROUPS)]
    if method == "cmam":
        flags[1:2] = [f"{stage}={ITERATIONS}" for stage in CMAM]
        return tiny_cmam.make_stage(make, folder, *flags, *CMAM_FLAGS)
    flags += method_runs.FLAGS[method]
    flags += ["--depth", "3" if method == "sdcl" else "10"]
    if method == "sdcl":
        flags += ["--vit-width", "64"]
    if LABELLED.get(method) == name:
        flags += ["--pseudo-labels", labels]
    return tiny_runs.make_stage(make, method, folder, *flags)


CMAM_FLAGS = (
    *("--k1", "8", "--k2", "3", "--eps", "0.6", "--min-samples", "3"),
    *("--labelled", "0.5"),
)


def _three_iterations(method: str, name: str, labels: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        stage = _stage(method, name, labels, Path(folder))
        stage.epoch = epoch = stage.epochs[-1]  # in which all terms are there
        torch.manual_seed(7)
        losses = list(_losses(stage, epoch))
    return {
        "losses": losses,
        "labels": {key: np.asarray(own) for key, own in stage.labels.items()},
        "networks": {key: _copies(own.state_dict()) for key, own in stage.networks.items()},
        "optimisers": {
            key: _copies(own.optimiser.state_dict()["state"])
            for key, own in stage.optimisers.items()
        },
        "memories": _memories(stage),
        "generator": stage.run.generator.get_state(),
    }


def _losses(stage: Any, epoch: int) -> Any:
    """Terms of three iterations of the first streams of an epoch."""
    for batches in stage.refresh(epoch):
        for network in stage.networks.values():
            network.train()
        for batch in itertools.islice(batches, ITERATIONS):
            steps = stage.iteration(batch.to(stage.run.device), epoch)
            for name, terms in resumed_under(nullcontext, steps):
                take_step(stage.optimisers[name], terms)
                yield {key: term.item() for key, (_, term) in terms.items()}
        share_networks(stage)
    share_networks(stage)


def _memories(stage: Any) -> dict[str, torch.Tensor]:
    found = {}
    for name, own in vars(stage).items():
        rows = getattr(own, "rows", None)
        if isinstance(rows, torch.Tensor):
            found[name] = rows.detach().clone()
    for name, bank in getattr(stage, "banks", {}).items():
        found[name] = bank.rows.detach().clone()
    for number, memory in enumerate(getattr(stage, "own_memories", ())):
        found[f"own {number}"] = memory.rows.detach().clone()
    for kind in ("instances", "clusters"):
        for name, pair in vars(stage).get(kind, {}).items():
            found |= {f"{kind} {name} {n}": m.rows.clone() for n, m in enumerate(pair)}
    return found


def _copies(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _copies(own) for key, own in state.items()}
    return state.detach().clone() if isinstance(state, torch.Tensor) else state


def digest(content: Any) -> str:
    """Of nested contents, bit for bit."""
    if isinstance(content, dict):
        content = {key: digest(content[key]) for key in sorted(content, key=str)}
    elif isinstance(content, list):
        content = [digest(own) for own in content]
    elif isinstance(content, torch.Tensor | np.ndarray):
        content = np.asarray(content).tobytes()
    return hashlib.sha256(repr(content).encode()).hexdigest()
