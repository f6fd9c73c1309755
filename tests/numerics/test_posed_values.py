"""PoSeD's equations on three visible and two infrared clusters: values worked out independently.

``posed_values.json`` holds inputs, losses and gradients with nine digits.  They were computed in
numpy from the equations of the paper, not by its authors.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercontrast.association.graph_matching import centroid_cost
from clustercontrast.association.unified import positives, unified_labels
from clustercontrast.losses.prototype_contrast import (
    partner_contrast,
    similarity,
    unified_contrast,
)
from clustercontrast.losses.prototype_distillation import SelfDistillation, distil, teacher
from clustercontrast.memories.cluster import HybridMemory, rows_of

VALUES = json.loads(Path(__file__).with_name("posed_values.json").read_text())
INPUTS, MATCHED = VALUES["inputs"], VALUES["unified_labels"]
TAU, GAMMA, MU = INPUTS["tau"], INPUTS["gamma"], INPUTS["mu"]
SIDES = ("visible", "infrared")
MAPS = tuple(torch.tensor(MATCHED[name]) for name in ("to_infrared", "to_visible"))
FORMS = {
    "": {},
    " fusion 0 (prototype only)": {"fusion": 0.0},
    " ungrouped normalisation": {"is_grouped": False},
    " separate": {"is_separate": True},
}
TOLERANCE = 1e-6
each_side = pytest.mark.parametrize("side", SIDES)


def tensor(name):
    return torch.tensor(INPUTS[name], dtype=torch.float64)


def unit(name):
    """Rows of the file have nine digits; those behind it are of unit length."""
    return F.normalize(tensor(name))


def memory(side, **more):
    return HybridMemory(unit(f"M_{side}"), unit(f"P_{side}"), TAU, MU, gradient="clean", **more)


def both_memories():
    return tuple(map(memory, SIDES))


def queries(side):
    return tensor(f"f_{side}").requires_grad_(), torch.tensor(INPUTS[f"y_{side}"])


def rows_and_queries(side):
    """M, P; features and their rows u(y)."""
    features, y = queries(side)
    return rows_of(*both_memories()), features, y + (3 if side == "infrared" else 0)


def check(loss, features, name):
    loss.backward()
    np.testing.assert_allclose(loss.item(), VALUES[name]["loss"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(features.grad, VALUES[name]["grad"], rtol=0, atol=TOLERANCE)


def unified(side, reading="components"):
    (_, hard), features, u = rows_and_queries(side)
    return unified_contrast(features, u, hard, positives(*MAPS, reading), TAU), features


def distilled(side, **settings):
    (rows, _), features, u = rows_and_queries(side)
    return SelfDistillation(TAU, GAMMA, **settings)(features, u, rows, (3, 2)), features


def test_costs_of_the_matching():
    similarities = unit("M_visible") @ unit("M_infrared").T
    np.testing.assert_allclose(similarities, VALUES["eq4"]["S"], atol=TOLERANCE)
    cost = centroid_cost(unit("M_visible"), unit("M_infrared"))
    np.testing.assert_allclose(cost, VALUES["eq4"]["cost"], atol=TOLERANCE)


def test_unified_labels():
    assert unified_labels(*MAPS).tolist() == MATCHED["components"]
    assert positives(*MAPS).sum(1).tolist() == MATCHED["pos_sizes"]
    own = positives(*MAPS, "partner")
    partners = {str(u): row.nonzero()[:, 0].tolist() for u, row in enumerate(own)}
    assert partners == MATCHED["partner_pos"]


@each_side
def test_the_intra_loss_as_printed_and_as_the_family_has_it(side):
    features, y = queries(side)
    printed = memory(side, hard_weight=1.0, centroid_weight=1.0, hinge=0.0)
    check(printed(features, y), features, f"eq3_{side}")
    features, y = queries(side)
    usual = {"visible": "hybrid_visible (code form of BMIL: 0.5 CE(P) + 0.5 max(CE(M)-0.2,0))"}
    check(memory(side)(features, y), features, usual.get(side, f"hybrid_{side}"))


@each_side
def test_the_partner_contrast(side):
    features, y = queries(side)
    to_other, other = dict(zip(SIDES, zip(MAPS, SIDES[::-1], strict=True), strict=True))[side]
    loss = partner_contrast(features, to_other[y], memory(other).halves, TAU)
    check(loss, features, f"eq5_{side}")


@each_side
def test_the_unified_contrast(side):
    check(*unified(side), f"eq6_{side}")


@each_side
def test_the_teacher(side):
    (rows, _), features, u = rows_and_queries(side)
    seen, known = similarity(features.detach(), rows), rows[u] @ rows.T
    np.testing.assert_allclose((seen + known) / 2, VALUES[f"eq7_{side}"]["Q"], atol=TOLERANCE)
    q = teacher(known, seen, (3, 2), 0.5, GAMMA)
    np.testing.assert_allclose(q, VALUES[f"eq8_9_{side}"]["Q_bar"], atol=TOLERANCE)


@each_side
@pytest.mark.parametrize("form", FORMS)
def test_the_distillation(side, form):
    check(*distilled(side, **FORMS[form]), f"eq10_{side}{form}")


@pytest.mark.parametrize(("epoch", "side"), [("even", "visible"), ("odd", "infrared")])
def test_the_whole_loss_of_an_epoch(epoch, side):
    terms = [distilled("visible")[0], distilled("infrared")[0], unified(side)[0]]
    assert sum(terms).item() == pytest.approx(VALUES["eq11"][epoch], abs=TOLERANCE)


@pytest.mark.parametrize(("against", "words"), [("centroid", "mean"), ("hard", "hard")])
@pytest.mark.parametrize("how", ["backward", "move"])
def test_rows_after_a_batch(against, words, how):
    """The loss's backward pass and an update without a loss leave the same rows."""
    expected = VALUES[f"eq1_2 hardest against {words}"]
    features = torch.tensor(expected["f"], dtype=torch.float64).requires_grad_()
    y, own = torch.tensor(expected["y"]), memory("visible", against=against)
    if how == "move":
        own.bank.move(features, y)
    else:
        own(features, y).backward()
    for half, name in zip(own.halves, ("M_after", "P_after"), strict=True):
        np.testing.assert_allclose(half, expected[name], rtol=0, atol=TOLERANCE)


