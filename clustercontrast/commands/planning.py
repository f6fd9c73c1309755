"""What fits a GPU: where images live, what is recomputed, how many images a forward shows.

Decided for every stage before its first epoch, from the flags, the memory that is free, and what
the stage takes when it is rehearsed at two small batches: memory grows with the images of a batch
along a straight line.  No decision changes a number beyond rounding.
"""

import gc
import math
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from clustercontrast.data.target import TargetImages
from clustercontrast.engine.memory import Line, free_memory
from clustercontrast.engine.stage import Stage
from clustercontrast.files import UserError
from clustercontrast.methods.rehearsal import Rehearsal, rehearse
from clustercontrast.processes import ranks
from clustercontrast.settings.options import Options, all_flags, defaults

GIB = 2**30
MARGIN, MARGIN_SHARE = GIB, 0.08
"""Left free: a fixed part for workspaces, and a share of the estimate for fragmentation."""
SHARES = 8, 4
"""Rehearsed are an eighth and a quarter of a batch."""
FORWARDS = 32, 64
"""Images per forward that are rehearsed."""
FEWEST = 16
"""Images per forward below which nothing is gained."""
BATCHES = "batch_size", "batch_visible"


@dataclass(frozen=True)
class Need:
    """Bytes of device memory that a stage takes, beyond its images.

    Attributes:
        steps: of a training step, over the images of a batch.
        forward: of a forward without gradients, over its images.
        others: of what does not depend on either.
    """

    steps: Line
    forward: Line
    others: float

    @classmethod
    def most(cls, needs: Sequence["Need"]) -> "Need":
        """What is enough for the neediest of several processes, which have to decide alike."""
        lines = {
            name: Line(*(max(own) for own in zip(*(getattr(n, name) for n in needs), strict=True)))
            for name in ("steps", "forward")
        }
        return cls(**lines, others=max(need.others for need in needs))

    @classmethod
    def of(cls, rehearsals: Mapping[int, Rehearsal]) -> "Need":
        """From rehearsals of one stage by the images of their batches, the fewest first."""
        steps = ((images, own.peaks.get("steps", 0)) for images, own in rehearsals.items())
        forward = ((own.forward, own.peaks.get("forward", 0)) for own in rehearsals.values())
        others = (
            own.peaks.get(name, 0)
            for own in rehearsals.values()
            for name in ("labels", "optimiser")
        )
        return cls(Line.through(*steps), Line.through(*forward), max(others))

    def at(self, images: int, forward: int) -> float:
        """The most that it takes with batches of so many images."""
        return max(self.steps.at(images), self.forward.at(forward), self.others)


TOO_MUCH = Need(Line(math.inf, 0), Line(math.inf, 0), math.inf)
"""Of a stage that does not fit at small batches."""


@dataclass(frozen=True)
class Decision:
    """What a stage runs with.

    Attributes:
        recomputed: whether activations are recomputed; None where the method cannot.
        forward: images per forward without gradients.
        peak: bytes that the stage takes, images aside.
        for_images: bytes that images may take.
    """

    recomputed: bool | None
    forward: int
    peak: float
    for_images: float


def with_margin(peak: float) -> float:
    """Bytes that have to be free for a peak."""
    return MARGIN + (1 + MARGIN_SHARE) * peak


def decide(
    needs: Iterator[tuple[bool | None, Need]],
    images: int,
    forwards: Sequence[int],
    free: float,
    kept: Callable[[], float] = lambda: 0.0,
) -> Decision | None:
    """The first way to run a stage that fits.

    Args:
        needs: what it takes without recomputation, then with it; asked for as needed.
        images: of a training step.
        forwards: images per forward that may be chosen, the most wanted first.
        free: bytes of the device.
        kept: bytes of images that have to lie there; known when a need has been measured.

    Returns:
        The decision; None if nothing fits.
    """
    for recomputed, need in needs:
        for forward in forwards:
            peak = need.at(images, forward)
            left = free - with_margin(peak)
            if left >= kept():
                return Decision(recomputed, forward, peak, left)
    return None


