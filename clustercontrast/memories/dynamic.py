"""Dynamic prototypes: random members of every cluster (PCLHD Eq. 17-22)."""

import torch
import torch.nn.functional as F

from clustercontrast.losses.placing import beside
from clustercontrast.memories.rows import full_precision, wide


class DynamicMemory:
    """M random members per cluster, fixed through the epoch (PCLHD Eq. 17-22).

    Row k + j C is draw j of cluster k.  For a query, the prototype of its own cluster is the draw
    farthest from it, that of every other cluster the nearest draw (Eq. 19); the loss is the
    cross-entropy over the C prototypes (Eq. 20-21).  In the released code queries come from the
    momentum encoder without a graph, so the loss is a constant (PCLHD-1).  Prototypes may be
    selected by other features of the same images than those that are contrasted with them.

    Args:
        instances: (M C, d) features of the drawn members in the order above.
        clusters: C.
        temperature: τ.
    """

    def __init__(self, instances: torch.Tensor, clusters: int, temperature: float) -> None:
        self.rows = F.normalize(instances)
        self.clusters = clusters
        self.temperature = temperature

    def __call__(
        self,
        features: torch.Tensor,
        labels: torch.Tensor,
        selecting: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """L_DPCL of features (B, d) with labels (B,).

        Args:
            features: the queries of Eq. 20-21.
            labels: (B,) int64, on the CPU or where the features are.
            selecting: (B, d) the queries of Eq. 19; None: the same.
        """
        labels, draws = beside(labels, features), self._similarities(features)
        others = draws if selecting is None else self._similarities(selecting.detach())
        own = F.one_hot(labels, self.clusters).bool()
        chosen = torch.where(own, others.argmin(1), others.argmax(1))  # Eq. 19
        logits = draws.gather(1, chosen[:, None])[:, 0] / self.temperature
        return F.cross_entropy(logits, labels)

    def _similarities(self, features: torch.Tensor) -> torch.Tensor:
        """Cosines (B, M, C) of features (B, d) and all draws."""
        with full_precision(features):
            cosines = F.normalize(wide(features)) @ self.rows.T
        return cosines.view(len(features), -1, self.clusters)

    @torch.no_grad()
    def refresh(self, features: torch.Tensor, labels: torch.Tensor, draws: torch.Tensor) -> None:
        """Replace the rows of the clusters in a batch by batch features, without any momentum.

        The released class holds this update but never reaches it (PCLHD-14).

        Args:
            features: (B, d).
            labels: (B,) int64.
            draws: (U, M) positions in the batch, one row per distinct label, from ``draw_members``.
        """
        instances = F.normalize(features.to(self.rows.dtype))[draws]
        rows = labels[draws[:, 0], None] + self.clusters * torch.arange(draws.shape[1]).to(labels)
        self.rows[rows] = instances


def draw_members(labels: torch.Tensor, number: int, generator: torch.Generator) -> torch.Tensor:
    """Draw members of every cluster with replacement (PCLHD Eq. 17-18: X_i).

    Args:
        labels: (N,) int64 on the CPU, -1 for outliers.
        number: draws per cluster, M.
        generator: source of the draws.

    Returns:
        (C, M) int64 positions in ``labels``, clusters ascending.
    """
    order = labels.argsort(stable=True)[int((labels < 0).sum()) :]
    counts = labels[order].unique_consecutive(return_counts=True)[1]
    chance = torch.rand(len(counts), number, generator=generator)
    within = (chance * counts[:, None]).long()
    return order[(counts.cumsum(0) - counts)[:, None] + within]


def instance_rows(features: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """Features (N, d) of the drawn members (C, M) in the dynamic memory's order, (M C, d)."""
    return features[members.T.reshape(-1)]
