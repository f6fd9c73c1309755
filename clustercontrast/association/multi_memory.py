"""Matching by sub-memories of clusters (MMM's multi-memory matching)."""

import numpy as np
import torch
from sklearn.cluster import KMeans

Pair = tuple[torch.Tensor, torch.Tensor]
Labels = tuple[np.ndarray, np.ndarray]
SUB_MEMORIES = 4
CELLS = 1 << 22
"""Distances held at a time (32 MiB)."""


def multi_memory_matching(
    features: Pair, labels: Labels, upstream: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Match every cluster to the nearest one of the other side.

    See docs/methods/mmm.md#multi-memory-matching.

    Args:
        features: (N_v, d), (N_r, d) clustering features.
        labels: (N_v,), (N_r,) int64, -1 for outliers.
        upstream: as released (MMM-1, MMM-2): the last cluster of either side is never chosen and
            keeps its own number, and clusters of fewer than four images are misread.

    Returns:
        ``to_infrared`` (C_v,) and ``to_visible`` (C_r,), int64 on the CPU, many to one on both
        sides; -1 throughout when the other side has no cluster.  With ``upstream`` a number may
        lie beyond the other side's clusters.
    """
    memories = [sub_memories(f, y) for f, y in zip(features, labels, strict=True)]
    tiny = [np.bincount(y[y >= 0]) < SUB_MEMORIES for y in labels]
    if not upstream:
        tiny = [np.zeros_like(small) for small in tiny]
    to_infrared = _nearest(memory_distances(*memories, *tiny), upstream)
    to_visible = _nearest(memory_distances(*memories[::-1], *tiny[::-1]), upstream)
    return torch.from_numpy(to_infrared), torch.from_numpy(to_visible)


def sub_memories(features: torch.Tensor, labels: np.ndarray) -> np.ndarray:
    """(C, 4, d) centres of every cluster by 4-means; a smaller cluster repeats its mean."""
    values = features.cpu().numpy()
    found = [_centres(values[labels == c]) for c in range(labels.max(initial=-1) + 1)]
    return np.stack(found) if found else np.zeros((0, SUB_MEMORIES, values.shape[1]), np.float32)


def _centres(members: np.ndarray) -> np.ndarray:
    if len(members) < SUB_MEMORIES:
        return np.repeat(members.mean(axis=0, keepdims=True), SUB_MEMORIES, axis=0)
    return KMeans(SUB_MEMORIES, n_init=10, random_state=0).fit(members).cluster_centers_


def memory_distances(
    visible: np.ndarray,
    infrared: np.ndarray,
    tiny_visible: np.ndarray | None = None,
    tiny_infrared: np.ndarray | None = None,
) -> np.ndarray:
    """D(a, b) = sum over b's sub-memories of the distance to a's nearest one.

    Args:
        visible: (C_v, 4, d) sub-memories.
        infrared: (C_r, 4, d) sub-memories.
        tiny_visible: (C_v,) bool, clusters whose mean is misread as four numbers (MMM-2).
        tiny_infrared: (C_r,) bool.

    Returns:
        (C_v, C_r) float64.
    """
    if 0 in (len(visible), len(infrared)):
        return np.zeros((len(visible), len(infrared)))
    visible, infrared = _misread(visible, tiny_visible), _misread(infrared, tiny_infrared)
    flat = torch.from_numpy(infrared).flatten(0, 1)
    size = max(1, CELLS // (SUB_MEMORIES * len(flat)))
    parts = [
        torch.cdist(torch.from_numpy(part).flatten(0, 1), flat)
        .view(len(part), SUB_MEMORIES, len(infrared), SUB_MEMORIES)
        .amin(dim=1)
        .sum(dim=2)
        for part in np.split(visible, range(size, len(visible), size))
    ]
    distances = torch.cat(parts).numpy()
    if tiny_visible is not None and tiny_infrared is not None:
        # Two misread clusters are compared number by number, not vector by vector.
        distances[np.ix_(tiny_visible, tiny_infrared)] /= np.sqrt(visible.shape[2])
    return distances


def _misread(memories: np.ndarray, tiny: np.ndarray | None) -> np.ndarray:
    """Upstream reads a lone mean vector like four rows: its first components, broadcast."""
    memories = memories.astype(np.float64)
    if tiny is not None and tiny.any():
        memories[tiny] = memories[tiny, 0, :SUB_MEMORIES, None]
    return memories


def _nearest(distances: np.ndarray, upstream: bool) -> np.ndarray:
    """First nearest column of every row; as upstream, the last row keeps its number."""
    rows, columns = distances.shape
    if not columns:
        return np.full(rows, -1, dtype=np.int64)
    if not upstream or columns == 1:
        return distances.argmin(axis=1)
    nearest = distances[:, : columns - 1].argmin(axis=1)
    nearest[-1:] = rows - 1
    return nearest


def relabel(labels: np.ndarray, to_other: torch.Tensor) -> np.ndarray:
    """Labels (N,) in the other side's space: -1 for outliers and unmatched clusters."""
    return np.append(to_other.numpy(), -1)[labels]
