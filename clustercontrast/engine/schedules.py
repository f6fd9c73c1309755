"""Learning-rate factors as pure functions of the epoch and the iteration; no schedule has state."""

from collections.abc import Callable

Schedule = Callable[[int, int], float]


def step_decay(step_size: int, gamma: float = 0.1) -> Schedule:
    """gamma^(epoch // step_size): the StepLR of the official code, stepped once per epoch."""
    return lambda epoch, iteration: gamma ** (epoch // step_size)  # noqa: ARG005


def warm_steps(warm_epochs: int, milestones: tuple[int, ...], gamma: float = 0.1) -> Schedule:
    """Linear rise over the first epochs, then gamma for every milestone passed (mmm.md 3.3)."""

    def factor(epoch: int, iteration: int) -> float:  # noqa: ARG001
        if epoch < warm_epochs:
            return (epoch + 1) / warm_epochs
        return gamma ** sum(epoch >= milestone for milestone in milestones)

    return factor
