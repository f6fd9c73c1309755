"""Iterations of an official trainer on memories, recomputed by a real stage (``manifest_b.json``,
``manifest_c.json``).

Float64 on the CPU, as recorded; the momentum of the memories is a float64 number, since upstream
ran with that default (tests/golden/README_b.md).
"""

import re
from types import SimpleNamespace

import golden_set
import numpy as np
import torch
from official import assert_checksum, filled_encoder, own_images, tensors

from clustercontrast.engine.schedules import step_decay
from clustercontrast.models.weights import our_name
from clustercontrast.settings.command_line import parse

LOSS, CHECKSUM = 1e-7, 1e-6  # manifest, float64


def recorded(file):
    """Arrays of a recorded trajectory, and the facts of its manifest entry."""
    of_bmil = file.startswith("bmil/")
    entry = golden_set.entry_c(file) if of_bmil else golden_set.entry_b(file)
    dead = {"zero_gradient_parameters": entry["zero_gradient_parameters"]}
    return golden_set.load(file), entry["params"] | dead


def make_stage(make, method, facts):
    """A stage with the official weights and optimiser, without data."""
    options = parse("sysu", ["--method", method])
    stage = make(options.at(make.name), None, SimpleNamespace(device=torch.device("cpu")))
    assert (stage.args.momentum, stage.args.temp) == (facts["momentum"], facts["temp"])
    salt = golden_set.salt_b()
    encoder = filled_encoder(stage.args.non_local, bn_groups=facts["replicas"], salt=salt).train()
    stage.encoder = stage.add("encoder", encoder)
    parameters = [p for p in encoder.parameters() if p.requires_grad]
    optimiser = optimiser_of(facts["optimiser"], parameters, stage.args.lr)
    stage.optimise("encoder", optimiser, step_decay(20))
    return stage


def optimiser_of(text, parameters, rate):
    """The optimiser of a recording, such as ``SGD(lr=0.01)``; ``rate`` is our default."""
    kind, _, rest = text.partition("(")
    given = dict(re.findall(r"(lr|momentum|weight_decay)=([\d.e-]+)", rest))
    values = {name: float(value) for name, value in given.items()}
    if "weight_decay" in values:  # the run's own values, not a probe's
        assert (values["lr"], values["weight_decay"]) == (rate, 5e-4)
    return {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}[kind](
        parameters, fused=True, **values
    )


def raw_rows(name, count):
    rows = golden_set.fill_b().centroid_rows(name, count, 2048, golden_set.salt_b())
    return torch.from_numpy(rows).double()


def stream(views, iteration, ids, facts):
    size = facts["image"]
    images = [
        golden_set.fill().id_images(view, iteration, ids, *size, golden_set.salt_b())
        for view in views
    ]
    return SimpleNamespace(
        images=own_images(images),
        labels=torch.from_numpy(np.tile(ids, len(views))),
    )


def batch_of(vectors, i, facts):
    """The batch of an iteration; that of stage 2 has joint streams, too."""
    batch = SimpleNamespace(
        visible=stream(("rgb", "rgb_ca"), i, vectors["ids_rgb"][i], facts),
        infrared=stream(("ir",), i, vectors["ids_ir"][i], facts),
    )
    if facts["stage"] == 2:
        views = "all_rgb", "all_rgb_ca"
        batch.joint_visible = stream(views, i, vectors["ids_joint_rgb"][i], facts)
        batch.joint_infrared = stream(("all_ir",), i, vectors["ids_joint_ir"][i], facts)
    return batch


def check_step(stage, vectors, facts, step, memories, our_name=our_name):
    """Gradients, weights, statistics and memory rows after one optimiser step."""
    parameters = dict(stage.encoder.named_parameters())
    skipped = set(facts["zero_gradient_parameters"])
    ours = tensors(stage.encoder)
    for name, expected in zip(vectors["param_names"], vectors[f"{step}/grads"], strict=True):
        if str(name) not in skipped:
            grad = parameters[our_name(str(name))].grad
            assert_checksum(grad, expected, CHECKSUM, f"gradient {step} {name}")
    for kind, names in (("params", "param_names"), ("buffers", "buffer_names")):
        for name, expected in zip(vectors[names], vectors[f"{step}/{kind}"], strict=True):
            assert_checksum(ours[our_name(str(name))], expected, CHECKSUM, f"{kind} {step} {name}")
    for name, memory in memories.items():
        for row, expected in zip(memory.rows, vectors[f"{step}/mem_{name}"], strict=True):
            assert_checksum(row, expected, CHECKSUM, f"memory {step} {name}")
