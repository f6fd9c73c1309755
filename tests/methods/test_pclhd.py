"""PCLHD's second stage where the recorded trajectories do not reach: the paper's variant, and the
docs/methods/pclhd.md#invariants."""

import copy

import numpy as np
import pytest
import tiny_runs
import torch
import torch.nn.functional as F

from clustercontrast.engine.loop import take_step
from clustercontrast.files import UserError
from clustercontrast.methods import clustering_stage
from clustercontrast.methods.pclhd import Progressive

UPSTREAM, PAPER = (), ("--variant", "paper", "--batch-size", "16", "--batch-visible", "16")


@pytest.fixture
def make(monkeypatch, tmp_path):
    tiny_runs.use_small_encoder(monkeypatch)
    return lambda *flags: tiny_runs.make_stage(Progressive, "pclhd", tmp_path, *flags)


def one_iteration(stage, batch, epoch=0, step=True):
    """Terms of every optimiser step of an iteration, stepped if asked for."""
    all_terms = []
    for name, terms in stage.iteration(batch, epoch):
        all_terms.append(terms)
        if step:
            take_step(stage.optimisers[name], terms)
    return all_terms


def dynamic_loss(queries, judges, labels, rows, clusters, temperature):
    """Eq. 19-21 query by query: own farthest draw, nearest draw of every other cluster."""
    losses = []
    for query, judge, label in zip(F.normalize(queries), judges, labels.tolist(), strict=True):
        logits = []
        for cluster in range(clusters):
            similarities = rows[cluster::clusters] @ judge
            chosen = similarities.argmin() if cluster == label else similarities.argmax()
            logits.append(rows[cluster::clusters][chosen] @ query / temperature)
        losses.append(torch.logsumexp(torch.stack(logits), 0) - logits[label])
    return torch.stack(losses).mean()


def gradients(stage, terms):
    stage.encoder.zero_grad()
    sum(weight * term for weight, term in terms.values()).backward()
    return [p.grad.clone() for p in stage.encoder.parameters() if p.grad is not None]


def test_an_iteration_of_the_paper_term_by_term(make):
    stage = make(*PAPER)
    batch = next(tiny_runs.open_epoch(stage))
    y_v, y_r = batch.visible.labels, batch.infrared.labels
    images = batch.visible.images, batch.infrared.images
    features = copy.deepcopy(stage.encoder)(*images)
    m_v, m_r = copy.deepcopy(stage.momentum_encoder)(*images)
    memories = stage.visible_memory, stage.infrared_memory
    hard_v, hard_r = (m.rows.chunk(2)[1].clone() for m in memories)
    maps, temp, lam = stage.maps, stage.args.temp, stage.args.hard_weight

    def hard_loss(f, rows, y):
        return F.cross_entropy(F.normalize(f) @ rows.T / temp, y)

    f_v, f_r = features
    expected = {  # Eq. 23, with the cross-modality contrast of PGM in an even epoch
        "infrared": (1.0, lam * hard_loss(f_r, hard_r, y_r)),
        "visible": (1.0, lam * hard_loss(f_v, hard_v, y_v)),
        "cross": (0.25, hard_loss(f_v, hard_r, maps[0][y_v])),
    }
    for name, f, m, y, memory in (
        ("dynamic_infrared", f_r, m_r, y_r, stage.infrared_dynamic),
        ("dynamic_visible", f_v, m_v, y_v, stage.visible_dynamic),
    ):
        loss = dynamic_loss(f, m, y, memory.rows, memory.clusters, temp)
        expected[name] = (1 - lam, loss)

    (terms,) = one_iteration(stage, batch, step=False)
    assert list(terms) == list(expected)
    for name, (weight, value) in expected.items():
        assert terms[name][0] == pytest.approx(weight)
        torch.testing.assert_close(terms[name][1], value, msg=name)


def test_the_dynamic_loss_of_the_paper_trains_the_encoder(make):
    stage = make(*PAPER)
    (terms,) = one_iteration(stage, next(tiny_runs.open_epoch(stage)), step=False)
    dynamic = {name: term for name, term in terms.items() if name.startswith("dynamic")}
    assert len(dynamic) == 2
    assert max(g.abs().max() for g in gradients(stage, dynamic)) > 1e-3


