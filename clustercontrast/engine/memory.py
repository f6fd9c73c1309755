"""Device memory: what is free, what was in use at most, and what a larger batch would take."""

import resource
import sys
from typing import NamedTuple

import torch


class PeakMemory:
    """The most bytes that lay on a device, phase by phase, beyond those that lay there before.

    A CPU has no account of its tensors: there is no phase on it.

    Args:
        device: where they lie.

    Attributes:
        peaks: phase -> bytes.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.peaks = device, {}
        self._before = self._now()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def lap(self, phase: str) -> None:
        """End a phase, which began where the one before ended; it may come again."""
        if self.device.type != "cuda":
            return
        peak = torch.cuda.max_memory_allocated(self.device) - self._before
        self.peaks[phase] = max(self.peaks.get(phase, 0), peak)
        torch.cuda.reset_peak_memory_stats(self.device)

    @property
    def held(self) -> int:
        """Bytes that lie there now; 0 on a CPU."""
        return self._now() - self._before

    def _now(self) -> int:
        return torch.cuda.memory_allocated(self.device) if self.device.type == "cuda" else 0


class Line(NamedTuple):
    """Bytes as a straight line over a number of images."""

    fixed: float
    each: float

    @classmethod
    def through(cls, *points: tuple[int, int]) -> "Line":
        """The line through two points (images, bytes) of different images, or a level one."""
        (few, low), (many, high) = points[0], points[-1]
        each = max(0.0, (high - low) / (many - few)) if many > few else 0.0
        return cls(high - each * many, each)

    def at(self, images: int) -> float:
        """Bytes with so many images."""
        return self.fixed + self.each * images


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU that new tensors may take: what torch keeps for itself is given back first."""
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(device)[0]


def process_peak() -> int:
    """The most bytes of memory that this process has had so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def synchronise(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
