"""Stage 1b of CMAM-UDA: a fake infrared image for every visible one.

Every set of fakes is one memory-mapped array with a mark per finished row: whatever is missing of
what is wanted gets made, by one process or by several.
"""

import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn
from tqdm import tqdm

from clustercontrast.data.images import ImageArray
from clustercontrast.engine import checkpoint
from clustercontrast.engine.pipeline import last_epoch
from clustercontrast.engine.precision import autocast
from clustercontrast.engine.sharing import process_of
from clustercontrast.engine.stage import Stage, Terms
from clustercontrast.files import UserError
from clustercontrast.generation import panels
from clustercontrast.generation.fake_infrared import FakeSet, fill, noise_of
from clustercontrast.methods.cmam import readings
from clustercontrast.methods.cmam.auxiliary_labels import FILE as LABELS
from clustercontrast.methods.cmam.auxiliary_labels import load_labels
from clustercontrast.methods.cmam.diffusion import (
    Diffusion,
    build_generator,
    draw_images,
    edges_of,
    preview,
    some_of,
)
from clustercontrast.methods.cmam.images import TransferImages
from clustercontrast.methods.cmam.mutual import is_tested_on_fakes
from clustercontrast.methods.cmam.stand_ins import DRAWING
from clustercontrast.models.momentum import MomentumEncoder
from clustercontrast.processes import ranks

SHOWN = 16
"""Images on the picture of a set."""


def trained_generator(args: Namespace, data: TransferImages) -> nn.Module:
    """What the stage before has left, at its end: fakes of half a training would stay.

    Raises:
        UserError: it is not trained to its end.
    """
    place = data.places[Diffusion.name] / Diffusion.name
    state, end = ranks.first(lambda: checkpoint.last(place)), last_epoch(Diffusion, data.options)
    if state is None or state["epoch"] != end:
        found = "no generator" if state is None else f"epoch {state['epoch']} of {end}"
        raise UserError(f"{place} holds {found}: run --stages diffusion to its end first")
    network = MomentumEncoder(build_generator(args), decay=0.0)
    network.load_state_dict(state["networks"]["average"])
    return network.network.eval()


class Wanted(NamedTuple):
    """A set of fakes, what it is made from, and the rows that later stages will read."""

    fakes: FakeSet
    images: ImageArray
    rows: np.ndarray


