"""A part of the visible images per epoch (``--visible-share``), in every method that clusters."""

import method_runs
import numpy as np
import pytest
import tiny_runs
import torch

from clustercontrast.commands import cli
from clustercontrast.files import UserError
from clustercontrast.methods import METHODS, dcl, pclhd
from clustercontrast.methods.clusters import cluster
from clustercontrast.settings.command_line import parse
from clustercontrast.settings.recipes import all_recipes

HALF = ("--visible-share", "0.5", "--eps-visible", "0.5", "--min-samples", "2")
STAGES = [
    (method, make)
    for method in method_runs.METHODS_ALONE
    for make in METHODS[method]
    if "visible_share" in all_recipes()[method].stages[make.name]
]


@pytest.fixture
def make(monkeypatch, tmp_path):
    tiny_runs.use_small_encoder(monkeypatch)
    return lambda kind, method, *flags: tiny_runs.make_stage(kind, method, tmp_path, *flags)


def labelled(y) -> set[int]:
    return set(np.flatnonzero(y >= 0).tolist())


@pytest.mark.parametrize(("method", "kind"), STAGES, ids=lambda own: getattr(own, "name", own))
def test_every_stage_trains_on_the_part_alone(make, method, kind):
    stage = make(kind, method, *HALF, *method_runs.FLAGS[method])
    stage.epoch = stage.epochs[0]
    tiny_runs.open_epoch(stage, stage.epoch)
    part, size = set(stage.clustered["visible_rows"].tolist()), len(stage.data.visible)
    assert len(part) == size // 2
    assert labelled(stage.labels["visible"]) <= part
    assert labelled(stage.labels["visible"])
    if "joint_visible" in stage.labels:
        joint = labelled(stage.labels["joint_visible"])
        assert joint
        assert not joint & part


def test_clusters_are_those_of_the_part_in_the_order_drawn(make):
    stage = make(dcl.Intra, "pgm", *HALF)
    features = stage.extract(stage.encoder)
    y_v, y_r = stage.cluster_each(features)
    rows, a = stage.visible_rows, stage.args
    expected = cluster("visible", features[0][torch.from_numpy(rows)], a.k1, a.eps_visible, stage)
    np.testing.assert_array_equal(y_v[rows], expected)
    first = [y for y in dict.fromkeys(y_v[rows].tolist()) if y >= 0]
    assert first != [y for y in dict.fromkeys(y_v.tolist()) if y >= 0], "ids follow the drawn order"
    assert (np.delete(y_v, rows) == -1).all()
    np.testing.assert_array_equal(y_r, cluster("infrared", features[1], a.k1, a.eps, stage))


def test_a_part_is_drawn_anew_in_every_epoch_and_once(make):
    stage, parts = make(dcl.Intra, "pgm", *HALF), []
    for stage.epoch in (0, 1):
        parts += [stage.visible_rows, stage.visible_rows]
    assert parts[0] is parts[1]
    assert set(parts[0]) != set(parts[2])


def test_the_log_grades_what_was_clustered(make):
    stage = make(dcl.Intra, "pgm", *HALF)
    tiny_runs.open_epoch(stage)
    y = stage.labels["visible"]
    outliers = np.mean(y[stage.clustered["visible_rows"]] < 0)
    assert stage.facts["visible"]["outliers"] == pytest.approx(outliers)


@pytest.mark.parametrize("half", ["same", "all"])
def test_the_joint_clustering_sees_the_images_that_the_flag_says(make, half):
    stage = make(pclhd.Progressive, "pclhd", *HALF, "--joint-half", half)
    part = stage.visible_rows
    expected = part if half == "same" else np.arange(len(stage.data.visible))
    np.testing.assert_array_equal(stage.joint_rows, expected)


@pytest.mark.slow
def test_two_shares_train_two_runs_and_the_part_is_saved(tmp_path):
    cli.train("sysu", tiny_runs.arguments("pgm", tmp_path, *HALF, "--stages", "intra"))
    folder = tiny_runs.run_folder(tmp_path, "pgm") / "intra" / "labels"
    parts = []
    for epoch in (0, 1):
        with np.load(folder / f"epoch_{epoch:03d}.npz") as saved:
            parts.append(set(saved["visible_rows"].tolist()))
            assert labelled(saved["visible"]) <= parts[-1]
    assert parts[0] != parts[1]


def test_exported_labels_are_those_of_all_images(make):
    """What is frozen for a later training leaves nothing out."""
    stage = make(dcl.Intra, "pgm", *HALF, "--export-labels", "on", "--epochs", "1")
    tiny_runs.open_epoch(stage)
    part = set(stage.clustered["visible_rows"].tolist())
    stage.export_labels(0)
    with np.load(stage.run.folder / "intra" / "pseudo_labels.npz") as saved:
        exported = labelled(saved["visible_labels"])
    assert len(exported) > len(part)
    assert set(stage.clustered["visible_rows"].tolist()) == part


def test_labels_of_a_file_stand_for_all_images(make, tmp_path):
    first = make(dcl.Intra, "pgm", "--export-labels", "on", "--epochs", "1")
    first.export_labels(0)
    file = str(first.run.folder / "intra" / "pseudo_labels.npz")
    stage = make(pclhd.Progressive, "pclhd", "--visible-share", "0.5", "--pseudo-labels", file)
    tiny_runs.open_epoch(stage)
    assert stage.clustered == {}
    outliers = np.mean(stage.labels["visible"] < 0)
    assert stage.facts["visible"]["outliers"] == pytest.approx(outliers)
    assert labelled(stage.labels["joint_visible"]) <= set(stage.joint_rows.tolist())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--visible-share", "0.7"), "leaves no second part .* give 0.5 or less, or --joint-half"),
        (("--visible-share", "0"), "not a number from 1e-06 to 1"),
        (("--joint-half", "all"), "read with --visible-share below 1, which is 1"),
        (("--visible-share", "0.7", "--no-joint-branch", "--joint-half", "all"), "--joint-branch"),
    ],
)
def test_shares_that_cannot_be_are_refused(flags, said):
    with pytest.raises(UserError, match=said):
        parse("sysu", ["--method", "pclhd", *flags])


def test_a_large_part_is_enough_without_a_joint_clustering():
    flags = ["--method", "pclhd", "--visible-share", "0.7"]
    assert parse("sysu", [*flags, "--joint-half", "same"]).at("progressive").visible_share == 0.7
    assert parse("sysu", [*flags, "--no-joint-branch"]).at("intra").visible_share == 0.7
    assert parse("sysu", [*flags, "--stages", "intra"]).at("intra").visible_share == 0.7


def test_a_part_smaller_than_a_cluster_is_refused(make):
    with pytest.raises(UserError, match=r"--visible-share 0\.001 of 250 visible images are 0"):
        make(dcl.Intra, "pgm", "--visible-share", "0.001")
