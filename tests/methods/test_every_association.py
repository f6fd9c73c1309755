"""Every method with a matching step takes every association, and trains on it."""

import itertools

import numpy as np
import pytest
import tiny_runs
import torch

from clustercontrast.association.choice import ASSOCIATIONS, Clusters
from clustercontrast.engine.loop import take_step
from clustercontrast.methods import METHODS, adca, mmm, pgm, rpnr
from clustercontrast.settings.command_line import parse, unread
from clustercontrast.settings.options import all_flags

ONCE = {"mmm"}  # matches when its last stage is set up, see below


def is_matching(method, stage):
    """Whether a stage reads ``--association``."""
    options = parse("sysu", ["--method", method])
    return unread(options, all_flags()["association"], stage.name) is None


STAGES = {
    method: stage
    for method, stages in METHODS.items()
    for stage in stages
    if method not in ONCE and is_matching(method, stage)
}


def test_there_are_methods_that_match():
    assert {"adca", "pgm", "pclhd", "rpnr"} <= STAGES.keys()


@pytest.mark.parametrize(("method", "name"), [*itertools.product(STAGES, ASSOCIATIONS)])
def test_an_iteration_with_every_association(method, name, tmp_path, monkeypatch):
    tiny_runs.use_small_encoder(monkeypatch)
    flags = ["--association", name, *(["--vote-threshold", "0.1"] if name == "cma" else [])]
    stage = tiny_runs.make_stage(STAGES[method], method, tmp_path, *flags)
    for epoch in (0, 1):
        batch = next(tiny_runs.open_epoch(stage, epoch))
        assert "joint" in stage.facts  # the matching is graded
        before = [p.clone() for p in stage.encoder.parameters()]
        for optimiser, terms in stage.iteration(batch, epoch):
            take_step(stage.optimisers[optimiser], terms)
            assert all(torch.isfinite(term) for _, term in terms.values())
            if method != "adca" and "infrared" in terms:
                assert {"cross", "unified"} & terms.keys()
        assert any(
            not torch.equal(p, q) for p, q in zip(stage.encoder.parameters(), before, strict=True)
        )


def test_parts_of_rpnr_are_switched_off_one_by_one(tmp_path, monkeypatch):
    tiny_runs.use_small_encoder(monkeypatch)
    own = ["infrared", "visible", "cross", "hybrid", "relation_visible", "relation_infrared"]
    for flag, gone in (
        ("--no-mhl", {"hybrid"}),
        ("--no-nrl", {"relation_visible", "relation_infrared"}),
        ("--no-npc", set()),
    ):
        stage = tiny_runs.make_stage(rpnr.Robust, "rpnr", tmp_path, flag)
        raw = stage.cluster_each(stage.extract(stage.encoder))
        batch = next(tiny_runs.open_epoch(stage))
        ((_, terms),) = stage.iteration(batch, 0)
        assert list(terms) == [name for name in own if name not in gone]
    for y, kept in zip(raw, (stage.labels["visible"], stage.labels["infrared"]), strict=True):
        np.testing.assert_array_equal(y, kept)  # without calibration


def test_the_file_of_one_method_is_read_by_another(tmp_path, monkeypatch):
    """PGM writes its labels; ADCA reads them instead of clustering, MMM matches them."""
    tiny_runs.use_small_encoder(monkeypatch)
    writer = tiny_runs.make_stage(pgm.AlternateLearning, "pgm", tmp_path, "--export-labels", "on")
    writer.export_labels(epoch=0)
    path = tmp_path / "cross" / "pseudo_labels.npz"
    assert not path.exists()  # only after the last epoch
    writer.export_labels(epoch=1)
    labels = writer.cluster_each(writer.extract(writer.encoder))

    reader = tiny_runs.make_stage(adca.Aggregation, "adca", tmp_path, "--pseudo-labels", str(path))
    tiny_runs.open_epoch(reader)
    for name, y in zip(("visible", "infrared"), labels, strict=True):
        np.testing.assert_array_equal(reader.labels[name], y)

    final = tiny_runs.make_stage(
        mmm.Final, "mmm", tmp_path, "--pseudo-labels", str(path), "--variant", "paper"
    )
    np.testing.assert_array_equal(final.y_r, labels[1])
    assert set(final.y_v[final.y_v >= 0]) <= set(labels[1])
    assert final.classifier.out_features == 1 + max(final.y_v.max(), final.y_r.max())
    for a, b in {(a, b) for a, b in zip(labels[0], final.y_v, strict=True)}:
        assert (a < 0) == (b < 0)


def test_what_a_matching_warns_of_is_in_the_log(tmp_path, monkeypatch):
    """Transport between five clusters that 5000 steps do not balance."""
    tiny_runs.use_small_encoder(monkeypatch)
    stage = tiny_runs.make_stage(rpnr.Robust, "rpnr", tmp_path, "--ot-regularisation", "0.001")
    angles = np.random.default_rng(1).uniform(0, 3, (5, 5))
    means = torch.from_numpy(np.cos(angles)), torch.eye(5, dtype=torch.float64)
    monkeypatch.setattr(
        "clustercontrast.association.optimal_transport.centroid_cost",
        lambda *_: np.exp(-np.cos(angles)),
    )
    maps = stage.associate(Clusters(means, (np.arange(5), np.arange(5)), means))
    assert [len(m) for m in maps] == [5, 5]
    log = (tmp_path / "log.txt").read_text()
    assert "warning, before the first epoch: the optimal transport has not converged" in log


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_nothing_matches_what_is_not_finite(broken):
    good, labels = torch.eye(2), (np.arange(2), np.arange(2))
    bad = torch.tensor([[1.0, 0.0], [0.0, broken]])
    for features, means in (((good, bad), (good, good)), ((good, good), (bad, good))):
        with pytest.raises(ValueError, match="NaN or infinity"):
            Clusters(features, labels, means)