class Generation(Stage):
    """Make what is missing of the fakes of the source and of the target."""

    name, retrieval, is_divisible, opens = "generation", None, True, TransferImages
    draws, forward_flag, stand_ins = True, "batch_size", DRAWING
    made_from, built_on = ("source", "target"), (Diffusion.name,)
    reads = (
        "sampling_steps",
        "solver",
        "sigma_min",
        "sigma_max",
        "rho",
        "noise_seed",
        "edge_norm",
        "edge_threshold",
        "precision",
    )

    @property
    def epochs(self) -> range:
        """One further epoch whenever something is missing."""
        reached = self.run.reached(self.name)
        first = 0 if reached is None else reached + 1
        return range(first, first + 1)

    def is_finished(self) -> bool:
        """Whether every wanted row is there, the pictures to check them by eye, and the commit."""
        reached = self.run.reached(self.name)  # asked by all processes alike
        is_committed = not self.is_first or reached is not None
        return ranks.first(self._is_complete) and is_committed

    def _is_complete(self) -> bool:
        """Whether every wanted row and every picture is there."""
        return all(
            self._picture(own).exists() and not len(own.fakes.missing(own.rows))
            for own in self.wanted()
        )

    def setup(self) -> None:
        self.run.log.say(readings.said(self.name, self.args))
        self.generator = trained_generator(self.args, self.data).to(self.run.device)

    @classmethod
    def sheet(cls, data: TransferImages, steps: Sequence[int], count: int) -> Image.Image:
        """Fakes of the same images at several numbers of sampling steps (the paper's Fig. 6).

        Every row starts from the noise that the run's own fakes of these images start from.
        """
        args = data.options.at(cls.name)
        name = "source" if "source" in data.small else "train_visible"
        pixels, paths = some_of(data.small[name], count)
        generator = trained_generator(args, data).to(data.device)
        with torch.no_grad(), autocast(data.device, args.precision):
            return preview(
                f"fakes of {name}", generator, pixels.to(data.device), paths, args, steps
            )

    def refresh(self, epoch: int) -> Iterator:
        for own in self.wanted():
            self._make(own)
            if self.is_first:
                self._show(own)
        yield from ()  # nothing is trained

    def iteration(self, batch: object, epoch: int) -> Iterator[tuple[str, Terms]]:
        """Nothing is trained."""
        yield from ()

    # --- what there is to do ---

    @property
    def shard(self) -> tuple[int, int]:
        """Number of this process and of all processes, by --shard or as torchrun started them."""
        return process_of(self.args)

    @property
    def is_first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.shard[0] == 0

    def wanted(self) -> list[Wanted]:
        """Every set of fakes that later stages read."""
        return [self._wanted(name) for name in self.names_of_sets()]

    def names_of_sets(self) -> list[str]:
        """Lists of images that later stages read fakes of."""
        names = ["source", "train_visible"]
        names += ["test_visible"] if is_tested_on_fakes(self.args) else []
        return [name for name in names if name in self.data.small]

    def _wanted(self, name: str) -> Wanted:
        a, images = self.args, self.data.small[name]
        fakes = FakeSet.opened(
            self.data.places[self.name],
            name,
            images.index,
            (a.fake_height, a.fake_width, a.fake_channels),
            self._about(),
            self.is_first,
        )
        rows = np.arange(len(images))
        if name == "source" and a.only_clustered:
            labels = self.data.places["auxiliary"] / "auxiliary" / LABELS
            rows = rows[ranks.first(lambda: load_labels(labels, images.index)) >= 0]
        return Wanted(fakes, images, rows)

    def _about(self) -> dict:
        """What the fakes depend on, kept beside them."""
        flags = {name: getattr(self.args, name) for name in self.reads}
        return {"generator": self.data.places[Diffusion.name].name, "flags": flags}

    # --- doing it ---

    def _make(self, own: Wanted) -> None:
        number, count = self.shard
        rows = own.fakes.missing(own.rows[number::count])
        started = time.perf_counter()
        try:
            self._fill(own, rows)
        finally:
            made = len(rows) - len(own.fakes.missing(rows))
            self._note(own.fakes.name, made, time.perf_counter() - started)
        if self.is_first:
            self._await_others(own)

    def _fill(self, own: Wanted, rows: np.ndarray) -> None:
        hidden = ranks.hides_bars()
        bar = tqdm(total=len(rows), desc=f"fakes of {own.fakes.name}", disable=hidden)
        with bar, self.run.timed("generation"), torch.no_grad(), self.run.autocast():
            fill(
                own.fakes,
                rows,
                lambda some: self.draw(own.images, some),
                self.args.batch_size,
                bar.update,
            )

    def _note(self, name: str, images: int, seconds: float) -> None:
        """Log how many images were made in which time, of an interrupted process too."""
        facts = {"images": images, "seconds": round(seconds, 3)}
        self.facts[name] = facts
        self.run.log.event(event="generated", stage=self.name, set=name, **facts)
        each = f", {1000 * seconds / images:.0f} ms each{_peak(self.run.device)}" if images else ""
        self.run.log.say(f"fakes of {name}: {images:,} images made{each}")

    def draw(self, images: ImageArray, rows: np.ndarray, steps: int | None = None) -> torch.Tensor:
        """Fakes (B, c, h, w) of the images at ``rows`` (B,), in ``--sampling-steps`` by default."""
        a, device = self.args, self.run.device
        edges = edges_of(images.gather(torch.from_numpy(rows)).to(device), a)
        paths = [images.index.paths[row] for row in rows]
        noise = noise_of(paths, (a.fake_height, a.fake_width, a.fake_channels), a.noise_seed)
        return draw_images(self.generator, edges, noise.to(device), a, steps)

    def _await_others(self, own: Wanted) -> None:
        """Until the other processes have made their shares."""
        left = len(own.fakes.missing(own.rows))
        with tqdm(total=left, desc="waiting for the other shards", disable=not left or None) as bar:
            while left:
                time.sleep(0.2)
                now = len(own.fakes.missing(own.rows))
                bar.update(left - now)
                left = now

    def _show(self, own: Wanted) -> None:
        """A picture of some images, their edges and fakes, to check by eye."""
        pixels, paths = some_of(own.images, SHOWN, own.rows)
        pixels = pixels.to(self.run.device)
        with torch.no_grad(), self.run.autocast():
            picture = preview(
                f"fakes of {own.fakes.name}", self.generator, pixels, paths, self.args
            )
        panels.save(picture, self._picture(own))

    def _picture(self, own: Wanted) -> Path:
        return own.fakes.folder / f"{own.fakes.name}.png"


def _peak(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    return f", at most {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB"
