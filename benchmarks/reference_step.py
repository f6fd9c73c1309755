"""A plain training step, to measure ours against: what the method needs and nothing for speed.

The same network, batches, BatchNorm groups and losses, but: images and convolutions in torch's
default layout, float32, a loop over the parameters in optimiser and momentum encoder, and memories
that are rewritten sample by sample in Python, as the official codes do it.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from clustercontrast.data.batches import Batch
from clustercontrast.engine.schedules import step_decay
from clustercontrast.engine.stage import Stage
from clustercontrast.methods.clustering_stage import ClusteringStage
from clustercontrast.models.momentum import MomentumEncoder


class PlainMomentumEncoder(MomentumEncoder):
    """Follows parameter by parameter."""

    @torch.no_grad()
    def update(self, encoder: nn.Module) -> None:
        """θ_m <- β θ_m + (1 - β) θ_o."""
        for mine, theirs in zip(self.network.parameters(), encoder.parameters(), strict=True):
            mine.copy_(self.decay * mine + (1 - self.decay) * theirs)


class PlainMemory:
    """A memory whose rows move sample by sample.

    Args:
        rows: (C, d) unit rows; (2 C, d) with hard prototypes in the second half.
        temperature: τ.
        momentum: weight of the old row.
        kind: "sequential", "hard" or "hybrid".
    """

    def __init__(self, rows: torch.Tensor, temperature: float, momentum: float, kind: str) -> None:
        self.rows, self.temperature = F.normalize(rows), temperature
        self.momentum, self.kind = momentum, kind

    def __call__(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Cross-entropy against the rows; of both halves where there are two."""
        targets = labels.to(features.device)
        logits = _PlainSimilarity.apply(F.normalize(features), targets, self) / self.temperature
        if self.kind != "hybrid":
            return F.cross_entropy(logits, targets)
        centroid, hard = (F.cross_entropy(part, targets) for part in logits.chunk(2, dim=1))
        return 0.5 * hard + 0.5 * (centroid - 0.2).clamp(min=0)

    def update(self, queries: torch.Tensor, labels: torch.Tensor) -> None:
        """Rows of the batch's clusters move."""
        if self.kind == "sequential":
            for query, label in zip(queries, labels.tolist(), strict=True):
                self._move(label, query)
            return
        own = defaultdict(list)
        for query, label in zip(queries, labels.tolist(), strict=True):
            own[label].append(query)
        for label, members in own.items():
            similarities = [float(member @ self.rows[label]) for member in members]
            hardest = members[similarities.index(min(similarities))]
            if self.kind == "hard":
                self._move(label, hardest)
                continue
            self._move(label, torch.stack(members).mean(0))
            self._move(label + len(self.rows) // 2, hardest)

    def _move(self, row: int, query: torch.Tensor) -> None:
        moved = self.momentum * self.rows[row] + (1 - self.momentum) * query
        self.rows[row] = moved / moved.norm()


class _PlainSimilarity(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries, labels, memory):
        ctx.memory = memory
        ctx.save_for_backward(queries, labels)
        return queries @ memory.rows.T

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        queries, labels = ctx.saved_tensors
        result = gradient @ ctx.memory.rows
        ctx.memory.update(queries, labels)
        return result, None, None


class Plain(ClusteringStage):
    """The words of a stage that are plain in the reference; mixed in before the stage."""

    def add(self, name: str, network: nn.Module) -> nn.Module:
        """A network in torch's default layout."""
        if isinstance(network, MomentumEncoder):
            network = PlainMomentumEncoder(self.encoder, self.args.ema_decay)
        self.networks[name] = network.to(self.run.device)
        return network

    def optimise_with_adam(self, *networks: nn.Module) -> None:
        """Adam in a loop over the parameters."""
        a = self.args
        trained = [p for network in networks for p in network.parameters() if p.requires_grad]
        adam = torch.optim.Adam(trained, a.lr, weight_decay=a.weight_decay, foreach=False)
        self.optimise("encoder", adam, step_decay(a.step_size))

    def build_memory(self, c: torch.Tensor, hard: torch.Tensor) -> PlainMemory:
        """A memory that moves sample by sample."""
        a, kind = self.args, self.memory_kind
        rows = torch.cat([c, hard]) if kind == "hybrid" else c
        return PlainMemory(rows.to(self.run.device), a.temp, a.momentum, kind)

    def batches(self) -> Iterator[Batch]:
        """The same batches in torch's default layout."""
        return map(with_contiguous_images, super().batches())


def with_contiguous_images(batch: Batch) -> Batch:
    """A batch in torch's default layout, channel by channel."""
    return Batch(
        {
            name: replace(stream, images=stream.images.contiguous())
            for name, stream in batch.streams.items()
        }
    )


def reference_of(make: type[Stage]) -> type[Stage]:
    """The plain counterpart of a stage that clusters."""
    return type(make.__name__, (Plain, make), {})
