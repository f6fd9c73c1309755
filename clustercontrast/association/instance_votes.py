"""Greedy matching of clusters by how many of their images resemble each other (ADCA, MM 2022)."""

import numpy as np
import torch


def instance_votes(
    visible: torch.Tensor,
    infrared: torch.Tensor,
    labels_v: np.ndarray,
    labels_r: np.ndarray,
    threshold: float,
) -> np.ndarray:
    """One-to-one pairs of clusters, those with most similar image pairs first.

    See docs/methods/adca.md#aggregation.

    An image pair votes for its pair of labels when its dot product reaches the threshold.  Label
    pairs are walked by falling number of votes – ties by their most similar image pair first – and
    taken when neither cluster is taken yet.  Outliers vote as a label of their own, which is never
    taken.

    Args:
        visible: (N_v, d) features as extracted, not re-normalised.
        infrared: (N_r, d) features.
        labels_v: (N_v,) int64 pseudo labels, -1 for outliers.
        labels_r: (N_r,) int64.
        threshold: similarity from which a pair votes, 0.5 in the paper.

    Returns:
        (n, 2) int64 pairs (visible cluster, infrared cluster) in the order in which they are taken.
    """
    votes, closest = _votes(visible, infrared, labels_v, labels_r, threshold)
    a, b = np.nonzero(votes[1:, 1:])  # row and column 0 belong to the outliers
    counts, maxima = votes[1:, 1:][a, b], closest[1:, 1:][a, b]
    taken_v, taken_r, pairs = set(), set(), []
    for i in np.lexsort((-maxima, -counts)):
        if a[i] not in taken_v and b[i] not in taken_r:
            taken_v.add(a[i])
            taken_r.add(b[i])
            pairs.append((a[i], b[i]))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _votes(visible, infrared, labels_v, labels_r, threshold, block=2048):
    """Votes and greatest similarity per label pair, outliers at index 0; blocks of rows."""
    shape = labels_v.max(initial=-1) + 2, labels_r.max(initial=-1) + 2
    votes = np.zeros(shape[0] * shape[1], dtype=np.int64)
    closest = np.full(shape[0] * shape[1], -np.inf, dtype=np.float32)
    for start in range(0, len(visible), block):
        similarity = (visible[start : start + block] @ infrared.T).cpu().numpy()
        i, j = np.nonzero(similarity >= threshold)
        pair = (labels_v[start + i] + 1) * shape[1] + labels_r[j] + 1
        votes += np.bincount(pair, minlength=len(votes))
        np.maximum.at(closest, pair, similarity[i, j])
    return votes.reshape(shape), closest.reshape(shape)


def aggregate(
    visible: torch.Tensor, infrared: torch.Tensor, pairs: torch.Tensor, weight: float
) -> torch.Tensor:
    """Blend visible memory rows with their infrared partners (ADCA-2, ADCA-3).

    Only visible rows move, and they are not normalised again.

    Args:
        visible: (C_v, d) unit rows.
        infrared: (C_r, d) unit rows.
        pairs: (n, 2) int64, visible row and infrared row.
        weight: λ, weight of the visible row, 0.1 in the paper.

    Returns:
        (C_v, d) rows.
    """
    rows = visible.clone()
    a, b = pairs.T
    rows[a] = weight * visible[a] + (1 - weight) * infrared[b]
    return rows
