"""Greedy matching of clusters by how many of their images resemble each other (ADCA, MM 2022)."""

import numpy as np
import torch

Side = tuple[torch.Tensor, torch.Tensor]  # features (n, d), labels (n,)
BLOCK = 2048
"""Visible images whose similarities are held at a time (97 MB with 11,909 infrared ones)."""


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
    taken when neither cluster is taken yet.  Outliers vote upstream as a label of their own, which
    is never taken: here they do not vote.  Votes are counted where the features are, by blocks of
    visible images.

    Args:
        visible: (N_v, d) features as extracted, not re-normalised.
        infrared: (N_r, d) features, on the same device.
        labels_v: (N_v,) int64 pseudo labels, -1 for outliers.
        labels_r: (N_r,) int64.
        threshold: similarity from which a pair votes, 0.5 in the paper.

    Returns:
        (n, 2) int64 pairs (visible cluster, infrared cluster) in the order in which they are taken.
    """
    sides = _labelled(visible, labels_v), _labelled(infrared, labels_r)
    votes, closest = _votes(*sides, threshold)
    a, b = np.nonzero(votes)
    taken_v, taken_r, pairs = set(), set(), []
    for i in np.lexsort((-closest[a, b], -votes[a, b])):
        if a[i] not in taken_v and b[i] not in taken_r:
            taken_v.add(a[i])
            taken_r.add(b[i])
            pairs.append((a[i], b[i]))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _labelled(features: torch.Tensor, labels: np.ndarray) -> Side:
    """Features with a label, and the labels, on the device of the features."""
    known = torch.from_numpy(np.flatnonzero(labels >= 0)).to(features.device)
    return features[known], torch.from_numpy(labels).to(features.device)[known]


def _votes(visible: Side, infrared: Side, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Votes (C_v, C_r) int64 and greatest similarity of every pair of labels."""
    sizes = [int(y.max()) + 1 if len(y) else 0 for _, y in (visible, infrared)]
    features_r, labels_r = infrared
    votes = torch.zeros(sizes, dtype=torch.int64, device=features_r.device)
    closest = features_r.new_full(sizes, -torch.inf)
    for rows, y in zip(*(side.split(BLOCK) for side in visible), strict=True):
        similarity = features_r @ rows.T  # (N_r, block)
        voting = (similarity >= threshold).to(similarity.dtype)
        # First over a cluster's infrared images, then over its visible ones; counts are exact.
        counts = voting.new_zeros(sizes[1], len(rows)).index_add_(0, labels_r, voting)
        votes.index_add_(0, y, counts.T.long())
        nearest = _maxima(similarity, labels_r, sizes[1])
        closest = torch.maximum(closest, _maxima(nearest.T, y, sizes[0]))
    return votes.cpu().numpy(), closest.cpu().numpy()


def _maxima(rows: torch.Tensor, labels: torch.Tensor, clusters: int) -> torch.Tensor:
    """Greatest of rows (m, n) with the same label, number by number: (C, n)."""
    maxima = rows.new_full((clusters, rows.shape[1]), -torch.inf)
    return maxima.scatter_reduce_(0, labels[:, None].expand_as(rows), rows, "amax")


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
