"""The adapter that turns an edge map into condition maps of a denoiser."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

BLOCKS = 2  # per stage


class EdgeAdapter(nn.Module):
    """T2I-Adapter's full layout at the size of the pixels: one map per level of the denoiser.

    It does not see the noise level, so one evaluation per image serves all steps of a solver.

    Args:
        widths: channels of the maps, that is, of the denoiser's levels.
        channels: of the edge map.
    """

    def __init__(self, widths: Sequence[int], channels: int = 1) -> None:
        super().__init__()
        self.input = nn.Conv2d(channels, widths[0], 3, padding=1)
        before = [None, *widths[:-1]]
        self.stages = nn.ModuleList(_stage(n, m) for n, m in zip(before, widths, strict=True))

    def forward(self, edges: torch.Tensor) -> list[torch.Tensor]:
        """(B, channels, H, W) in [0, 1] to the maps; level l is (B, widths[l], H/2^l, W/2^l)."""
        x, maps = self.input(edges), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class _Residual(nn.Module):
    """x + conv1×1(ReLU(conv3×3(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(F.relu(self.first(x)))


def _stage(width_before: int | None, width: int) -> nn.Sequential:
    """Two residual blocks; all stages but the first halve the size before."""
    entry = [] if width_before is None else [nn.AvgPool2d(2), nn.Conv2d(width_before, width, 1)]
    return nn.Sequential(*entry, *(_Residual(width) for _ in range(BLOCKS)))
