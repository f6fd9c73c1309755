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
    """The means of the members of joint clusters, a mean per group of images (BMIL).

    Groups are the modalities, or the cameras of either modality.

    Attributes:
        means: (P, d) float32, not normalised: clusters ascending, in each the groups ascending; a
            cluster has as many as there are groups among its members.
        clusters: (P,) int64 cluster of every proxy.
        rows: (G, C) int64 proxy of every group and cluster, -1 where the cluster has no member of
            the group.
    """

    means: torch.Tensor
    clusters: torch.Tensor
    rows: torch.Tensor

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many proxies every group has."""
        return tuple((self.rows >= 0).sum(1).tolist())

    def by_group(self) -> "Proxies":
        """The same in another order: all proxies of the first group, then those of the next."""
        present = self.rows.flatten() >= 0
        order = self.rows.flatten()[present]
        rows = torch.full_like(self.rows.flatten(), -1)
        rows[present] = torch.arange(len(order))
        means = self.means[order.to(self.means.device)]
        return Proxies(means, self.clusters[order], rows.view_as(self.rows))


def group_proxies(features: torch.Tensor, labels: Labels, groups: np.ndarray) -> Proxies:
    """A mean per cluster and group that it has members of.

    Args:
        features: (N, d), not normalised.
        labels: (N,) integers, clusters 0 … C−1 without gaps; −1 marks outliers.
        groups: (N,) integers from 0; a group without members has no proxy.

    Raises:
        ValueError: one label per row is missing, or a cluster id below C has no row.
    """
    labels = _checked(labels, len(features))
    clusters, count = labels.max(initial=-1) + 1, groups.max(initial=0) + 1
    cells = np.where(labels >= 0, labels * count + groups, -1)
    places = np.unique(cells[cells >= 0])  # clusters ascending, in each the groups ascending
    rows = np.full(clusters * count, -1)
    rows[places] = np.arange(len(places))
    means = centroids(features, np.append(rows, -1)[cells])
    clusters_of = torch.from_numpy(places // count)
    return Proxies(means, clusters_of, torch.from_numpy(rows.reshape(clusters, count).T.copy()))


def modality_proxies(visible: torch.Tensor, infrared: torch.Tensor, labels: Labels) -> Proxies:
    """A mean per cluster and modality that it has members of, visible before infrared.

    Args:
        visible: (N_v, d), not normalised.
        infrared: (N_r, d), same space.
        labels: (N_v + N_r,) integers, visible rows first, clusters 0 … C−1 without gaps; −1 marks
            outliers.

    Raises:
        ValueError: one label per row is missing, or a cluster id below C has no row.
    """
    groups = np.repeat([0, 1], [len(visible), len(infrared)])
    return group_proxies(torch.cat([visible, infrared]), labels, groups)


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
