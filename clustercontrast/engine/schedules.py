"""Learning-rate factors as pure functions of the epoch and the iteration; no schedule has state."""

import math
from collections.abc import Callable

Schedule = Callable[[int, int], float]


def step_decay(step_size: int, gamma: float = 0.1) -> Schedule:
    """gamma^(epoch // step_size): the StepLR of the official code, stepped once per epoch."""
    return lambda epoch, iteration: gamma ** (epoch // step_size)  # noqa: ARG005


def warm_steps(warm_epochs: int, milestones: tuple[int, ...], gamma: float = 0.1) -> Schedule:
    """Linear rise over the first epochs, then gamma for every milestone passed (MMM)."""

    def factor(epoch: int, iteration: int) -> float:  # noqa: ARG001
        if epoch < warm_epochs:
            return (epoch + 1) / warm_epochs
        return gamma ** sum(epoch >= milestone for milestone in milestones)

    return factor


def constant() -> Schedule:
    """1 throughout."""
    return lambda epoch, iteration: 1.0  # noqa: ARG005


def warm_flat_cosine(
    iters: int, warmup: int, first: float, flat_until: int, total: int, last: float
) -> Schedule:
    """Linear rise, plateau, cosine fall, again every ``total`` steps (CMAM-UDA).

    Args:
        iters: steps of an epoch.
        warmup: steps of the rise from ``first`` to 1; 0: none.
        first: factor of step 0.
        flat_until: step at which the fall begins, ``warmup`` or later.
        total: step at which the fall would reach ``last``; it is step 0 of the next round.
        last: factor at the end of the fall.
    """

    def factor(epoch: int, iteration: int) -> float:
        step = (epoch * iters + iteration) % total
        if step < warmup:
            return first + (1 - first) * step / warmup
        if step < flat_until:
            return 1.0
        fallen = (step - flat_until) / (total - flat_until)
        return last + (1 - last) * (1 + math.cos(math.pi * fallen)) / 2

    return factor
