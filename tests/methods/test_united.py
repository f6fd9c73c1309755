"""united: BMIL and PoSeD are points of its grid, step by step; a slow twin; what is refused."""

from itertools import islice, pairwise

import numpy as np
import pytest
import tiny_runs
import torch
import torch.nn.functional as F

from clustercontrast.commands import cli
from clustercontrast.engine.loop import take_step
from clustercontrast.files import UserError
from clustercontrast.methods.bmil import Invariance
from clustercontrast.methods.posed import Unified
from clustercontrast.methods.united import United
from clustercontrast.settings.command_line import parse

K2 = ("--joint-k2", "4", "--eps-joint", "0.4")
EQUAL = {  # variant -> the stage it equals, its flags
    "bmil": (Invariance, "bmil", K2),
    "posed-bmil": (Invariance, "bmil", ("--joint-loss", "posed", "--memory-gradient", "clean")),
    "posed": (Unified, "posed", ()),
}
JOINT = {"bmil": K2, "posed-bmil": K2, "posed": ()}


@pytest.fixture
def make(monkeypatch, tmp_path):
    tiny_runs.use_small_encoder(monkeypatch)
    return lambda *flags, stage=United, method="united": tiny_runs.make_stage(
        stage, method, tmp_path, *flags
    )


def steps_of(stage, epoch, iterations=2):
    """Loss and gradients of every optimiser step of an epoch's first iterations."""
    found = []
    for batch in islice(tiny_runs.open_epoch(stage, epoch), iterations):
        for name, terms in stage.iteration(batch, epoch):
            take_step(stage.optimisers[name], terms)
            loss = sum(weight * term.item() for weight, term in terms.values())
            found.append((loss, [p.grad.clone() for p in stage.encoder.parameters()]))
    return found


def joint_rows(stage):
    """Means and hard rows (2, P, d), visible proxies first."""
    if isinstance(stage, Unified):
        memories = stage.visible_memory, stage.infrared_memory
        halves = zip(*(own.halves for own in memories), strict=True)
        return torch.stack([torch.cat(half) for half in halves])
    rows = stage.proxies.rows if isinstance(stage, United) else stage.joint_targets
    order = rows.flatten()[rows.flatten() >= 0]
    return torch.stack(stage.joint_memory.halves)[:, order]


# --- points of the grid ---


