"""The memories against the official ones, hand-computed cases and slow twins."""

from functools import partial
from operator import itemgetter

import golden_set
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from clustercontrast.memories.cluster import ClusterMemory, HybridMemory, cross_entropy
from clustercontrast.memories.dynamic import DynamicMemory, draw_members, instance_rows
from clustercontrast.memories.members import Members
from clustercontrast.memories.rows import Momentum as MemoryMomentum
from clustercontrast.memories.rows import (
    every_query_update,
    hard_update,
    hybrid_update,
    sequential_update,
)

VECTORS = golden_set.load("memory/memory.npz")
PARAMETERS = golden_set.entry("memory/memory.npz")["parameters"]
TOLERANCE = 1e-7  # float64, manifest
KINDS = {
    "PCLHD_CM": "sequential",
    "PCLHD_CMhybrid": "hybrid",
    "PCLHD_CMhybrid_smooth": "hybrid",
    "PGM_sequential": "sequential",
    "PGM_hard": "hard",
    "PGM_momentum_override": "sequential",
    "ADCA_hard": "hard",
}
RECORDED = [
    (config, case)
    for config, case, what in (n.split("/") for n in VECTORS if n.count("/") == 2)
    if what == "loss" and config in KINDS
]


def momentum_of(config):
    table = PARAMETERS["momentum"]
    return table[config] if config in table else table["PCLHD_*"]


def recorded_memory(config):
    tau, momentum = float(VECTORS["tau"]), momentum_of(config)
    if KINDS[config] == "hybrid":
        centroids, hard = torch.from_numpy(VECTORS["memory_2K"]).double().chunk(2)
        smoothing = 0.1 if config.endswith("smooth") else 0.0
        memory = HybridMemory(centroids, hard, tau, momentum, smoothing=smoothing)
    else:
        rows = torch.from_numpy(VECTORS["memory_K"]).double()
        memory = ClusterMemory(rows, tau, momentum, KINDS[config])
    memory.bank.rows = torch.from_numpy(
        VECTORS["memory_2K" if KINDS[config] == "hybrid" else "memory_K"]
    ).double()
    return memory


def batch(case):
    features = torch.from_numpy(VECTORS[f"in/{case}/features"]).double().requires_grad_()
    return features, torch.from_numpy(VECTORS[f"in/{case}/targets"])


@pytest.mark.parametrize(("config", "case"), RECORDED)
def test_loss_gradient_and_rows_equal_the_official_ones(config, case):
    memory = recorded_memory(config)
    calls = [batch("repeat"), batch("second")] if case == "two_calls" else [batch(case)]
    weights = PARAMETERS["two_calls_weights"] if case == "two_calls" else [1.0]
    losses = [memory(*call) for call in calls]
    sum(w * loss for w, loss in zip(weights, losses, strict=True)).backward()
    values = [loss.item() for loss in losses]
    np.testing.assert_allclose(values, VECTORS[f"{config}/{case}/loss"], atol=TOLERANCE)
    for number, (features, _) in enumerate(calls):
        expected = VECTORS[f"{config}/{case}/grad{number}"]
        np.testing.assert_allclose(features.grad, expected, rtol=0, atol=TOLERANCE)
    after = f"{config}/{case}/memory_after"
    if after in VECTORS:
        np.testing.assert_allclose(memory.rows, VECTORS[after], rtol=0, atol=TOLERANCE)


def test_a_forward_without_backward_never_writes():
    memory = recorded_memory("PCLHD_CMhybrid")
    before = memory.rows.clone()
    memory(*batch("repeat"))
    with torch.no_grad():
        memory(*batch("blocks"))
    assert torch.equal(memory.rows, before)


