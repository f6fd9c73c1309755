"""CMAM-UDA's stages on images of a few numbers: patterns of people, and their fakes."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from clustercontrast.data.images import ImageArray
from clustercontrast.data.samples import ImageList
from clustercontrast.data.source_labels import FILE, save_labels
from clustercontrast.engine.run import Run
from clustercontrast.generation.fake_infrared import FakeSet
from clustercontrast.settings.command_line import parse

PEOPLE, SHOTS, SIZE, SMALL = 6, 6, (32, 16), (16, 8)
FLAGS = [
    *("--height", "32", "--width", "16", "--fake-height", "16", "--fake-width", "8"),
    *("--depth", "10", "--pretrained", "random", "--precision", "fp32", "--device", "cpu"),
    *("--epochs", "2", "--iters", "2", "--phase-one", "1", "--batch-size", "8"),
    *("--num-instances", "2", "--warm-iterations", "1", "--flat-iterations", "2"),
    *("--clusters", "6", "--test-batch", "16", "--jitter-probability", "0.5"),
    *("--unet-width", "16", "--unet-multipliers", "1", "2", "--attention-at", "4"),
    *("--sampling-steps", "3", "--held-out", "0.1"),
]


def options(*flags: str):
    """The values of a command line on top of the tiny ones."""
    return parse("sysu", ["--method", "cmam", *FLAGS, *flags])


def patterns(modality: str, seed: int, size: tuple[int, int] = SIZE) -> ImageArray:
    """Noisy shots of every person; infrared ones are gray and inverted."""
    rng = np.random.default_rng(seed)
    people = np.random.default_rng(0).integers(40, 216, (PEOPLE, *size, 3))
    if modality == "infrared":
        people = 255 - people.mean(-1, keepdims=True).repeat(3, -1)
    pixels = people.repeat(SHOTS, 0) + rng.normal(0, 15, (PEOPLE * SHOTS, *size, 3))
    identities = np.arange(PEOPLE).repeat(SHOTS)
    paths = tuple(f"{modality}{seed}/{i:03d}.png" for i in range(len(identities)))
    images = ImageList(modality, paths, identities, np.ones_like(identities))
    return ImageArray(images, pixels.clip(0, 255).astype(np.uint8))


def world(folder: Path) -> SimpleNamespace:
    """What the stages see: source and target, small and large, labels and fakes in their places."""
    places = {name: folder / name for name in ("auxiliary", "diffusion", "generation")}
    data = SimpleNamespace(
        options=options(),
        source=patterns("visible", 1),
        visible=patterns("visible", 2),
        infrared=patterns("infrared", 3),
        small={
            "source": patterns("visible", 1, SMALL),
            "train_visible": patterns("visible", 2, SMALL),
            "train_infrared": patterns("infrared", 3, SMALL),
        },
        places=places,
        placed=dict,
    )
    labels = data.source.index.identities.copy()
    labels[::SHOTS] = -1  # somebody's first image has no cluster
    save_labels(places["auxiliary"] / "auxiliary" / FILE, data.source.index, labels, {})
    for name, images in (("source", data.source), ("train_visible", data.visible)):
        fakes = FakeSet.opened(places["generation"], name, images.index, (*SMALL, 1), {})
        gray = 255 - images.pixels.mean(-1, keepdims=True)
        fakes.write(np.arange(len(images)), gray[:, ::2, ::2].astype(np.uint8))
    return data


def make_stage(make, folder: Path, *flags: str, data=None, device: str = "cpu"):
    """A stage, set up on the tiny world but not trained."""
    data = data or world(folder)
    run = Run(folder / "run", torch.device(device))

    def placed(arrays):
        for images in arrays.values():
            images.place(run.device)
        return arrays

    data.placed = placed
    placed(data.small | {name: getattr(data, name) for name in ("source", "visible", "infrared")})
    run.generator.manual_seed(5)
    torch.manual_seed(5)
    stage = make(options("--start-from", "pretrained", *flags).at(make.name), data, run)
    stage.setup()
    return stage


def first_batch(stage, epoch: int = 0):
    """A batch of an epoch whose labels are made; networks in train mode."""
    batch = next(iter(next(stage.refresh(epoch))))
    for network in stage.networks.values():
        network.train()
    return batch
