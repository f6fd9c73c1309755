"""BMIL: an epoch from features to lists, official steps, and what its flags change."""

from contextlib import nullcontext
from types import SimpleNamespace

import golden_set
import numpy as np
import pytest
import tiny_runs
import torch
import torch.nn.functional as F
from official_steps import LOSS, batch_of, check_step, make_stage, raw_rows, recorded

from clustercontrast.commands import cli
from clustercontrast.engine.loop import resumed_under, take_step
from clustercontrast.files import UserError
from clustercontrast.memories.split import SplitMemory
from clustercontrast.methods import bmil, dcl
from clustercontrast.settings.command_line import parse

EPOCHS = golden_set.files_c("epoch_")
STEPS = golden_set.files_c("traj_")


# --- an epoch of the official script ---


class Images:
    """As much of an image array as clustering and grading ask for."""

    def __init__(self, count: int) -> None:
        self.index = SimpleNamespace(identities=np.arange(count))

    def __len__(self) -> int:
        return len(self.index.identities)


def stage_of(vectors, facts):
    """A stage whose features are given, and whose generator is the recorded one."""
    dataset = "sysu" if facts["share"] < 1 else "regdb"
    flags = ["--visible-share", repr(facts["share"])] if facts["share"] < 1 else []
    options = parse(dataset, ["--method", "bmil", *flags])
    said = []
    run = SimpleNamespace(
        device=torch.device("cpu"),
        generator=torch.Generator().manual_seed(facts["torch_seed"]),
        log=SimpleNamespace(say=said.append),
        timed=lambda _: nullcontext(),
        position="",
    )
    sides = (vectors["features_visible"], vectors["features_infrared"])
    data = SimpleNamespace(
        **dict(zip(("visible", "infrared"), (Images(len(f)) for f in sides), strict=True))
    )
    stage = bmil.Invariance(options.at("invariance"), data, run)
    stage.encoder = None
    stage.extract = lambda _: tuple(map(torch.from_numpy, sides))
    stage.batches = lambda: None
    a = stage.args
    assert (a.k1, a.k2, a.joint_k1, a.joint_k2) == (facts["k1"], facts["k2"]) * 2
    assert (a.eps, a.min_samples) == (facts["eps"], facts["min_samples"])
    return stage


@pytest.mark.parametrize("file", EPOCHS)
def test_an_epoch_is_that_of_the_official_script(file):
    vectors, facts = golden_set.load(file), golden_set.entry_c(file)["params"]
    stage = stage_of(vectors, facts)
    next(stage.refresh(0))
    np.testing.assert_array_equal(stage.visible_rows, vectors["half_intra"])
    np.testing.assert_array_equal(stage.joint_rows, vectors["half_joint"])
    for name in ("visible", "infrared"):
        np.testing.assert_array_equal(stage.labels[name], vectors[f"labels_{name}"])
    for name, memory in (
        ("visible", stage.visible_memory),
        ("infrared", stage.infrared_memory),
        ("joint", stage.joint_memory),
    ):
        np.testing.assert_allclose(memory.rows, vectors[f"memory_{name}"], atol=2e-6)
    check_joint_lists(stage, vectors)


def check_joint_lists(stage, vectors):
    np.testing.assert_array_equal(stage.joint_memory.clusters, vectors["proxy_cluster"])
    modality = vectors["proxy_modality"]
    for number, name in enumerate(("visible", "infrared")):
        y = np.full(len(stage.labels[name]), -1)
        y[vectors[f"joint_{name}_index"]] = vectors[f"joint_{name}_label"]
        np.testing.assert_array_equal(stage.labels[f"joint_{name}"], y)
        proxies = np.full(len(y), -1)
        proxies[vectors[f"joint_{name}_index"]] = vectors[f"joint_{name}_proxy"]
        members = np.flatnonzero(y >= 0)
        of_members = stage.joint_targets[number, torch.from_numpy(y[members])]
        np.testing.assert_array_equal(of_members, proxies[members])
        assert (modality[of_members] == number).all()


# --- official steps ---