class TestHandComputed:
    """M = identity, inputs (3,4) and (0,2), both label 0."""

    features = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    labels = torch.tensor([0, 0])

    def run(self, memory):
        features = self.features.clone().requires_grad_()
        loss = memory(features, self.labels)
        loss.backward()
        expected = torch.tensor([[-2.1997, 1.6498], [-5.0, 0.0]])
        torch.testing.assert_close(features.grad, expected, atol=1e-3, rtol=0)
        return loss.item(), memory.rows

    def test_sequential(self):
        loss, rows = self.run(ClusterMemory(torch.eye(2), 0.05, 0.1))
        assert loss == pytest.approx(12.009075, abs=1e-5)
        assert rows[0].tolist() == pytest.approx([0.0680, 0.9977], abs=1e-4)

    def test_hard(self):
        loss, rows = self.run(ClusterMemory(torch.eye(2), 0.05, 0.1, "hard"))
        assert loss == pytest.approx(12.009075, abs=1e-5)
        assert rows[0].tolist() == pytest.approx([0.1104, 0.9939], abs=1e-4)

    def test_hybrid(self):
        loss, rows = self.run(HybridMemory(torch.eye(2), torch.eye(2), 0.05, 0.1))
        assert loss == pytest.approx(11.909075, abs=1e-5)
        assert rows[0].tolist() == pytest.approx([0.4155, 0.9096], abs=1e-4)
        assert rows[2].tolist() == pytest.approx([0.1104, 0.9939], abs=1e-4)

    def test_hybrid_with_two_hardest_queries(self):
        """Their mean, (0.3, 0.9): 0.1 (1, 0) + 0.9 (0.3, 0.9) = (0.37, 0.81), normalised."""
        memory = HybridMemory(torch.eye(2), torch.eye(2), 0.05, 0.1, update_k=2)
        _, rows = self.run(memory)
        assert rows[2].tolist() == pytest.approx([0.4155, 0.9096], abs=1e-4)

    def test_rows_that_need_not_be_of_unit_length(self):
        """Means (0.5, 0) and (0, 0.5); 0.1 (0.5, 0) + 0.9 (0.6, 0.8), then with (0, 1)."""
        memory = ClusterMemory(torch.eye(2) / 2, 1.0, 0.1, unit=False)
        assert torch.equal(memory.rows, torch.eye(2) / 2)
        features = self.features.clone().requires_grad_()
        memory(features, self.labels).backward()
        assert memory.rows[0].tolist() == pytest.approx([0.059, 0.972])

    def test_dynamic(self):
        rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.8, 0.6]])
        loss = DynamicMemory(rows, 2, 0.05)(self.features, self.labels)
        assert loss.item() == pytest.approx(13.600373, abs=1e-5)

    def test_adca_vector(self):
        """Three samples, α = 0.1."""
        memory = ClusterMemory(torch.eye(2, 3), 0.05, 0.1)
        samples = torch.tensor([[1.0, 1, 0], [0, 1, 1], [1, 0, 1]], requires_grad=True)
        memory(samples, torch.tensor([0, 1, 0])).backward()
        assert memory.rows[0].tolist() == pytest.approx([0.74387, 0.06831, 0.66483], abs=1e-5)
        assert memory.rows[1].tolist() == pytest.approx([0, 0.75661, 0.65387], abs=1e-5)


HARDEST = {"hybrid": 1, "two": 2, "three": 3}
first = itemgetter(0)


def slow_update(kind, rows, queries, labels, momentum):
    """The updates as plain loops over samples and clusters."""
    rows = rows.clone()

    def write(row, query):
        mixed = momentum.old * rows[row] + momentum.new * query
        rows[row] = mixed / mixed.norm()

    if kind == "sequential":
        for query, label in zip(queries, labels, strict=True):
            write(label, query)
        return rows
    for label in labels.unique().tolist():
        mine = queries[labels == label]
        similarity = [torch.dot(q, rows[label]).item() for q in mine]
        ordered = [query for _, query in sorted(zip(similarity, mine, strict=True), key=first)]
        if kind == "hard":
            write(label, ordered[0])
            continue
        write(label, mine.mean(0))
        moves = mine if kind == "every" else [torch.stack(ordered[: HARDEST[kind]]).mean(0)]
        for query in moves:
            write(label + len(rows) // 2, query)
    return rows


@given(seed=st.integers(0, 10**6), size=st.integers(1, 20), clusters=st.integers(1, 5))
def test_vectorised_updates_equal_loops(seed, size, clusters):
    """Mutation check: blending in reverse order, or arg-max for arg-min, fails here."""
    generator = torch.Generator().manual_seed(seed)
    queries = F.normalize(torch.randn(size, 4, generator=generator, dtype=torch.float64))
    labels = torch.randint(clusters, (size,), generator=generator)
    momentum = MemoryMomentum(0.2)
    updates = {"sequential": sequential_update, "hard": hard_update, "every": every_query_update}
    updates |= {kind: partial(hybrid_update, k=k) for kind, k in HARDEST.items()}
    for kind, update in updates.items():
        count = clusters * (1 if kind in ("sequential", "hard") else 2)
        rows = F.normalize(torch.randn(count, 4, generator=generator, dtype=torch.float64))
        expected = slow_update(kind, rows, queries, labels, momentum)
        torch.testing.assert_close(update(rows, queries, labels, momentum), expected)


@given(
    seed=st.integers(0, 10**6),
    size=st.integers(1, 120),
    clusters=st.integers(1, 3),
    momentum=st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.3, 0.45]),
    unit=st.booleans(),
)
def test_turns_that_are_left_out_leave_no_trace(seed, size, clusters, momentum, unit):
    """Mutation check: one turn in ten fewer than ``turns_that_count`` says fails here."""
    generator = torch.Generator().manual_seed(seed)
    queries = F.normalize(torch.randn(size, 3, generator=generator, dtype=torch.float64))
    labels = torch.randint(clusters, (size,), generator=generator)
    rows = F.normalize(torch.randn(clusters, 3, generator=generator, dtype=torch.float64))
    blend = MemoryMomentum(momentum, unit=unit)
    expected = rows.clone()
    for query, label in zip(queries, labels.tolist(), strict=True):
        expected[label : label + 1] = blend.blend(expected[label : label + 1], query[None])
    got = sequential_update(rows, queries, labels, blend)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("momentum", "unit", "dtype", "turns"),
    [
        (0.1, True, torch.float64, 18),  # factor 1/8: 2 / 8^18 = 2^-53, and 2 / 8^17 = 2^-50
        (0.0, True, torch.float32, 1),  # the last query replaces the row
        (0.5, False, torch.float32, 24),  # 2 / 2^24 = 2^-23
        (0.34, True, torch.float32, None),
        (0.9, True, torch.float32, None),
        (1.0, False, torch.float32, None),
    ],
)
def test_turns_that_count_by_hand(momentum, unit, dtype, turns):
    blend = MemoryMomentum(momentum, is_tensor=False, unit=unit)
    assert blend.turns_that_count(dtype) == turns


