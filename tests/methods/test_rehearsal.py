"""Rehearsals: real steps of every stage, true sizes, and nothing left behind."""

import tempfile
from pathlib import Path
from types import SimpleNamespace

import method_runs
import numpy as np
import pytest
import tiny_cmam
import torch
from tiny_runs import arguments, dataset

from clustercontrast.data.images import open_prepared
from clustercontrast.engine.stage import Stage
from clustercontrast.methods import METHODS, stand_ins
from clustercontrast.methods.rehearsal import Rehearsal, rehearse, rehearsed
from clustercontrast.settings.command_line import parse

CPU = torch.device("cpu")
SMALL = {"sdcl": ("--depth", "2", "--vit-width", "64")}
STAGES = [
    pytest.param(method, make, id=f"{method}-{make.name}")
    for method in method_runs.METHODS_ALONE
    for make in METHODS[method]
]


@pytest.fixture(scope="module")
def images() -> SimpleNamespace:
    prepared = open_prepared(Path(f"{dataset('sysu')}-32x16"), "sysu")
    return SimpleNamespace(visible=prepared["train_visible"], infrared=prepared["train_infrared"])


def args_of(method: str, make: type[Stage], logs: Path, *flags: str):
    small = SMALL.get(method, ("--depth", "10"))
    words = arguments(method, logs, *small, *method_runs.FLAGS[method], *flags)
    return parse("sysu", words).at(make.name)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where rehearsals have their folder."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.mark.parametrize(("method", "make"), STAGES)
def test_every_stage_takes_real_steps_and_leaves_nothing(method, make, images, tmp_path, temporary):
    args = args_of(method, make, tmp_path / "logs")
    before = torch.get_rng_state()
    done = rehearse(make, args, images, CPU, steps=1)
    has_joint = make.name in {"joint", "progressive", "invariant", "invariance", "united"}
    streams = 2 if has_joint else 1
    assert done.images == streams * (args.batch_size + 2 * getattr(args, "batch_visible", 0)) or (
        make.name == "final" and done.images == 3 * args.batch_size
    )
    iterations = 8 * 1 + 2 + 2 if method == "gur" else args.iters  # 4 x 2 cameras; B; C
    assert (done.stage, done.iterations, done.epochs) == (make.name, iterations, args.epochs)
    assert len(done.seconds) == 1
    assert done.step_seconds > 0
    assert done.state_bytes > done.model_bytes > 0
    assert torch.equal(torch.get_rng_state(), before)
    assert not list(temporary.iterdir())
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("make", METHODS["cmam"], ids=lambda make: make.name)
def test_stages_of_cmam_need_nothing_of_the_earlier_ones(make, tmp_path, temporary):
    """No labels, no generator, no fakes."""
    data = tiny_cmam.world(tmp_path / "world")
    data.places = {name: tmp_path / "nothing" / name for name in data.places}
    args = tiny_cmam.options("--labelled", "0.5").at(make.name)
    done = rehearse(make, args, data, CPU, steps=1)
    trains = make.name != "generation"
    assert bool(done.images) == bool(done.step_seconds) == trains
    assert not (tmp_path / "nothing").exists()
    assert not list(temporary.iterdir())
    if not trains:
        number = len(data.small["source"]) + len(data.small["train_visible"])
        assert done.file_bytes == number * 16 * 8
        assert done.forward == args.batch_size
        assert done.forward_seconds > 0


@pytest.mark.parametrize("how", ["kmeans", "import"])
def test_labels_that_are_made_at_once_are_no_training(how, tmp_path):
    data = tiny_cmam.world(tmp_path)
    more = {"kmeans": ["--source-clusters", "4"], "import": ["--source-labels", "x.csv"]}[how]
    args = tiny_cmam.options("--label-method", how, *more).at("auxiliary")
    done = rehearse(METHODS["cmam"][0], args, data, CPU)
    assert (done.images, done.seconds, done.step_seconds) == (0, (), 0.0)
    assert (done.forward > 0) == (how == "kmeans")


def test_the_steps_are_those_of_training(images, tmp_path, monkeypatch):
    """Every loss of the last epoch, whatever the epoch it begins in."""
    make, seen = METHODS["pca"][1], []
    iteration = make.iteration

    def watched(stage, batch, epoch):
        for optimiser, terms in iteration(stage, batch, epoch):
            seen.append((optimiser, frozenset(terms)))
            yield optimiser, terms

    monkeypatch.setattr(make, "iteration", watched)
    args = args_of("pca", make, tmp_path, "--epochs", "30", "--adversarial-from", "25", "25")
    rehearse(make, args, images, CPU, steps=1, warm_up=0)
    assert seen == [
        ("modality_classifier", {"modality", "modality_accuracy"}),
        ("encoder", {"infrared", "visible", "adversarial"}),
        ("encoder", {"joint_infrared", "joint_visible"}),
    ]


def test_memories_have_a_row_per_image(images, tmp_path, monkeypatch):
    """SDCL's instance memories are no smaller than in training."""
    make, sizes = METHODS["sdcl"][1], []
    update = make.update_instances

    def watched(stage, features, batch):
        sizes.extend(len(own[0].rows) for own in stage.instances.values())
        update(stage, features, batch)

    monkeypatch.setattr(make, "update_instances", watched)
    rehearse(make, args_of("sdcl", make, tmp_path), images, CPU, steps=1, warm_up=0)
    assert sizes == [len(images.visible), len(images.infrared)]


def test_planted_labels_have_no_gap_and_enough_clusters_for_a_batch():
    stage = SimpleNamespace(args=SimpleNamespace(batch_size=128, num_instances=16))
    visible, infrared = stand_ins.labels_of(stage, 22258, 11909)
    assert (visible.max() + 1, infrared.max() + 1) == (595, 595)  # 11,909 / 20
    few, fewer = stand_ins.labels_of(stage, 40, 33)
    assert few.max() == fewer.max() == 15  # 2 batches, and no more than half of the images
    (one,) = stand_ins.labels_of(stage, 3)
    assert one.tolist() == [0, 1, 0]
    for labels in (visible, infrared, few, fewer):
        assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))


def test_a_rehearsed_stage_is_the_stage_but_for_its_stand_ins():
    for stages in METHODS.values():
        for make in stages:
            taken = vars(rehearsed(make)).keys() - {"__module__", "__doc__", "name"}
            assert taken == make.stand_ins.keys()
            assert all(hasattr(make, word) for word in taken), taken


def test_seconds_of_an_epoch():
    done = Rehearsal("intra", 48, (3.0, 1.0, 2.0), 16, 30.0, iterations=100, epochs=50)
    assert done.step_seconds == 2.0
    assert done.epoch_seconds == 230.0
