"""One, two and four processes compute the same step, in every stage of every method."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
import steps
import tiny_runs
import together
import torch

from clustercontrast.data import pseudo_labels
from clustercontrast.data.images import open_prepared

pytestmark = pytest.mark.slow
COUNTS = (2, 4)


@functools.cache
def labels_file() -> str:
    """Clusters and features of the rendered people, as a stage before would leave them."""
    prepared = open_prepared(Path(f"{tiny_runs.dataset()}-32x16"), "sysu")
    lists = prepared["train_visible"].index, prepared["train_infrared"].index
    labels = tuple(np.unique(images.identities, return_inverse=True)[1] for images in lists)
    generator = torch.Generator().manual_seed(0)
    people = torch.randn(1 + max(y.max() for y in labels), 32, generator=generator)
    features = tuple(people[torch.from_numpy(y)] / people[y].norm(dim=1)[:, None] for y in labels)
    path = Path(tiny_runs.dataset()).with_name("labels.npz")
    pseudo_labels.save(path, lists, labels, features, False)
    return str(path)


@functools.cache
def found(count: int) -> list[dict]:
    """What each of so many processes is left with."""
    work = functools.partial(steps.all_stages, tiny_runs.dataset(), labels_file())
    with tempfile.TemporaryDirectory() as folder:
        return together.results(count, work, Path(folder))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", steps.NAMES, ids="-".join)
def test_it_is_that_of_one_process(name, count):
    (alone,), shared = found(1), found(count)
    assert tiny_runs.differences(alone[name]["labels"], shared[0][name]["labels"]) == []
    assert torch.equal(alone[name]["generator"], shared[0][name]["generator"])
    for one, other in zip(alone[name]["losses"], shared[0][name]["losses"], strict=True):
        assert other == pytest.approx(one, rel=1e-9, abs=1e-9)
    for kind in ("networks", "optimisers", "memories"):
        assert_near(alone[name][kind], shared[0][name][kind], kind)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", steps.NAMES, ids="-".join)
def test_all_processes_hold_the_same(name, count):
    """Weights, statistics, optimisers, labels and random state bit for bit; memories but for it."""
    first, *others = (own[name] for own in found(count))
    for other in others:
        assert other["digests"] == first["digests"]
        assert_near(first["memories"], other["memories"], "memories", 1e-12)


def test_every_stage_trains():
    (alone,) = found(1)
    assert all(len(own["losses"]) >= steps.ITERATIONS for own in alone.values())
    assert {name for name, own in alone.items() if own["memories"]} >= {
        ("pclhd", "progressive"), ("sdcl", "agreed"), ("cmam", "selftrain"),
    }  # fmt: skip


def assert_near(one, other, place, tolerance=1e-9):
    if isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key in one:
            assert_near(one[key], other[key], f"{place} {key}", tolerance)
    elif isinstance(one, torch.Tensor):
        assert torch.allclose(one.double(), other.double(), rtol=tolerance, atol=tolerance), place
    else:
        assert one == other, place