@given(seed=st.integers(0, 10**6), momentum=st.floats(0.01, 0.33))
def test_opposite_rows_meet_within_the_turns_that_count(seed, momentum):
    """The worst case of the bound: rows two apart, and queries that are drawn against them."""
    blend = MemoryMomentum(momentum, is_tensor=False)
    generator = torch.Generator().manual_seed(seed)
    row = F.normalize(torch.randn(1, 3, generator=generator, dtype=torch.float64))
    one, other = row, -row
    for _ in range(blend.turns_that_count(torch.float64)):
        query = F.normalize(torch.randn(1, 3, generator=generator, dtype=torch.float64) - 2 * one)
        one, other = blend.blend(one, query), blend.blend(other, query)
    assert (one - other).norm() <= 4 * torch.finfo(torch.float64).eps


class Operations(TorchDispatchMode):
    """Counts the operations that reach a device, views included."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        made = out if isinstance(out, list | tuple) else (out,)
        self.count += any(tensor.device.type == "meta" for tensor in made)
        return out


@pytest.mark.parametrize(("momentum", "most"), [(0.1, 45), (0.2, 60)])
def test_a_sequential_update_of_official_size_is_few_operations(momentum, most):
    """8 clusters with 32 samples each; with tensors on the meta device nothing can be asked."""
    rows, queries = torch.empty(450, 2048, device="meta"), torch.empty(256, 2048, device="meta")
    labels = torch.arange(16, 24).repeat_interleave(16).repeat(2)
    blend = MemoryMomentum(momentum)
    with Operations() as operations:
        sequential_update(rows, queries, labels, blend)
    assert 10 < operations.count <= most


def test_members_by_hand():
    """Label 7 has three queries, 2 two, 5 one."""
    members = Members(torch.tensor([2, 7, 7, 5, 2, 7]))
    assert members.clusters.tolist() == [7, 2, 5]
    assert members.counts.tolist() == [3, 2, 1]
    assert members.positions.tolist() == [[1, 2, 5], [0, 4, 4], [3, 3, 3]]
    assert [turn.tolist() for turn in members.turns()] == [[1, 0, 3], [2, 4], [5]]
    np.testing.assert_array_equal(members.shares(2), [[0.5, 0.5, 0], [0.5, 0.5, 0], [1, 0, 0]])
    last = Members(torch.tensor([2, 7, 7, 5, 2, 7]), last=2)
    assert last.positions.tolist() == [[0, 4], [2, 5], [3, 3]]


def test_the_first_of_equally_hard_queries_is_taken():
    """Both queries have similarity 0.6 to the row; the first must win."""
    rows = torch.tensor([[1.0, 0, 0]])
    queries = torch.tensor([[0.6, 0.8, 0], [0.6, 0, 0.8]])
    updated = hard_update(rows, queries, torch.tensor([0, 0]), MemoryMomentum(0.0))
    torch.testing.assert_close(updated, queries[:1])


def test_clean_gradients_use_the_rows_of_the_forward_pass():
    rows = F.normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).double())
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(6, 8, generator=generator).double() for _ in range(2)]
    labels = [torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([0, 0, 1, 1, 2, 2])]
    calls = [x.clone().requires_grad_() for x in inputs]
    memory = ClusterMemory(rows, 0.05, 0.1, gradient="clean")
    sum(memory(x, y) for x, y in zip(calls, labels, strict=True)).backward()
    for x, y, call in zip(inputs, labels, calls, strict=True):
        plain = x.clone().requires_grad_()
        F.cross_entropy(F.normalize(plain) @ rows.T / 0.05, y).backward()
        torch.testing.assert_close(call.grad, plain.grad)
    expected = rows
    for x, y in zip(inputs, labels, strict=True):  # in the order of the calls
        expected = sequential_update(expected, F.normalize(x), y, MemoryMomentum(0.1))
    torch.testing.assert_close(memory.rows, expected)


class TestDynamicMemory:
    clusters = VECTORS["memory_K"].shape[0]
    rows = torch.from_numpy(VECTORS["ema/memory"]).double()
    cases = sorted({n.split("/")[2] for n in VECTORS if n.startswith("ema/no_grad/")})

    def memory(self):
        memory = DynamicMemory(self.rows, self.clusters, float(VECTORS["tau"]))
        memory.rows = self.rows.clone()
        return memory

    @pytest.mark.parametrize("case", cases)
    def test_released_loss_is_a_constant(self, case):
        features, labels = batch(case)
        memory = self.memory()
        loss = memory(features.detach(), labels)
        expected = VECTORS[f"ema/no_grad/{case}/loss"]
        np.testing.assert_allclose([loss.item()], expected, atol=TOLERANCE)
        assert loss.requires_grad == bool(VECTORS[f"ema/no_grad/{case}/requires_grad"][0])
        changed = not torch.equal(memory.rows, self.rows)
        assert changed == bool(VECTORS[f"ema/no_grad/{case}/memory_changed"][0])

    @pytest.mark.parametrize("case", ["unique", "blocks"])
    def test_loss_with_a_gradient_and_the_dormant_update(self, case):
        features, labels = batch(case)
        memory = self.memory()
        loss = memory(features, labels)
        loss.backward()
        name = f"ema/with_grad_{case}"
        np.testing.assert_allclose([loss.item()], VECTORS[f"{name}/loss"], atol=TOLERANCE)
        np.testing.assert_allclose(features.grad, VECTORS[f"{name}/grad0"], atol=TOLERANCE)
        memory.refresh(features.detach(), labels, self.recorded_draws(name, labels))
        np.testing.assert_allclose(memory.rows, VECTORS[f"{name}/memory_after"], atol=TOLERANCE)

    def recorded_draws(self, name, labels):
        number = int(VECTORS["ema/num_instances"])
        if f"{name}/drawn" not in VECTORS:  # one sample per cluster: nothing to choose
            return torch.arange(len(labels))[:, None].expand(-1, number)
        order = VECTORS[f"{name}/drawn_class_order"]
        within = torch.from_numpy(VECTORS[f"{name}/drawn"]).long()
        return torch.stack(
            [torch.where(labels == int(c))[0][w] for c, w in zip(order, within, strict=True)]
        )

    def test_initial_rows_are_laid_out_draw_by_draw(self):
        labels = VECTORS["init_instances/labels"]
        features = torch.from_numpy(VECTORS["init_instances/features"])
        clusters = labels.max() + 1
        number = len(VECTORS["init_instances/out"]) // clusters
        legacy = np.random.RandomState(int(VECTORS["init_instances/np_random_seed"][0]))
        members = [legacy.choice(np.where(labels == c)[0], number) for c in range(clusters)]
        rows = instance_rows(features, torch.from_numpy(np.stack(members)))
        np.testing.assert_array_equal(rows, VECTORS["init_instances/out"])


@given(seed=st.integers(0, 10**6), size=st.integers(1, 60), number=st.integers(1, 5))
def test_drawn_members_belong_to_their_cluster(seed, size, number):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 6, (size,), generator=generator)
    labels[labels >= 0] = labels[labels >= 0].unique(return_inverse=True)[1]
    members = draw_members(labels, number, generator)
    clusters = int(labels.max()) + 1
    assert members.shape == (clusters, number)
    assert torch.equal(labels[members], torch.arange(clusters)[:, None].expand(-1, number))


def test_smoothing_shares_epsilon_over_the_most_probable_clusters():
    """C = 100, so the two most probable clusters share ε; computed from the definition."""
    logits = torch.randn(3, 100, generator=torch.Generator().manual_seed(0)).double()
    labels = torch.tensor([5, 7, 9])
    log_p = logits.log_softmax(1)
    target = torch.zeros_like(logits)
    target.scatter_(1, logits.topk(2, dim=1).indices, 0.05)
    target[torch.arange(3), labels] += 0.9
    expected = -(target * log_p).sum(1).mean()
    torch.testing.assert_close(cross_entropy(logits, labels, 0.1), expected)


def test_half_precision_features_meet_full_precision_rows():
    memory = ClusterMemory(torch.eye(3, 8), 0.05, 0.1)
    features = torch.randn(4, 8).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = memory(features, torch.tensor([0, 1, 2, 0]))
    loss.backward()
    assert loss.dtype == memory.rows.dtype == torch.float32
    assert features.grad.dtype == torch.bfloat16
