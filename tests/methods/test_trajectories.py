"""Three iterations of the official trainers, recomputed by the stages of this package.

The stages are the real ones, with the flags of their recipes; only what an epoch's refresh would
build – labels, memories, maps – is set from the recorded values, and the engine's ``take_step``
moves the weights.  Everything is float64, on the CPU and on a GPU; in a mismatch look at the
earliest assertion that fails, in causal order: inputs, losses, gradients, parameters, memories.
"""

from contextlib import nullcontext
from types import SimpleNamespace

import golden_set
import numpy as np
import pytest
import torch
from official import (
    assert_alike,
    assert_checksum,
    checksum,
    filled_encoder,
    matrix_convolution,
    own_images,
    tensors,
)

from clustercontrast import methods
from clustercontrast.engine.loop import resumed_under, take_step
from clustercontrast.engine.schedules import step_decay
from clustercontrast.memories.dynamic import DynamicMemory
from clustercontrast.methods import pclhd, pgm
from clustercontrast.models.momentum import MomentumEncoder
from clustercontrast.models.weights import our_name
from clustercontrast.settings.command_line import parse

FILES = golden_set.files("trajectories")
TOLERANCE = 1e-7  # float64 with float32-rounded momentum, manifest
SIDES = {"infrared": "ir", "visible": "rgb", "joint": "all"}  # ours -> official
MEMORY_KINDS = {"sequential": "sequential", "CM": "sequential", "hard": "hard"}


class Recorded:
    """A memory that notes what it is called with."""

    def __init__(self, memory, calls):
        self.memory, self.calls = memory, calls

    def __call__(self, features, labels, *more):
        self.calls.append((features.detach(), labels.cpu()))
        return self.memory(features, labels, *more)


class Trajectory:
    """One recorded file and the stage that recomputes it."""

    def __init__(self, file, device):
        self.file, self.vectors, self.device = file, golden_set.load(file), device
        self.facts = golden_set.entry(file)["parameters"]
        self.fill, self.salt = golden_set.fill(), golden_set.salt()
        self.calls = []
        self.stage = self._stage()

    def _stage(self):
        method = self.file.split("/")[1].split("_")[0].lower()
        make = methods.METHODS[method][0]
        if "ema_decay" in self.facts:
            make = pclhd.Progressive
        elif len(self.vectors["call_names"]) == 3:
            make = pgm.AlternateLearning
        memory = MEMORY_KINDS.get(self.facts["memory_mode"], "hybrid")
        options = parse("sysu", ["--method", method, "--memory", memory])
        run = SimpleNamespace(device=self.device)
        stage = make(options.at(make.name), None, run)
        assert stage.args.momentum == self.facts["memory_momentum"]
        assert stage.args.temp == self.facts["tau"]
        assert stage.args.non_local == (self.facts["non_local"] == "on")
        self._fill_networks(stage)
        self._fill_memories(stage)
        return stage

    def _fill_networks(self, stage):
        groups = self.facts["virtual_replicas"]
        stage.encoder = stage.add(
            "encoder", filled_encoder(stage.args.non_local, bn_groups=groups).train()
        )
        parameters = [p for p in stage.encoder.parameters() if p.requires_grad]
        if self.facts["optimiser"].startswith("SGD"):
            optimiser = torch.optim.SGD(
                parameters, float(self.facts["optimiser"].split()[-1]), fused=True
            )
        else:
            args = stage.args
            optimiser = torch.optim.Adam(
                parameters, args.lr, weight_decay=args.weight_decay, fused=True
            )
        stage.optimise("encoder", optimiser, step_decay(20))
        if "ema_decay" in self.facts:
            assert stage.args.ema_decay == self.facts["ema_decay"]
            momentum = MomentumEncoder(stage.encoder, stage.args.ema_decay).train()
            stage.momentum_encoder = stage.add("momentum_encoder", momentum)

    def _fill_memories(self, stage):
        clusters = self.facts["clusters"]
        for name, modality in SIDES.items():
            if modality in clusters:
                rows = self._initial_rows(modality)
                memory = stage.build_memory(rows, rows)
                memory.bank.rows = torch.cat([rows, rows]) if len(memory.rows) > len(rows) else rows
                setattr(stage, f"{name}_memory", Recorded(memory, self.calls))
            if "ema_decay" in self.facts and modality != "all":
                draws = self.facts["num_instances_of_instance_memory"]
                rows = self._rows(f"traj/inst_{modality}", draws * clusters[modality])
                dynamic = DynamicMemory(rows, clusters[modality], stage.args.temp)
                dynamic.rows = rows
                setattr(stage, f"{name}_dynamic", Recorded(dynamic, self.calls))
        if isinstance(self.facts.get("r2i"), list) and self.facts["r2i"]:
            stage.maps = torch.tensor(self.facts["r2i"]), torch.tensor(self.facts["i2r"])

    def _initial_rows(self, modality):
        if f"init/memory_{modality}" in self.vectors:
            rows = torch.from_numpy(self.vectors[f"init/memory_{modality}"])
            return rows.double().to(self.device)
        return self._rows(f"traj/mem_{modality}", self.facts["clusters"][modality])

    def _rows(self, tag, count):
        rows = torch.from_numpy(self.fill.unit_rows(tag, count, 2048, self.salt))
        return rows.double().to(self.device)

    def batch(self, iteration):
        streams = {"visible": ("rgb", "rgb_ca"), "infrared": ("ir",)}
        if "all_rgb" in self.facts["ids_per_iteration"]:
            streams |= {"joint_visible": ("all_rgb", "all_rgb_ca"), "joint_infrared": ("all_ir",)}
            self.stage.labels = dict.fromkeys(streams)
        return SimpleNamespace(**{n: self._stream(iteration, v) for n, v in streams.items()})

    def _stream(self, iteration, views):
        ids = self.facts["ids_per_iteration"][views[0]][iteration]
        labels = np.repeat(ids, self.facts["instances_per_id"])
        images = [self.fill.id_images(view, iteration, labels, 64, 32, self.salt) for view in views]
        return SimpleNamespace(
            images=own_images(images).to(self.device),
            labels=torch.from_numpy(np.tile(labels, len(views))),
        )


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request, monkeypatch):
    """Where a trajectory is recomputed; a GPU's own convolutions are fast, and on trial."""
    if request.param == "cpu":
        monkeypatch.setattr(torch.nn.Conv2d, "forward", matrix_convolution)
    return torch.device(request.param)


