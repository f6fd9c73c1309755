"""PoSeD's second stage: an iteration in numpy, who moves the rows, turns, parts switched off."""

import numpy as np
import pytest
import tiny_runs
import torch
import torch.nn.functional as F

from clustercontrast.engine.loop import take_step
from clustercontrast.files import UserError
from clustercontrast.methods.posed import Unified

MU = 0.1
PRINTED = ("--intra-weight", "0")


@pytest.fixture
def make(monkeypatch, tmp_path):
    tiny_runs.use_small_encoder(monkeypatch)
    return lambda *flags: tiny_runs.make_stage(Unified, "posed", tmp_path, *flags)


def one_iteration(stage, epoch=0):
    """Features, labels, M and P before, the terms; rows after."""
    batch = next(tiny_runs.open_epoch(stage, epoch))
    memories = stage.visible_memory, stage.infrared_memory
    before = [tuple(half.clone() for half in own.halves) for own in memories]
    labels = batch.visible.labels, batch.infrared.labels
    features = stage.encoder(batch.visible.images, batch.infrared.images)
    ((name, terms),) = list(stepping(stage, batch, epoch))
    assert name == "encoder"
    rows = [np.stack([half.numpy() for half in own.halves]) for own in memories]
    return [f.detach() for f in features], labels, before, terms, rows


def stepping(stage, batch, epoch):
    for name, terms in stage.iteration(batch, epoch):
        take_step(stage.optimisers[name], terms)
        yield name, {key: (weight, term.item()) for key, (weight, term) in terms.items()}


# --- the same in numpy, image by image ---


