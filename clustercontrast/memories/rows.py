"""The rows of a memory: how queries are compared with them, how backpropagation rewrites them.

Common to all memories: M holds unit rows, z = f / ‖f‖ is the normalised query, τ the temperature,
μ the momentum, **the weight of the old row**.  Logits are z Mᵀ / τ.  No gradient reaches M; its
rows are updated inside the backward pass, after the gradient of that call is formed.

Order matters (divergence MEM-1): with several calls on one memory in one loss, autograd runs the
call made last first; earlier calls then form their gradient with the rows it has already rewritten,
while their softmax still comes from the forward pass.  ``gradient="upstream"`` keeps that, as every
official run had it; ``"clean"`` uses the rows of the forward pass and writes the updates of a
backward pass afterwards, in the order of the calls.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from clustercontrast.losses.placing import beside
from clustercontrast.memories.members import Members

Update = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, "Momentum"], torch.Tensor]


class Momentum:
    """μ and 1 - μ as upstream rounds them: a tensor of the default dtype, or a Python float.

    ``unit``: rows stay at unit length, as in every official code; else as papers print updates.
    """

    def __init__(self, momentum: float, is_tensor: bool = True, unit: bool = True) -> None:
        old = torch.tensor(momentum, dtype=None if is_tensor else torch.float64)
        self.old, self.new, self.unit = old.item(), (1 - old).item(), unit

    def begin(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows as a memory stores them first."""
        return F.normalize(rows) if self.unit else rows

    def blend(self, rows: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
        """norm(μ rows + (1 - μ) queries), row by row; not normalised where rows need not be."""
        mixed = self.old * rows + self.new * queries
        return mixed / self.length(mixed)

    def length(self, rows: torch.Tensor) -> torch.Tensor:
        """Divisors of rows (n, d): their lengths (n, 1), or 1 where they need not be unit."""
        return rows.norm(dim=1, keepdim=True) if self.unit else rows.new_ones(1)

    def turns_that_count(self, dtype: torch.dtype) -> int | None:
        """How many of a row's last steps decide it, for unit queries and rows that are no longer.

        Two rows that differ by δ before a step differ by at most c δ after it: c is μ, or
        μ / (1 - 2μ) where the step divides by the length of the mixture, at least (1 - μ) - μ.
        Two rows differ by 2 at most, so what stood before the last m steps moves the row by 2 cᵐ
        at most.  The m returned makes that the rounding of the dtype; None, for all steps, if c is
        not below 1.
        """
        shortest = 1 - 2 * self.old if self.unit else 1.0
        if self.old >= shortest:
            return None
        precision = torch.finfo(dtype)
        factor = max(self.old / shortest, precision.tiny)
        return math.ceil(math.log(precision.eps / 2) / math.log(factor))


class RowBank:
    """The rows of a memory and the autograd node that reads and rewrites them."""

    def __init__(
        self, rows: torch.Tensor, update: Update, momentum: Momentum, gradient: str
    ) -> None:
        self._rows = rows
        self._update, self.momentum = update, momentum
        self._clean = gradient == "clean"
        self._calls = 0
        self._waiting: list[tuple[int, torch.Tensor, torch.Tensor]] = []

    @property
    def rows(self) -> torch.Tensor:
        """Rows with every finished backward pass written."""
        for _, queries, labels in sorted(self._waiting, key=lambda item: item[0]):
            self._rows = self._update(self._rows, queries, labels, self.momentum)
        self._waiting.clear()
        return self._rows

    @rows.setter
    def rows(self, rows: torch.Tensor) -> None:
        self._waiting.clear()
        self._rows = rows

    @property
    def halves(self) -> tuple[torch.Tensor, torch.Tensor]:
        """First and second half of the rows as they stand: centroids, and hard rows."""
        first, second = self.rows.chunk(2)
        return first, second

    def similarity(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Similarities z Mᵀ of queries (B, d) whose rows, ``labels``, backward will rewrite.

        ``labels`` (B,) are read on the CPU; on a device they are waited for in backward.
        """
        with full_precision(features):
            self._calls += 1
            return _Similarity.apply(F.normalize(wide(features)), labels, self, self._calls)

    @torch.no_grad()
    def move(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Rewrite the rows of ``labels`` (B,) by features (B, d) as backward does, without a loss.

        ``labels`` are read on the CPU; on a device they are waited for.
        """
        with full_precision(features):
            self._calls += 1
            self.observe(self._calls, F.normalize(wide(features.detach())), labels)

    def gradient_rows(self, forward_rows: torch.Tensor) -> torch.Tensor:
        """Rows that a gradient is formed with: those present now, or those of its forward."""
        return forward_rows if self._clean else self._rows

    def observe(self, call: int, queries: torch.Tensor, labels: torch.Tensor) -> None:
        """Take the queries of a call whose gradient is formed."""
        if self._clean:
            self._waiting.append((call, queries, labels))
        else:
            self._rows = self._update(self._rows, queries, labels, self.momentum)


class _Similarity(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries, labels, bank, call):
        ctx.bank, ctx.call, ctx.rows = bank, call, bank.rows
        ctx.save_for_backward(queries, labels)
        return queries @ ctx.rows.T

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        queries, labels = ctx.saved_tensors
        result = gradient @ ctx.bank.gradient_rows(ctx.rows)
        ctx.bank.observe(ctx.call, queries.detach(), labels)  # rows outlive the graph
        return result, None, None, None


@torch.no_grad()
def sequential_update(
    rows: torch.Tensor,
    queries: torch.Tensor,
    labels: torch.Tensor,
    momentum: Momentum,
    is_unit: bool = True,
) -> torch.Tensor:
    """For every sample in batch order: M_y <- norm(μ M_y + (1 - μ) z) (MEM-3).

    Vectorised: the first sample of every cluster at once, then the second ones, and so on.  Samples
    whose trace in the row is below rounding are left out (:meth:`Momentum.turns_that_count`).

    Args:
        rows: (C, d), of at most unit length; not written.
        queries: (B, d).
        labels: (B,) int64 row of every query, at best on the CPU.
        momentum: μ.
        is_unit: queries are of unit length; else every sample is visited.

    Returns:
        (C, d); rows without a sample as they were.
    """
    members = Members(labels, momentum.turns_that_count(rows.dtype) if is_unit else None)
    clusters, turns = beside(members.clusters, rows), members.turns()
    drawn = momentum.new * queries[beside(np.concatenate(turns), rows)]
    first, *later = drawn.split(list(map(len, turns)))
    moving = torch.add(first, rows[clusters], alpha=momentum.old)
    for query in later:  # of clusters with most samples, which come first
        now = moving[: len(query)]
        torch.addcdiv(query, now, momentum.length(now), value=momentum.old, out=now)
    return rows.index_put((clusters,), moving / momentum.length(moving))


def hard_update(
    rows: torch.Tensor, queries: torch.Tensor, labels: torch.Tensor, momentum: Momentum
) -> torch.Tensor:
    """Once per cluster, with its query least similar to the old row (CM_Hard of PGM, ADCA)."""
    clusters, own, members = _gathered(rows, queries, labels)
    old = rows[clusters]
    return rows.index_put((clusters,), momentum.blend(old, _hardest(old, own, members)))


def hybrid_update(
    rows: torch.Tensor,
    queries: torch.Tensor,
    labels: torch.Tensor,
    momentum: Momentum,
    k: int = 1,
    against: str = "centroid",
) -> torch.Tensor:
    """Centroid rows move to the cluster's batch mean, hard rows to the mean of its k hardest.

    The hardest queries are judged against the centroid row before its own update, or against the
    hard row (``against="hard"``, PoSeD-9); k is 1 in PCLHD's released code (PCLHD-11).
    """
    half = len(rows) // 2
    clusters, own, members = _gathered(rows, queries, labels)
    old, old_hard = rows[clusters], rows[half + clusters]
    judge = old if against == "centroid" else old_hard
    centroids = momentum.blend(old, _mean(own, members.shares()))
    hard = momentum.blend(old_hard, _hardest(judge, own, members, k))
    return rows.index_put((torch.cat([clusters, half + clusters]),), torch.cat([centroids, hard]))


def every_query_update(
    rows: torch.Tensor, queries: torch.Tensor, labels: torch.Tensor, momentum: Momentum
) -> torch.Tensor:
    """Hard rows move to every query of the cluster in batch order (PCLHD Eq. 14-15)."""
    centroids, hard = rows.chunk(2)
    clusters, own, members = _gathered(rows, queries, labels)
    moved = momentum.blend(centroids[clusters], _mean(own, members.shares()))
    hard = sequential_update(hard, queries, labels, momentum)
    return torch.cat([centroids.index_put((clusters,), moved), hard])


UPDATES: dict[str, Update] = {"sequential": sequential_update, "hard": hard_update}


def batch_means(queries: torch.Tensor, labels: torch.Tensor) -> tuple[np.ndarray, torch.Tensor]:
    """Distinct labels (U,) of a batch, on the host, and the mean query (U, d) of each."""
    _, own, members = _gathered(queries, queries, labels)
    return members.clusters, _mean(own, members.shares())


def _gathered(
    rows: torch.Tensor, queries: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, Members]:
    """Clusters (U,) beside the rows, the queries (U, n, d) of each, and the plan behind them."""
    members = Members(labels)
    return beside(members.clusters, rows), queries[beside(members.positions, rows)], members


def _hardest(rows: torch.Tensor, own: torch.Tensor, members: Members, k: int = 1) -> torch.Tensor:
    """Mean (U, d) of the k queries least similar to the row, of queries (U, n, d).

    Of equally similar queries the first ones count; a cluster with fewer than k gives all.
    """
    similarity = (own * rows[:, None]).sum(2)
    is_repeated = beside(members.shares() == 0, rows)
    order = similarity.masked_fill(is_repeated, torch.inf).argsort(dim=1, stable=True)
    return _mean(own.take_along_dim(order[:, :k, None], 1), members.shares(k)[:, :k])


def _mean(own: torch.Tensor, shares: np.ndarray) -> torch.Tensor:
    """Weighted sum (U, d) of queries (U, n, d): no matrix product, which may run in TF32."""
    return (own * beside(shares, own).to(own.dtype)[:, :, None]).sum(1)


def wide(features: torch.Tensor) -> torch.Tensor:
    """Half-precision features in float32: memories are kept and updated in full precision."""
    return features if features.dtype == torch.float64 else features.float()


def full_precision(features: torch.Tensor) -> torch.autocast:
    """A context without autocast on the device of ``features``."""
    return torch.autocast(features.device.type, enabled=False)
