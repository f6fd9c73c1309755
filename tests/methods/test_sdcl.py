"""SDCL's stages where the recorded trajectories do not reach: labels, memories, hand-over."""

import numpy as np
import pytest
import tiny_runs
import torch
import torch.nn.functional as F

from clustercontrast.commands import cli
from clustercontrast.engine.loop import take_step
from clustercontrast.methods import sdcl
from clustercontrast.methods.sdcl import Agreed, Collaborative, halves

FLAGS = "--candidates", "5"


@pytest.fixture
def make(monkeypatch, tmp_path):
    tiny_runs.use_small_encoder(monkeypatch)
    return lambda stage, *flags: tiny_runs.make_stage(stage, "sdcl", tmp_path, *FLAGS, *flags)


def terms_of(stage, epoch=0, batch=None):
    batch = batch or next(tiny_runs.open_epoch(stage, epoch))
    ((name, terms),) = stage.iteration(batch, epoch)
    assert name == "encoder"
    return terms


def test_both_features_are_clustered_together_as_unit_rows(make, monkeypatch):
    stage, seen = make(Collaborative), []
    real = stage.cluster_each
    monkeypatch.setattr(stage, "cluster_each", lambda f: (seen.append(f), real(f))[1])
    tiny_runs.open_epoch(stage)
    raw = stage.extract(stage.encoder)
    for got, rows in zip(seen[0], raw, strict=True):
        torch.testing.assert_close(got, F.normalize(rows))
        assert (rows.norm(dim=1) - 1).abs().max() > 0.1


def test_memories_hold_the_halves_of_raw_features(make):
    stage = make(Collaborative)
    tiny_runs.open_epoch(stage)
    raw = dict(zip(("visible", "infrared"), stage.extract(stage.encoder), strict=True))
    for name, rows in raw.items():
        y = torch.from_numpy(stage.labels[name])
        for half, images, clusters in zip(
            halves(rows), stage.instances[name], stage.clusters[name], strict=True
        ):
            torch.testing.assert_close(images.rows, F.normalize(half))
            assert len(images.rows) == len(y)  # outliers included
            for c, row in enumerate(clusters.rows):
                torch.testing.assert_close(row, F.normalize(half[y == c].mean(0), dim=0))


HOMOGENEOUS = {"visible_in_visible": 1.0, "infrared_in_infrared": 1.0}


@pytest.mark.parametrize(
    ("make_of", "epoch", "expected"),
    [
        (Collaborative, 0, HOMOGENEOUS),
        (Collaborative, 9, HOMOGENEOUS),
        (Collaborative, 10, HOMOGENEOUS | {"visible_in_infrared": 0.05}),
        (Collaborative, 11, HOMOGENEOUS | {"infrared_in_visible": 0.5}),
        (Agreed, 30, dict.fromkeys(HOMOGENEOUS, 0.1) | {"visible_in_infrared": 0.01}),
        (Agreed, 31, dict.fromkeys(HOMOGENEOUS, 0.1) | {"infrared_in_visible": 0.1}),
    ],
)
def test_weights_and_directions_of_an_epoch(make, make_of, epoch, expected):
    """docs/methods/sdcl.md#neighbour-losses, effective weights; shallow terms count half."""
    terms = terms_of(make(make_of), epoch)
    identity = dict.fromkeys(("infrared", "visible"), 1.0)
    shallow = {f"{n}_shallow": w / 2 for n, w in expected.items()}
    shallow |= dict.fromkeys(("infrared_shallow", "visible_shallow"), 1.0)
    weights = {name: weight for name, (weight, _) in terms.items()}
    assert weights == pytest.approx(identity | expected | shallow)


def test_regdb_begins_with_clusters_alone(make):
    stage = make(Collaborative, "--homogeneous-from", "1")
    assert set(terms_of(stage, 0)) == {
        "infrared", "visible", "infrared_shallow", "visible_shallow"
    }  # fmt: skip


def test_the_first_epoch_may_have_a_momentum_of_its_own(make):
    stage = make(Collaborative, "--first-momentum", "0.99")
    for epoch, expected in ((0, 0.99), (1, 0.1)):
        tiny_runs.open_epoch(stage, epoch)
        momenta = {m.bank.momentum.old for of in stage.clusters.values() for m in of}
        assert list(momenta) == [pytest.approx(expected)]