def joint_memory_of(stage, vectors, facts):
    """The memory and the targets of the recorded proxies."""
    clusters, modality = (vectors[f"proxy_{what}"] for what in ("cluster", "modality"))
    rows = np.full((2, clusters.max() + 1), -1)
    rows[modality, clusters] = np.arange(len(clusters))
    stage.joint_targets = torch.from_numpy(rows)
    a = stage.args
    return SplitMemory(
        F.normalize(raw_rows("joint", facts["proxies"])),
        torch.from_numpy(clusters),
        a.temp,
        a.momentum,
        a.joint_negatives,
        a.memory_gradient,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("file", STEPS)
def test_bmil_follows_the_official_trainers(file):
    vectors, facts = recorded(file)
    is_first = facts["stage"] == 1
    stage = make_stage(dcl.Intra if is_first else bmil.Invariance, "bmil", facts)
    raw = {name: raw_rows(name, facts[f"C_{name}"]) for name in ("rgb", "ir")}
    memories = {name: stage.build_memory(rows, rows) for name, rows in raw.items()}
    stage.visible_memory, stage.infrared_memory = memories.values()
    if not is_first:
        memories["joint"] = stage.joint_memory = joint_memory_of(stage, vectors, facts)
    for i in range(facts["iters"]):
        steps = resumed_under(nullcontext, stage.iteration(batch_of(vectors, i, facts), 0))
        for letter in ("",) if is_first else ("A", "B"):
            name, terms = next(steps)
            take_step(stage.optimisers[name], terms)
            losses = [term.item() for _, term in terms.values()]
            losses.append(sum(weight * term.item() for weight, term in terms.values()))
            recorded_losses = vectors["losses" if is_first else f"losses_step{letter}"][i]
            np.testing.assert_allclose(losses, recorded_losses, rtol=LOSS)
            check_step(stage, vectors, facts, f"it{i}{letter}", memories)
        assert next(steps, None) is None


# --- flags ---


@pytest.fixture
def make(monkeypatch, tmp_path):
    tiny_runs.use_small_encoder(monkeypatch)
    return lambda *flags: tiny_runs.make_stage(bmil.Invariance, "bmil", tmp_path, *flags)


def given_labels(stage, y_v, y_r):
    """Features (n, 2) and joint labels of some images, without a clustering."""
    stage.joint_labels = lambda _: np.array([*y_v, *y_r])
    stage.grade_joint_labels = lambda _: None
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(len(y_v) + len(y_r), 2, generator=generator)
    return features[: len(y_v)], features[len(y_v) :]


def test_clusters_of_one_modality_are_trained_on_unless_a_flag_says_otherwise(make):
    y_v, y_r = [0, 0, 1, -1, 3], [2, 1, 1, 3, 2]
    stage = make()
    features = given_labels(stage, y_v, y_r)
    stage.cluster_jointly(features)
    assert stage.labels["joint_visible"].tolist() == y_v
    assert stage.labels["joint_infrared"].tolist() == y_r
    assert stage.joint_memory.clusters.tolist() == [0, 1, 1, 2, 3, 3]  # visible before infrared
    assert stage.joint_targets.tolist() == [[0, 1, -1, 4], [-1, 2, 3, 5]]
    only = make("--joint-mixed-only")
    features = given_labels(only, y_v, y_r)
    only.cluster_jointly(features)
    assert only.labels["joint_visible"].tolist() == [-1, -1, 0, -1, 1]
    assert only.labels["joint_infrared"].tolist() == [-1, 0, 0, 1, -1]
    assert only.joint_memory.clusters.tolist() == [0, 0, 1, 1]


def test_one_row_per_joint_cluster_without_the_split(make):
    stage = make("--joint-memory", "hybrid")
    features = given_labels(stage, [0, 0, 1], [1, 2])
    stage.cluster_jointly(features)
    (f_v, f_r), rows = features, stage.joint_memory.rows
    means = torch.stack([f_v[:2].mean(0), (f_v[2] + f_r[0]) / 2, f_r[1]])
    torch.testing.assert_close(rows, F.normalize(means).repeat(2, 1))
    assert stage.joint_targets.tolist() == [[0, 1, 2], [0, 1, 2]]


@pytest.mark.parametrize("labels", [([0, 0, -1], [-1, -1]), ([-1, -1], [0, 0])])
def test_without_images_of_a_modality_the_joint_step_is_left_out(make, labels):
    stage = make()
    features = given_labels(stage, *labels)
    stage.labels = {"visible": np.zeros(len(labels[0]), int), "infrared": np.zeros(2, int)}
    stage.cluster_jointly(features)
    assert stage.joint_memory is None
    assert set(stage.labels) == {"visible", "infrared"}


def test_an_expansion_beyond_the_neighbours_of_a_modality_is_refused(make):
    with pytest.raises(UserError, match="--joint-k2 6 is more than half of --joint-k1 10"):
        make("--joint-k1", "10", "--joint-k2", "6")
    make("--joint-k1", "10", "--joint-k2", "6", "--joint-distance", "plain")


def test_memories_that_do_not_go_together_are_refused(make):
    with pytest.raises(UserError, match="goes with --memory hybrid, which is sequential here"):
        make("--memory", "sequential", "--joint-memory", "hybrid")


def test_what_a_later_stage_cannot_do_is_refused_before_the_first_is_trained(tmp_path, capsys):
    words = tiny_runs.arguments("bmil", tmp_path, "--joint-k1", "10", "--joint-k2", "6")
    with pytest.raises(SystemExit) as leaving:
        cli.train("sysu", words)
    assert leaving.value.code == 2
    assert "more than half of --joint-k1" in capsys.readouterr().err
    assert not (tiny_runs.run_folder(tmp_path, "bmil") / "intra").exists()


def test_defaults_are_those_of_the_official_scripts():
    sysu, regdb = (parse(name, ["--method", "bmil"]) for name in ("sysu", "regdb"))
    for stage, jitter, draws in (("intra", True, 1), ("invariance", False, 10)):
        a = sysu.at(stage)
        assert (a.visible_share, a.jitter_infrared, a.eval_draws) == (0.5, jitter, draws)
        assert (a.batch_size, a.batch_visible, a.epochs, a.iters, a.eps) == (128, 128, 50, 200, 0.6)
        assert (a.eval_step, a.eval_offset, a.select, a.momentum) == (2, 1, "rank1", 0.1)
        b = regdb.at(stage)
        assert (b.visible_share, b.jitter_infrared, b.jitter_exchanged) == (1, False, True)
        assert (b.batch_size, b.batch_visible, b.epochs, b.iters, b.eps) == (128, 64, 50, 100, 0.3)


# --- PoSeD's losses on the proxies ---


def test_posed_on_proxies_is_eq_11_over_joint_clusters(make):
    """M, P: visible proxies first; positives: proxies of the same joint cluster; rows move once."""
    stage = make("--joint-loss", "posed")
    y_v, y_r = [0, 0, 1, -1, 3], [2, 1, 1, 3, 2]
    f_v, f_r = given_labels(stage, y_v, y_r)
    stage.cluster_jointly((f_v, f_r))
    means = [f_v[:2].mean(0), f_v[2], f_v[4], f_r[1:3].mean(0), f_r[[0, 4]].mean(0), f_r[3]]
    m = F.normalize(torch.stack(means))
    torch.testing.assert_close(stage.joint_memory.rows, torch.cat([m, m]))
    assert stage.joint_memory.clusters.tolist() == [0, 1, 3, 1, 2, 3]
    x_v, x_r = f_v[[0, 2]].clone().requires_grad_(), f_r[[1, 3]].clone().requires_grad_()
    q_v, q_r = torch.tensor([0, 1]), torch.tensor([3, 5])
    for epoch, side, own in ((0, x_v, [[0], [1, 3]]), (1, x_r, [[1, 3], [2, 5]])):
        terms = stage.prototype_terms((x_v, x_r), (q_v, q_r), epoch)
        log = (F.normalize(side) @ m.T / 0.05).log_softmax(1)
        expected = -sum(row[rows].mean() for row, rows in zip(log, own, strict=True)) / 2
        torch.testing.assert_close(terms["unified"][1], expected)
    for name, x, q in (("distil_visible", x_v, q_v), ("distil_infrared", x_r, q_r)):
        seen = F.normalize(x) @ m.T
        mixed = (0.5 * m[q] @ m.T + 0.5 * seen) / 0.05
        taught = torch.cat([mixed[:, :3].softmax(1), mixed[:, 3:].softmax(1)], dim=1) / 2
        expected = -(taught.detach() * (seen / 0.05).log_softmax(1)).sum(1).mean()
        torch.testing.assert_close(terms[name][1], expected)
    sum(weight * term for weight, term in terms.values()).backward()
    torch.testing.assert_close(stage.joint_memory.rows, torch.cat([m, m]))  # not in backward
    stage.move_proxies((x_v, x_r), (q_v, q_r))
    moved = m.clone()
    for x, q in ((x_r, q_r), (x_v, q_v)):
        moved[q] = F.normalize(0.1 * m[q] + 0.9 * F.normalize(x.detach()))
    torch.testing.assert_close(stage.joint_memory.rows, torch.cat([moved, moved]))
