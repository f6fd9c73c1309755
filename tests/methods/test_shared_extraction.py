"""One extraction per network and set of weights: refresh and evaluation share it."""

import pytest
import tiny_runs
import torch

from clustercontrast.commands import cli
from clustercontrast.evaluation.features import extract
from clustercontrast.methods import clustering_stage, dcl, pclhd


@pytest.fixture
def extracted(monkeypatch):
    """(name of the list, number of images) of every extraction of training images."""
    seen = []

    def noting(network, images, batch_size, rows=None, **more):
        seen.append((images.index.modality, len(images) if rows is None else len(rows)))
        return extract(network, images, batch_size, rows, **more)

    tiny_runs.use_small_encoder(monkeypatch)
    monkeypatch.setattr(clustering_stage, "extract", noting)
    monkeypatch.setattr("clustercontrast.commands.training.extract", noting)
    return seen


def run(tmp_path, method, *more):
    stage = ("--stages", "intra") if method != "supervised" else ()
    words = tiny_runs.arguments(method, tmp_path, *stage, "--selection-images", "8", *more)
    cli.train("sysu", words)


def test_evaluation_takes_the_features_that_the_next_refresh_needs(tmp_path, extracted):
    run(tmp_path, "adca", "--epochs", "3", "--eval-from", "1")
    sizes = dict(extracted)
    full = [pair for pair in extracted if pair[1] > 8]
    assert len(full) == 2 * 3  # refresh of epochs 0 and 1, evaluation of epoch 1
    assert [pair for pair in extracted if pair[1] == 8] == [("visible", 8), ("infrared", 8)]
    assert extracted[-1] == ("infrared", 8)  # after the last epoch: those of the score alone
    assert set(sizes) == {"visible", "infrared"}


def test_labels_that_are_exported_serve_the_last_score(tmp_path, extracted):
    run(tmp_path, "adca", "--epochs", "1", "--export-labels", "on")
    assert len(extracted) == 4
    assert min(number for _, number in extracted) > 8


def test_a_stage_that_clusters_nothing_extracts_for_the_score_alone(tmp_path, extracted):
    run(tmp_path, "supervised", "--epochs", "2")
    assert extracted == [("visible", 8), ("infrared", 8)] * 2


def test_the_score_is_that_of_an_extraction_of_its_own(tmp_path, extracted, monkeypatch):
    run(tmp_path / "shared", "adca", "--epochs", "2")
    monkeypatch.setattr(clustering_stage.ClusteringStage, "features_at", lambda *_: None)
    run(tmp_path / "alone", "adca", "--epochs", "2")
    shared, alone = (
        tiny_runs.events(tiny_runs.run_folder(tmp_path / name, "adca"))
        for name in ("shared", "alone")
    )
    for mine, theirs in zip(shared, alone, strict=True):
        assert mine["scores"]["cycle"] == pytest.approx(theirs["scores"]["cycle"], abs=1e-6)


def test_features_are_taken_anew_when_weights_move(tmp_path, extracted):
    stage = tiny_runs.make_stage(dcl.Intra, "adca", tmp_path)
    first = stage.extract(stage.encoder)
    assert stage.extract(stage.encoder) is first
    rows = torch.tensor([3, 1]), torch.tensor([0])
    some = stage.extract(stage.encoder, rows)
    for f, own, all_rows in zip(some, rows, first, strict=True):
        torch.testing.assert_close(f, all_rows[own])
    assert stage.extract(stage.encoder) is first
    stage.use_labels(stage.pseudo_labels(first))
    stage.batches()
    assert stage.extract(stage.encoder) is not first


def test_the_momentum_encoder_sees_drawn_members_alone(tmp_path, extracted):
    start = ("--start-from", "pretrained")
    stage = tiny_runs.make_stage(pclhd.Progressive, "pclhd", tmp_path, *start)
    features = stage.extract(stage.encoder)
    extracted.clear()
    stage.draw_dynamic_prototypes(stage.pseudo_labels(features))
    images = {"visible": len(stage.data.visible), "infrared": len(stage.data.infrared)}
    assert all(number < images[name] for name, number in extracted)
    assert [name for name, _ in extracted] == ["visible", "infrared"]