def test_dropping_the_dynamic_loss_of_upstream_changes_nothing(make):
    """Invariant 1: its queries come from the momentum encoder, without a graph."""
    stages = [make(*UPSTREAM, *flags) for flags in ((), ("--dynamic-weight", "0"))]
    for stage in stages:
        batches = tiny_runs.open_epoch(stage)
        terms = one_iteration(stage, next(batches))[0]
        assert not terms["dynamic_visible"][1].requires_grad
        assert terms["dynamic_visible"][1] > 0
    states = [stage.encoder.state_dict() for stage in stages]
    assert tiny_runs.differences(*states) == []


def test_the_momentum_forward_moves_its_statistics_even_without_dynamic_prototypes(make):
    """Invariant 1, second half: they are the statistics of the network that is tested."""
    stage = make("--no-dpcl", "--no-joint-branch")
    batch = next(tiny_runs.open_epoch(stage))
    assert not hasattr(stage, "visible_dynamic")
    before = copy.deepcopy(dict(stage.momentum_encoder.named_buffers()))
    one_iteration(stage, batch)
    after = dict(stage.momentum_encoder.named_buffers())
    moved = [name for name in after if not torch.equal(before[name], after[name])]
    assert len(moved) == len(after) > 0


@pytest.mark.parametrize("epoch", [0, 1])
def test_rows_that_the_cross_call_touches(make, epoch):
    """Invariant 2: rows of the other memory move for matched clusters without a sample there."""
    stage = make("--no-joint-branch")
    batch = next(tiny_runs.open_epoch(stage, epoch))
    y_v, y_r = batch.visible.labels, batch.infrared.labels
    before = {"v": stage.visible_memory.rows.clone(), "r": stage.infrared_memory.rows.clone()}
    touched = {"v": set(y_v.tolist()), "r": set(y_r.tolist())}
    if epoch % 2 == 0:
        touched["r"] |= set(stage.maps[0][y_v].tolist())
    else:
        touched["v"] |= set(stage.maps[1][y_r].tolist())
    one_iteration(stage, batch, epoch)
    for side, memory in (("v", stage.visible_memory), ("r", stage.infrared_memory)):
        changed = (memory.rows != before[side]).any(1).view(2, -1)
        assert set(changed.any(0).nonzero().flatten().tolist()) == touched[side]
        assert torch.equal(changed[0], changed[1])


def test_both_halves_of_a_memory_begin_equal(make):
    """Invariant 3: hence the loss is CE - 0.1 where CE is at least 0.2."""
    stage = make(*UPSTREAM)
    batch = next(tiny_runs.open_epoch(stage))
    for memory in (stage.visible_memory, stage.infrared_memory, stage.joint_memory):
        centroid, hard = memory.rows.chunk(2)
        assert torch.equal(centroid, hard)
    f_v, _ = stage.encoder(batch.visible.images, batch.infrared.images)
    y_v = batch.visible.labels
    plain = F.cross_entropy(F.normalize(f_v) @ centroid_rows(stage).T / stage.args.temp, y_v)
    assert plain > 0.2
    torch.testing.assert_close(stage.visible_memory(f_v, y_v), plain - 0.1)


def centroid_rows(stage):
    return stage.visible_memory.rows.chunk(2)[0]


def test_dynamic_prototypes_are_members_and_stay_through_the_epoch(make):
    """Invariant 4: rows k, k + C, ... are members of cluster k, seen by the momentum encoder."""
    stage = make(*UPSTREAM)
    batches = tiny_runs.open_epoch(stage)
    y = torch.from_numpy(stage.labels["visible"])
    features = F.normalize(stage.extract(stage.momentum_encoder)[0])
    memory = stage.visible_dynamic
    assert len(memory.rows) == stage.args.num_instances * memory.clusters
    assert memory.clusters == int(y.max()) + 1
    for number, row in enumerate(memory.rows):
        members = features[y == number % memory.clusters]
        assert (members - row).abs().amax(1).min() < 1e-5
    before = memory.rows.clone()
    for batch in batches:
        one_iteration(stage, batch)
    assert torch.equal(memory.rows, before)


