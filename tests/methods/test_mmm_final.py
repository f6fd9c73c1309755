"""MMM's final stage against the official trainer: warm-up, weighted training, prototypes."""

from contextlib import nullcontext
from types import SimpleNamespace

import golden_set
import numpy as np
import pytest
import torch
from official import assert_checksum, filled_encoder, matrix_convolution, tensors
from torch import nn

from clustercontrast.data.batches import Batch, Stream
from clustercontrast.engine.loop import resumed_under, take_step
from clustercontrast.engine.schedules import warm_steps
from clustercontrast.methods import mmm
from clustercontrast.models.weights import our_name
from clustercontrast.settings.command_line import parse

FILE = "mmm/traj_final.npz"
CHECKSUM = 1e-6


@pytest.fixture(autouse=True)
def _float64(monkeypatch):
    monkeypatch.setattr(torch.nn.Conv2d, "forward", matrix_convolution)


def make_stage(facts):
    options = parse("sysu", ["--method", "mmm"])
    run = SimpleNamespace(device=torch.device("cpu"), autocast=nullcontext)
    stage = mmm.Final(options.at("final"), None, run)
    stage.encoder = stage.add("encoder", filled_encoder(True, salt=golden_set.salt_b()))
    shape = facts["n_class"], stage.encoder.width
    rows = golden_set.fill().fill_param("classifier.weight", shape, golden_set.salt_b())
    stage.classifier = stage.add("classifier", nn.Linear(shape[1], shape[0], bias=False).double())
    stage.classifier.weight.data = torch.from_numpy(np.asarray(rows)).double()
    stage.prototypes = stage.add("prototypes", mmm.Prototypes(*shape).double())
    stage.optimise_with_sgd()
    for network in stage.networks.values():
        network.train()
    return stage


def batch(facts, index, labels_v, labels_r):
    def images(view, labels):
        size, salt = facts["image"], golden_set.salt_b()
        pixels = golden_set.fill().id_images(view, index, labels, *size, salt)
        return torch.from_numpy(pixels).double()

    y_v, y_r = torch.from_numpy(labels_v), torch.from_numpy(labels_r)
    rows = torch.arange(len(y_v))
    visible = torch.cat([images("rgb", labels_v), images("rgb_ca", labels_v)])
    return Batch(
        {
            "visible": Stream(visible, y_v.repeat(2), rows),
            "infrared": Stream(images("ir", labels_r), y_r, rows),
        }
    )


def step(stage, content, epoch):
    stage.optimisers["encoder"].set_learning_rate(epoch, 0)
    steps = resumed_under(nullcontext, stage.iteration(content, epoch))
    name, terms = next(steps)
    take_step(stage.optimisers[name], terms)
    assert next(steps, None) is None
    return terms


def check(stage, vectors, entry, step_name):
    parameters = dict(stage.encoder.named_parameters())
    ours = tensors(stage.encoder) | {"classifier.weight": stage.classifier.weight}
    for number, name in enumerate(map(str, vectors["param_names"])):
        mine = ours[name] if name in ours else ours[our_name(name)]
        what = f"{step_name} {name}"
        assert_checksum(mine, vectors[f"{step_name}/params"][number], CHECKSUM, what)
        if name not in entry["zero_gradient_parameters"]:
            grad = (ours[name] if name in ours else parameters[our_name(name)]).grad
            assert_checksum(grad, vectors[f"{step_name}/grads"][number], CHECKSUM, f"grad {what}")
    check_buffers(stage, vectors, f"{step_name}/buffers")


def check_buffers(stage, vectors, key):
    ours = tensors(stage.encoder)
    for name, expected in zip(map(str, vectors["buffer_names"]), vectors[key], strict=True):
        assert_checksum(ours[our_name(name)], expected, CHECKSUM, f"{key} {name}")


@pytest.mark.slow
def test_final_stage_follows_the_official_trainer():
    vectors, entry = golden_set.load(FILE), golden_set.entry_b(FILE)
    facts = entry["params"]
    stage = make_stage(facts)
    stage.is_warm = False
    for i, loss in enumerate(vectors["warmup_losses"]):
        labels = vectors["warmup_labels_rgb"][i], vectors["warmup_labels_ir"][i]
        terms = step(stage, batch(facts, i, *labels), 0)
        assert terms["identity"][1].item() == pytest.approx(loss, rel=1e-7)
        check(stage, vectors, entry, f"step{i}")
    stage.is_warm = True
    for number, epoch in enumerate((5, 6)):
        y, w = vectors["train_labels"][number], torch.from_numpy(vectors["train_weights"][number])
        stage.weights_v, stage.weights_r = w[:2], w[2:]
        content = batch(facts, 10 + number, y, y)
        terms = step(stage, content, epoch)
        losses = dict(zip(facts["term_names"], vectors["train_losses"][number], strict=True))
        tolerance = 1e-7 if number == 0 else 1e-6
        total = sum(weight * term.item() for weight, term in terms.values())
        assert terms["identity"][1].item() == pytest.approx(losses["loss_id"], rel=tolerance)
        assert terms["triplet"][1].item() == pytest.approx(losses["loss_tri"], rel=tolerance)
        assert total == pytest.approx(losses["loss_total"], rel=tolerance)
        check(stage, vectors, entry, f"step{2 + number}")
        stage.renew_prototypes(iter([content]))
        for view, name in enumerate(("rgb1", "rgb2", "ir")):
            recorded = vectors[f"proto_{name}_after_epoch{epoch}"]
            for row, expected in zip(stage.prototypes.rows[view], recorded, strict=True):
                assert_checksum(row, expected, CHECKSUM, f"prototypes {name} {epoch}")
        check_buffers(stage, vectors, f"buffers_after_epoch{epoch}")


def test_learning_rate_rises_for_ten_epochs_and_falls_twice():
    """0.1 (e + 1) / 10, 0.1 from 10, 0.01 from 20, 0.001 from 40."""
    factor = warm_steps(10, (20, 40))
    found = [factor(epoch, 0) for epoch in (0, 5, 9, 10, 19, 20, 39, 40, 99)]
    assert found == pytest.approx([0.1, 0.6, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