def test_instances_move_before_backward_and_for_both_views(make):
    stage = make(Collaborative)
    batch = next(tiny_runs.open_epoch(stage))
    before = {n: [m.rows.clone() for m in of] for n, of in stage.instances.items()}
    steps = stage.iteration(batch, 0)
    next(steps)
    for name, of in stage.instances.items():
        drawn = set(getattr(batch, name).rows.tolist())
        for memory, old in zip(of, before[name], strict=True):
            moved = (memory.rows != old).any(dim=1).nonzero()[:, 0]
            assert set(moved.tolist()) == drawn


def test_visible_images_get_infrared_labels_and_share_their_memory(make, monkeypatch):
    stage, seen = make(Agreed), {}
    real = sdcl.agreed_labels

    def remember(*args):
        seen["y"] = real(*args)
        return seen["y"]

    monkeypatch.setattr(sdcl, "agreed_labels", remember)
    own = {}
    cluster_each = stage.cluster_each
    monkeypatch.setattr(stage, "cluster_each", lambda f: own.setdefault("y", cluster_each(f)))
    tiny_runs.open_epoch(stage, 2)
    y_v, y_r = own["y"]
    assert set(seen["y"]) <= set(y_r)
    np.testing.assert_array_equal(stage.labels["visible"], np.where(y_v >= 0, seen["y"], -1))
    np.testing.assert_array_equal(stage.labels["infrared"], y_r)
    assert stage.clusters["visible"] is stage.clusters["infrared"]
    assert (stage.labels["visible"] != seen["y"]).any()  # outliers are left out of training ...
    raw = torch.cat(stage.extract(stage.encoder))
    y = torch.from_numpy(np.concatenate([seen["y"], y_r]))
    for half, memory in zip(halves(raw), stage.clusters["visible"], strict=True):
        expected = torch.stack([half[y == c].mean(0) for c in range(y_r.max() + 1)])
        torch.testing.assert_close(memory.rows, F.normalize(expected))  # ... but not of the means


def test_stage_2_goes_on_with_the_optimiser_and_the_epochs_of_stage_1(make, tmp_path, monkeypatch):
    cli.train("sysu", tiny_runs.arguments("sdcl", tmp_path, *FLAGS, "--stages", "intra"))
    folder = tiny_runs.run_folder(tmp_path, "sdcl")
    last = torch.load(folder / "intra" / "last.pth", weights_only=True)
    best = torch.load(folder / "intra" / "best_test.pth", weights_only=True)
    found = {}

    def look(stage, run):
        optimiser = stage.optimisers["encoder"].optimiser.state_dict()["state"]
        found["momentum"] = {k: v["momentum_buffer"].clone() for k, v in optimiser.items()}
        found["weights"] = {k: v.clone() for k, v in stage.encoder.state_dict().items()}
        found["epochs"] = run.remaining(stage)

    monkeypatch.setattr("clustercontrast.engine.pipeline.train", look)
    with pytest.raises(SystemExit):  # nothing was trained: there is nothing to report
        cli.train("sysu", tiny_runs.arguments("sdcl", tmp_path, *FLAGS, "--stages", "agreed"))
    kept = last["optimisers"]["encoder"]["state"]
    expected = {k: v["momentum_buffer"] for k, v in kept.items()}
    assert tiny_runs.differences(found["momentum"], expected) == []
    assert tiny_runs.differences(found["weights"], dict(best["weights"])) == []
    assert found["epochs"] == range(2, 4)


def test_the_learning_rate_counts_on(make):
    stage = make(Agreed, "--step-size", "20")
    optimiser = stage.optimisers["encoder"]
    for epoch, factor in ((19, 1), (20, 0.1), (39, 0.1), (40, 0.01)):
        optimiser.set_learning_rate(epoch, 0)
        rate = optimiser.optimiser.param_groups[0]["lr"]
        assert rate == pytest.approx(stage.args.lr * factor)


def test_a_step_trains_both_features(make):
    stage = make(Collaborative)
    terms = terms_of(stage)
    take_step(stage.optimisers["encoder"], terms)
    for neck in (stage.encoder.neck, stage.encoder.shallow_neck):
        assert neck.weight.grad.abs().sum() > 0
