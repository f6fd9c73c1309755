"""Proxies of classes, which the caller moves after the step of the optimiser (CMAM-UDA V-B)."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from clustercontrast.losses.placing import beside
from clustercontrast.memories.rows import (
    Momentum,
    batch_means,
    full_precision,
    sequential_update,
    wide,
)

Groups = Sequence[tuple[torch.Tensor, torch.Tensor]]


class ProxyMemory:
    """One proxy per class, shared by both modalities of a model (CMAM V-B; A16).

    Unlike the other memories it moves when ``update`` is called, after the optimiser's step.

    Args:
        proxies: (C, d) class means, stored as unit rows; a class without images may be 0.
        momentum: μ, weight of the old row (A18).
        update: "batch_mean" – one step per class, to the mean of the modalities' means – or
            "sequential" – one step per sample, in the order given (A17).
    """

    def __init__(self, proxies: torch.Tensor, momentum: float, update: str = "batch_mean") -> None:
        self.rows = F.normalize(wide(proxies.detach()))
        self._momentum = Momentum(momentum, is_tensor=False)
        self._moved = PROXY_UPDATES[update]

    def cosines(self, features: torch.Tensor) -> torch.Tensor:
        """Cosines (B, C) of features (B, d), not normalised; no gradient reaches the rows."""
        with full_precision(features):
            return F.normalize(wide(features)) @ self.rows.T

    @torch.no_grad()
    def update(self, groups: Groups) -> None:
        """Move the rows of the classes of a batch: v_c <- norm(μ v_c + (1 - μ) u_c).

        Args:
            groups: features (n, d), not normalised, and labels (n,) int64 of every modality, which
                are read on the CPU; on a device they are waited for.
        """
        with full_precision(self.rows):
            groups = [(F.normalize(wide(features)), labels) for features, labels in groups]
            self.rows = self._moved(self.rows, groups, self._momentum)


def batch_mean_update(rows: torch.Tensor, groups: Groups, momentum: Momentum) -> torch.Tensor:
    """One step per class to u_c, the mean of the means of the groups that have the class.

    Args:
        rows: (C, d) unit rows; not written.
        groups: unit features (n, d) and labels (n,) of every modality; their order does not matter.
        momentum: μ.

    Returns:
        (C, d); rows of other classes as they were.
    """
    found = [batch_means(queries, labels) for queries, labels in groups]
    clusters, present = np.unique(np.concatenate([own for own, _ in found]), return_counts=True)
    chosen = beside(clusters, rows)
    old = rows[chosen]
    total = torch.zeros_like(old)
    for own, means in found:
        total.index_add_(0, beside(np.searchsorted(clusters, own), rows), means)
    means = total / beside(present, rows)[:, None]
    return rows.index_put((chosen,), momentum.blend(old, means))


def one_by_one_update(rows: torch.Tensor, groups: Groups, momentum: Momentum) -> torch.Tensor:
    """One step per sample, group after group: ``sequential_update`` of all of them."""
    queries, labels = map(torch.cat, zip(*groups, strict=True))
    return sequential_update(rows, queries, labels, momentum)


PROXY_UPDATES = {"batch_mean": batch_mean_update, "sequential": one_by_one_update}
