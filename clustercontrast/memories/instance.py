"""A memory with a row per image (SDCL)."""

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from clustercontrast.losses.placing import beside
from clustercontrast.memories.rows import Momentum, full_precision, sequential_update, wide


class InstanceMemory:
    """One row per image of a modality, outliers included: SDCL's instance memory.

    Rows move between the forward and the backward pass, by ``update``; gradients are formed with
    the rows as they stand in backward, as upstream (SDCL-2), or as they stood in forward.

    Args:
        features: (N, d), stored as unit rows.
        temperature: τ.
        momentum: weight of the old row.
        raw: blend a unit row with a feature that is not normalised, as upstream: with neck outputs
            of norm 28 the feature outweighs the row (SDCL-1).
        gradient: "upstream" or "clean", see :mod:`clustercontrast.memories.rows`.
    """

    def __init__(
        self,
        features: torch.Tensor,
        temperature: float = 0.05,
        momentum: float = 0.9,
        raw: bool = True,
        gradient: str = "upstream",
    ) -> None:
        self.rows = F.normalize(features)
        self.temperature, self.raw, self.gradient = temperature, raw, gradient
        self.momentum = Momentum(momentum, is_tensor=False)

    def similarity(self, features: torch.Tensor) -> torch.Tensor:
        """Similarities z Mᵀ / τ of features (B, d), not normalised, with every row: (B, N)."""
        with full_precision(features):
            unit = F.normalize(wide(features))
            return _InstanceSimilarity.apply(unit, self) / self.temperature

    def rows_of(self, indices: torch.Tensor) -> torch.Tensor:
        """Rows (B, d) of images (B,) int64, on the CPU or where the rows are."""
        return self.rows[beside(indices, self.rows)]

    @torch.no_grad()
    def update(self, features: torch.Tensor, indices: torch.Tensor) -> None:
        """M_i <- norm(μ M_i + (1 - μ) f) for every feature (B, d) in batch order, i its image.

        ``indices`` (B,) int64 are read on the CPU; on a device they are waited for.
        """
        f = wide(features) if self.raw else F.normalize(wide(features))
        self.rows = sequential_update(self.rows, f, indices, self.momentum, not self.raw)


class _InstanceSimilarity(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries, memory):
        ctx.memory, ctx.rows = memory, memory.rows if memory.gradient == "clean" else None
        return queries @ memory.rows.T

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return gradient @ (ctx.memory.rows if ctx.rows is None else ctx.rows), None
