"""The same stage on the CPU and on the GPU: what both need to start alike, and what they did."""

import itertools
from pathlib import Path

import numpy as np
import tiny_runs
import torch
import torch.nn.functional as F

from clustercontrast.data import pseudo_labels
from clustercontrast.data.images import open_prepared
from clustercontrast.engine.loop import train_on
from clustercontrast.methods import mmm

STEPS = 2


def planted(lists, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features in which every identity is a tight cluster, so that rounding moves no label."""
    generator = torch.Generator().manual_seed(0)
    people = torch.randn(1000, width, generator=generator)
    rows = [people[torch.from_numpy(np.asarray(images.identities))] for images in lists]
    noisy = (own + 0.3 * torch.randn(own.shape, generator=generator) for own in rows)
    return tuple(0.98 * F.normalize(own) for own in noisy)


def plant(stage) -> None:
    """Let a stage cluster planted features in place of extracted ones."""
    features = planted(stage.image_lists(), stage.encoder.width)

    def extract(network, rows=(slice(None), slice(None))):
        return tuple(own[some] for own, some in zip(features, rows, strict=True))

    stage.extract = extract


def leave_labels(folder) -> None:
    """The file that MMM's last stage begins with."""
    prepared = open_prepared(Path(f"{tiny_runs.dataset()}-32x16"), "sysu")
    lists = [prepared[f"train_{name}"].index for name in ("visible", "infrared")]
    labels = tuple(np.unique(images.identities, return_inverse=True)[1] for images in lists)
    path = folder / mmm.Joint.name / pseudo_labels.FILE
    pseudo_labels.save(path, lists, labels, planted(lists, width=64))


def trained(stage, epoch: int, monkeypatch) -> list[dict[str, float]]:
    """Two iterations by the engine's loop: the loss terms of every optimiser step."""
    noted = []
    monkeypatch.setattr(stage.run, "meter", lambda terms: noted.append(as_numbers(terms)))
    stage.run.open_epoch(stage, epoch)
    for batches in itertools.islice(stage.refresh(epoch), 1):
        train_on(itertools.islice(batches, STEPS), stage, stage.run, epoch)
    return noted


def as_numbers(terms) -> dict[str, float]:
    return {name: value.item() for name, (_, value) in terms.items()}


def banks(owner: object, place: str = "") -> dict[str, torch.Tensor]:
    """Rows of all memories that a stage holds, by where it holds them."""
    if isinstance(getattr(owner, "rows", None), torch.Tensor):
        return {place: owner.rows.detach().cpu()}
    if isinstance(owner, dict):
        parts = owner.items()
    elif isinstance(owner, list | tuple):
        parts = enumerate(owner)
    else:
        return {}
    return {k: v for name, part in parts for k, v in banks(part, f"{place}/{name}").items()}


def statistics(stage) -> dict[str, torch.Tensor]:
    """Running statistics of all BatchNorm layers."""
    return {
        f"{name}.{key}": value.cpu()
        for name, network in stage.networks.items()
        for key, value in network.state_dict().items()
        if "running" in key
    }


def assert_alike(ours: dict, expected: dict, rtol: float, atol: float) -> None:
    """Compare tensors or numbers by name, and name the first that differs."""
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            torch.as_tensor(ours[name]),
            torch.as_tensor(value),
            rtol=rtol,
            atol=atol,
            msg=lambda text, name=name: f"{name}: {text}",
        )
