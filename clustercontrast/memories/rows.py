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

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

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
        return mixed / mixed.norm(dim=1, keepdim=True) if self.unit else mixed


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

    def similarity(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Similarities z Mᵀ of queries (B, d) whose rows, ``labels``, backward will rewrite."""
        with full_precision(features):
            self._calls += 1
            return _Similarity.apply(F.normalize(wide(features)), labels, self, self._calls)

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
        ctx.bank.observe(ctx.call, queries, labels)
        return result, None, None, None


def sequential_update(
    rows: torch.Tensor, queries: torch.Tensor, labels: torch.Tensor, momentum: Momentum
) -> torch.Tensor:
    """For every sample in batch order: M_y <- norm(μ M_y + (1 - μ) z) (MEM-3).

    Vectorised: the first sample of every cluster at once, then the second ones, and so on.
    """
    rows = rows.clone()
    order = labels.argsort(stable=True)
    clusters, counts = labels[order].unique_consecutive(return_counts=True)
    first = counts.cumsum(0) - counts
    for turn in range(int(counts.max())):
        present = counts > turn
        now = clusters[present]
        rows[now] = momentum.blend(rows[now], queries[order[first[present] + turn]])
    return rows


def hard_update(
    rows: torch.Tensor, queries: torch.Tensor, labels: torch.Tensor, momentum: Momentum
) -> torch.Tensor:
    """Once per cluster, with its query least similar to the old row (CM_Hard of PGM, ADCA)."""
    rows = rows.clone()
    clusters, hardest = _hardest(rows, queries, labels)
    rows[clusters] = momentum.blend(rows[clusters], hardest)
    return rows


def hybrid_update(
    rows: torch.Tensor,
    queries: torch.Tensor,
    labels: torch.Tensor,
    momentum: Momentum,
    k: int = 1,
) -> torch.Tensor:
    """Centroid rows move to the cluster's batch mean, hard rows to the mean of its k hardest.

    The hardest queries are judged against the centroid row before its own update; k is 1 in
    PCLHD's released code (PCLHD-11).
    """
    half = len(rows) // 2
    clusters, hardest = _hardest(rows, queries, labels, k)
    new = _with_batch_means(rows, queries, labels, clusters, momentum)
    new[half + clusters] = momentum.blend(rows[half + clusters], hardest)
    return new


def every_query_update(
    rows: torch.Tensor, queries: torch.Tensor, labels: torch.Tensor, momentum: Momentum
) -> torch.Tensor:
    """Hard rows move to every query of the cluster in batch order (PCLHD Eq. 14-15)."""
    half = len(rows) // 2
    new = _with_batch_means(rows, queries, labels, labels.unique(), momentum)
    new[half:] = sequential_update(rows[half:], queries, labels, momentum)
    return new


UPDATES: dict[str, Update] = {"sequential": sequential_update, "hard": hard_update}


def _with_batch_means(
    rows: torch.Tensor,
    queries: torch.Tensor,
    labels: torch.Tensor,
    clusters: torch.Tensor,
    momentum: Momentum,
) -> torch.Tensor:
    """A copy of the rows in which those of a batch's clusters (U,) have moved to its means."""
    new = rows.clone()
    new[clusters] = momentum.blend(rows[clusters], _means(queries, labels, clusters))
    return new


def _hardest(
    rows: torch.Tensor, queries: torch.Tensor, labels: torch.Tensor, k: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Distinct labels (U,), ascending, and the mean of the k queries least similar to the row.

    Of equally similar queries the first ones count; a cluster with fewer than k gives all.
    """
    similarity = (queries * rows[labels]).sum(1)
    order = similarity.argsort(stable=True)
    order = order[labels[order].argsort(stable=True)]
    clusters, counts = labels[order].unique_consecutive(return_counts=True)
    first = counts.cumsum(0) - counts
    if k == 1:
        return clusters, queries[order[first]]
    rank = torch.arange(len(order), device=order.device) - first.repeat_interleave(counts)
    chosen = order[rank < k]
    return clusters, _means(queries[chosen], labels[chosen], clusters)


def _means(queries: torch.Tensor, labels: torch.Tensor, clusters: torch.Tensor) -> torch.Tensor:
    """Mean query (U, d) of each of the clusters (U,)."""
    members = (labels == clusters[:, None]).to(queries.dtype)  # (U, B)
    return members @ queries / members.sum(1, keepdim=True)


def wide(features: torch.Tensor) -> torch.Tensor:
    """Half-precision features in float32: memories are kept and updated in full precision."""
    return features if features.dtype == torch.float64 else features.float()


def full_precision(features: torch.Tensor) -> torch.autocast:
    """A context without autocast on the device of ``features``."""
    return torch.autocast(features.device.type, enabled=False)
