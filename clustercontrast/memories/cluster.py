"""Memories of clusters: one row per cluster, or its centroid and its hard prototype.

``gradient`` and the order of calls: see :mod:`clustercontrast.memories.rows`.
"""

import torch
import torch.nn.functional as F

from clustercontrast.memories.rows import UPDATES, Momentum, RowBank, hybrid_update


class ClusterMemory:
    """One row per cluster: ClusterContrast's memory (PGM, ADCA; PCLHD Eq. 1-5).

    Args:
        centroids: (C, d) cluster means; stored as unit rows.
        temperature: τ.
        momentum: μ, weight of the old row.
        update: "sequential" – every sample in batch order, renormalised each time – or "hard" –
            once per cluster, with its sample least similar to the row.
        gradient: "upstream" or "clean", see the module's docstring.
        smoothing: label smoothing ε (0: plain cross-entropy).

    Calling the memory with features (B, d), not normalised, and labels (B,) int64 gives the loss.
    """

    def __init__(
        self,
        centroids: torch.Tensor,
        temperature: float,
        momentum: float,
        update: str = "sequential",
        gradient: str = "upstream",
        smoothing: float = 0.0,
    ) -> None:
        self.temperature = temperature
        self.smoothing = smoothing
        self.bank = RowBank(F.normalize(centroids), UPDATES[update], Momentum(momentum), gradient)

    @property
    def rows(self) -> torch.Tensor:
        """(C, d) unit rows as they stand."""
        return self.bank.rows

    @rows.setter
    def rows(self, rows: torch.Tensor) -> None:
        """Overwrite the rows, as they are (ADCA blends them without normalising)."""
        self.bank.rows = rows

    def __call__(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """-log softmax(z Mᵀ / τ) at the labels, mean over the batch (Eq. 3-4)."""
        logits = self.bank.similarity(features, labels) / self.temperature
        return cross_entropy(logits, labels, self.smoothing)


class HybridMemory:
    """Two rows per cluster: its centroid cm and its hard prototype hm (PCLHD Eq. 11-15).

    Per cluster in the batch, with the rows as they stand: cm moves to the mean of the cluster's
    queries, hm to the query least similar to cm as it was before.  The loss is

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
    ) -> None:
        self.temperature = temperature
        self.hard_weight, self.centroid_weight, self.hinge = hard_weight, centroid_weight, hinge
        self.smoothing = smoothing
        rows = F.normalize(torch.cat([centroids, hard]))
        self.bank = RowBank(rows, hybrid_update, Momentum(momentum), gradient)

    @property
    def rows(self) -> torch.Tensor:
        """(2C, d) unit rows: centroids, then hard prototypes."""
        return self.bank.rows

    def __call__(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The hybrid loss; see the class."""
        logits = self.bank.similarity(features, labels) / self.temperature
        centroid, hard = (cross_entropy(x, labels, self.smoothing) for x in logits.chunk(2, dim=1))
        return self.hard_weight * hard + self.centroid_weight * (centroid - self.hinge).clamp(min=0)


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
