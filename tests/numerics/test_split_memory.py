"""BMIL's joint memory: recorded calls, and what holds for any."""

import golden_set
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from clustercontrast.losses.multi_positive import multi_positive
from clustercontrast.memories.split import SplitMemory

FILE = "bmil/proxy_memory.npz"
FACTS = golden_set.entry_c(FILE)["params"]


@pytest.fixture(scope="module")
def vectors():
    return golden_set.load(FILE)


@pytest.fixture
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def memory_of(vectors, case):
    raw = torch.from_numpy(vectors[f"in/{case}/raw_rows"]).double()
    clusters = torch.from_numpy(vectors[f"in/{case}/proxy_cluster"])
    facts = FACTS["temp"], FACTS["momentum"], FACTS["negatives"]
    return SplitMemory(F.normalize(raw), clusters, *facts)


def queries(vectors, case, side):
    x = torch.from_numpy(vectors[f"in/{case}/x_{side}"]).double().requires_grad_()
    return x, torch.from_numpy(vectors[f"in/{case}/proxy_{side}"])


def check(vectors, place, loss=(), gradient=(), rows=None):
    for name, value in loss:
        np.testing.assert_allclose(value.item(), vectors[f"{place}/{name}"], atol=1e-10)
    for name, x in gradient:
        expected = vectors[f"{place}/{name}"]
        np.testing.assert_allclose(x.grad, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    for name, own in (rows or {}).items():
        np.testing.assert_allclose(own, vectors[f"{place}/{name}"], rtol=0, atol=1e-10)


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("case", FACTS["cases"])
def test_recorded_calls(vectors, case):
    memory, (x, q) = memory_of(vectors, case), queries(vectors, case, "rgb")
    loss = memory(x, q)
    loss.backward()
    check(vectors, f"{case}/one", [("loss", loss)], [("grad", x)], {"rows": memory.rows})

    memory, place = memory_of(vectors, case), f"{case}/successive"
    for side in ("ir", "rgb"):
        x, q = queries(vectors, case, side)
        loss = memory(x, q)
        loss.backward()
        rows = {f"rows_after_{side}": memory.rows}
        check(vectors, place, [(f"loss_{side}", loss)], [(f"grad_{side}", x)], rows)

    memory, place = memory_of(vectors, case), f"{case}/together"
    (x_r, q_r), (x_v, q_v) = (queries(vectors, case, side) for side in ("ir", "rgb"))
    infrared = memory(x_r, q_r)
    visible = memory(x_v, q_v)
    loss = 0.5 * (infrared + visible)
    loss.backward()
    losses = [("loss_ir", infrared), ("loss_rgb", visible), ("loss", loss)]
    gradients = [("grad_ir", x_r), ("grad_rgb", x_v)]
    check(vectors, place, losses, gradients, {"rows": memory.rows})


def drawn(seed, proxies, batch=6, width=5):
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(proxies, width, generator=generator, dtype=torch.float64)
    clusters = torch.arange(proxies) // 2 + torch.arange(proxies) % 2 * (seed % 2)  # pairs, or not
    x = torch.randn(batch, width, generator=generator, dtype=torch.float64)
    return means, clusters, x, torch.randint(proxies, (batch,), generator=generator)


@given(st.integers(0, 999), st.integers(2, 12), st.sampled_from([0, 12, 50]))
def test_with_all_rows_it_is_a_multi_positive_cross_entropy(seed, proxies, contrasted):
    means, clusters, x, q = drawn(seed, proxies)
    loss = SplitMemory(means, clusters, 0.05, 0.1, contrasted)(x, q)
    logits = F.normalize(x) @ F.normalize(means).T / 0.05
    expected = multi_positive(logits, clusters[q][:, None] == clusters)
    torch.testing.assert_close(loss, expected)  # both halves are equal at first


@given(st.integers(0, 999), st.integers(4, 12), st.integers(1, 3))
def test_positives_are_always_contrasted(seed, proxies, contrasted):
    """A slow twin: the positives and the likest of the others, K rows in all."""
    means, clusters, x, q = drawn(seed, proxies)
    loss = SplitMemory(means, clusters, 0.05, 0.1, contrasted)(x, q)
    total = 0.0
    for row, own in zip(F.normalize(x) @ F.normalize(means).T / 0.05, q, strict=True):
        positive = [p for p in range(proxies) if clusters[p] == clusters[own]]
        others = sorted((p for p in range(proxies) if p not in positive), key=lambda p: -row[p])
        kept = positive + others[: max(0, contrasted - len(positive))]
        total -= (row[positive] - row[kept].logsumexp(0)).mean()
    torch.testing.assert_close(loss, total / len(q))


def test_hard_rows_alone_can_be_contrasted_with():
    means, clusters, x, q = drawn(5, 8)
    both, hard = (SplitMemory(means, clusters, 0.05, 0.1, 0, asked=h) for h in ("both", "hard"))
    for memory in (both, hard):
        memory(x.requires_grad_(), q).backward()  # now both halves differ
    logits = F.normalize(x) @ both.halves[1].T / 0.05
    expected = multi_positive(logits, clusters[q][:, None] == clusters)
    torch.testing.assert_close(hard(x, q), expected)
    torch.testing.assert_close(hard.rows, both.rows)


def test_only_the_proxies_of_a_call_move():
    means, clusters, x, _ = drawn(3, 8)
    memory = SplitMemory(means, clusters, 0.05, 0.1)
    before = memory.rows.clone()
    memory(x.requires_grad_(), torch.tensor([1, 1, 3, 3, 3, 5])).backward()
    moved = (memory.rows != before).any(1).nonzero()[:, 0].tolist()
    assert moved == [1, 3, 5, 9, 11, 13]