def test_the_exchanged_kernel_is_a_convolution(monkeypatch):
    monkeypatch.setattr(torch.nn.Conv2d, "forward", matrix_convolution)
    layer = torch.nn.Conv2d(3, 5, 3, stride=2, padding=1).double()
    x = torch.randn(2, 3, 9, 6).double().requires_grad_()
    expected = torch.nn.functional.conv2d(x, layer.weight, layer.bias, 2, 1)
    torch.testing.assert_close(layer(x), expected)
    inputs = x, *layer.parameters()
    for ours, theirs in zip(
        *(torch.autograd.grad(f.square().sum(), inputs) for f in (layer(x), expected)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_stage_follows_the_official_trainer(file, device):
    trajectory = Trajectory(file, device)
    stage, vectors = trajectory.stage, trajectory.vectors
    for i in range(trajectory.facts["iterations"]):
        trajectory.calls.clear()
        losses, totals, gradients = [], [], []
        steps = stage.iteration(trajectory.batch(i), trajectory.facts["epoch"])
        for name, terms in resumed_under(nullcontext, steps):
            take_step(stage.optimisers[name], terms)
            losses += [term.item() for _, term in terms.values()]
            totals.append(sum(weight * term.item() for weight, term in terms.values()))
            parameters = dict(stage.encoder.named_parameters())
            names = map(our_name, vectors["param_names"])
            gradients.append([checksum(parameters[name].grad) for name in names])
        check_calls(trajectory, i, losses)
        assert totals[0] == pytest.approx(vectors["total_loss"][i], rel=TOLERANCE, abs=TOLERANCE)
        for step, recorded in enumerate(vectors["grad_checksum"][i]):
            for name, got, expected in zip(
                vectors["param_names"], gradients[step], recorded, strict=True
            ):
                assert_alike(got, expected, TOLERANCE, f"gradient {i}.{step} {name}")
        check_networks(trajectory, i)
        check_memories(trajectory, i)


def check_calls(trajectory, i, losses):
    vectors = trajectory.vectors
    np.testing.assert_allclose(losses, vectors["call_loss"][i], rtol=TOLERANCE, atol=TOLERANCE)
    for number, (features, labels) in enumerate(trajectory.calls):
        recorded = vectors["call_targets"][i][number]
        np.testing.assert_array_equal(labels, recorded[recorded >= 0])
        expected = vectors["call_input_checksum"][i][number]
        assert_checksum(features, expected, TOLERANCE, f"input of call {i}.{number}")


def check_networks(trajectory, i):
    vectors, stage = trajectory.vectors, trajectory.stage
    networks = {"": stage.encoder}
    if "after/ema_params" in vectors:
        networks["ema_"] = stage.momentum_encoder.network
    for prefix, network in networks.items():
        ours = tensors(network)
        for kind, names in (("params", "param_names"), ("buffers", "buffer_names")):
            recorded = vectors[f"after/{prefix}{kind}"][i]
            for name, expected in zip(vectors[names], recorded, strict=True):
                what = f"{prefix}{kind} after iteration {i}: {name}"
                assert_checksum(ours[our_name(name)], expected, TOLERANCE, what)


def check_memories(trajectory, i):
    vectors, stage, fill = trajectory.vectors, trajectory.stage, trajectory.fill
    probe = fill.probe("memory", (2048,))
    for kind, attribute in (("memory", "memory"), ("instances", "dynamic")):
        for side, modality in SIDES.items():
            name = f"after/{kind}_{modality}"
            if name not in vectors:
                continue
            rows = getattr(stage, f"{side}_{attribute}").memory.rows.cpu().numpy()
            got = np.column_stack([rows[:, :16], np.linalg.norm(rows, axis=1), rows @ probe])
            np.testing.assert_allclose(got, vectors[name][i], rtol=0, atol=TOLERANCE)