def test_the_momentum_encoder_is_the_closed_form_average(make):
    """Invariant 5: one update per iteration, after the second optimiser step."""
    beta, n = 0.9, 3
    stage = make("--ema-decay", str(beta), "--iters", str(n))
    batches = tiny_runs.open_epoch(stage)
    expected = [beta**n * p.detach().clone() for p in stage.encoder.parameters()]
    for i, batch in enumerate(batches):
        assert len(one_iteration(stage, batch)) == 2
        for sum_, p in zip(expected, stage.encoder.parameters(), strict=True):
            sum_ += (1 - beta) * beta ** (n - 1 - i) * p.detach()
    got = list(stage.momentum_encoder.network.parameters())
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_the_joint_step_trains_on_mixed_clusters_only(make):
    """Invariant 6: but its memory keeps a row pair for every joint cluster."""
    stage = make(*UPSTREAM)
    whole = {}
    real = clustering_stage.dbscan

    def remember(*args):
        whole["labels"] = real(*args)
        return whole["labels"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clustering_stage, "dbscan", remember)
        batches = tiny_runs.open_epoch(stage)
    y, split = whole["labels"], len(stage.labels["visible"])
    sides = [set(part[part >= 0].tolist()) for part in (y[:split], y[split:])]
    mixed = sides[0] & sides[1]
    assert 2 <= len(mixed) < len(sides[0] | sides[1])  # both kinds are there
    kept = np.concatenate([stage.labels["joint_visible"], stage.labels["joint_infrared"]])
    assert set(kept[kept >= 0].tolist()) == mixed
    assert np.array_equal(kept, np.where(np.isin(y, list(mixed)), y, -1))
    assert len(stage.joint_memory.rows) == 2 * (y.max() + 1)
    batch = next(batches)
    for stream in (batch.joint_visible, batch.joint_infrared):
        assert set(stream.labels.tolist()) <= mixed
    assert stage.facts["mixed_clusters"] == len(mixed)


def test_the_joint_step_sees_the_weights_just_stepped(make):
    stage = make(*UPSTREAM)
    batch = next(tiny_runs.open_epoch(stage))
    before = stage.encoder.neck.weight.detach().clone()
    steps = stage.iteration(batch, 0)
    take_step(stage.optimisers["encoder"], next(steps)[1])
    assert not torch.equal(before, stage.encoder.neck.weight)
    rows = stage.joint_memory.rows.chunk(2)[0].clone()
    encoder = copy.deepcopy(stage.encoder)
    terms = next(steps)[1]
    images = batch.joint_visible.images, batch.joint_infrared.images
    labels = batch.joint_visible.labels, batch.joint_infrared.labels
    names = "joint_visible", "joint_infrared"
    for name, f, y in zip(names, encoder(*images), labels, strict=True):
        plain = F.cross_entropy(F.normalize(f) @ rows.T / stage.args.temp, y)
        torch.testing.assert_close(terms[name][1], 0.5 * plain + 0.5 * (plain - 0.2).clamp(min=0))
        assert terms[name][0] == 1.0


def test_every_cluster_has_a_partner(make):
    """Invariant 7."""
    stage = make(*UPSTREAM)
    tiny_runs.open_epoch(stage)
    clusters = [stage.labels[name].max() + 1 for name in ("visible", "infrared")]
    for to_other, here, there in zip(stage.maps, clusters, clusters[::-1], strict=True):
        assert len(to_other) == here
        assert 0 <= to_other.min() <= to_other.max() < there


def test_without_association_there_is_no_cross_term(make):
    stage = make("--association", "none", "--no-joint-branch")
    (terms,) = one_iteration(stage, next(tiny_runs.open_epoch(stage)))
    assert "cross" not in terms
    assert "joint" not in stage.facts


def test_the_paper_begins_hard_prototypes_with_the_farthest_members(make):
    stage = make(*PAPER)
    tiny_runs.open_epoch(stage)
    features, y = stage.extract(stage.encoder)[0], stage.labels["visible"]
    hard = stage.visible_memory.rows.chunk(2)[1]
    for cluster in range(y.max() + 1):
        members = features[y == cluster]
        distances = (members - members.mean(0)).norm(dim=1)
        farthest = members[distances.argmax()]
        nearly = distances.max() - distances.sort().values[-2] < 1e-5  # a tie: either will do
        assert nearly or torch.allclose(hard[cluster], farthest, atol=1e-5)


def test_clusters_are_matched_from_the_epoch_on_that_is_asked_for(make):
    with pytest.raises(UserError, match="--match-from 3 is beyond the last epoch, 1"):
        make("--match-from", "3")
    stage = make("--no-joint-branch", "--match-from", "3", "--epochs", "5")
    (terms,) = one_iteration(stage, next(tiny_runs.open_epoch(stage, 2)), epoch=2)
    assert "cross" not in terms
    (terms,) = one_iteration(stage, next(tiny_runs.open_epoch(stage, 3)), epoch=3)
    assert "cross" in terms


def test_the_network_that_is_evaluated_follows_the_flag(make):
    assert make().retrieval == "momentum_encoder"
    assert make("--retrieval", "encoder").retrieval == "encoder"
