"""Cluster means, plain and modality-balanced, and the members farthest from them.

Means are sparse products on the CPU: the order of every sum is fixed, so they are reproducible to
the last bit, which atomic additions on a GPU are not.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array

Labels = np.ndarray | torch.Tensor


def centroids(features: torch.Tensor, labels: Labels) -> torch.Tensor:
    """Mean of the rows of every cluster; the rows are not normalised, nor is the mean.

    Args:
        features: (N, d).
        labels: (N,) integers, clusters 0 … C−1 without gaps; −1 marks outliers, which are ignored.

    Returns:
        (C, d) float32 on the device of the features, in the order of the cluster ids.

    Raises:
        ValueError: one label per row is missing, or a cluster id below C has no row.
    """
    labels = _checked(labels, len(features))
    return _weighted_sums(features, labels, 1 / np.bincount(labels[labels >= 0]))


def balanced_centroids(
    visible: torch.Tensor, infrared: torch.Tensor, labels: Labels
) -> torch.Tensor:
    """Mean of the visible and the infrared mean, or the only one there is (PCLHD, MMM, PCA).

    Args:
        visible: (N_v, d), not normalised.
        infrared: (N_r, d), same space.
        labels: (N_v + N_r,) integers, visible rows first; −1 marks outliers.

    Returns:
        (C, d) float32 on the device of the visible features, not normalised.

    Raises:
        ValueError: one label per row is missing, or a cluster id below C has no row.
    """
    labels = _checked(labels, len(visible) + len(infrared))
    parts = labels[: len(visible)], labels[len(visible) :]
    clusters = labels.max(initial=-1) + 1
    counts = np.stack([np.bincount(part[part >= 0], minlength=clusters) for part in parts])
    weights = 1 / (np.maximum(counts, 1) * np.count_nonzero(counts, axis=0))
    visible_share = _weighted_sums(visible, parts[0], weights[0])
    return visible_share + _weighted_sums(infrared, parts[1], weights[1]).to(visible.device)


@dataclass(frozen=True, eq=False)
class Proxies:
    """The means of the visible and of the infrared members of joint clusters (BMIL).

    Attributes:
        means: (P, d) float32, not normalised: clusters ascending, visible before infrared; a
            cluster of one modality has one.
        clusters: (P,) int64 cluster of every proxy.
        rows: (2, C) int64 proxy of the visible and of the infrared members of every cluster, -1
            where there are none.
    """

    means: torch.Tensor
    clusters: torch.Tensor
    rows: torch.Tensor

    @property
    def visible(self) -> int:
        """How many of the proxies are visible."""
        return int((self.rows[0] >= 0).sum())

    def visible_first(self) -> "Proxies":
        """The same in another order: all visible proxies, then the infrared ones."""
        present = self.rows.flatten() >= 0
        order = self.rows.flatten()[present]
        rows = torch.full_like(self.rows.flatten(), -1)
        rows[present] = torch.arange(len(order))
        means = self.means[order.to(self.means.device)]
        return Proxies(means, self.clusters[order], rows.view_as(self.rows))


def modality_proxies(visible: torch.Tensor, infrared: torch.Tensor, labels: Labels) -> Proxies:
    """A mean per cluster and modality that it has members of.

    Args:
        visible: (N_v, d), not normalised.
        infrared: (N_r, d), same space.
        labels: (N_v + N_r,) integers, visible rows first, clusters 0 … C−1 without gaps; −1 marks
            outliers.

    Raises:
        ValueError: one label per row is missing, or a cluster id below C has no row.
    """
    labels = _checked(labels, len(visible) + len(infrared))
    parts = labels[: len(visible)], labels[len(visible) :]
    clusters = labels.max(initial=-1) + 1
    counts = np.stack([np.bincount(part[part >= 0], minlength=clusters) for part in parts], axis=1)
    places = np.flatnonzero(counts)  # clusters ascending, visible before infrared
    rows = np.full(2 * clusters, -1)
    rows[places] = np.arange(len(places))
    rows = rows.reshape(clusters, 2).T
    means = [
        _weighted_sums(f, part, 1 / np.maximum(count, 1))[torch.from_numpy(count > 0)]
        for f, part, count in zip((visible, infrared), parts, counts.T, strict=True)
    ]
    order = torch.from_numpy(np.argsort(rows[rows >= 0])).to(visible.device)
    means = torch.cat([own.to(visible.device) for own in means])[order]
    return Proxies(means, torch.from_numpy(places // 2), torch.from_numpy(rows))


def farthest_members(
    features: torch.Tensor, labels: Labels, centroids: torch.Tensor, k: int = 1
) -> torch.Tensor:
    """Hard prototypes: the mean of the k members farthest from their centroid (PCLHD Eq. 6-7).

    Args:
        features: (N, d) φ(v), compared as given.
        labels: (N,) integers, clusters 0 … C−1 without gaps; −1 marks outliers, which are ignored.
        centroids: (C, d) on the device of the features, compared as given.
        k: members per prototype (the paper's best: 1), clamped to the size of the cluster.  Of
            equally far members the first rows count.

    Returns:
        (C, d) float32, not normalised.

    Raises:
        ValueError: k < 1, one label per row is missing, or a cluster id below C has no row.
    """
    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1")
    labels = _checked(labels, len(features))
    members = np.flatnonzero(labels >= 0)
    distances = _distances_to(centroids, features[members], labels[members])
    farthest = members[_first_of_groups(labels[members], -distances, k)]
    chosen = np.full_like(labels, -1)
    chosen[farthest] = labels[farthest]
    return _weighted_sums(features, chosen, 1 / np.bincount(labels[farthest]))


def _checked(labels: Labels, rows: int) -> np.ndarray:
    labels = torch.as_tensor(labels).cpu().numpy().astype(np.int64)
    if labels.shape != (rows,):
        raise ValueError(f"labels have shape {labels.shape}, expected ({rows},), one per row")
    missing = np.flatnonzero(np.bincount(labels[labels >= 0]) == 0)
    if missing.size:
        raise ValueError(f"cluster ids {missing.tolist()} have no member: renumber the labels")
    return labels


def _weighted_sums(features: torch.Tensor, labels: np.ndarray, weights: np.ndarray) -> torch.Tensor:
    """Sum of the rows of every cluster times the weight of the cluster, (C, d)."""
    members = np.flatnonzero(labels >= 0)
    of_cluster = labels[members]
    values = weights[of_cluster].astype(np.float32)
    shares = csr_array((values, (of_cluster, members)), shape=(len(weights), len(labels)))
    rows = features.detach().float().cpu().numpy()
    return torch.from_numpy(shares @ rows).to(features.device)


def _distances_to(
    centroids: torch.Tensor, features: torch.Tensor, labels: np.ndarray
) -> np.ndarray:
    """Euclidean distance of every row from the centroid of its cluster; (N,)."""
    own = centroids[torch.from_numpy(labels).to(centroids.device)]
    return torch.linalg.vector_norm(features - own, dim=1).cpu().numpy()


def _first_of_groups(groups: np.ndarray, keys: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k smallest keys of every group; the earlier position wins a tie."""
    order = np.lexsort((keys, groups))
    ordered = groups[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return order[rank < k]
