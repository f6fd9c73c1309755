"""SDCL's neighbour terms one by one against the official ones, and their precision and degenerates.

All losses of an iteration together are compared in test_instance_memory.py, by the real stages.
"""

import math

import golden_set
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercontrast.losses.neighbours import neighbour_contrast, shared_neighbours
from clustercontrast.memories.instance import InstanceMemory

FILES = [f for f in golden_set.files_b("sdcl") if "/losses_" in f]
MODALITIES = "rgb", "ir"
EVEN_FACTOR = 0.1  # SDCL-3: visible queries among infrared images; inside the recorded terms


def memories_of(vectors, parameters, modality, dtype):
    """Deep and shallow instance memory before the iteration."""
    return [
        InstanceMemory(
            torch.from_numpy(vectors[f"inst_before_{modality}{s}"]).to(dtype),
            parameters["temp"],
            parameters["instance_momentum"],
        )
        for s in ("", "_s")
    ]


def rows_of_batch(vectors, modality):
    index = torch.from_numpy(vectors[f"index_{modality}"])
    return index.repeat(len(vectors[f"feat_{modality}"]) // len(index))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("file", FILES)
def test_every_neighbour_term_is_the_official_one(file, dtype, tolerance):
    """Mutation check: |N| for |N| + 1, or the neighbours of one depth alone, fails here."""
    vectors, p = golden_set.load(file), golden_set.entry_b(file)["params"]
    expected = dict(zip(p["term_names"], vectors["terms"], strict=True))
    memories = {m: memories_of(vectors, p, m, dtype) for m in MODALITIES}
    for own in MODALITIES:
        rows = rows_of_batch(vectors, own)
        for bank in MODALITIES:
            if expected[f"{own}_{bank}_loss"] == 0:  # not active in this epoch
                continue
            near = shared_neighbours(
                *(memory.rows[rows] for memory in memories[own]),
                *(memory.rows for memory in memories[bank]),
                p["threshold"],
            )
            factor = EVEN_FACTOR if (own, bank) == ("rgb", "ir") else 1.0
            for s, memory, weight in zip(
                ("", "_s"), memories[bank], (p["lambda_d"], p["lambda_s"]), strict=True
            ):
                features = torch.from_numpy(vectors[f"feat_{own}{s}"]).to(dtype)
                loss = neighbour_contrast(memory.similarity(features), near)
                recorded = expected[f"{own}_{bank}_loss{s}"]
                assert factor * weight * loss.item() == pytest.approx(recorded, rel=tolerance)


def test_every_direction_is_recorded_at_least_once():
    """Otherwise the test above compares nothing."""
    seen = set()
    for file in FILES:
        names, terms = golden_set.entry_b(file)["params"]["term_names"], golden_set.load(file)
        seen |= {n for n, value in zip(names, terms["terms"], strict=True) if value != 0}
    assert {f"{own}_{bank}_loss" for own in MODALITIES for bank in MODALITIES} <= seen


# --- the loss ---


def plain_contrast(logits, neighbours):
    """The formula as it stands: softmax, clamp, logarithm, sum over the neighbours."""
    log_p = logits.softmax(dim=1).clamp(min=1e-8).log()
    sums = torch.where(neighbours, log_p, torch.zeros_like(log_p)).sum(dim=1)
    return -(sums / (neighbours.sum(dim=1) + 1)).mean()


def value_and_gradient(loss, logits, neighbours):
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, neighbours)
    value.backward()
    return value.detach(), leaf.grad


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 12)),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    scale=st.sampled_from([0.1, 5.0, 40.0]),
)
def test_value_and_gradient_are_those_of_the_formula(seed, shape, share, scale):
    """A scale of 40 puts many probabilities below the clamp, where they give no gradient."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(*shape, generator=generator, dtype=torch.float64)
    neighbours = torch.rand(*shape, generator=generator) < share
    found = value_and_gradient(neighbour_contrast, logits, neighbours)
    expected = value_and_gradient(plain_contrast, logits, neighbours)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)


def test_float32_keeps_its_precision_with_thousands_of_neighbours():
    """Adding the neighbours one after the other misses both tolerances."""
    generator = torch.Generator().manual_seed(0)
    logits = 20 * torch.rand(4, 20000, generator=generator)
    neighbours = torch.ones(4, 20000, dtype=torch.bool)
    value, gradient = value_and_gradient(neighbour_contrast, logits, neighbours)
    exact, exact_gradient = value_and_gradient(plain_contrast, logits.double(), neighbours)
    assert value.item() == pytest.approx(exact.item(), rel=1e-6)
    error = (gradient.double() - exact_gradient).norm() / exact_gradient.norm()
    assert error.item() < 1e-5


def test_a_hopeless_neighbour_counts_as_the_floor_and_gives_no_gradient():
    logits = torch.tensor([[100.0, 0.0, 0.0]], dtype=torch.float64)
    near = torch.tensor([[False, True, False]])
    value, gradient = value_and_gradient(neighbour_contrast, logits, near)
    assert value.item() == pytest.approx(-math.log(1e-8) / 2)
    assert gradient.abs().max() == 0


def test_without_any_neighbour_loss_and_gradient_are_zero():
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    nobody = torch.zeros(3, 5, dtype=torch.bool)
    value, gradient = value_and_gradient(neighbour_contrast, logits, nobody)
    assert value == 0
    assert gradient.abs().max() == 0


def test_one_image_alone_is_certain():
    logits = torch.tensor([[3.0]])
    assert neighbour_contrast(logits, torch.tensor([[True]])) == 0


# --- the neighbours ---


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 9), st.floats(0.1, 0.95))
def test_neighbours_against_loops(seed, queries, images, threshold):
    generator = torch.Generator().manual_seed(seed)
    own, bank = (
        [F.normalize(torch.randn(n, 3, generator=generator, dtype=torch.float64)) for _ in "ds"]
        for n in (queries, images)
    )
    expected = np.ones((queries, images), dtype=bool)
    for q, b in zip(own, bank, strict=True):
        for i, row in enumerate((q @ b.T).tolist()):
            expected[i] &= [value > threshold * max(row) for value in row]
    found = shared_neighbours(*own, *bank, threshold)
    assert found.tolist() == expected.tolist()


def test_in_the_own_modality_everybody_is_a_neighbour_of_oneself():
    rows = F.normalize(torch.randn(7, 4, generator=torch.Generator().manual_seed(0)))
    assert shared_neighbours(rows, rows, rows, rows).diagonal().all()


def test_neighbours_that_do_not_meet_leave_nobody():
    """Deep, image 0 is near; shallow, image 1."""
    query, bank = torch.eye(2)[:1], torch.eye(2)
    assert not shared_neighbours(query, query, bank, bank.flip(0)).any()


@pytest.mark.parametrize("exact", ["deep", "shallow"])
def test_exactly_at_the_threshold_is_not_near(exact):
    """Similarities 1, 0.5 and 0.75 at a threshold of 0.5: binary fractions, so 0.5 is met."""
    query, near = torch.ones(1, 1), torch.ones(3, 1)
    edge = torch.tensor([[1.0], [0.5], [0.75]])
    banks = (edge, near) if exact == "deep" else (near, edge)
    assert shared_neighbours(query, query, *banks, threshold=0.5).tolist() == [[True, False, True]]
