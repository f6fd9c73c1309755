"""Iterations of PCA's official trainers: encoder steps, classifier steps and their order."""

from contextlib import nullcontext

import golden_set
import numpy as np
import pytest
import torch
from official import (
    assert_checksum,
    filled_classifier,
    is_dead_bias,
    little_memory,
    official_classifier_name,
)
from official_steps import CHECKSUM, LOSS, batch_of, check_step, make_stage, raw_rows, recorded

from clustercontrast.engine.loop import resumed_under, take_step
from clustercontrast.engine.schedules import step_decay
from clustercontrast.methods import pca

FILES = [f for f in golden_set.files_b("pca") if "/traj_" in f]
SHAPES = golden_set.entry_b("pca/modal_classifier.npz")["params"]["key_shapes"]
SGD = "SGD(lr=0.01, weight_decay=5e-4, momentum=0.9, nesterov=True)"
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("float64")]


def stage_of(facts):
    stage = make_stage({1: pca.Adversarial, 2: pca.Invariant}[facts["stage"]], "pca", facts)
    assert stage.args.adversarial_weight == facts["lambda_adv"]
    network = filled_classifier(SHAPES).train()
    stage.modality_classifier = stage.add("modality_classifier", network)
    assert facts["D_optimiser"] == SGD
    sgd = torch.optim.SGD(
        network.parameters(), stage.args.modality_lr, 0.9, weight_decay=5e-4, nesterov=True
    )
    stage.optimise("modality_classifier", sgd, step_decay(20))
    counts = {name: facts[f"C_{name}"] for name in ("rgb", "ir", "joint")}
    memories = {n: stage.build_memory(raw_rows(n, c), raw_rows(n, c)) for n, c in counts.items()}
    stage.visible_memory, stage.infrared_memory, stage.joint_memory = memories.values()
    stage.labels = {"joint_visible": None} if facts["stage"] == 2 else {}
    return stage, memories


def expected_steps(facts):
    """Optimisers in the official order; A and B are the encoder's two steps."""
    if facts["stage"] == 2:
        return ["D", "A", "B"]
    return ["A", "D"] if facts["epoch"] < 25 else ["D", "A"]


@pytest.mark.parametrize("file", FILES)
def test_pca_follows_the_official_trainers(file):
    vectors, facts = recorded(file)
    large = vectors["ids_rgb"].shape[1] > 16
    with little_memory() if large else nullcontext():
        follow(vectors, facts, large)


def follow(vectors, facts, large):
    stage, memories = stage_of(facts)
    stage.encoder.checkpoint_groups = large
    for i in range(facts["iters"]):
        steps = resumed_under(
            nullcontext, stage.iteration(batch_of(vectors, i, facts), facts["epoch"])
        )
        for letter in expected_steps(facts):
            name, terms = next(steps)
            assert name == ("modality_classifier" if letter == "D" else "encoder")
            take_step(stage.optimisers[name], terms)
            check = check_classifier if letter == "D" else check_encoder
            check(stage, vectors, facts, (i, letter), terms, memories)
        assert next(steps, None) is None


def check_encoder(stage, vectors, facts, step, terms, memories):
    i, letter = step
    losses = [term.item() for _, term in terms.values()]
    total = sum(weight * term.item() for weight, term in terms.values())
    if letter == "A" and "adversarial" not in terms:
        losses.append(0.0)
    np.testing.assert_allclose([*losses, total], vectors[f"losses_step{letter}"][i], rtol=LOSS)
    check_step(stage, vectors, facts, f"it{i}{letter if facts['stage'] == 2 else ''}", memories)


def check_classifier(stage, vectors, facts, step, terms, memories):
    i, network = step[0], stage.modality_classifier
    losses = [term.item() for _, term in terms.values()]
    np.testing.assert_allclose(losses, vectors["losses_D"][i], rtol=LOSS)
    parameters, ours = dict(network.named_parameters()), dict(network.state_dict())
    for name, row in zip(vectors["D_param_names"], vectors[f"it{i}/D_grads"], strict=True):
        grad = parameters[official_classifier_name(str(name))].grad
        if is_dead_bias(str(name)):  # the rest is rounding
            assert max(grad.abs().max(), abs(row[1])) < 1e-12
            continue
        assert_checksum(grad, row, CHECKSUM, f"gradient {i} {name}")
    for name, row in zip(vectors["D_state_names"], vectors[f"it{i}/D_state"], strict=True):
        assert_checksum(ours[official_classifier_name(str(name))], row, CHECKSUM, f"{i} {name}")
