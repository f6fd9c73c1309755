"""A stage rehearsed: some real steps of it, in seconds, to know what a step takes.

Network, optimiser, batches, memories, losses and the loop are the real ones; what an epoch begins
with – features of all images, clusters, matching – is planted (:mod:`.stand_ins`).  Nothing is left
behind: weights, and what the stage writes, are thrown away.
"""

import itertools
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from clustercontrast.engine import loop
from clustercontrast.engine.memory import PeakMemory, synchronise
from clustercontrast.engine.run import Run
from clustercontrast.engine.stage import Stage


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsed stage took.

    Attributes:
        stage: its name.
        images: of a step, every view counted; 0 where nothing is trained.
        seconds: of every step that was measured.
        forward: images of a forward without gradients, such as of feature extraction; 0 for none.
        forward_seconds: that an epoch spends on such forwards.
        iterations: of an epoch.
        epochs: of the stage.
        peaks: phase -> bytes that lay on the device at most: "labels" (memories are made),
            "forward" (without gradients), "steps" (forward and backward) and "optimiser"; none on
            a CPU.
        static: bytes that lie on the device between two steps: weights, gradients, optimiser,
            memories.
        state_bytes: of a checkpoint of the stage.
        model_bytes: of a saved model; 0 where none is kept.
        file_bytes: of what else the stage writes, such as fakes.
        cpu_seconds: of every measured step, that the process worked, all threads together.
    """

    stage: str
    images: int
    seconds: tuple[float, ...]
    forward: int
    forward_seconds: float
    iterations: int
    epochs: int
    peaks: dict[str, int] = field(default_factory=dict)
    static: int = 0
    state_bytes: int = 0
    model_bytes: int = 0
    file_bytes: int = 0
    cpu_seconds: tuple[float, ...] = ()

    @property
    def step_seconds(self) -> float:
        """Median of a step's seconds; 0 where nothing is trained."""
        return median(self.seconds) if self.seconds else 0.0

    @property
    def epoch_seconds(self) -> float:
        """Of an epoch's steps and forwards; clustering, evaluation and saving come on top."""
        return self.iterations * self.step_seconds + self.forward_seconds

    @property
    def peak(self) -> int:
        """Bytes that lay on the device at most; 0 on a CPU."""
        return max(self.peaks.values(), default=0)


def rehearse(
    make: type[Stage],
    args: Namespace,
    data: Any,
    device: torch.device,
    steps: int = 2,
    warm_up: int = 1,
) -> Rehearsal:
    """Take some steps of a stage's last epoch, in which all its losses are at work.

    Args:
        make: the stage.
        args: its flags, which may name weights to start from.
        data: the images; fakes that are not there yet are stood in for by their originals.
        device: where to do it.
        steps: that are measured.
        warm_up: steps, and forwards, before those that are measured.

    Returns:
        Seconds and bytes.

    Raises:
        UserError: the flags do not go together, or weights do not fit.
        torch.OutOfMemoryError: the device's memory does not suffice.
    """
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        run = RehearsedRun(Path(folder), device, args.precision, steps, warm_up, args.deterministic)
        stage = rehearsed(make)(args, data, run)
        stage.setup()
        for own in stage.optimisers.values():
            own.optimiser.register_step_pre_hook(lambda *_: run.memory.lap("steps"))
            own.optimiser.register_step_post_hook(lambda *_: run.memory.lap("optimiser"))
        epoch = stage.epochs[-1]
        for batches in itertools.islice(stage.refresh(epoch), 1):
            run.memory.lap("labels")
            loop.train_on(batches, stage, run, epoch)
        return run.rehearsal(stage)


def rehearsed(make: type[Stage]) -> type[Stage]:
    """A stage with its stand-ins in place; its base is the stage itself."""
    return type(make.__name__, (make,), dict(make.stand_ins))


class RehearsedRun(Run):
    """A run that says nothing, ends an epoch after some steps, and looks at clock and memory.

    Args:
        folder: for what the stage writes.
        device: where it happens.
        precision: as of any run.
        steps: that are measured.
        warm_up: steps before those.
        deterministic: as of any run.
    """

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        precision: str,
        steps: int,
        warm_up: int,
        deterministic: bool = False,
    ) -> None:
        super().__init__(folder, device, precision, deterministic=deterministic)
        self.log = _Silence()
        self.steps, self.warm_up = steps, warm_up
        self.memory = PeakMemory(device)
        self.generator.manual_seed(0)
        self.file_bytes = 0
        self._times: list[tuple[float, float]] = []
        self._images = self._forward = 0
        self._forward_seconds = 0.0

    def progress(self, batches: Iterable, stage: Stage, epoch: int) -> Iterator:
        """The first batches."""
        self._since = _now()
        yield from itertools.islice(batches, self.warm_up + self.steps)

    def tick(self, stage: Stage, epoch: int, iteration: int, images: int) -> None:
        """Note what the step took."""
        synchronise(self.device)
        self.memory.lap("steps")
        if iteration < self.warm_up:  # algorithms of convolutions are tried out, in much memory
            self.memory.skip("steps", "optimiser")
        now = _now()
        self._times.append((now[0] - self._since[0], now[1] - self._since[1]))
        self._images, self._since = images, now

    def measure_forward(self, forward: Callable[[], Any], images: int, of: float) -> None:
        """Note what a forward without gradients takes.

        Args:
            forward: does it.
            images: that it shows.
            of: so many images an epoch shows in such forwards.
        """
        self.memory.lap("labels")
        for _ in range(self.warm_up + 1):
            self.memory.skip()
            started = time.perf_counter()
            forward()
            synchronise(self.device)
        self._forward_seconds += (time.perf_counter() - started) * of / images
        self._forward = images
        self.memory.lap("forward")

    def rehearsal(self, stage: Stage) -> Rehearsal:
        """What was noted."""
        kept = (*stage.companions, stage.retrieval) if stage.retrieval else ()
        measured = self._times[self.warm_up :] or self._times[-1:]
        seconds, cpu_seconds = zip(*measured, strict=True) if measured else ((), ())
        return Rehearsal(
            stage=stage.name,
            images=self._images,
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            forward=self._forward,
            forward_seconds=self._forward_seconds,
            iterations=stage.iterations if self._images else 0,
            epochs=len(stage.epochs),
            peaks=self.memory.peaks,
            static=self.memory.held,
            state_bytes=sum(map(_bytes_of, (*stage.networks.values(), *_states(stage)))),
            model_bytes=sum(_bytes_of(stage.networks[name]) for name in kept),
            file_bytes=self.file_bytes,
        )


def _now() -> tuple[float, float]:
    """Seconds on the clock, and those that the process has worked."""
    return time.perf_counter(), time.process_time()


class _Silence:
    """A log that nobody reads."""

    def say(self, line: str, console: bool = True) -> None:
        """Nothing."""

    def event(self, **content: Any) -> None:
        """Nothing."""


def _states(stage: Stage) -> Iterator[dict]:
    for own in stage.optimisers.values():
        yield from own.optimiser.state.values()


def _bytes_of(owner: nn.Module | dict) -> int:
    """Of the tensors of a network, or of what an optimiser knows of a parameter."""
    values = (owner if isinstance(owner, dict) else owner.state_dict()).values()
    return sum(value.nbytes for value in values if isinstance(value, torch.Tensor))
