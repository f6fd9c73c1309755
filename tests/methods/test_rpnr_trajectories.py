"""Iterations of RPNR's and MMM's official trainers on memories, recomputed by the real stages.

As in ``test_trajectories``, float64 on the CPU; here the momentum of the memories is a float64
number, since upstream ran with that default (README_b.md).
"""

from contextlib import nullcontext
from types import SimpleNamespace

import golden_set
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from official import assert_checksum, filled_encoder, matrix_convolution, tensors

from clustercontrast import methods
from clustercontrast.engine.loop import resumed_under, take_step
from clustercontrast.engine.schedules import step_decay
from clustercontrast.methods import dcl, mmm, rpnr
from clustercontrast.models.weights import our_name
from clustercontrast.options import parse

RPNR = [f for f in golden_set.files_b("rpnr") if "/traj_" in f]
MMM = [f for f in golden_set.files_b("mmm") if "/traj_joint" in f]
LOSS, CHECKSUM = 1e-7, 1e-6  # manifest, float64


@pytest.fixture(autouse=True)
def _float64(monkeypatch):
    monkeypatch.setattr(torch.nn.Conv2d, "forward", matrix_convolution)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def make_stage(make, method, facts):
    """A stage with the official weights and optimiser, without data."""
    names = {name: [s.name for s in stages] for name, stages in methods.METHODS.items()}
    options = parse("sysu", names, ["--method", method])
    stage = make(options.at(make.name), None, SimpleNamespace(device=torch.device("cpu")))
    assert (stage.args.momentum, stage.args.temp) == (facts["momentum"], facts["temp"])
    encoder = filled_encoder(True, bn_groups=facts["replicas"], salt=golden_set.salt_b()).train()
    stage.encoder = stage.add("encoder", encoder)
    parameters = [p for p in encoder.parameters() if p.requires_grad]
    kind, _, rest = facts["optimiser"].partition("(")
    if kind == "SGD":
        rate = float(rest.split("lr=")[-1].split(",")[0].rstrip(")"))
        optimiser = torch.optim.SGD(parameters, rate)
    else:
        assert kind == "Adam"
        optimiser = torch.optim.Adam(parameters, stage.args.lr, weight_decay=5e-4)
    stage.optimise("encoder", optimiser, step_decay(20))
    return stage


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
        images=torch.from_numpy(np.concatenate(images)).double(),
        labels=torch.from_numpy(np.tile(ids, len(views))),
    )


def check_step(stage, vectors, facts, step, memories):
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


@pytest.mark.slow
@pytest.mark.parametrize("file", RPNR)
def test_rpnr_follows_the_official_trainer(file):
    vectors, entry = golden_set.load(file), golden_set.entry_b(file)
    facts = entry["params"] | {"zero_gradient_parameters": entry["zero_gradient_parameters"]}
    stage = make_stage(dcl.Intra if facts["stage"] == 1 else rpnr.Robust, "rpnr", facts)
    raw = {name: raw_rows(name, facts[f"C_{name}"]) for name in ("rgb", "ir")}
    memories = {name: stage.memory(rows, rows) for name, rows in raw.items()}
    stage.memory_v, stage.memory_r = memories["rgb"], memories["ir"]
    if facts["stage"] == 2:
        stage.maps = torch.from_numpy(vectors["r2i"]), torch.from_numpy(vectors["i2r"])
        # Upstream takes the means of partners in float32 and goes on in float64.
        mixed = (raw["ir"].float() + raw["rgb"].float()[stage.maps[1]]) / 2
        stage.memory_h = memories["hybrid"] = stage.memory(mixed.double(), mixed.double())
    for i in range(facts["iters"]):
        batch = SimpleNamespace(
            visible=stream(("rgb", "rgb_ca"), i, vectors["ids_rgb"][i], facts),
            infrared=stream(("ir",), i, vectors["ids_ir"][i], facts),
        )
        name, terms = next(resumed_under(nullcontext, stage.iteration(batch, facts["epoch"])))
        take_step(stage.optimisers[name], terms)
        losses = [term.item() for _, term in terms.values()]
        losses.append(sum(weight * term.item() for weight, term in terms.values()))
        np.testing.assert_allclose(losses, vectors["losses"][i], rtol=LOSS)
        check_step(stage, vectors, facts, f"it{i}", memories)


@pytest.mark.slow
@pytest.mark.parametrize("file", MMM)
def test_mmm_joint_follows_the_official_trainer(file):
    vectors, entry = golden_set.load(file), golden_set.entry_b(file)
    facts = entry["params"] | {"zero_gradient_parameters": entry["zero_gradient_parameters"]}
    stage = make_stage(mmm.Joint, "mmm", facts)
    counts = {name: facts[f"C_{name}"] for name in ("rgb", "ir", "joint")}
    memories = {n: stage.memory(raw_rows(n, c), raw_rows(n, c)) for n, c in counts.items()}
    stage.memory_v, stage.memory_r, stage.memory_joint = memories.values()
    stage.labels = {"joint_visible": None, "joint_infrared": None}
    for i in range(facts["iters"]):
        batch = SimpleNamespace(
            visible=stream(("rgb", "rgb_ca"), i, vectors["ids_rgb"][i], facts),
            infrared=stream(("ir",), i, vectors["ids_ir"][i], facts),
            joint_visible=stream(("all_rgb", "all_rgb_ca"), i, vectors["ids_joint_rgb"][i], facts),
            joint_infrared=stream(("all_ir",), i, vectors["ids_joint_ir"][i], facts),
        )
        steps = resumed_under(nullcontext, stage.iteration(batch, 0))
        for letter in "AB":
            name, terms = next(steps)
            take_step(stage.optimisers[name], terms)
            losses = [term.item() for _, term in terms.values()]
            expected = vectors[f"losses_step{letter}"][i]
            np.testing.assert_allclose([*losses, sum(losses)], expected, rtol=LOSS)
            check_step(stage, vectors, facts, f"it{i}{letter}", memories)


def test_hybrid_rows_are_means_of_partners_and_zero_where_calibration_emptied_a_cluster():
    stage = rpnr.Robust.__new__(rpnr.Robust)
    stage.maps = torch.tensor([0, 0, 2]), torch.tensor([1, 0, -1])
    stage.memory = lambda c, hard: (c, hard)
    visible = torch.eye(4)[:3]
    infrared = 2 * torch.eye(4)[1:]
    rows, hard = stage.hybrid_memory((visible, infrared), (None, np.array([0, 2, 2, -1])))
    expected = torch.stack(
        [F.normalize((infrared[0] + visible[1]) / 2, dim=0), torch.zeros(4), torch.eye(4)[3]]
    )
    torch.testing.assert_close(rows, expected)
    torch.testing.assert_close(hard, expected)
