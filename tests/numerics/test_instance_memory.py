"""SDCL's instance memory and neighbour losses: official values and gradients, loops, by hand."""

from types import SimpleNamespace

import golden_set
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercontrast.losses.neighbours import neighbour_contrast, shared_neighbours
from clustercontrast.memories.cluster import ClusterMemory
from clustercontrast.memories.instance import InstanceMemory
from clustercontrast.methods import sdcl
from clustercontrast.settings.command_line import parse

MEMORY = "sdcl/instance_memory.npz"
LOSSES = [f for f in golden_set.files_b("sdcl") if "/losses_" in f]
MODALITIES = {"rgb": "visible", "ir": "infrared"}
SUFFIXES = "", "_s"  # deep, shallow


@pytest.fixture
def double():
    """Float64 as in the recording: it also sets the precision of the cluster memory's constant."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_update_is_the_official_one(dtype, tolerance):
    vectors = golden_set.load(MEMORY)
    rows, x = (torch.from_numpy(vectors[name]).to(dtype) for name in ("before", "x"))
    memory = InstanceMemory(rows, momentum=golden_set.entry_b(MEMORY)["params"]["momentum"])
    memory.update(x, torch.from_numpy(vectors["index"]))
    np.testing.assert_allclose(memory.rows, vectors["after"], atol=tolerance)


# --- all losses of an iteration, by the real stages ---


def stage_of(vectors, p, dtype):
    """A stage with the recorded memories, and its features as leaves."""
    make = {1: sdcl.Collaborative, 2: sdcl.Agreed}[p["phase"]]
    dataset = "sysu" if p["hm"] == 0 else "regdb"
    stage = make(parse(dataset, ["--method", "sdcl"]).at(make.name), None, None)
    a = stage.args
    assert (a.temp, a.momentum, a.instance_momentum, a.neighbour_threshold) == (
        p["temp"], p["cluster_momentum"], p["instance_momentum"], p["threshold"]
    )  # fmt: skip
    assert (a.homogeneous_from, a.heterogeneous_from) == (p["hm"], p["ht"])
    assert a.shallow_weight == p["lambda_s"] / p["lambda_d"]

    def rows(name):
        return torch.from_numpy(vectors[name]).to(dtype)

    def cluster_memories(name):
        return [
            ClusterMemory(rows(f"clus_before_{name}{s}"), p["temp"], p["cluster_momentum"])
            for s in SUFFIXES
        ]

    stage.instances = {
        ours: [
            InstanceMemory(rows(f"inst_before_{name}{s}"), p["temp"], p["instance_momentum"])
            for s in SUFFIXES
        ]
        for name, ours in MODALITIES.items()
    }
    if p["phase"] == 2:
        stage.clusters = dict.fromkeys(MODALITIES.values(), cluster_memories("shared"))
    else:
        stage.clusters = {ours: cluster_memories(name) for name, ours in MODALITIES.items()}
    features = {
        ours: tuple(rows(f"feat_{name}{s}").requires_grad_() for s in SUFFIXES)
        for name, ours in MODALITIES.items()
    }
    return stage, features


def batch_of(vectors):
    def stream(name):
        labels, index = (torch.from_numpy(vectors[f"{what}_{name}"]) for what in ("y", "index"))
        views = len(vectors[f"feat_{name}"]) // len(labels)
        return SimpleNamespace(labels=labels.repeat(views), rows=index)

    return SimpleNamespace(**{ours: stream(name) for name, ours in MODALITIES.items()})


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("file", LOSSES)
@pytest.mark.usefixtures("double")
def test_losses_gradients_and_memories_are_the_official_ones(file, dtype, tolerance):
    vectors, p = golden_set.load(file), golden_set.entry_b(file)["params"]
    stage, features = stage_of(vectors, p, dtype)
    batch = batch_of(vectors)
    terms = stage.cluster_terms(features, batch)
    terms |= stage.neighbour_terms(features, batch, p["epoch"])
    stage.update_instances(features, batch)
    total = sum(weight * value for weight, value in terms.values())
    total.backward()
    expected = dict(zip(p["term_names"], vectors["terms"], strict=True))
    assert total.item() == pytest.approx(expected["loss"], rel=tolerance)
    for official, ours in (("loss_ir", "infrared"), ("loss_rgb", "visible")):
        for s, suffix in zip(SUFFIXES, ("", "_shallow"), strict=True):
            value = terms[ours + suffix][1].item()
            assert value == pytest.approx(expected[official + s], rel=tolerance)
    for own, bank in (("rgb", "rgb"), ("ir", "ir"), ("rgb", "ir"), ("ir", "rgb")):
        ours = f"{MODALITIES[own]}_in_{MODALITIES[bank]}"
        assert (ours in terms) == (expected[f"{own}_{bank}_loss"] != 0)
    for name, modality in MODALITIES.items():
        for s, f, memory in zip(
            SUFFIXES, features[modality], stage.instances[modality], strict=True
        ):
            np.testing.assert_allclose(f.grad, vectors[f"grad_{name}{s}"], atol=tolerance)
            np.testing.assert_allclose(
                memory.rows, vectors[f"inst_after_{name}{s}"], atol=tolerance
            )
        of = "shared" if p["phase"] == 2 else name
        for s, memory in zip(SUFFIXES, stage.clusters[modality], strict=True):
            np.testing.assert_allclose(memory.rows, vectors[f"clus_after_{of}{s}"], atol=tolerance)


# --- loops and cases ---


def rows_of(seed, size, d=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, d, generator=generator, dtype=torch.float64)


@settings(max_examples=30)
@given(st.integers(0, 99), st.lists(st.integers(0, 3), max_size=9), st.booleans())
def test_update_one_image_after_the_other(seed, indices, raw):
    memory = InstanceMemory(rows_of(seed, 4), momentum=0.7, raw=raw)
    expected, features = memory.rows.clone(), 5 * rows_of(seed + 1, len(indices))
    memory.update(features, torch.tensor(indices, dtype=torch.int64)) if indices else None
    for i, f in zip(indices, features, strict=True):
        mixed = 0.7 * expected[i] + 0.3 * (f if raw else F.normalize(f, dim=0))
        expected[i] = mixed / mixed.norm()
    torch.testing.assert_close(memory.rows, expected)


@pytest.mark.parametrize("gradient", ["upstream", "clean"])
def test_gradients_use_the_rows_of_backward_or_of_forward(gradient):
    memory = InstanceMemory(rows_of(0, 6), temperature=0.5, gradient=gradient)
    features = rows_of(1, 3).requires_grad_()
    before = memory.rows.clone()
    logits = memory.similarity(features)
    torch.testing.assert_close(logits, F.normalize(features) @ before.T / 0.5)
    memory.update(rows_of(2, 2), torch.tensor([0, 3]))
    assert not torch.equal(memory.rows, before)
    direction = rows_of(3, 3, 6)
    (logits * direction).sum().backward()
    leaf = features.detach().clone().requires_grad_()
    rows = memory.rows if gradient == "upstream" else before
    (F.normalize(leaf) @ rows.T / 0.5 * direction).sum().backward()
    torch.testing.assert_close(features.grad, leaf.grad)


def test_half_precision_features_meet_full_precision_rows():
    memory = InstanceMemory(rows_of(0, 4, 8).float())
    before, features = memory.rows.clone(), rows_of(1, 3, 8).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = memory.similarity(features)
        memory.update(features, torch.tensor([0, 1, 0]))
    logits.sum().backward()
    torch.testing.assert_close(logits, F.normalize(features.float()) @ before.T / 0.05)
    assert memory.rows.dtype == torch.float32
    assert not memory.rows.requires_grad
    assert features.grad.dtype == torch.bfloat16


def slow_contrast(logits, neighbours):
    total = 0.0
    for row, near in zip(logits.tolist(), neighbours.tolist(), strict=True):
        p = np.exp(np.array(row) - max(row))
        p = np.maximum(p / p.sum(), 1e-8)
        total -= sum(np.log(p[j]) for j, is_near in enumerate(near) if is_near) / (sum(near) + 1)
    return total / len(logits)


@settings(max_examples=40)
@given(st.integers(0, 99), st.integers(1, 5), st.integers(1, 7), st.floats(0.1, 40))
def test_neighbour_loss_against_loops(seed, queries, images, scale):
    logits = scale * rows_of(seed, queries, images)
    neighbours = rows_of(seed + 1, queries, images) > 0
    expected = slow_contrast(logits, neighbours)
    assert neighbour_contrast(logits, neighbours).item() == pytest.approx(expected, abs=1e-10)


def test_oneself_alone_counts_half_and_nobody_nothing():
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]]).requires_grad_()
    near = torch.tensor([[True, False], [False, False]])
    loss = neighbour_contrast(logits, near)
    assert loss.item() == pytest.approx(np.log(2) / 2 / 2)
    loss.backward()
    assert logits.grad[1].tolist() == [0, 0]


def test_neighbours_are_near_by_both_features():
    """Greatest similarities 1 and 0.5: from above 0.9 and 0.45 on, strictly."""
    bank = torch.tensor([[1.0, 0], [0.95, 0], [0.9, 0], [0.2, 0]]).double()
    shallow = torch.tensor([[0.46, 0], [0.4, 0], [0.5, 0], [0.5, 0]]).double()
    query = torch.tensor([[1.0, 0]]).double()
    assert shared_neighbours(query, query, bank, shallow).tolist() == [[True, False, False, False]]
    assert shared_neighbours(query, query, -bank, shallow).tolist() == [[False] * 4]
    everybody = shared_neighbours(query, query, bank, shallow, threshold=0)
    assert everybody.tolist() == [[True] * 4]


def test_finding_neighbours_needs_no_gradient():
    rows = rows_of(0, 4).requires_grad_()
    assert not shared_neighbours(rows, rows, rows, rows).requires_grad
