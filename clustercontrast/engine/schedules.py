"""Learning-rate factors as pure functions of the epoch and the iteration; no schedule has state."""

from collections.abc import Callable

Schedule = Callable[[int, int], float]


def step_decay(step_size: int, gamma: float = 0.1) -> Schedule:
    """gamma^(epoch // step_size): the StepLR of the official code, stepped once per epoch."""
    return lambda epoch, iteration: gamma ** (epoch // step_size)  # noqa: ARG005