# --- gradients, and the same in other words ---


@each_side
@pytest.mark.parametrize("form", ["", "gradient", *[f for f in FORMS if f]])
def test_gradients_are_central_differences(side, form):
    """With a teacher that is differentiated the loss itself is; without, Q̄ is held fixed."""
    (rows, _), features, u = rows_and_queries(side)
    loss = SelfDistillation(TAU, GAMMA, **FORMS.get(form, {"has_gradient": True}))

    def value(x):
        if loss.has_gradient:
            return loss(x, u, rows, (3, 2))
        return student_under(loss, x, features, u, rows)

    loss(features, u, rows, (3, 2)).backward()
    np.testing.assert_allclose(features.grad, differences(value, features), rtol=1e-5, atol=1e-7)


@each_side
@pytest.mark.parametrize("reading", ["components", "partner"])
def test_gradients_of_the_contrast_are_central_differences(side, reading):
    (_, hard), _, u = rows_and_queries(side)
    loss, features = unified(side, reading)
    loss.backward()
    own = positives(*MAPS, reading)
    expected = differences(lambda x: unified_contrast(x, u, hard, own, TAU), features)
    np.testing.assert_allclose(features.grad, expected, rtol=1e-5, atol=1e-7)


def student_under(settings, x, fixed, u, rows):
    """L_sd of x with the teacher of other features: a second implementation, in numpy."""
    x, fixed, m = (F.normalize(a.detach()).numpy() for a in (x, fixed, rows))
    u, fusion = u.numpy(), settings.fusion
    total = 0.0
    for i, feature in enumerate(x):
        q = (1 - fusion) * m @ m[u[i]] + fusion * m @ fixed[i]
        whole, parts = [slice(0, 5)], [slice(0, 3), slice(3, 5)]
        taught = parts if settings.is_grouped else whole
        q_bar = np.concatenate([soft(q[part] / GAMMA) for part in taught]) / len(taught)
        for part in parts if settings.is_separate else whole:
            share = q_bar[part] / q_bar[part].sum()
            total -= share @ np.log(soft(m[part] @ feature / TAU))
    return total / len(x)


