"""Iterations of SDCL's official trainer in both phases, even and odd epochs."""

from contextlib import nullcontext
from types import SimpleNamespace

import golden_set
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from official_steps import LOSS, check_step, optimiser_of, recorded, stream

from clustercontrast.engine.loop import resumed_under, take_step
from clustercontrast.engine.schedules import step_decay
from clustercontrast.memories.cluster import ClusterMemory
from clustercontrast.memories.instance import InstanceMemory
from clustercontrast.methods import sdcl
from clustercontrast.models.vision_transformer import TwoStreamViT
from clustercontrast.models.vit_weights import our_name
from clustercontrast.settings.command_line import parse

FILES = [f for f in golden_set.files_b("sdcl") if "/traj_" in f]
TERMS = {  # official name -> ours; the official neighbour losses hold their inner weights
    "loss_ir_s": "infrared_shallow",
    "loss_rgb_s": "visible_shallow",
    "loss_ir": "infrared",
    "loss_rgb": "visible",
    "rgb_rgb_loss": "visible_in_visible",
    "rgb_rgb_loss_s": "visible_in_visible_shallow",
    "ir_ir_loss": "infrared_in_infrared",
    "ir_ir_loss_s": "infrared_in_infrared_shallow",
    "rgb_ir_loss": "visible_in_infrared",
    "rgb_ir_loss_s": "visible_in_infrared_shallow",
    "ir_rgb_loss": "infrared_in_visible",
    "ir_rgb_loss_s": "infrared_in_visible_shallow",
}
MODALITIES = {"rgb": "visible", "ir": "infrared"}
DEPTHS = {"deep": "", "shallow": "_s"}
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("float64")]


def filled_vit(vectors, facts):
    """The recorded network: every tensor that runs, under the official names."""
    height, width = facts["image"]
    network = TwoStreamViT(
        tokens=(height // 16) * (width // 16),
        width=facts["embed_dim"],
        depth=facts["depth"],
        drop_path=facts["DROP_PATH"],
        bn_groups=facts["replicas"],
    )
    state = network.state_dict()
    for name in (*vectors["param_names"], *vectors["buffer_names"]):
        ours = our_name(str(name))
        value = golden_set.fill_b().vit_param(str(name), state[ours].shape, golden_set.salt_b())
        state[ours] = torch.from_numpy(value)
    network.load_state_dict(state)
    return network.double().train()


def stage_of(vectors, facts):
    make = {1: sdcl.Collaborative, 2: sdcl.Agreed}[facts["phase"]]
    options = parse("sysu", ["--method", "sdcl"])
    stage = make(options.at(make.name), None, SimpleNamespace(device=torch.device("cpu")))
    a = stage.args
    assert (a.temp, a.momentum) == (facts["temp"], facts["cluster_momentum"])
    assert a.instance_momentum == facts["instance_momentum"]
    assert (a.homogeneous_from, a.heterogeneous_from) == (facts["hm"], facts["ht"])
    assert options.at("agreed").first_epoch == facts["cmlabel"]
    stage.encoder = stage.add("encoder", filled_vit(vectors, facts))
    parameters = [p for p in stage.encoder.parameters() if p.requires_grad]
    stage.optimise("encoder", optimiser_of(facts["optimiser"], parameters, a.lr), step_decay(1000))
    return stage


def memories_of(stage, vectors, facts):
    """Cluster and instance memories of the stage, by the names of the recording."""
    salt, rule, d = golden_set.salt_b(), golden_set.fill_b(), facts["embed_dim"]
    named = {}

    def clusters(depth, name, count):
        rows = torch.from_numpy(rule.centroid_rows(f"{depth}_{name}", count, d, salt)).double()
        named[name + DEPTHS[depth]] = made = ClusterMemory(rows, 0.05, facts["cluster_momentum"])
        return made

    def instances(depth, name):
        rows = rule.family_vectors(
            f"inst_{depth}", f"inst/{depth}/{name}", vectors[f"inst_class_{name}"], d, salt, 0.25
        )
        memory = InstanceMemory(F.normalize(torch.from_numpy(rows).double()), facts["temp"])
        named[f"inst_{name}{DEPTHS[depth]}"] = memory
        return memory

    if facts["phase"] == 2:
        shared = [clusters(depth, "shared", facts["C_ir"]) for depth in DEPTHS]
        stage.clusters = dict.fromkeys(MODALITIES.values(), shared)
    else:
        stage.clusters = {
            ours: [clusters(depth, name, facts[f"C_{name}"]) for depth in DEPTHS]
            for name, ours in MODALITIES.items()
        }
    stage.instances = {
        ours: [instances(depth, name) for depth in DEPTHS] for name, ours in MODALITIES.items()
    }
    return named


def batch_of(vectors, i, facts):
    streams = {}
    for name, views in (("rgb", ("rgb", "rgb_ca")), ("ir", ("ir",))):
        made = stream(views, i, vectors[f"class_{name}"][i], facts)
        made.labels = torch.from_numpy(np.tile(vectors[f"y_{name}"][i], len(views)))
        made.rows = torch.from_numpy(vectors[f"index_{name}"][i])
        streams[MODALITIES[name]] = made
    return SimpleNamespace(**streams)


def official_losses(terms, facts):
    """The terms as the official trainer prints them, with its inner factors, and the total."""
    outer = {1: (1.0, 0.5), 2: (0.1, 0.1)}[facts["phase"]]  # a, b of docs/methods/sdcl.md
    found = []
    for official in facts["loss_names"][:-1]:
        ours = TERMS[official]
        weight, value = terms.get(ours, (0.0, torch.zeros(())))
        parts = ours.removesuffix("_shallow").split("_in_")
        inner = weight if len(parts) == 1 else weight / outer[parts[0] != parts[1]]
        found.append(inner * value.item())
    return [*found, sum(weight * value.item() for weight, value in terms.values())]


@pytest.mark.parametrize("file", FILES)
def test_sdcl_follows_the_official_trainer(file):
    vectors, facts = recorded(file)
    stage = stage_of(vectors, facts)
    memories = memories_of(stage, vectors, facts)
    for i in range(facts["iters"]):
        steps = resumed_under(
            nullcontext, stage.iteration(batch_of(vectors, i, facts), facts["epoch"])
        )
        name, terms = next(steps)
        take_step(stage.optimisers[name], terms)
        assert next(steps, None) is None
        expected = vectors["losses"][i]
        np.testing.assert_allclose(official_losses(terms, facts), expected, rtol=LOSS, atol=1e-12)
        check_step(stage, vectors, facts, f"it{i}", memories, our_name)
