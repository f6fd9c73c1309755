"""Iterations of GUR's official trainers whose losses share a memory, by the real stage."""

from contextlib import nullcontext
from types import SimpleNamespace

import golden_set
import numpy as np
import pytest
from official_steps import LOSS, check_step, make_stage, raw_rows, recorded, stream

from clustercontrast.engine.loop import resumed_under, take_step
from clustercontrast.methods import gur

FILES = [f for f in golden_set.files_b("gur") if "/traj_" in f]
SHARED = {"interC_shared": "ir", "interM_joint": "joint"}
"""Part of a file's name -> the one memory of both losses."""
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("float64")]


@pytest.mark.parametrize("file", FILES)
def test_gur_follows_the_official_trainers(file):
    vectors, facts = recorded(file)
    stage = make_stage(gur.BottomUp, "gur", facts)
    (shared,) = (memory for part, memory in SHARED.items() if part in file)
    rows = raw_rows(shared, facts[f"C_{shared}"])
    stage.visible_memory = stage.infrared_memory = stage.build_memory(rows, rows)
    for i in range(facts["iters"]):
        batch = SimpleNamespace(
            visible=stream(("rgb", "rgb_ca"), i, vectors["ids_rgb"][i], facts),
            infrared=stream(("ir",), i, vectors["ids_ir"][i], facts),
        )
        ((name, terms),) = resumed_under(nullcontext, stage.iteration(batch, 0))
        take_step(stage.optimisers[name], terms)
        losses = [term.item() for _, term in terms.values()]
        np.testing.assert_allclose([*losses, sum(losses)], vectors["losses_stepA"][i], rtol=LOSS)
        check_step(stage, vectors, facts, f"it{i}", {shared: stage.visible_memory})
