"""A stage says what happens; the engine says when.  A method is an ordered list of stages."""

import contextlib
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from clustercontrast.engine.schedules import Schedule

HANDED_OVER = ("test", "cycle", "last")
"""Values of --start-from that name a model of the run's own earlier stage."""

Terms = dict[str, tuple[float, torch.Tensor]]


class Stage:
    """Base of all stages: four hooks – setup, refresh, iteration, retrieval – and two registries.

    What must outlive an epoch is a module or buffer in ``networks`` or a file in the run's folder;
    everything else is rebuilt by ``refresh``.  Hence a run resumes at any epoch boundary.

    Attributes:
        name: what the stage is for, in one word; its folder in the run.
        retrieval: name of the network that is evaluated and kept as best; None for nothing.
        continues: earlier stage whose optimisers this one goes on with, instead of new ones.
        companions: further networks that are saved with the best model, for a later stage.
        starts_from: network -> "stage.network" of an earlier stage whose weights it takes.
        reads: flags that a stage's files depend on, when runs that agree on them share the files.
        made_from: images that those files are made from, of "source" and "target".
        built_on: earlier stages whose shared files it reads.
        is_divisible: whether several processes can share its work.
        opens: class of the images that it sees; None for the target's alone.
        draws: whether it draws images, which ``sheet`` shows.
        stand_ins: word -> what takes its place in a rehearsal, since it would take minutes.
        forward_flag: images per forward without gradients; the memory plan may lower it.
        labels: pseudo labels of the epoch by image list, saved with the checkpoint; -1 is outlier.
        clustered: rows of an image list that alone were clustered, by name, saved with the labels.
        facts: numbers about the epoch's labels, for the log alone.
        epoch: that is at hand.
    """

    name: str
    epoch: int = 0
    retrieval: str | None = None
    continues: ClassVar[str | None] = None
    companions: ClassVar[tuple[str, ...]] = ()
    starts_from: ClassVar[dict[str, str]] = {}
    reads: ClassVar[tuple[str, ...]] = ()
    made_from: ClassVar[tuple[str, ...]] = ()
    built_on: ClassVar[tuple[str, ...]] = ()
    is_divisible: ClassVar[bool] = False
    opens: ClassVar[type | None] = None
    draws: ClassVar[bool] = False
    stand_ins: ClassVar[Mapping[str, Any]] = {}
    forward_flag: ClassVar[str] = "test_batch"

    def __init__(self, args: Namespace, data: Any, run: Any) -> None:
        self.args, self.data, self.run = args, data, run
        self.networks: dict[str, nn.Module] = {}
        self.optimisers: dict[str, ScheduledOptimiser] = {}
        self.labels: dict[str, Any] = {}
        self.clustered: dict[str, Any] = {}
        self.facts: dict[str, Any] = {}

    def setup(self) -> None:
        """Build networks and optimisers; called once, before weights are handed over or resumed."""
        raise NotImplementedError

    def check_flags(self) -> None:
        """Refuse what the stage cannot do; asked before any stage of a run is trained."""

    def refresh(self, epoch: int) -> Iterator[Iterable]:
        """Make labels and memories, then yield a stream of batches.

        Code before the ``yield`` is the clustering step, code after it runs when training on that
        stream is over.  Never yield inside ``torch.no_grad()``.
        """
        raise NotImplementedError

    def iteration(self, batch: Any, epoch: int) -> Iterator[tuple[str, Terms]]:
        """Yield ``(optimiser, {term: (weight, value)})``; code after a yield follows its step."""
        raise NotImplementedError

    # What the commands ask of a method's last stage.

    @classmethod
    def about(cls, args: Namespace, data: Any) -> dict[str, Any]:  # noqa: ARG003
        """Facts to keep with a run and with each of its models, besides the usual ones."""
        return {}

    @classmethod
    def tested_parts(cls, parts: dict[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG003
        """A dataset's parts as the evaluated network is shown them.

        Args:
            parts: image arrays by part of the dataset.
            about: what the run says of itself.
        """
        return parts

    @classmethod
    def finish(cls, options: Any, data: Any, folder: Path) -> None:
        """Leave what the method reports besides the usual table, when a run has been tested."""

    # What the commands ask of a stage that draws images.

    @classmethod
    def sheet(cls, data: Any, steps: Sequence[int], count: int) -> Any:
        """A picture of the same images, drawn in several numbers of steps.

        Args:
            data: the images of a run whose shared stages are trained.
            steps: of the sampler.
            count: how many images.
        """
        raise NotImplementedError

    def features_at(self, rows: tuple) -> tuple | None:  # noqa: ARG002
        """Features of training images by the retrieval network, if the stage needs them anyway.

        Args:
            rows: (n,) int64 of the visible, and of the infrared training images.

        Returns:
            (n, d), (n, d) as they are clustered; None if they have to be extracted for the purpose.
        """
        return None

    # What the engine asks of every stage.

    @property
    def epochs(self) -> range:
        """Epochs of the stage; its schedule and log count in these numbers."""
        first = self.args.first_epoch
        return range(first, first + self.args.epochs)

    @property
    def iterations(self) -> int:
        """Batches of an epoch: ``--iters``, or, where that is 0, one pass over the images."""
        return self.args.iters or -(-self.images_of_a_pass // self.args.batch_size)

    @property
    def images_of_a_pass(self) -> int:
        """How many images ``--iters 0`` shows, ``--batch-size`` at a time."""
        raise NotImplementedError

    def is_finished(self) -> bool:
        """Whether the run holds all that the stage makes."""
        return self.run.reached(self.name) == self.epochs[-1]

    def add(self, name: str, network: nn.Module) -> nn.Module:
        """Register a network: it is put on the device, trained, saved and resumed.

        Images and weights of convolutions lie channels last, which is faster everywhere.
        """
        self.networks[name] = network.to(self.run.device, memory_format=torch.channels_last)
        if self.args.compile:
            self.run.compile(network)
        return network

    def optimise(self, name: str, optimiser: torch.optim.Optimizer, schedule: Schedule) -> None:
        """Register an optimiser under the name that ``iteration`` yields."""
        self.optimisers[name] = ScheduledOptimiser(optimiser, schedule)

    @contextlib.contextmanager
    def evaluating(self, network: nn.Module) -> Iterator[None]:
        """Eval mode, no gradients and the run's precision, then back to train mode."""
        was_training = network.training
        network.eval()
        try:
            with torch.no_grad(), self.run.autocast():
                yield
        finally:
            network.train(was_training)


class ScheduledOptimiser:
    """An optimiser with base learning rates that are stored once and never read back."""

    def __init__(self, optimiser: torch.optim.Optimizer, schedule: Schedule) -> None:
        self.optimiser, self.schedule = optimiser, schedule
        self.base = [group["lr"] for group in optimiser.param_groups]

    def load(self, state: dict) -> None:
        """Go on from a saved state; steps are computed as this optimiser was built to."""
        groups = [
            saved | {"fused": own["fused"], "foreach": own["foreach"]}
            for saved, own in zip(state["param_groups"], self.optimiser.param_groups, strict=True)
        ]
        self.optimiser.load_state_dict(state | {"param_groups": groups})

    def set_learning_rate(self, epoch: int, iteration: int) -> None:
        """Base learning rate times the schedule's factor."""
        for group, base in zip(self.optimiser.param_groups, self.base, strict=True):
            group["lr"] = base * self.schedule(epoch, iteration)

    def learning_rates(self) -> list[float]:
        """Of the parameter groups, as the last step used them."""
        return [group["lr"] for group in self.optimiser.param_groups]

    def gradient_norm(self) -> torch.Tensor:
        """Euclidean norm of all gradients that the last step left, on their device."""
        norms = [gradient.norm() for gradient in self.gradients()]
        first = self.optimiser.param_groups[0]["params"][0]
        return torch.stack(norms).norm() if norms else first.new_zeros(())

    def gradients(self) -> list[torch.Tensor]:
        """Of all parameters that the last backward pass has reached."""
        parameters = (p for group in self.optimiser.param_groups for p in group["params"])
        return [p.grad for p in parameters if p.grad is not None]
