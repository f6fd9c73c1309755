"""The only training loop of the repository."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch

from clustercontrast.engine.stage import ScheduledOptimiser, Stage, Terms
from clustercontrast.processes import ranks


def train(stage: Stage, run: Any) -> None:
    """Cluster, train, evaluate and save, epoch by epoch.

    An epoch is one call of ``refresh`` (in most stages one re-clustering), then ``iters``
    iterations per stream of batches that it yields.
    """
    for epoch in run.remaining(stage):
        run.open_epoch(stage, epoch)
        for batches in stage.refresh(epoch):
            assert torch.is_grad_enabled(), "a stage yielded inside no_grad"
            train_on(batches, stage, run, epoch)
        share_networks(stage)  # a stage may have moved statistics after its last stream
        run.close_epoch(stage, epoch)


def train_on(batches: Any, stage: Stage, run: Any, epoch: int) -> None:
    """One pass over a stream of batches."""
    for network in stage.networks.values():
        network.train()
    started = time.perf_counter()
    with run.tensor_cores():
        for iteration, batch in enumerate(run.progress(batches, stage, epoch)):
            for optimiser in stage.optimisers.values():
                optimiser.set_learning_rate(epoch, iteration)
            steps = stage.iteration(batch.to(run.device), epoch)
            for name, terms in resumed_under(run.autocast, steps):
                take_step(stage.optimisers[name], terms)
                run.meter(terms)
            run.tick(stage, epoch, iteration, batch.number_of_images)
    share_networks(stage)
    run.add_seconds("steps", time.perf_counter() - started)


def share_networks(stage: Stage) -> None:
    """Let every process have the networks of the first.

    It alone has moved running statistics, which what comes after training reads; a stage that reads
    some while it trains shares them itself.  Weights are equal already, as far as the machines
    round alike.
    """
    networks = stage.networks.values()
    ranks.equalise(own for network in networks for own in network.state_dict().values())


def take_step(optimiser: ScheduledOptimiser, terms: Terms) -> None:
    """Sum the weighted terms, differentiate, average the gradients of all processes, step."""
    optimiser.optimiser.zero_grad(set_to_none=True)
    total = sum(weight * term for weight, term in terms.values())
    total.backward()
    ranks.average(optimiser.gradients())
    optimiser.optimiser.step()


def resumed_under(
    context: Callable[[], AbstractContextManager], generator: Iterator[tuple[str, Terms]]
) -> Iterator[tuple[str, Terms]]:
    """Advance ``generator`` with its body, but not the caller's, inside ``context()``."""
    while True:
        with context():
            item = next(generator, None)
        if item is None:
            return
        assert torch.is_grad_enabled(), "a stage yielded inside no_grad"
        yield item