@pytest.mark.parametrize("variant", EQUAL)
@pytest.mark.parametrize("epoch", [0, 1])
def test_a_variant_takes_the_steps_of_the_method_that_it_names(make, variant, epoch):
    """Losses, gradients and rows over two iterations; the side of a turn changes by epoch.

    The rows of a memory lie in another order, so sums are rounded differently.
    """
    own, method, flags = EQUAL[variant]
    more = K2 if variant == "posed-bmil" else ()
    other = make(*flags, *more, stage=own, method=method)
    united = make("--variant", variant, *JOINT[variant])
    steps = zip(steps_of(other, epoch), steps_of(united, epoch), strict=True)
    for (expected, gradients), (found, others) in steps:
        assert found == pytest.approx(expected, rel=1e-5)
        for one, two in zip(gradients, others, strict=True):
            torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(joint_rows(united), joint_rows(other), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dataset", ["sysu", "regdb", "llcm"])
@pytest.mark.parametrize(("variant", "method", "stage"), [
    ("bmil", "bmil", "invariance"), ("posed", "posed", "unified"),
])  # fmt: skip
def test_a_variant_has_the_values_of_the_method_that_it_names(dataset, variant, method, stage):
    options = parse(dataset, ["--method", "united", "--variant", variant])
    other = parse(dataset, ["--method", method])
    for ours, theirs in (("intra", "intra"), ("united", stage)):
        own, expected = vars(options.at(ours)), vars(other.at(theirs))
        own, expected = own.copy(), expected.copy()
        for name in ("method", "variant", "distil_weight"):  # L_B is halved: 2 is PoSeD's 1
            own.pop(name, None), expected.pop(name, None)
        shared = own.keys() & expected.keys()
        unread = {"distil"} if variant == "bmil" else set()
        assert {k: own[k] for k in shared - unread} == {k: expected[k] for k in shared - unread}


# --- its own losses ---


def soft(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def twin_of(stage, features, streams, taught):
    """L_B of a batch, image by image; ½ Σ over the modalities."""
    a, p = stage.args, stage.proxies
    c, h = (half.double().numpy() for half in stage.joint_memory.halves)
    starts = np.cumsum([0, *p.sizes])
    groups = [slice(*ends) for ends in pairwise(starts) if ends[1] > ends[0]]
    losses = []
    for f, t, stream, group in zip(features, taught, streams, stage.groups, strict=True):
        z, t = (F.normalize(x.detach()).double().numpy() for x in (f, t))
        rows = np.tile(stream.rows.numpy(), len(f) // len(stream.rows))
        contrasts, distilled = [], []
        for x, teacher, row, y in zip(z, t, rows, stream.labels.tolist(), strict=True):
            q = int(p.rows[group[row], y])
            positive = (p.clusters == p.clusters[q]).numpy()
            for half in (c, h):
                likest = np.argsort(-np.where(positive, np.inf, half @ x), kind="stable")
                kept = likest[: a.joint_negatives or len(half)]
                s = half @ x / a.temp
                contrasts.append(np.log(np.exp(s[kept]).sum()) - s[positive].mean())
            mixed = ((1 - a.fusion) * c @ c[q] + a.fusion * c @ teacher) / a.teacher_temp
            target = np.concatenate([soft(mixed[own]) for own in groups]) / len(groups)
            distilled.append(-target @ np.log(soft(c @ x / a.temp)))
        losses.append((np.mean(contrasts), np.mean(distilled)))
    return losses


@pytest.mark.parametrize("flags", [
    K2,
    (*K2, "--joint-memory", "hybrid"),
    ("--proxies", "camera", "--joint-distance", "camera", "--eps-joint", "0.4"),
    (*K2, "--teacher", "ema", "--ema-decay", "0.5", "--fusion", "0.8", "--joint-negatives", "5"),
    ("--ties", "matches"),
], ids=["modality", "hybrid", "camera", "teacher", "matches"])  # fmt: skip
def test_the_joint_losses_are_those_of_a_slow_twin(make, flags):
    stage = make(*flags, "--joint-weight", "0.7", "--distil-weight", "0.3")
    batch = next(tiny_runs.open_epoch(stage))
    own = stage.args.ties == "matches"
    names = ("visible", "infrared") if own else ("joint_visible", "joint_infrared")
    streams = tuple(getattr(batch, name) for name in names)
    stage.encoder.eval()  # as a teacher, which is still equal
    taught = stage.embedded(streams)
    stage.encoder.train()
    next(stage.encoder.parameters()).data.mul_(1.5)
    features = stage.embedded(streams)
    taught = taught if stage.has_teacher else features
    expected = twin_of(stage, features, streams, taught)
    terms = stage.joint_terms(features, streams, 0)
    for side, (contrast, distilled) in zip(("visible", "infrared"), expected, strict=True):
        for name, weight, value in (("joint", 0.35, contrast), ("distil", 0.15, distilled)):
            factor, term = terms[f"{name}_{side}"]
            assert factor == pytest.approx(weight)
            assert term.item() == pytest.approx(value, rel=1e-4)


def test_rows_move_where_the_contrast_has_no_weight(make):
    stage = make(*K2, "--joint-weight", "0")
    batches = tiny_runs.open_epoch(stage)
    before = stage.joint_memory.rows.clone()
    for name, terms in stage.iteration(next(batches), 0):
        take_step(stage.optimisers[name], terms)
    moved = (stage.joint_memory.rows != before).any(1)
    assert moved.any()
    assert not moved.all()


def test_distillation_begins_where_it_is_said_to(make):
    stage = make(*K2, "--distil-from", "1")
    terms = [names_of(stage, epoch) for epoch in (0, 1)]
    assert [any(name.startswith("distil") for name in own) for own in terms] == [False, True]


def names_of(stage, epoch):
    batch = next(tiny_runs.open_epoch(stage, epoch))
    return {name for _, terms in stage.iteration(batch, epoch) for name in terms}


def test_without_any_joint_loss_yet_the_joint_step_is_left_out(make):
    stage = make(*K2, "--distil-from", "1", "--joint-weight", "0")
    assert names_of(stage, 0) == {"visible", "infrared"}
    assert "distil_visible" in names_of(stage, 1)


def test_the_own_contrast_can_be_left_out(make):
    stage = make(*K2, "--intra-weight", "0")
    assert names_of(stage, 0) == {
        f"{term}_{side}" for term in ("joint", "distil") for side in ("visible", "infrared")
    }


def test_without_the_own_contrast_its_batches_are_not_drawn(make):
    stage = make(*K2, "--intra-weight", "0")
    batch = next(tiny_runs.open_epoch(stage))
    assert set(batch.streams) == {"joint_visible", "joint_infrared"}


# --- the momentum teacher ---


def test_the_teacher_follows_and_copies_the_statistics(make):
    stage = make(*K2, "--teacher", "ema", "--ema-decay", "0.75")
    old = [p.clone() for p in stage.momentum_encoder.network.parameters()]
    batch = next(tiny_runs.open_epoch(stage))
    for name, terms in stage.iteration(batch, 0):
        take_step(stage.optimisers[name], terms)
    online, teacher = stage.encoder, stage.momentum_encoder.network
    for before, theirs, now in zip(old, online.parameters(), teacher.parameters(), strict=True):
        torch.testing.assert_close(now, 0.75 * before + 0.25 * theirs)
    for own, followed in zip(teacher.buffers(), online.buffers(), strict=True):
        assert torch.equal(own, followed)


def test_statistics_of_its_own_move_before_distillation_begins(make):
    flags = ("--teacher", "ema", "--teacher-statistics", "own", "--distil-from", "1")
    stage = make(*K2, *flags, "--joint-weight", "0")
    batch = next(tiny_runs.open_epoch(stage))
    before = [own.clone() for own in stage.momentum_encoder.network.buffers()]
    for name, terms in stage.iteration(batch, 0):
        take_step(stage.optimisers[name], terms)
    now = stage.momentum_encoder.network.buffers()
    assert any(not torch.equal(own, old) for own, old in zip(now, before, strict=True))


def test_what_is_clustered_and_tested_is_the_teacher_unless_flags_say_otherwise(make):
    stage = make(*K2, "--teacher", "ema")
    assert stage.clusterer is stage.momentum_encoder
    assert stage.retrieval == "momentum_encoder"
    flags = ("--cluster-with", "online", "--retrieval", "encoder")
    stage = make(*K2, "--teacher", "ema", *flags)
    assert stage.clusterer is stage.encoder
    assert stage.retrieval == "encoder"
    assert make(*K2).starts_from == {"encoder": "intra.encoder"}


# --- proxies and their grades ---


def test_proxies_of_cameras_are_means_over_cluster_and_camera(make):
    flags = ("--proxies", "camera", "--joint-distance", "camera", "--eps-joint", "0.4")
    stage = make(*flags)
    f = stage.extract(stage.encoder)
    next(stage.refresh(0))
    names = ("visible", "infrared")
    lists = [getattr(stage.data, name).index for name in names]
    for side, (name, images) in enumerate(zip(names, lists, strict=True)):
        y = stage.labels[f"joint_{name}"]
        for c, camera in {*zip(y[y >= 0].tolist(), images.cameras[y >= 0].tolist(), strict=True)}:
            own = np.flatnonzero((y == c) & (images.cameras == camera))
            row = stage.proxies.rows[stage.groups[side][own[0]], c]
            mean = F.normalize(f[side][own].mean(0), dim=0)
            torch.testing.assert_close(stage.joint_memory.halves[0][row], mean)
            assert stage.proxies.clusters[row] == c
    assert len(stage.proxies.sizes) == sum(len(np.unique(own.cameras)) for own in lists)


def test_matches_are_graded_as_in_posed(make):
    """Direct partners, not all clusters that matches connect; and epochs without a match."""
    flags = ("--eps", "0.3")
    posed = make(*flags, stage=Unified, method="posed")
    united = make(*flags, "--variant", "posed")
    for stage in (posed, united):
        next(stage.refresh(0))
    assert united.facts["association"] == posed.facts["association"]
    assert united.facts["match_accuracy"] == posed.facts["match_accuracy"]
    united.is_matched = lambda *_: False
    next(united.refresh(1))
    assert united.facts["association"]["matched"] == 0


def test_the_log_grades_teacher_and_clusters(make):
    stage = make(*K2)
    next(stage.refresh(0))
    graded, facts = stage.facts["teacher"], stage.facts
    assert {"entropy_own", "entropy_other", "positives", "right"} <= graded.keys()
    assert 0 < graded["positives"] < 1
    assert facts["association"]["united"] >= facts["association"]["matched"]
    assert 0 < facts["modality_gap"] < 2
    one_row = make(*K2, "--joint-memory", "hybrid")
    next(one_row.refresh(0))
    assert "teacher" not in one_row.facts  # one row pair has no modality
    assert "modality_gap" in one_row.facts


# --- sets that are out of the ordinary ---


def finite_steps(stage):
    for loss, gradients in steps_of(stage, 0, 1):
        assert np.isfinite(loss)
        assert all(g.isfinite().all() for g in gradients)


def given_joint_labels(stage, y_v, y_r):
    """Joint labels by image number, without a clustering."""
    sides = (stage.data.visible, y_v), (stage.data.infrared, y_r)
    y = np.concatenate([label(np.arange(len(images))) for images, label in sides])
    stage.joint_labels = lambda _: y


def test_without_a_cluster_of_both_modalities_distillation_alone_ties_them(make):
    stage = make(*K2)
    given_joint_labels(stage, lambda i: i % 5, lambda i: 5 + i % 4)
    finite_steps(stage)
    assert stage.facts["association_rate"] == 0
    assert stage.facts["modality_gap"] == 0
    assert "right_mixed" not in stage.facts["teacher"]
    assert stage.facts["teacher"]["right_single"] > 0


@pytest.mark.parametrize("flags", [(), ("--distil", "separate"), ("--joint-memory", "hybrid")])
def test_fewer_proxies_than_are_contrasted_with(make, flags):
    stage = make(*K2, *flags)
    given_joint_labels(stage, lambda i: i % 2, lambda i: i % 2)
    finite_steps(stage)
    assert len(stage.joint_memory.halves[0]) < stage.args.joint_negatives


def test_a_modality_five_times_larger(make):
    stage = make(*K2)
    given_joint_labels(stage, lambda i: i % 10, lambda i: np.where(i % 5 == 0, i % 2, -1))
    finite_steps(stage)


def test_one_camera_a_modality_is_enough_without_camera_flags(make):
    stage = make(*K2, "--joint-half", "all")
    for images in (stage.data.visible, stage.data.infrared):
        images.index.cameras[:] = 1
    finite_steps(stage)


def test_a_part_with_fewer_images_than_neighbours_is_clustered_all_the_same(make):
    """5 % of 250 visible images are 12: fewer than half of k1 30; labels are given, joint ones are
    clustered."""
    stage = make("--visible-share", "0.05", "--joint-k1", "30", "--min-samples", "2", *K2)
    stage.cluster_each = lambda f: tuple(np.arange(len(own)) % 4 for own in f)
    finite_steps(stage)


# --- what is refused ---


@pytest.mark.parametrize(("flags", "message"), [
    (("--joint-weight", "0", "--distil", "none"), "leaves the joint step without a loss"),
    (("--distil-from", "2"), "--distil-from 2, counted from the stage's first epoch, is beyond"),
    (
        ("--distil-from", "1", "--joint-weight", "0", "--intra-weight", "0"),
        "leave no loss before --distil-from 1",
    ),
    (("--joint-k1", "10", "--joint-k2", "6"), "--joint-k2 6 is more than half of --joint-k1 10"),
    (("--joint-k1", "1", "--joint-distance", "camera"), "--joint-k1 1 leaves no neighbour"),
    (
        ("--teacher", "ema", "--cluster-with", "online", "--retrieval", "encoder", "--fusion", "0"),
        "--teacher ema neither teaches, clusters nor is tested",
    ),
    (("--distil", "separate", "--joint-memory", "hybrid"), "say --distil unified"),
    (
        ("--variant", "united-camera", "--ties", "matches"),
        "--variant united-camera says --proxies camera, which --ties matches leaves unread",
    ),
])  # fmt: skip
def test_flags_that_do_not_go_together_are_refused(make, flags, message):
    more = () if {"--joint-k1", "--ties"} & {*flags} else K2
    with pytest.raises(UserError, match=message):
        make(*flags, *more)


def test_images_of_unknown_cameras_are_refused_by_camera_flags(make):
    stage = make(*K2)
    stage.args.proxies = "camera"
    stage.data.visible.index.cameras[:3] = -1
    with pytest.raises(UserError, match="camera of every training image, and 3 have none"):
        stage.check_flags()


def test_a_small_k1_goes_with_the_camera_distance(make):
    """Its expansion has a cap of its own: --joint-k2 is not read."""
    assert make("--joint-distance", "camera", "--joint-k1", "4").args.joint_k1 == 4


@pytest.mark.parametrize("flags", [
    ("--proxies", "camera"), ("--joint-distance", "camera"), ("--variant", "united-camera"),
])  # fmt: skip
def test_cameras_are_refused_where_a_modality_has_one(tmp_path, capsys, flags):
    k2 = K2 if flags[0] == "--proxies" else ()
    with pytest.raises(SystemExit) as leaving:
        cli.train("regdb", tiny_runs.arguments("united", tmp_path, *flags, *k2, on="regdb"))
    assert leaving.value.code == 2
    assert "camera needs a modality with two cameras or more" in capsys.readouterr().err


@pytest.mark.parametrize(("flags", "unread"), [
    (("--ties", "matches", "--joint-distance", "plain"), "--joint-distance"),
    (("--joint-distance", "camera", "--joint-k2", "4"), "--joint-k2"),
    (("--camera-cap", "2"), "--camera-cap"),
    (("--association", "ot"), "--association"),
    (("--distil", "none", "--fusion", "0.1"), "--fusion"),
    (("--ema-decay", "0.9"), "--ema-decay"),
    (("--joint-memory", "hybrid", "--proxies", "camera"), "--proxies"),
    (("--joint-weight", "0", "--joint-alternate"), "--joint-alternate"),
    (("--teacher", "ema", "--distil", "none", "--teacher-statistics", "own"), "statistics"),
    (("--distil-weight", "0"), "'0' is not a number from"),
    (("--joint-weight", "0", "--joint-negatives", "7"), "--joint-negatives"),
    (("--intra-weight", "0", "--memory", "united=sequential"), "--memory"),
])  # fmt: skip
def test_flags_that_would_do_nothing_are_refused(flags, unread):
    with pytest.raises(UserError, match=unread):
        parse("sysu", ["--method", "united", *flags])


def test_joint_clusters_are_needed_where_nothing_else_is_trained_on(make):
    stage = make(*K2, "--intra-weight", "0")
    stage.joint_labels = lambda features: np.full(sum(map(len, features)), -1)
    with pytest.raises(UserError, match="--intra-weight 0, and no joint clusters to train on"):
        next(stage.refresh(0))
