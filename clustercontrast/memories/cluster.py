"""Memories of clusters: one row per cluster, or its centroid and its hard prototype.

``gradient`` and the order of calls: see :mod:`clustercontrast.memories.rows`.
"""

from functools import partial

import torch
import torch.nn.functional as F

from clustercontrast.losses.placing import beside
from clustercontrast.memories.rows import (
    UPDATES,
    Momentum,
    RowBank,
    every_query_update,
    hybrid_update,
)


class ClusterMemory:
    """One row per cluster: ClusterContrast's memory (PGM, ADCA; PCLHD Eq. 1-5).

    Args:
        centroids: (C, d) cluster means; stored as unit rows, unless ``unit`` is off.
        temperature: τ.
        momentum: μ, weight of the old row.
        update: "sequential" – every sample in batch order, renormalised each time – or "hard" –
            once per cluster, with its sample least similar to the row.
        gradient: "upstream" or "clean", see the module's docstring.
        smoothing: label smoothing ε (0: plain cross-entropy).
        unit: rows are stored, and stay, at unit length (PCLHD-11).

    Calling the memory with features (B, d), not normalised, and labels (B,) int64, on the CPU or
    where the features are, gives the loss.
    """

    def __init__(
        self,
        centroids: torch.Tensor,
        temperature: float,
        momentum: float,
        update: str = "sequential",
        gradient: str = "upstream",
        smoothing: float = 0.0,
        unit: bool = True,
    ) -> None:
        self.temperature = temperature
        self.smoothing = smoothing
        blend = Momentum(momentum, unit=unit)
        self.bank = RowBank(blend.begin(centroids), UPDATES[update], blend, gradient)

    @property
    def rows(self) -> torch.Tensor:
        """(C, d) rows as they stand."""
        return self.bank.rows

    @rows.setter
    def rows(self, rows: torch.Tensor) -> None:
        """Overwrite the rows, as they are (ADCA blends them without normalising)."""
        self.bank.rows = rows

    def __call__(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """-log softmax(z Mᵀ / τ) at the labels, mean over the batch (Eq. 3-4)."""
        logits = self.bank.similarity(features, labels) / self.temperature
        return cross_entropy(logits, beside(labels, logits), self.smoothing)


class HybridMemory:
    """Two rows per cluster: its centroid cm and its hard prototype hm (PCLHD Eq. 11-15).

    Per cluster in the batch, with the rows as they stand: cm moves to the mean of the cluster's
    queries, hm to the query least similar to cm as it was before (released code), or to every query
    (Eq. 14-15).  The loss is

        λ CE(hard) + (1 - λ) max(CE(centroid) - hinge, 0)

    with λ = 0.5 and hinge = 0.2 in the released code, where the hinge acts on the mean over the
    batch.  ``centroid_weight=0`` leaves the hard prototypes alone (the paper's Eq. 23).

    Args:
        centroids: (C, d) cluster means, the centroid half.
        hard: (C, d) initial hard prototypes; the centroids themselves in the released code.
        temperature: τ.
        momentum: μ (paper: α), weight of the old row.
        hard_weight: λ, weight of the hard half.
        centroid_weight: weight of the centroid half.
        hinge: centroid losses below it give no gradient.
        gradient: "upstream" or "clean".
        smoothing: label smoothing ε of both halves.
        unit: rows are stored, and stay, at unit length.
        hard_update: what moves hm, "hardest" or "every" query.
        update_k: hardest queries that are averaged.
        against: the row that the hardest queries are least similar to, "centroid" (cm, as all
            released codes have it) or "hard" (hm).
    """

    def __init__(
        self,
        centroids: torch.Tensor,
        hard: torch.Tensor,
        temperature: float,
        momentum: float,
        hard_weight: float = 0.5,
        centroid_weight: float = 0.5,
        hinge: float = 0.2,
        gradient: str = "upstream",
        smoothing: float = 0.0,
        unit: bool = True,
        hard_update: str = "hardest",
        update_k: int = 1,
        against: str = "centroid",
    ) -> None:
        self.temperature = temperature
        self.hard_weight, self.centroid_weight, self.hinge = hard_weight, centroid_weight, hinge
        self.smoothing = smoothing
        blend = Momentum(momentum, unit=unit)
        every = hard_update == "every"
        hardest = partial(hybrid_update, k=update_k, against=against)
        update = every_query_update if every else hardest
        self.bank = RowBank(blend.begin(torch.cat([centroids, hard])), update, blend, gradient)

    @property
    def rows(self) -> torch.Tensor:
        """(2C, d) rows: centroids, then hard prototypes."""
        return self.bank.rows

    @property
    def halves(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Centroids (C, d) and hard prototypes (C, d) as they stand."""
        return self.bank.halves

    def __call__(
        self, features: torch.Tensor, labels: torch.Tensor, hard_weight: float | None = None
    ) -> torch.Tensor:
        """The hybrid loss, see the class; ``hard_weight`` replaces λ in this call.

        Features (B, d) are not normalised; labels (B,) int64 are on the CPU, or where they are.
        """
        weight = self.hard_weight if hard_weight is None else hard_weight
        logits = self.bank.similarity(features, labels) / self.temperature
        labels = beside(labels, logits)
        centroid, hard = (cross_entropy(x, labels, self.smoothing) for x in logits.chunk(2, dim=1))
        return weight * hard + self.centroid_weight * (centroid - self.hinge).clamp(min=0)


def rows_of(*memories: HybridMemory) -> tuple[torch.Tensor, torch.Tensor]:
    """M and P, (C, d) each: centroids and hard prototypes of several memories, one by one."""
    centroids, hard = zip(*(memory.halves for memory in memories), strict=True)
    return torch.cat(centroids), torch.cat(hard)


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0
) -> torch.Tensor:
    """Cross-entropy, or its smoothed form (MEM-4).

    With smoothing ε the target keeps 1 - ε and the C // 50 most probable clusters share ε; all
    clusters share it when C // 50 is at most 1.
    """
    top = logits.shape[1] // 50
    if smoothing == 0 or top <= 1:
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    log_probability = logits.log_softmax(1)
    likely = log_probability.detach().topk(top, dim=1).indices
    own = log_probability.gather(1, labels[:, None]).squeeze(1)
    shared = log_probability.gather(1, likely).mean(1)
    return -((1 - smoothing) * own + smoothing * shared).mean()