class Planner:
    """Decides for the stages of a run.

    Args:
        options: of one model.
        data: its images, which are put where the decision says.
    """

    def __init__(self, options: Options, data: TargetImages) -> None:
        self.options, self.data = options, data

    def __call__(self, make: type[Stage], args: Namespace) -> tuple[Namespace, str | None]:
        """Flags of a stage with what was decided in them, and a line for the log.

        Raises:
            UserError: nothing fits; says what would.
        """
        if self.data.device.type != "cuda":
            return args, None
        self.data.release()
        free = min(ranks.everyones(free_memory(self.data.device)))
        decision = self._decided(make, args, free)
        if decision is None:
            raise UserError(self._refusal(make, args, free))
        budget = {"pinned": 0.0, "map": 0.0}.get(args.images, decision.for_images)
        self.data.settle(budget, pins=args.images != "map")
        chosen = {make.forward_flag: decision.forward}
        if decision.recomputed is not None:
            chosen["checkpoint_groups"] = decision.recomputed
        return changed(args, **chosen), self._said(make, decision, free)

    def _decided(self, make: type[Stage], args: Namespace, free: float) -> Decision | None:
        """What fits with these flags."""
        needs = _Measured(make, args, self.data).needs()
        kept = self._kept if args.images == "device" else lambda: 0.0
        return decide(needs, images_of(args), self.forwards(make, args), free, kept)

    def forwards(self, make: type[Stage], args: Namespace) -> list[int]:
        """Images per forward that the flags allow, the most first."""
        most = getattr(args, make.forward_flag)
        if most != self._usual(make):
            return [most]
        halvings = range(1 + max(0, int(math.log2(max(1, most / FEWEST)))))
        return [most >> n for n in halvings]

    def _usual(self, make: type[Stage]) -> int:
        """Images per forward of a stage while no flag says another number."""
        o, name = self.options, make.forward_flag
        value = defaults(o.recipe, o.dataset, o.variant)[0][name]
        return value[make.name] if isinstance(value, dict) else value

    def _kept(self) -> float:
        """Bytes of images, which ``--images device`` wants on the device."""
        return sum(array.pixels.nbytes for array in self.data.opened)

    def _said(self, make: type[Stage], decision: Decision, free: float) -> str:
        how = {True: ", activations recomputed", False: ", nothing recomputed", None: ""}
        kind = "fakes" if make.draws else "images"
        return (
            f"{make.name}: memory plan: {decision.peak / GIB:.1f} of {free / GIB:.1f} GiB that are "
            f"free{how[decision.recomputed]}, {decision.forward} {kind} per forward, "
            f"{self.data.residence()}"
        )

    def _refusal(self, make: type[Stage], args: Namespace, free: float) -> str:
        """What to say when nothing fits: every remedy that is named has been found to fit."""
        usual, spelled = self._usual(make), all_flags()[make.forward_flag].spelled
        remedies = {
            "leave --no-checkpoint-groups out": {"checkpoint_groups": None},
            f"leave {spelled} out": {make.forward_flag: usual},
            "give --images auto": {"images": "auto"},
            "give --precision bf16": {"precision": "bf16"},
        }
        fitting = [
            words
            for words, values in remedies.items()
            if values.keys() <= vars(args).keys()
            and any(getattr(args, name) not in (value, True) for name, value in values.items())
            and self._decided(make, changed(args, **values), free)
        ]
        fitting.append("take smaller batches (-b, --batch-visible), which are another training")
        least = self._least(make, args)
        wanted = f"{least / GIB:.2f} GiB" if math.isfinite(least) else "far more"
        return (
            f"stage {make.name} does not fit: it needs {wanted} of GPU memory, a margin included, "
            f"and {free / GIB:.2f} GiB are free: {', or '.join(fitting)}, or end other programs on "
            "this GPU"
        )

    def _least(self, make: type[Stage], args: Namespace) -> float:
        """The fewest bytes that have to be free with these flags."""
        forward = self.forwards(make, args)[-1]
        *_, (_, need) = _Measured(make, args, self.data).needs()
        kept = self._kept() if args.images == "device" else 0.0
        return with_margin(need.at(images_of(args), forward)) + kept


class _Measured:
    """What a stage takes, by rehearsals at small batches.

    Args:
        make: the stage.
        args: its flags; it is rehearsed with random weights, and nothing is compiled for it.
        data: the images.
    """

    def __init__(self, make: type[Stage], args: Namespace, data: TargetImages) -> None:
        self.make, self.data = make, data
        plain = {"pretrained": "random", "start_from": "pretrained", "compile": False}
        known = {name: value for name, value in plain.items() if name in args}
        self.args = changed(args, **known)

    def needs(self) -> Iterator[tuple[bool | None, Need]]:
        """Without recomputation, then with it, as far as the flags leave that open."""
        asked = getattr(self.args, "checkpoint_groups", None)
        is_open = asked is None and "checkpoint_groups" in self.args
        for recomputed in (False, True) if is_open else (asked,):
            yield recomputed, self._need(recomputed)

    def _need(self, recomputed: bool | None) -> Need:
        args = self.args if recomputed is None else changed(self.args, checkpoint_groups=recomputed)
        try:
            measured = {
                images_of(small): rehearse(self.make, small, self.data, self.data.device, steps=1)
                for small in small_batches(args, self.make.forward_flag)
            }
        except torch.OutOfMemoryError:
            measured = None
        gc.collect()  # what was rehearsed holds itself in circles
        free_memory(self.data.device)
        own = TOO_MUCH if measured is None else Need.of(measured)
        return Need.most(ranks.everyones(own))


def changed(args: Namespace, **values: Any) -> Namespace:
    """Flags with other values."""
    return Namespace(**vars(args) | values)


def images_of(args: Namespace) -> int:
    """Images of a training step: infrared ones, and two views of visible ones.

    Where a method has one size for all its lists of images, that size, which they grow with.
    """
    return args.batch_size + 2 * getattr(args, "batch_visible", 0)


def small_batches(args: Namespace, forward_flag: str) -> list[Namespace]:
    """Flags with small batches and forwards, the smaller first; the full ones if they are small."""
    shares = getattr(args, "bn_groups", 1), ranks.count()
    unit = math.lcm(getattr(args, "num_instances", 1), *shares)
    found = {}
    for share, forward in zip(SHARES, FORWARDS, strict=True):
        sizes = {
            name: min(size, math.ceil(size / share / unit) * unit)
            for name in BATCHES
            if (size := getattr(args, name, None))
        }
        sizes[forward_flag] = min(forward, getattr(args, forward_flag))
        small = changed(args, **sizes)
        found[images_of(small)] = small
    if len(found) < len(SHARES):
        found[images_of(args)] = changed(args, **{forward_flag: sizes[forward_flag]})
    return list(found.values())