def soft(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def twin_terms(stage, features, labels, before, epoch):
    """Eq. 3 in the family's form, 6 and 7-10; means over the batch."""
    f = [F.normalize(x).double().numpy() for x in features]
    y = [own.numpy() for own in labels]
    m, p = (np.concatenate([own[half].double() for own in before]) for half in (0, 1))
    first = (slice(0, stage.clusters_of[0]), slice(stage.clusters_of[0], None))
    maps = [own.numpy() for own in stage.maps]
    z = walk(*maps)
    found = {}
    for side, name in enumerate(("visible", "infrared")):
        own, u = first[side], y[side] + side * stage.clusters_of[0]
        centroid, hard = (mean_loss(half[own], f[side], y[side]) for half in (m, p))
        found[name] = 0.5 * hard + 0.5 * max(centroid - 0.2, 0)
        images = list(zip(f[side], u, strict=True))
        found[f"distil_{name}"] = np.mean([taught(m, first, x, c) for x, c in images])
        if epoch % 2 == side:
            logs = [np.log(soft(p @ x / 0.05))[z == z[c]] for x, c in images]
            found["unified"] = np.mean([-row.mean() for row in logs])
    return found


def mean_loss(rows, features, labels):
    logs = [np.log(soft(rows @ x / 0.05)) for x in features]
    return -np.mean([row[c] for row, c in zip(logs, labels, strict=True)])


def taught(m, groups, x, u):
    q = 0.5 * m @ m[u] + 0.5 * m @ x
    q = np.concatenate([soft(q[group] / 0.05) for group in groups]) / 2
    return -q @ np.log(soft(m @ x / 0.05))


def walk(to_infrared, to_visible):
    """Labels that spread along matches until none changes."""
    visible = len(to_infrared)
    edges = [(v, visible + r) for v, r in enumerate(to_infrared) if r >= 0]
    edges += [(v, visible + r) for r, v in enumerate(to_visible) if v >= 0]
    z = np.arange(visible + len(to_visible))
    for _ in z:
        for a, b in edges:
            z[[a, b]] = min(z[a], z[b])
    return z


def twin_rows(features, labels, before, against):
    """Eq. 1-2, cluster by cluster."""
    moved = []
    for f, y, halves in zip(features, labels, before, strict=True):
        z = F.normalize(f)
        m, p = (half.clone() for half in halves)
        for c in set(y.tolist()):
            own = z[y == c]
            judge = {"centroid": m, "hard": p}[against][c]
            farthest = own[(own @ judge).argmin()]
            p[c] = F.normalize(MU * p[c] + (1 - MU) * farthest, dim=0)
            m[c] = F.normalize(MU * m[c] + (1 - MU) * own.mean(0), dim=0)
        moved.append(np.stack([m.numpy(), p.numpy()]))
    return moved


@pytest.mark.parametrize("flags", [(), PRINTED], ids=["with intra", "Eq. 11"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_an_iteration_is_that_of_a_slow_twin(make, flags, epoch):
    stage = make(*flags)
    features, labels, before, terms, _ = one_iteration(stage, epoch)
    expected = twin_terms(stage, features, labels, before, epoch)
    if flags:
        del expected["visible"], expected["infrared"]
    assert {name: term for name, (_, term) in terms.items()} == pytest.approx(expected, rel=1e-5)
    assert {weight for weight, _ in terms.values()} == {1.0}


@pytest.mark.parametrize("flags", [(), PRINTED], ids=["with intra", "Eq. 11"])
@pytest.mark.parametrize("against", ["centroid", "hard"])
def test_rows_move_by_their_own_features_whoever_moves_them(make, flags, against):
    stage = make(*flags, "--hardest-against", against)
    apart(stage)
    features, labels, before, _, rows = one_iteration(stage)
    for found, expected in zip(rows, twin_rows(features, labels, before, against), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def apart(stage):
    """Hard rows that are not the centroids, so that both readings differ."""
    build = stage.build_memory
    generator = torch.Generator().manual_seed(1)
    turn = lambda c: c + 0.3 * torch.randn(c.shape, generator=generator)  # noqa: E731
    stage.build_memory = lambda c, _: build(c, turn(c))


def test_rows_stay_where_nothing_is_said_to_move_them(make):
    stage = make(*PRINTED, "--unified-updates", "none")
    _, _, before, _, rows = one_iteration(stage)
    for found, halves in zip(rows, before, strict=True):
        assert np.array_equal(found, np.stack([half.numpy() for half in halves]))


def test_turns_are_counted_from_the_beginning_of_the_stage(make):
    """With --first-epoch 3 epoch 3 is even: visible features are contrasted."""
    stage, seen = make("--first-epoch", "3"), []
    rows = torch.tensor([0]), torch.tensor([1])
    features = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    stage.is_positive = torch.eye(2, dtype=torch.bool)
    for epoch in (3, 4):
        hard = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
        seen.append(stage.unified_term(features, rows, hard, epoch)["unified"][1].item())
    assert seen == pytest.approx([np.log1p(np.exp(-40)), np.log(2)])


SWITCHED = {
    ("--cross", "none"): {"unified"},
    ("--distil", "none"): {"distil_visible", "distil_infrared"},
    PRINTED: {"visible", "infrared"},
}


@pytest.mark.parametrize("flags", SWITCHED, ids=lambda flags: flags[0])
def test_terms_are_switched_off_one_by_one(make, flags):
    stage = make(*flags)
    *_, terms, _ = one_iteration(stage)
    everything = set().union(*SWITCHED.values())
    assert terms.keys() == everything - SWITCHED[flags]
    assert ("match_accuracy" in stage.facts) == ("--cross" not in flags)
    assert ("association" in stage.facts) == ("--distil" not in flags)


@pytest.mark.parametrize("epoch", [0, 1])
def test_the_partner_contrast_changes_sides_and_moves_nothing_more(make, epoch):
    stage = make("--cross", "contrast", "--cross-weight", "0.25")
    features, labels, before, terms, rows = one_iteration(stage, epoch)
    weight, found = terms["cross"]
    f, partners = F.normalize(features[epoch]), stage.maps[epoch][labels[epoch]]
    expected = sum(F.cross_entropy(f @ half.T / 0.05, partners) for half in before[1 - epoch])
    assert (weight, found) == (0.25, pytest.approx(expected.item(), rel=1e-5))
    for now, wanted in zip(rows, twin_rows(features, labels, before, "centroid"), strict=True):
        np.testing.assert_allclose(now, wanted, atol=1e-5)


def test_without_matching_every_row_is_alone(make, monkeypatch):
    stage = make("--no-match-always")
    monkeypatch.setattr(stage, "is_matched", lambda *_: False)
    *_, terms, _ = one_iteration(stage)
    assert stage.maps is None
    assert torch.equal(stage.is_positive, torch.eye(len(stage.is_positive), dtype=torch.bool))
    assert stage.facts["association"]["matched"] == 0
    assert "unified" in terms


def test_the_weights_are_those_of_the_flags(make):
    flags = ("--intra-weight", "0.5", "--distil-weight", "2", "--cross-weight", "3")
    *_, terms, _ = one_iteration(make(*flags))
    weights = {name: weight for name, (weight, _) in terms.items()}
    own = dict.fromkeys(("visible", "infrared"), 0.5)
    assert weights == own | {"unified": 3, "distil_visible": 2, "distil_infrared": 2}


def test_the_teacher_learns_only_where_it_is_asked_to(make):
    """The gradient of the same loss, with the teacher held and differentiated."""
    gradients = []
    for flags in ((), ("--teacher-gradient",)):
        stage = make(*flags, *PRINTED, "--cross", "none")
        batch = next(tiny_runs.open_epoch(stage))
        (_, terms) = next(stage.iteration(batch, 0))
        sum(term for _, term in terms.values()).backward()
        gradients.append((stage.encoder.neck.weight.grad, [t.item() for _, t in terms.values()]))
    (held, values), (learned, same) = gradients
    assert values == same
    assert not torch.allclose(held, learned)


def test_a_stage_without_any_loss_is_refused(make):
    with pytest.raises(UserError, match="leaves no loss to train on: keep one of the three"):
        make(*PRINTED, "--cross", "none", "--distil", "none")
    with pytest.raises(UserError, match="no loss in an epoch in which nothing is matched"):
        make(*PRINTED, "--cross", "contrast", "--distil", "none", "--no-match-always")


def test_the_association_in_the_log_is_that_of_the_rows(make):
    """Candidates are asked of the epoch's first rows; united pairs are no fewer than matched."""
    stage = make()
    next(tiny_runs.open_epoch(stage))
    facts = stage.facts["association"]
    assert 0 <= facts["matched"] <= facts["united"] <= 1
    likely = stage.likely_rows()
    own = np.arange(len(likely))
    assert likely.shape == (len(own), 2)
    crosses = (likely < stage.clusters_of[0]) != (own < stage.clusters_of[0])[:, None]
    assert crosses.any(1).mean() > 0.9  # nearly every cluster has a candidate on the other side
