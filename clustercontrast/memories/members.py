"""Who of a batch belongs to which cluster, planned on the host so that no device is waited for.

Labels of a batch are known on the CPU, where its rows were drawn.  What depends on them alone –
clusters, counts, who comes when – is worked out there; the device gets positions to gather.  Labels
that live on a device give the same result, but are waited for.
"""

import numpy as np
import torch


class Members:
    """The queries of every cluster of a batch.

    Args:
        labels: (B,) int64 clusters, at best on the CPU.
        last: how many of a cluster's queries are kept, the last ones; all by default.

    Attributes:
        clusters: (U,) int64 distinct labels, those with most queries first.
        counts: (U,) int64 queries of each, falling.
        positions: (U, n) int64 of the queries in the batch, in batch order; a cluster with fewer
            than n repeats its last.
    """

    def __init__(self, labels: torch.Tensor, last: int | None = None) -> None:
        y = labels.cpu().numpy()
        order = y.argsort(kind="stable")
        clusters, first, counts = np.unique(y[order], return_index=True, return_counts=True)
        kept = counts if last is None else np.minimum(counts, last)
        longest = (-kept).argsort(kind="stable")
        self.clusters, self.counts = clusters[longest], kept[longest]
        turn = np.arange(self.counts.max(initial=0))
        place = np.minimum(turn, self.counts[:, None] - 1)
        self.positions = order[(first + counts - kept)[longest, None] + place]

    def turns(self) -> list[np.ndarray]:
        """Positions of all first queries, of all second ones, ...: clusters that have one."""
        has_one = self.counts[:, None] > np.arange(self.positions.shape[1])
        return [column[one] for column, one in zip(self.positions.T, has_one.T, strict=True)]

    def shares(self, most: int | None = None) -> np.ndarray:
        """(U, n) weights that average a cluster's queries, or the first ``most``; 0 elsewhere."""
        counts = self.counts if most is None else np.minimum(self.counts, most)
        is_counted = np.arange(self.positions.shape[1]) < counts[:, None]
        return is_counted / counts[:, None]
