"""On a GPU: a stage is restored as it was saved, keeps to its memory plan, and draws its fakes."""

import both_devices
import narrow_resnet
import numpy as np
import pytest
import tiny_cmam
import tiny_runs
import torch

from clustercontrast.commands import planning, training
from clustercontrast.engine import checkpoint
from clustercontrast.generation.fake_infrared import quantised
from clustercontrast.methods import METHODS, pclhd, rehearsal
from clustercontrast.methods.cmam.diffusion import build_generator, draw_images, edges_of
from clustercontrast.settings.command_line import parse

pytestmark = pytest.mark.gpu


@pytest.fixture
def make(monkeypatch, tmp_path):
    narrow_resnet.use(monkeypatch)
    flags = "--precision", "fp32", "--depth", "10"

    def made(name):
        stage = tiny_runs.make_stage(
            pclhd.Progressive, "pclhd", tmp_path / name, *flags, device="cuda"
        )
        both_devices.plant(stage)
        return stage

    return made


def test_a_restored_stage_is_the_saved_one_and_goes_on_alike(make, monkeypatch, tmp_path):
    saved, restored = make("saved"), make("restored")
    both_devices.trained(saved, 0, monkeypatch)
    checkpoint.save(tmp_path / "last.pth", checkpoint.capture(saved, 0, saved.run.generator))
    state = checkpoint.load(tmp_path / "last.pth")
    checkpoint.restore(restored, state, restored.run.generator)
    checkpoint.save(tmp_path / "again.pth", checkpoint.capture(restored, 0, restored.run.generator))
    assert tiny_runs.differences(checkpoint.load(tmp_path / "again.pth"), state) == []
    moments = restored.optimisers["encoder"].optimiser.state.values()
    assert all(moment["exp_avg"].is_cuda for moment in moments)
    ends = [both_devices.trained(stage, 1, monkeypatch) for stage in (saved, restored)]
    for got, expected in zip(ends[1], ends[0], strict=True):
        both_devices.assert_alike(got, expected, 1e-2, 1e-2)


def test_fakes_are_those_of_the_cpu():
    """The same noise gives the same image but for a gray level or two."""
    args = tiny_cmam.options().at("generation")
    diffusion = tiny_cmam.options().at("diffusion")
    torch.manual_seed(4)
    network = build_generator(diffusion).eval()
    pixels = torch.from_numpy(tiny_cmam.patterns("visible", 2, tiny_cmam.SMALL).pixels[:6])
    noise = torch.randn(6, diffusion.fake_channels, *tiny_cmam.SMALL)
    settings = type(args)(**vars(diffusion) | vars(args))
    drawn = []
    for device in ("cpu", "cuda"):
        network.to(device)
        with torch.no_grad():
            edges = edges_of(pixels.to(device), settings)
            images = draw_images(network, edges, noise.to(device), settings)
        drawn.append(quantised(images).cpu().numpy().astype(np.int64))
    assert drawn[0].std() > 1
    assert np.abs(drawn[1] - drawn[0]).max() <= 2


@pytest.mark.parametrize("recomputed", ["--checkpoint-groups", "--no-checkpoint-groups"])
def test_a_step_stays_within_its_plan(tmp_path, recomputed):
    sizes = "--depth", "50", "-b", "64", "--batch-visible", "64", "--test-batch", "256"
    words = tiny_runs.arguments("pclhd", tmp_path, *sizes, recomputed, "--device", "cuda")
    options = parse("sysu", words)
    data, make = training.images_of(options, METHODS["pclhd"]), pclhd.Progressive
    args = options.at(make.name)
    args.pretrained, args.start_from = "random", "pretrained"
    need = planning.Need.of(
        {
            planning.images_of(small): rehearsal.rehearse(make, small, data, data.device, steps=1)
            for small in planning.small_batches(args, make.forward_flag)
        }
    )
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    found = rehearsal.rehearse(make, args, data, data.device)
    estimate = need.at(planning.images_of(args), args.test_batch)
    assert 0.7 * found.peak < estimate < 1.5 * found.peak
    assert torch.cuda.max_memory_reserved() - before < planning.with_margin(estimate)
