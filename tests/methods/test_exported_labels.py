"""What ``--export-labels`` writes is what the stage trains on, in every stage of every method."""

import method_runs
import numpy as np
import pytest
import tiny_cmam
import tiny_runs
import torch.nn.functional as F

from clustercontrast.data import pseudo_labels
from clustercontrast.engine.loop import train
from clustercontrast.methods import METHODS, rpnr, sdcl, united
from clustercontrast.settings.recipes import all_recipes

CASES = [
    pytest.param(method, stage, id=f"{method}-{stage.name}")
    for method, stages in METHODS.items()
    for stage in stages
    if "export_labels" in all_recipes()[method].stages[stage.name]
]
ONE_SPACE = {"agreed", "selftrain", "bottomup"}  # of sdcl, of cmam, of gur in its last epochs
NO_CAMERAS = ["--unify-from", "1", "--no-intra-camera"]
"""What is exported follows the memories of the cameras, which the next epoch would make anew."""
NAMES = "visible", "infrared"


@pytest.fixture
def make(monkeypatch, tmp_path):
    tiny_runs.use_small_encoder(monkeypatch)

    def built(method, stage, *flags):
        if method == "cmam":
            return tiny_cmam.make_stage(stage, tmp_path, *flags)
        own = NO_CAMERAS if method == "gur" else method_runs.FLAGS[method]
        return tiny_runs.make_stage(stage, method, tmp_path, *own, *flags)

    return built


def trained_on(stage, epoch):
    """The labels that an epoch with the present weights trains on."""
    next(stage.refresh(epoch))
    return [stage.labels[name] for name in NAMES]


def test_all_stages_that_cluster_can_export():
    clustering = {f"{m}-{s.name}" for m, own in METHODS.items() for s in own if is_clustering(s)}
    assert {case.id for case in CASES} == clustering
    assert len(clustering) >= 14


def is_clustering(stage):
    """Whether the labels are made anew in every epoch: MMM's last stage freezes them."""
    return hasattr(stage, "pseudo_labels") and stage.name not in {"final", "finetune", "supervised"}


@pytest.mark.parametrize(("method", "stage"), CASES)
def test_exported_labels_are_those_that_the_next_epoch_would_train_on(method, stage, make):
    # A part of the images would be drawn anew, and all are exported.
    whole = ["--visible-share", "1"] if method not in method_runs.FROM_A_SOURCE else []
    stage = make(method, stage, "--export-labels", f"{stage.name}=on", *whole)
    path = stage.run.folder / stage.name / pseudo_labels.FILE
    stage.run.resume(stage)
    train(stage, stage.run)
    with np.load(path) as content:
        exported = [content[f"{name}_labels"] for name in NAMES]
        paths = [content[f"{name}_paths"].tolist() for name in NAMES]
        assert content["one_label_space"] == (stage.name in ONE_SPACE)
    lists = stage.data.visible.index, stage.data.infrared.index
    assert paths == [list(images.paths) for images in lists]
    for found, expected in zip(exported, trained_on(stage, stage.epochs[-1] + 1), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.max() > 0


@pytest.mark.parametrize("network", ["teacher", "online"])
def test_what_is_exported_is_clustered_by_the_network_that_flags_name(network, make):
    """Of united with a momentum teacher; the other network would give other clusters."""
    slow = ["--teacher", "ema", "--ema-decay", "0.999", "--cluster-with", network, "--lr", "0.01"]
    flags = ["--visible-share", "1", "--export-labels", "united=on", *slow]
    stage = make("united", united.United, *flags)
    stage.run.resume(stage)
    train(stage, stage.run)
    with np.load(stage.run.folder / "united" / pseudo_labels.FILE) as content:
        exported = [content[f"{name}_labels"] for name in NAMES]
    networks = {"teacher": stage.momentum_encoder, "online": stage.encoder}
    labels = {name: stage.pseudo_labels(stage.extract(own)) for name, own in networks.items()}
    for found, expected in zip(exported, labels.pop(network), strict=True):
        np.testing.assert_array_equal(found, expected)
    (others,) = labels.values()
    assert any((a != b).any() for a, b in zip(exported, others, strict=True))


@pytest.mark.parametrize(
    ("method", "stage", "flags"),
    [("rpnr", rpnr.Robust, ["--npc-members", "2"]), ("sdcl", sdcl.Agreed, [])],
)
def test_labels_that_are_refined_are_not_those_of_the_clustering(method, stage, flags, make):
    """Otherwise the test above could not tell them apart."""
    stage = make(method, stage, *flags)
    clusters = stage.cluster_each(stage.extract(stage.encoder))
    trained = trained_on(stage, stage.epochs[0])
    assert any((a != b).any() for a, b in zip(clusters, trained, strict=True))


@pytest.mark.parametrize("kind", [rpnr.Robust, sdcl.Collaborative, sdcl.Agreed])
def test_imported_labels_stand_in_place_of_the_clusters(kind, make, tmp_path):
    """A stage refines the labels of a file as it refines its clusters."""
    stage = make("rpnr" if kind is rpnr.Robust else "sdcl", kind)
    expected = trained_on(stage, stage.epochs[0])
    features = stage.extract(stage.encoder)
    clusters = stage.cluster_each(
        features if kind is rpnr.Robust else tuple(map(F.normalize, features))
    )
    stage.args.pseudo_labels = str(tmp_path / "given.npz")
    pseudo_labels.save(stage.args.pseudo_labels, stage.image_lists(), clusters)
    for found, own in zip(trained_on(stage, stage.epochs[0]), expected, strict=True):
        np.testing.assert_array_equal(found, own)
