"""k-means with k-means++ seeding: Euclidean, deterministic, by blocks of matrix products (CMAM).

Lloyd's steps touch changed centres only: the scores of a centre whose members stayed are kept, so
that the long tail of a run, in which few clusters still change, costs little.  The sums of clusters
are sparse products on the CPU, whose order is fixed: runs with equal seeds are equal to the last
bit, and a cluster that keeps its members keeps its centre exactly.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array

SKETCH = 512
"""Columns that seeds are drawn in; distances of a Gaussian sketch this wide are right to 6 %."""

ROUNDING = 1e-6
"""Squared distances below this share of the mean squared row are noise of float32."""


@dataclass
class KMeans:
    """A clustering.

    Attributes:
        labels: (N,) int64, 0 … k−1, the nearest of ``centres``; no row is left out.
        centres: (k, d) float32 on the device of the features, not normalised.
        inertia: sum of the squared distances of the rows from their centres.
        iterations: Lloyd steps taken.
    """

    labels: np.ndarray
    centres: torch.Tensor
    inertia: float
    iterations: int


@torch.no_grad()
def kmeans(
    features: torch.Tensor,
    k: int,
    generator: torch.Generator,
    iterations: int = 100,
    tolerance: float = 1e-4,
) -> KMeans:
    """One run of k-means (CMAM V-A; A22).

    An empty cluster takes one of the rows that are farthest from their centres.  A cluster can
    still be empty in the end where rows are equal and k exceeds the number of distinct ones.

    Args:
        features: (N, d), of any length.
        k: clusters, 1 ≤ k ≤ N.
        generator: source of all draws, on the CPU.
        iterations: most Lloyd steps.
        tolerance: stop when the squared shift of all centres is at most this times the mean
            variance of a feature (scikit-learn's rule).

    Returns:
        The clustering; see :class:`KMeans`.

    Raises:
        ValueError: features are no matrix or not finite, or k is out of range.
    """
    features = features.float()
    _check(features, k)
    allowed, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, False
    try:
        with torch.autocast(features.device.type, enabled=False):
            offset = features.mean(dim=0)  # around it squared distances lose the fewest digits
            result = _lloyd(features - offset, k, generator, iterations, tolerance)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
    result.centres += offset
    return result


def _check(features: torch.Tensor, k: int) -> None:
    if features.ndim != 2:
        raise ValueError(f"features have shape {tuple(features.shape)}, expected (N, d)")
    if not 1 <= k <= len(features):
        raise ValueError(f"k is {k}, expected 1 to {len(features)} (the number of rows)")
    broken = int((~_squares(features).isfinite()).sum())
    if broken:
        raise ValueError(f"{broken} of {len(features)} feature rows hold NaN or infinite values")


def _lloyd(
    rows: torch.Tensor, k: int, generator: torch.Generator, iterations: int, tolerance: float
) -> KMeans:
    squares, host = _squares(rows), rows.cpu().numpy()
    enough = tolerance * float(squares.sum()) / rows.numel()
    centres = rows[greedy_seeds(rows, k, generator)]
    scores, taken, shift = _scores(rows, centres), 0, math.inf
    while taken < iterations and shift > enough:
        labels, distances = _nearest(scores, squares)
        moved = _means(host, _without_empty(labels, distances, k), centres)
        shifts = _squares(moved - centres)
        changed = shifts > 0
        scores[:, changed] = _scores(rows, moved[changed])
        centres, shift, taken = moved, float(shifts.sum()), taken + 1
    labels, distances = _nearest(scores, squares)
    return KMeans(labels, centres, float(distances.sum(dtype=np.float64)), taken)


def greedy_seeds(rows: torch.Tensor, k: int, generator: torch.Generator) -> torch.Tensor:
    """Indices of k rows by greedy k-means++ (A22).

    Every further seed is the best of 2 + ⌊ln k⌋ candidates, drawn by their squared distance from
    the seeds so far: the one that leaves the smallest sum of squared distances.  Rows wider than
    ``SKETCH`` are compared by a Gaussian projection, which keeps their distances up to a few per
    cent and saves reading all features k times.

    Args:
        rows: (N, d).
        k: seeds.
        generator: source of the draws, on the CPU.

    Returns:
        (k,) int64 on the CPU.
    """
    sketch = _sketched(rows, generator)
    squares = _squares(sketch)
    seeds = torch.randint(len(rows), (k,), generator=generator)  # all but the first are replaced
    nearest = _apart(sketch, squares, seeds[:1])[:, 0]
    for position in range(1, k):
        candidates = _draw(nearest, 2 + int(math.log(k)), generator)
        left = torch.minimum(nearest[:, None], _apart(sketch, squares, candidates))
        best = left.sum(dim=0).argmin().cpu()
        seeds[position], nearest = candidates[best], left[:, best]
    return seeds


def _sketched(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if rows.shape[1] <= SKETCH:
        return rows
    return rows @ torch.randn(rows.shape[1], SKETCH, generator=generator).to(rows.device)


def _apart(rows: torch.Tensor, squares: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Squared distances of all rows from the chosen ones, (N, c), exactly 0 from themselves."""
    chosen = chosen.to(rows.device)
    apart = squares[:, None] + squares[chosen] - 2 * (rows @ rows[chosen].T)
    apart = _without_noise(apart, squares)
    apart[chosen, torch.arange(len(chosen), device=rows.device)] = 0
    return apart


def _draw(weights: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Indices drawn by weight, with replacement; on the CPU, where the running sum is reproducible.

    Rows are only all of weight 0 when none is left that differs from the seeds: any will do then.
    """
    running = weights.cpu().double().cumsum(dim=0)
    points = torch.rand(count, generator=generator, dtype=torch.float64) * running[-1]
    return torch.searchsorted(running, points, right=True).clamp(max=len(running) - 1)


def _scores(rows: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """⟨x, c⟩ − ‖c‖²/2 for every row and centre, (N, k): greatest where ‖x − c‖² is least."""
    return (rows @ centres.T).sub_(_squares(centres) / 2)


def _nearest(scores: torch.Tensor, squares: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centre of every row, the lower one on ties, and the squared distance from it."""
    best, labels = scores.max(dim=1)
    distances = _without_noise(squares - 2 * best, squares)
    return labels.cpu().numpy(), distances.cpu().numpy()


def _without_empty(labels: np.ndarray, distances: np.ndarray, k: int) -> np.ndarray:
    """Labels in which empty clusters have one of the rows farthest from their centres each."""
    empty = np.flatnonzero(np.bincount(labels, minlength=k) == 0)
    if len(empty) == 0:
        return labels
    farthest = np.argsort(-distances, kind="stable")[: len(empty)]
    farthest = farthest[distances[farthest] > 0]
    labels = labels.copy()
    labels[farthest] = empty[: len(farthest)]
    return labels


def _means(rows: np.ndarray, labels: np.ndarray, centres: torch.Tensor) -> torch.Tensor:
    """Means of the clusters, (k, d); a cluster without rows stays where it is."""
    k, counts = len(centres), np.bincount(labels, minlength=len(centres))
    shares = (1 / np.maximum(counts, 1)).astype(np.float32)[labels]
    means = csr_array((shares, (labels, np.arange(len(labels)))), shape=(k, len(labels))) @ rows
    filled = torch.from_numpy(counts > 0).to(centres.device)
    return torch.where(filled[:, None], torch.from_numpy(means).to(centres.device), centres)


def _without_noise(distances: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    return torch.where(distances > ROUNDING * squares.mean(), distances, 0)


def _squares(rows: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(rows, dim=1).square()
