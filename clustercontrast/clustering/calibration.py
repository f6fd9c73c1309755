"""Noisy pseudo-label calibration: relabelling by dense cores of clusters (RPNR, MM 2024)."""

import numpy as np
import torch
import torch.nn.functional as F

BLOCK = 4096


def calibrated_labels(
    features: torch.Tensor, labels: np.ndarray, count: int, threshold: float = 0.5
) -> np.ndarray:
    """Give every labelled image to the cluster whose reliable prototype it is nearest to.

    Args:
        features: (N, d) clustering features.
        labels: (N,) int64 pseudo labels 0..C-1, -1 for outliers.
        count: T, members of a prototype.
        threshold: cosine from which two members are near each other.

    Returns:
        (N,) int64 labels; outliers stay -1, and clusters may lose all their images.
    """
    if not (labels >= 0).any():
        return labels.copy()
    return calibrate(features, labels, reliable_prototypes(features, labels, count, threshold))


def reliable_prototypes(
    features: torch.Tensor, labels: np.ndarray, count: int, threshold: float = 0.5
) -> torch.Tensor:
    """Means of the T densest members of every cluster (rpnr.md 3.4, 1-3).

    The density of a member is the number of members, itself included, with a cosine above the
    threshold, less the number of those below it; equal ones keep their order.

    Returns:
        (C, d) means of features as they are.
    """
    labels = torch.from_numpy(labels)
    order = torch.argsort(labels, stable=True)
    sizes = torch.bincount(labels[labels >= 0]).tolist()
    members = order[(labels < 0).sum() :].split(sizes)
    return torch.stack([_core(features[own], count, threshold).mean(dim=0) for own in members])


def _core(members: torch.Tensor, count: int, threshold: float) -> torch.Tensor:
    unit = F.normalize(members)
    density = torch.sign(unit @ unit.T - threshold).sum(dim=1)
    return members[torch.argsort(density, descending=True, stable=True)[:count]]


def calibrate(features: torch.Tensor, labels: np.ndarray, prototypes: torch.Tensor) -> np.ndarray:
    """Label of the prototype (C, d) with the greatest cosine, the first of equal ones."""
    rows = np.flatnonzero(labels >= 0)
    unit = F.normalize(prototypes)
    nearest = [(F.normalize(part) @ unit.T).argmax(dim=1) for part in features[rows].split(BLOCK)]
    calibrated = labels.copy()
    calibrated[rows] = torch.cat(nearest).cpu().numpy()
    return calibrated
