"""Iterations of RPNR's and MMM's official trainers on memories, recomputed by the real stages."""

from contextlib import nullcontext
from types import SimpleNamespace

import golden_set
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from official_steps import LOSS, check_step, make_stage, raw_rows, recorded, stream

from clustercontrast.engine.loop import resumed_under, take_step
from clustercontrast.methods import dcl, mmm, rpnr

RPNR = [f for f in golden_set.files_b("rpnr") if "/traj_" in f]
MMM = [f for f in golden_set.files_b("mmm") if "/traj_joint" in f]
pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.slow
@pytest.mark.parametrize("file", RPNR)
def test_rpnr_follows_the_official_trainer(file):
    vectors, facts = recorded(file)
    stage = make_stage(dcl.Intra if facts["stage"] == 1 else rpnr.Robust, "rpnr", facts)
    raw = {name: raw_rows(name, facts[f"C_{name}"]) for name in ("rgb", "ir")}
    memories = {name: stage.build_memory(rows, rows) for name, rows in raw.items()}
    stage.visible_memory, stage.infrared_memory = memories["rgb"], memories["ir"]
    if facts["stage"] == 2:
        stage.maps = torch.from_numpy(vectors["r2i"]), torch.from_numpy(vectors["i2r"])
        # Upstream takes the means of partners in float32 and goes on in float64.
        mixed = (raw["ir"].float() + raw["rgb"].float()[stage.maps[1]]) / 2
        memories["hybrid"] = stage.build_memory(mixed.double(), mixed.double())
        stage.hybrid_memory = memories["hybrid"]
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
    vectors, facts = recorded(file)
    stage = make_stage(mmm.Joint, "mmm", facts)
    counts = {name: facts[f"C_{name}"] for name in ("rgb", "ir", "joint")}
    memories = {n: stage.build_memory(raw_rows(n, c), raw_rows(n, c)) for n, c in counts.items()}
    stage.visible_memory, stage.infrared_memory, stage.joint_memory = memories.values()
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
    stage.build_memory = lambda c, hard: (c, hard)
    visible = torch.eye(4)[:3]
    infrared = 2 * torch.eye(4)[1:]
    rows, hard = stage.build_hybrid_memory((visible, infrared), (None, np.array([0, 2, 2, -1])))
    expected = torch.stack(
        [F.normalize((infrared[0] + visible[1]) / 2, dim=0), torch.zeros(4), torch.eye(4)[3]]
    )
    torch.testing.assert_close(rows, expected)
    torch.testing.assert_close(hard, expected)
