"""RPNR's neighbour relations and its composite loss against the official numbers and loops.

Mutation check, done once; each of these errors makes tests below fail: gradient through the
weights, row means without the diagonal, the mean over N² pairs, cross and own terms exchanged.
"""

import math
import re

import golden_set
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercontrast.losses.alternate import alternate_contrast
from clustercontrast.losses.neighbours import relation_contrast
from clustercontrast.memories.cluster import ClusterMemory, HybridMemory

NRL, MEMORY = "rpnr/nrl_rcloss.npz", "rpnr/memory_losses.npz"
VECTORS, MEMORY_VECTORS = golden_set.load(NRL), golden_set.load(MEMORY)
PARAMETERS = golden_set.entry_b(MEMORY)["params"]
SMOOTHING = 0.1  # MEM-4: the value of the official flag is only a switch


@pytest.fixture
def double():
    """Float64 as in the recording: it also sets the precision of the momentum constant."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def tolerances(file, *patterns):
    stated = golden_set.entry_b(file)["tolerance"]
    return [float(re.search(f"{pattern} ([\\d.e-]+)", stated).group(1)) for pattern in patterns]


@pytest.mark.parametrize("case", sorted(n[: -len("_x")] for n in VECTORS if n.endswith("_x")))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_loss_and_gradient_equal_the_official_ones(case, dtype):
    loss_tolerance, share = tolerances(NRL, "loss rtol", "gradient atol")
    if dtype == torch.float32:
        loss_tolerance = share = tolerances(NRL, r"\(float32:")[0]
    features = torch.from_numpy(VECTORS[f"{case}_x"]).to(dtype).requires_grad_()
    loss = relation_contrast(features)
    loss.backward()
    expected = VECTORS[f"{case}_grad"]
    np.testing.assert_allclose(loss.item(), VECTORS[f"{case}_loss"], rtol=loss_tolerance)
    atol = share * np.abs(expected).max()
    np.testing.assert_allclose(features.grad, expected, rtol=0, atol=atol)


def test_both_attraction_and_repulsion_are_recorded():
    shares = [VECTORS[n] / VECTORS[f"{n.split('_')[0]}_loss"] for n in VECTORS if "attraction" in n]
    assert min(shares) < 0.01
    assert max(shares) > 0.1


def slow_relation(rows, seen, sigma, delta):
    """The definition as loops over pairs, ``seen`` being the features that weights are made of."""
    size, total = len(rows), 0.0
    distance = [[math.dist(a, b) for b in rows.tolist()] for a in rows.tolist()]
    for i in range(size):
        mean = sum(distance[i]) / size
        for j in set(range(size)) - {i}:
            weight = math.exp(-(math.dist(seen[i].tolist(), seen[j].tolist()) ** 2) / sigma)
            scaled = distance[i][j] / mean
            total += weight * scaled**2 + (1 - weight) * max(delta - scaled, 0) ** 2
    return total / (size * (size - 1))


def rows_of(seed, size, width=4, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(size, width, generator=generator, dtype=torch.float64)


@settings(max_examples=40)
@given(
    st.integers(0, 10_000),
    st.integers(2, 12),
    st.floats(0.2, 3),
    st.floats(0.2, 2),
    st.booleans(),
)
def test_equals_loops(seed, size, sigma, delta, normalise):
    rows = rows_of(seed, size)
    expected = slow_relation(rows, F.normalize(rows) if normalise else rows, sigma, delta)
    found = relation_contrast(rows, sigma, delta, normalise).item()
    assert found == pytest.approx(expected, rel=1e-9)


def test_three_points_by_hand():
    """Points 0, 1, 3 on a line: row means 4/3, 1, 5/3; S = (3/4, 9/4), (1, 2), (9/5, 6/5)."""
    near, two, far = math.exp(-1), math.exp(-4), math.exp(-9)
    pull = near * (9 / 16 + 1) + far * (81 / 16 + 81 / 25) + two * (4 + 36 / 25)
    push = (1 - near) / 16
    found = relation_contrast(torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64))
    assert found.item() == pytest.approx((pull + push) / 6)


@pytest.mark.parametrize("normalise", [False, True])
def test_no_gradient_reaches_the_weights(normalise):
    """The gradient is that of the loss with its weights held, by central differences."""
    rows = rows_of(1, 6).requires_grad_()
    relation_contrast(rows, normalise=normalise).backward()
    seen = F.normalize(rows.detach()) if normalise else rows.detach()
    numeric, step = torch.zeros_like(rows), 1e-6
    for place in np.ndindex(*rows.shape):
        ends = []
        for sign in (1, -1):
            moved = rows.detach().clone()
            moved[place] += sign * step
            ends.append(slow_relation(moved, seen, 1.0, 1.0))
        numeric[place] = (ends[0] - ends[1]) / (2 * step)
    torch.testing.assert_close(rows.grad, numeric, rtol=1e-6, atol=1e-8)


def test_large_features_only_repel_unless_their_weights_are_normalised():
    """RPNR-2: far beyond distance 10 no pair attracts, and the scale no longer matters."""
    rows = rows_of(2, 16, width=64, scale=50.0)
    scaled = torch.cdist(rows, rows)
    scaled = scaled / scaled.mean(dim=1, keepdim=True)
    others = ~torch.eye(16, dtype=torch.bool)
    repulsion = F.relu(1 - scaled).square()[others].mean()
    torch.testing.assert_close(relation_contrast(rows), repulsion)
    torch.testing.assert_close(relation_contrast(3 * rows), repulsion)
    attracting = relation_contrast(rows, normalise=True)
    assert attracting > 5 * repulsion
    torch.testing.assert_close(relation_contrast(3 * rows, normalise=True), attracting)


@given(st.integers(0, 10_000), st.integers(2, 40))
@settings(max_examples=30)
def test_order_does_not_matter(seed, size):
    rows = rows_of(seed, size)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    expected, found = relation_contrast(rows), relation_contrast(rows[order])
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("size", [2, 10, 60])
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equal_rows_give_a_finite_gradient(size, normalise, dtype):
    generator = torch.Generator().manual_seed(0)
    some = torch.randn(size, 8, generator=generator)
    some[1] = some[0]
    for rows in (some, torch.ones(size, 8), torch.zeros(size, 8)):
        rows = rows.to(dtype).requires_grad_()
        loss = relation_contrast(rows, normalise=normalise)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(rows.grad).all()


def test_half_precision_is_widened_under_autocast():
    rows = rows_of(3, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = relation_contrast(rows)
    torch.testing.assert_close(found, relation_contrast(rows.float()))


@pytest.mark.parametrize("size", [0, 1])
def test_no_pair_no_loss(size):
    rows = torch.ones(size, 4, requires_grad=True)
    loss = relation_contrast(rows)
    loss.backward()
    assert loss.item() == 0
    assert (rows.grad == 0).all()


def recorded_memory(kind, rows, momentum, smoothing=0.0):
    rows = torch.from_numpy(rows)
    common = {"smoothing": smoothing}
    if kind == "hcl":
        hinge, halves = PARAMETERS["hinge"], rows.chunk(2)
        memory = HybridMemory(*halves, PARAMETERS["temp"], momentum, hinge=hinge, **common)
    else:
        memory = ClusterMemory(rows, PARAMETERS["temp"], momentum, **common)
    memory.bank.rows = rows.clone()
    return memory


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("tag", [n[: -len("_x")] for n in MEMORY_VECTORS if n.endswith("_x")])
def test_memories_equal_the_official_ones(tag):
    v = {n[len(tag) + 1 :]: a for n, a in MEMORY_VECTORS.items() if n.startswith(f"{tag}_")}
    loss_tolerance, tolerance = tolerances(MEMORY, "loss rtol", "grads/memories atol")
    meaning = golden_set.entry_b(MEMORY)["arrays"][f"{tag}_x"]["meaning"]
    stated = re.search(r"momentum ([\d.]+)", meaning)
    momentum = float(stated.group(1)) if stated else PARAMETERS["momentum"]
    smoothing = SMOOTHING if "smooth" in tag else 0.0
    memory = recorded_memory(tag.split("_")[0], v["mem_before"], momentum, smoothing)
    features = torch.from_numpy(v["x"]).requires_grad_()
    loss = memory(features, torch.from_numpy(v["y"]))
    loss.backward()
    np.testing.assert_allclose(loss.item(), v["loss"], rtol=loss_tolerance)
    np.testing.assert_allclose(features.grad, v["grad"], rtol=0, atol=tolerance)
    np.testing.assert_allclose(memory.rows, v["mem_after"], rtol=0, atol=tolerance)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("tag", "epoch"), [("even", 0), ("odd", 1)])
def test_composite_loss_equals_the_official_one(tag, epoch):
    """MEM-1: the own term's gradient uses rows that the cross term has rewritten."""
    v = {n[len(tag) + 1 :]: a for n, a in MEMORY_VECTORS.items() if n.startswith(f"{tag}_")}
    loss_tolerance, tolerance = tolerances(MEMORY, "loss rtol", "grads/memories atol")
    names = ("rgb", "ir", "hybrid")
    visible, infrared, hybrid = memories = [
        recorded_memory("hcl", v[f"mem_{name}_before"], PARAMETERS["momentum"]) for name in names
    ]
    f_v, f_r = features = [torch.from_numpy(v[f"f_{m}"]).requires_grad_() for m in names[:2]]
    labels = [torch.from_numpy(v[f"y_{m}"]) for m in names[:2]]
    maps = [torch.from_numpy(v[name]) for name in ("r2i", "i2r")]
    partners = [to[y] for to, y in zip(maps, labels, strict=True)]
    terms = [
        infrared(f_r, labels[1]),
        visible(f_v, labels[0]),
        alternate_contrast(epoch, (visible, infrared), features, partners),
        hybrid(f_v, partners[0]) if epoch % 2 == 0 else hybrid(f_r, labels[1]),
        relation_contrast(f_v) + relation_contrast(f_r),
    ]
    weights = [float(weight) for weight in PARAMETERS["weights"].split(",")]
    total = sum(weight * term for weight, term in zip(weights, terms, strict=True))
    total.backward()
    values = [term.item() for term in [*terms, total]]
    np.testing.assert_allclose(values, v["loss_terms"], rtol=loss_tolerance)
    for name, found in zip(names, features, strict=False):
        np.testing.assert_allclose(found.grad, v[f"grad_{name}"], rtol=0, atol=tolerance)
    for name, memory in zip(names, memories, strict=True):
        np.testing.assert_allclose(memory.rows, v[f"mem_{name}_after"], rtol=0, atol=tolerance)