def soft(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def differences(value, features, step=1e-6):
    gradient = np.zeros(features.shape)
    for place in np.ndindex(*features.shape):
        ends = []
        for sign in (step, -step):
            moved = features.detach().clone()
            moved[place] += sign
            ends.append(float(value(moved)))
        gradient[place] = (ends[0] - ends[1]) / (2 * step)
    return gradient


# --- what holds of any clusters ---


@st.composite
def worlds(draw):
    """M, P, features, rows u, number of visible rows; float64."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    visible, infrared = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    m, p = (F.normalize(torch.from_numpy(rng.normal(size=(visible + infrared, 4)))) for _ in "mp")
    f = torch.from_numpy(rng.normal(size=(5, 4)))
    return m, p, f, torch.from_numpy(rng.integers(0, len(m), 5)), visible


def maps_of(draw, visible, infrared):
    """Any maps, with clusters that have no partner."""
    return (
        torch.tensor([draw(st.integers(-1, infrared - 1)) for _ in range(visible)]).long(),
        torch.tensor([draw(st.integers(-1, visible - 1)) for _ in range(infrared)]).long(),
    )


def taught(world, **settings):
    m, _, f, u, visible = world
    gamma = settings.pop("gamma", GAMMA)
    groups = (visible, len(m) - visible)
    return teacher(m[u] @ m.T, similarity(f, m), groups, settings.pop("fusion", 0.5), gamma)


few = settings(max_examples=30)


@few
@given(worlds())
def test_either_modality_has_half_of_the_mass(world):
    q, visible = taught(world), world[-1]
    torch.testing.assert_close(q.sum(1), torch.ones(5).double())
    torch.testing.assert_close(q[:, :visible].sum(1), torch.full((5,), 0.5).double())


@few
@given(worlds())
def test_a_hot_teacher_is_uniform_inside_a_modality(world):
    q, visible, count = taught(world, gamma=1e9), world[-1], len(world[0])
    shares = torch.tensor([0.5 / visible] * visible + [0.5 / (count - visible)] * (count - visible))
    torch.testing.assert_close(q, shares.double().expand(5, count), rtol=0, atol=1e-8)


def test_a_modality_without_clusters_leaves_all_the_mass_to_the_other():
    rows = unit("M_visible")
    q = teacher(rows @ rows.T, rows @ rows.T, (3, 0), 0.5, GAMMA)
    torch.testing.assert_close(q, (rows @ rows.T / GAMMA).softmax(1))
    loss = SelfDistillation(TAU, GAMMA)(rows, torch.arange(3), rows, (3, 0))
    separate = SelfDistillation(TAU, GAMMA, is_separate=True)(rows, torch.arange(3), rows, (3, 0))
    torch.testing.assert_close(loss, separate)
    assert loss.isfinite()


@few
@given(worlds(), st.floats(0.01, 1))
def test_the_gradient_is_that_of_the_student_under_a_fixed_teacher(world, gamma):
    """Σ_j (p_j - Q̄_j) m_j / τ, through the normalisation of f: Q̄ enters as a constant."""
    m, _, f, u, visible = world
    f.requires_grad_()
    SelfDistillation(TAU, gamma)(f, u, m, (visible, len(m) - visible)).backward()
    q = taught((m, None, f.detach(), u, visible), gamma=gamma)
    with torch.no_grad():
        z, p = F.normalize(f), (similarity(f, m) / TAU).softmax(1)
        whole = (p - q) @ m / TAU / len(f)
        expected = (whole - (whole * z).sum(1, keepdim=True) * z) / f.norm(dim=1, keepdim=True)
    torch.testing.assert_close(f.grad, expected, rtol=1e-9, atol=1e-11)


@few
@given(worlds())
def test_equal_centroids_of_both_modalities_have_equal_shares(world):
    m, _, f, _, visible = world
    twice = torch.cat([m[:visible], m[:visible]])
    q = taught((twice, None, f, torch.arange(5) % visible, visible))
    torch.testing.assert_close(q[:, :visible], q[:, visible:])


@few
@given(st.permutations(range(5)))
def test_one_to_one_matches_are_read_alike(order):
    to_infrared = torch.tensor(order)
    maps = to_infrared, to_infrared.argsort()
    assert torch.equal(positives(*maps), positives(*maps, "partner"))
    assert unified_labels(*maps).bincount().tolist() == [2] * 5


@few
@given(st.data(), st.integers(0, 6), st.integers(0, 6))
def test_unified_labels_are_those_of_a_walk_along_the_matches(data, visible, infrared):
    maps = maps_of(data.draw, visible, infrared)
    near = {u: {u} for u in range(visible + infrared)}
    edges = [(v, visible + int(r)) for v, r in enumerate(maps[0]) if r >= 0]
    edges += [(int(v), visible + r) for r, v in enumerate(maps[1]) if v >= 0]
    for a, b in edges:
        near[a].add(b)
        near[b].add(a)
    for _ in near:
        near = {u: set().union(*(near[n] for n in own)) for u, own in near.items()}
    together = [[b in near[a] for b in near] for a in near]
    assert positives(*maps).tolist() == together
    assert bool(positives(*maps, "partner").le(positives(*maps)).all())


@few
@given(worlds())
def test_alone_with_its_own_row_the_contrast_is_a_cross_entropy(world):
    _, p, f, u, visible = world
    nobody = torch.full((visible,), -1), torch.full((len(p) - visible,), -1)
    loss = unified_contrast(f, u, p, positives(*nobody), TAU)
    torch.testing.assert_close(loss, F.cross_entropy(similarity(f, p) / TAU, u))


@few
@given(worlds(), st.data())
def test_the_order_of_the_modalities_is_of_no_account(world, data):
    m, p, f, u, visible = world
    infrared = len(m) - visible
    maps = maps_of(data.draw, visible, infrared)
    turned, place = torch.arange(len(m)).roll(-visible), (u + infrared) % len(m)
    one = unified_contrast(f, u, p, positives(*maps), TAU)
    other = unified_contrast(f, place, p[turned], positives(*maps[::-1]), TAU)
    torch.testing.assert_close(one, other)
    loss = SelfDistillation(TAU, GAMMA)
    one = loss(f, u, m, (visible, infrared))
    torch.testing.assert_close(one, loss(f, place, m[turned], (infrared, visible)))


def test_no_row_moves_through_the_contrast_or_the_distillation():
    memories = both_memories()
    before = [own.rows.clone() for own in memories]
    (rows, hard), (features, y) = rows_of(*memories), queries("visible")
    loss = SelfDistillation(TAU, GAMMA)(features, y, rows, (3, 2))
    loss = loss + unified_contrast(features, y, hard, positives(*MAPS), TAU)
    loss = loss + partner_contrast(features, MAPS[0][y], memories[1].halves, TAU)
    loss.backward()
    assert all(torch.equal(own.rows, old) for own, old in zip(memories, before, strict=True))


def test_rows_most_likely_to_be_the_same_person():
    """Of Q̄ of a row as its own feature: itself, and the other modality's nearest."""
    m, _ = rows_of(*both_memories())
    likely = SelfDistillation(TAU, GAMMA).likely(m, (3, 2))
    assert likely[[0, 1, 3]].tolist() == [[3, 0], [1, 4], [3, 0]]
    assert likely[[2, 4], 0].tolist() == [2, 4]  # two others are as near as each other


def test_a_loss_in_half_precision_is_that_of_full_precision():
    (rows, hard), features, u = rows_and_queries("visible")
    rows, hard, features = (x.detach().float() for x in (rows, hard, features))
    expected = SelfDistillation(TAU, GAMMA)(features, u, rows, (3, 2))
    with torch.autocast("cpu", torch.bfloat16):
        loss = SelfDistillation(TAU, GAMMA)(features, u, rows, (3, 2))
        assert similarity(features.bfloat16(), rows).dtype == torch.float32
    assert torch.equal(loss, expected)


def test_distil_of_its_own_softmax_is_the_entropy():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0]])
    assert distil(logits, logits.softmax(1)).item() == pytest.approx(np.log(4))
