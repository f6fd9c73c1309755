"""BMIL's joint memory: clusters of both modalities, split into a proxy of each."""

import torch

from clustercontrast.losses.multi_positive import multi_positive
from clustercontrast.losses.placing import beside
from clustercontrast.memories.rows import Momentum, RowBank, hybrid_update


class SplitMemory:
    """A proxy per joint cluster and group, each with a mean row C and a hard row H (BMIL).

    A query is drawn to the proxies of its cluster, of both modalities where there are both, and
    pushed from the rest of the K rows that are likest to it:

        l_W = -1/|P| Σ_{p ∈ P} log( e^{z W_p / τ} / Σ_{k ∈ K} e^{z W_k / τ} ),  L = ½ (l_H + l_C)

    P is always part of K.  Only the query's own proxy moves: C to the mean of its queries, H to the
    query least similar to C.  See docs/methods/bmil.md#joint-loss.

    Args:
        means: (P, d) of the proxies; both halves begin with them, as unit rows.
        clusters: (P,) int64 joint cluster of every proxy.
        temperature: τ.
        momentum: μ, weight of the old row.
        negatives: |K|, the positives included; 0, or more than there are: all.
        gradient: "upstream" or "clean", see :mod:`clustercontrast.memories.rows`.
        unit: rows are stored, and stay, at unit length.
        asked: rows that a query is contrasted with: "both" kinds, or "hard": L = l_H.

    Calling the memory with features (B, d), not normalised, and the *proxies* of the images (B,)
    int64, at best on the CPU, gives the loss.
    """

    def __init__(
        self,
        means: torch.Tensor,
        clusters: torch.Tensor,
        temperature: float,
        momentum: float,
        negatives: int = 50,
        gradient: str = "upstream",
        unit: bool = True,
        asked: str = "both",
    ) -> None:
        self.clusters, self.temperature, self.negatives = clusters, temperature, negatives
        self.asked = asked
        blend = Momentum(momentum, unit=unit)
        self.bank = RowBank(blend.begin(torch.cat([means, means])), hybrid_update, blend, gradient)

    @property
    def rows(self) -> torch.Tensor:
        """(2P, d) rows: means, then hard rows."""
        return self.bank.rows

    @property
    def halves(self) -> tuple[torch.Tensor, torch.Tensor]:
        """C (P, d) and H (P, d) as they stand."""
        return self.bank.halves

    def __call__(self, features: torch.Tensor, proxies: torch.Tensor) -> torch.Tensor:
        """½ (l_H + l_C), or l_H alone, mean over the batch."""
        logits = self.bank.similarity(features, proxies) / self.temperature
        clusters = self.clusters.to(proxies.device)
        is_positive = beside(clusters[proxies][:, None] == clusters, logits)
        mean, hard = logits.chunk(2, dim=1)
        if self.asked == "hard":
            return self._contrast(hard, is_positive)
        return (self._contrast(hard, is_positive) + self._contrast(mean, is_positive)) / 2

    def _contrast(self, logits: torch.Tensor, is_positive: torch.Tensor) -> torch.Tensor:
        """l_W over the rows of one half, K chosen in it."""
        count = min(self.negatives or logits.shape[1], logits.shape[1])
        likest = logits.detach().masked_fill(is_positive, torch.inf).topk(count, dim=1).indices
        is_contrasted = is_positive.scatter(1, likest, value=True)
        return multi_positive(logits.masked_fill(~is_contrasted, -torch.inf), is_positive)
