"""Noisy pseudo-label calibration: relabelling by dense cores of clusters (RPNR, MM 2024)."""

import numpy as np
import torch
import torch.nn.functional as F

from clustercontrast.clustering.centroids import centroids

BLOCK = 1024
"""Rows whose cosines are held at a time."""


def calibrated_labels(
    features: torch.Tensor, labels: np.ndarray, count: int, threshold: float = 0.5
) -> np.ndarray:
    """Give every labelled image to the cluster whose reliable prototype it is nearest to.

    See docs/methods/rpnr.md#calibration.

    Args:
        features: (N, d) clustering features.
        labels: (N,) int64 pseudo labels 0 … C−1 without gaps; −1 marks outliers.
        count: T, members of a prototype.
        threshold: cosine from which two members are near each other.

    Returns:
        (N,) int64 labels; outliers stay −1, and clusters may lose all their images.

    Raises:
        ValueError: count < 1, one label per row is missing, or a cluster id below C has no row.
    """
    return calibrate(features, labels, reliable_prototypes(features, labels, count, threshold))


def reliable_prototypes(
    features: torch.Tensor, labels: np.ndarray, count: int, threshold: float = 0.5
) -> torch.Tensor:
    """Means of the T densest members of every cluster, all of smaller ones.

    The density of a member is the number of members, itself included, with a cosine above the
    threshold, less the number of those below it; of equally dense members the first rows count.

    Args:
        features: (N, d), averaged as they are.
        labels: (N,) int64, clusters 0 … C−1 without gaps; −1 marks outliers, which are ignored.
        count: T.
        threshold: cosine.

    Returns:
        (C, d) float32 on the device of the features, not normalised.

    Raises:
        ValueError: count < 1, one label per row is missing, or a cluster id below C has no row.
    """
    if count < 1:
        raise ValueError(f"count is {count}, expected at least 1")
    if labels.shape != (len(features),):
        raise ValueError(f"labels have shape {labels.shape}, expected ({len(features)},)")
    reliable = np.full_like(labels, -1)
    for cluster in range(labels.max(initial=-1) + 1):
        members = np.flatnonzero(labels == cluster)
        density = _density(F.normalize(features[members]), threshold)
        reliable[members[np.argsort(-density, kind="stable")[:count]]] = cluster
    return centroids(features, reliable)


def calibrate(features: torch.Tensor, labels: np.ndarray, prototypes: torch.Tensor) -> np.ndarray:
    """Label of the prototype with the greatest cosine.

    Args:
        features: (N, d).
        labels: (N,) int64; −1 marks outliers.
        prototypes: (C, d) on the device of the features, any length.

    Returns:
        (N,) int64, the first of equal ones; outliers stay −1.
    """
    calibrated = labels.copy()
    rows = np.flatnonzero(labels >= 0)
    unit = F.normalize(prototypes)
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        cosine = F.normalize(features[part]) @ unit.T
        calibrated[part] = cosine.argmax(dim=1).cpu().numpy()
    return calibrated


def _density(unit: torch.Tensor, threshold: float) -> np.ndarray:
    """Near members minus other ones, for every unit row (n, d): whole numbers (n,)."""
    signs = [torch.sign(part @ unit.T - threshold).sum(dim=1) for part in unit.split(BLOCK)]
    return torch.cat(signs).cpu().numpy()
