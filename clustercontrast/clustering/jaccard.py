"""Jaccard distance of k-reciprocal encodings, plain and modality-balanced.

Every image is described by its k-reciprocal neighbours, weighted by their similarity; two images
are close when their descriptions overlap.  The functions below are the steps of
docs/methods/common.md#k-reciprocal-jaccard-distance in their order: ``reciprocal`` (2), ``expand``
(3), ``encode`` (4), ``expand_query`` (5), ``compare`` (6), on top of ``nearest`` (1).  Every N x N
matrix is sparse, and the result does not depend on the number of threads.
"""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from scipy.sparse import csr_array, get_index_dtype

from clustercontrast.clustering.neighbours import nearest

BLOCK_ROWS = 1024  # rows one thread handles at a time


def jaccard(
    features: torch.Tensor, k1: int, k2: int, cutoff: float = 1.0, backend: str = "torch"
) -> csr_array:
    """Jaccard distance of k-reciprocal encodings.

    Args:
        features: (N, d) flip-averaged features, norm ≤ 1, *not* re-normalised.
        k1: neighbours of the reciprocal test, self included; clamped to N.
        k2: neighbours of the query expansion, self included; 1 switches it off; clamped to N.
        cutoff: largest distance that is stored; DBSCAN needs its eps only.
        backend: neighbour search, see ``nearest``.

    Returns:
        (N, N) CSR float32, exactly symmetric, indices sorted; distances in [0, 1], zeros stored
        explicitly.  Off the diagonal, distances above the cutoff and distances of 1 (no overlap)
        are not stored.  The diagonal always is; it is 0 up to rounding.

    Raises:
        ValueError: k1 or k2 below 1, k2 > k1, no rows, or non-finite features.
    """
    k1, k2 = _clamped(k1, k2, len(features))
    return from_ranking(features, nearest(features, k1, backend), k2, cutoff)


def balanced_jaccard(
    visible: torch.Tensor,
    infrared: torch.Tensor,
    k1: int,
    k2: int,
    cutoff: float = 1.0,
    backend: str = "torch",
) -> csr_array:
    """Jaccard distance of k-reciprocal encodings with modality-balanced query expansion.

    Each row's encoding is averaged over its visible and its infrared neighbours separately, then
    over the one or two means (joint clustering of PCLHD, MMM and PCA).  With one
    modality empty this is ``jaccard``.

    Args:
        visible: (N_v, d) flip-averaged features, norm ≤ 1, *not* re-normalised.
        infrared: (N_r, d), same space.
        k1: neighbours of the reciprocal test, self included; clamped to N.
        k2: neighbours of the query expansion, self included; 1 switches it off; clamped to N.
        cutoff: largest distance that is stored; DBSCAN needs its eps only.
        backend: neighbour search, see ``nearest``.

    Returns:
        (N, N) CSR float32, N = N_v + N_r, visible rows first; contents as in ``jaccard``.

    Raises:
        ValueError: k1 or k2 below 1, k2 > k1, no rows, or non-finite features.
    """
    features = torch.cat([visible, infrared])
    k1, k2 = _clamped(k1, k2, len(features))
    is_infrared = np.arange(len(features)) >= len(visible)
    return from_ranking(features, nearest(features, k1, backend), k2, cutoff, is_infrared)


def from_ranking(
    features: torch.Tensor,
    ranking: np.ndarray,
    k2: int,
    cutoff: float = 1.0,
    is_infrared: np.ndarray | None = None,
) -> csr_array:
    """Steps 2 to 6, for neighbours that are known already.

    Args:
        features: (N, d), as in ``jaccard``.
        ranking: (N, k1) integers, the k1 nearest rows of every row, ascending distance.
        k2: columns of the ranking that the query expansion averages; 1 switches it off.
        cutoff: largest distance that is stored.
        is_infrared: (N,) bool; balances the expansion between the two modalities.

    Returns:
        (N, N) CSR float32, see ``jaccard``.
    """
    return compare(encodings(features, ranking, ranking.shape[1], k2, is_infrared), cutoff)


def encodings(
    features: torch.Tensor,
    ranking: np.ndarray,
    k1: int,
    k2: int,
    is_infrared: np.ndarray | None = None,
) -> csr_array:
    """Steps 2 to 5: the vectors that the Jaccard distance compares.

    Args:
        features: (N, d), as in ``jaccard``.
        ranking: (N, k) integers, the k nearest rows of every row, ascending distance.
        k1: size parameter of the full set, see ``reciprocal``; the half set has round(k1 / 2).
        k2: columns of the ranking that the query expansion averages; 1 switches it off.
        is_infrared: (N,) bool; balances the expansion between the two modalities.

    Returns:
        (N, N) CSR float32, V; the sum of a row is 1.
    """
    ranking = ranking.astype(np.int32)
    # Python rounds half to even, as the official code does.
    pattern = expand(reciprocal(ranking, k1), reciprocal(ranking, round(k1 / 2)))
    encoding = encode(features, pattern)
    return expand_query(encoding, ranking[:, :k2], is_infrared) if k2 > 1 else encoding


def reciprocal(ranking: np.ndarray, k: int) -> csr_array:
    """Rows that have each other among their first k + 1 neighbours (step 2; COMMON-12).

    The ranking has k1 columns only, hence the limit: for k = k1 the neighbourhood counts k1 rows
    including self, for a smaller k it counts k + 1.

    Args:
        ranking: (N, k1) int32.
        k: size parameter of the set.

    Returns:
        (N, N) symmetric CSR of int32 ones.
    """
    size, k1 = ranking.shape
    count = min(k + 1, k1)
    starts = np.arange(0, size * count + 1, count, dtype=np.int32)
    ones = np.ones(size * count, dtype=np.int32)
    # A copy, because the next line sorts in place.
    near = csr_array((ones, ranking[:, :count].flatten(), starts), shape=(size, size))
    near.sort_indices()
    return near.multiply(near.T.tocsr())


def expand(full: csr_array, half: csr_array) -> csr_array:
    """Add the half set of a candidate when most of it lies in the full set (step 3).

    E_i = A_i ∪ ⋃ {H_c : c ∈ A_i, |H_c ∩ A_i| > ⅔ |H_c|}, always tested against the original A_i.

    Args:
        full: (N, N) A, ``reciprocal`` with k1.
        half: (N, N) H, ``reciprocal`` with round(k1 / 2).

    Returns:
        (N, N) CSR whose stored positions are E.
    """
    accepted = full.multiply(full @ half)  # |A_i ∩ H_c| at every candidate; H is symmetric
    accepted.data = (3 * accepted.data > 2 * half.sum(axis=1)[accepted.indices]).astype(np.int32)
    accepted.eliminate_zeros()
    return full + accepted @ half


def encode(features: torch.Tensor, pattern: csr_array) -> csr_array:
    """Softmax of −d_ij = 2⟨x_i, x_j⟩ − 2 over the stored positions of each row (step 4).

    The rows x are used as they come: for features shorter than 1 it is not a Euclidean distance.

    Args:
        features: (N, d).
        pattern: (N, N), stored where j ∈ E_i.

    Returns:
        (N, N) CSR float32, V; the sum of a row is 1.
    """
    rows = np.ascontiguousarray(features.detach().float().cpu().numpy())
    weights = np.empty(pattern.nnz, dtype=np.float32)
    structure = (pattern.indptr, pattern.indices)
    _in_blocks(
        lambda first, last: _softmax_rows(rows, structure, weights, first, last), len(features)
    )
    return csr_array((weights, pattern.indices, pattern.indptr), shape=pattern.shape)


def expand_query(
    encoding: csr_array, nearest_rows: np.ndarray, is_infrared: np.ndarray | None = None
) -> csr_array:
    """Average the encodings of the nearest rows (step 5).

    Args:
        encoding: (N, N) V.
        nearest_rows: (N, k2) int32.
        is_infrared: (N,) bool; when given, the mean of the one or two modality means.

    Returns:
        (N, N) CSR float32.
    """
    size, k2 = nearest_rows.shape
    peers = np.full((size, k2), k2, dtype=np.float32)
    if is_infrared is not None:
        infrared = is_infrared[nearest_rows]
        counts = np.stack([(~infrared).sum(axis=1), infrared.sum(axis=1)], axis=1)
        # A row's share: one over (rows of its modality times modalities present).
        peers = np.take_along_axis(counts, infrared.astype(np.int8), axis=1)
        peers = peers * np.count_nonzero(counts, axis=1)[:, None]
    shares = (1 / peers).astype(np.float32)
    starts = np.arange(0, size * k2 + 1, k2, dtype=np.int32)
    return csr_array((shares.ravel(), nearest_rows.ravel(), starts), shape=(size, size)) @ encoding


def compare(encoding: csr_array, cutoff: float = 1.0, first: int | None = None) -> csr_array:
    """D_ij = 1 − s_ij / (2 − s_ij) with s_ij = Σ_l min(V_il, V_jl) (step 6).

    Args:
        encoding: (N, N) V, non-negative.
        cutoff: largest distance that is stored off the diagonal.
        first: compare the first rows only, this many, with all; default: every row.

    Returns:
        (N, N), or (first, N), CSR float32, see ``jaccard``.
    """
    size = encoding.shape[0]
    first = size if first is None else first
    columns = encoding.tocsc()
    columns.eliminate_zeros()  # the kernel takes an overlap of 0 for "not met yet"
    rows = columns.tocsr()
    structure = (rows.indptr, rows.indices)
    entries = (columns.indptr, columns.indices, columns.data)
    cutoff = min(np.float32(cutoff), np.nextafter(np.float32(1), np.float32(0)))
    blocks = _in_blocks(
        lambda start, stop: _upper_rows(structure, entries, start, stop, cutoff), first
    )
    counts, indices, distances = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    del blocks
    met = np.bincount(indices, minlength=size)[:first]
    starts = np.cumsum(np.append(0, counts + met - 1))  # the diagonal counts once
    starts = starts.astype(get_index_dtype(maxval=starts[-1]))  # int32 halves the memory
    indices, distances = _mirrored(counts, indices, distances, starts)
    return csr_array((distances, indices, starts), shape=(first, size))


def is_compiled() -> bool:
    """Whether numba has compiled this module before, in this process or in an earlier one."""
    place = _upper_rows.stats.cache_path  # None where no place can be written
    kept = place and any(Path(place).glob("jaccard._upper_rows-*.nbi"))
    return bool(_upper_rows.signatures or kept)


def _clamped(k1: int, k2: int, rows: int) -> tuple[int, int]:
    if not 1 <= k2 <= k1:
        raise ValueError(f"k1 is {k1} and k2 is {k2}, expected 1 ≤ k2 ≤ k1")
    if rows == 0:
        raise ValueError("there are no feature rows to compare")
    return min(k1, rows), min(k2, rows)


def _in_blocks(work: Callable, rows: int) -> list:
    """Results of work(first, last) for consecutive blocks of rows, in order, on torch's threads."""
    starts = range(0, rows, BLOCK_ROWS)
    stops = [min(start + BLOCK_ROWS, rows) for start in starts]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(work, starts, stops))


def _compiled(function: Callable, **options: Any) -> Callable:
    """Numba's version of a function, kept for later processes where a place can be written."""
    try:
        return numba.njit(function, nogil=True, cache=True, **options)
    except RuntimeError:  # neither the code's folder nor HOME
        return numba.njit(function, nogil=True, **options)


# Regrouping the sum is what lets the compiler vectorise it; no other shortcut is allowed.
@functools.partial(_compiled, fastmath={"reassoc", "contract"})
def _dot(left, right):
    total = np.float32(0)
    for position in range(left.size):
        total += left[position] * right[position]
    return total


@_compiled
def _softmax_rows(features, structure, weights, first, last):
    starts, indices = structure
    for i in range(first, last):
        row = weights[starts[i] : starts[i + 1]]
        if row.size == 0:  # possible among more than k1 exact duplicates
            continue
        for position in range(row.size):
            row[position] = 2 * _dot(features[i], features[indices[starts[i] + position]])
        row[:] = np.exp(row - row.max())
        row /= row.sum()


@_compiled
def _upper_rows(structure, entries, first, last, cutoff):
    """Distances (i, j ≥ i) of the rows first ≤ i < last: entries per row, indices, distances."""
    size = structure[0].size - 1
    cursors = _cursors(entries, first)
    overlaps = np.zeros(size, dtype=np.float64)
    touched = np.empty(size, dtype=np.int32)
    counts = np.empty(last - first, dtype=np.int64)
    indices, distances = np.empty(size, dtype=np.int32), np.empty(size, dtype=np.float32)
    stored = 0
    for i in range(first, last):
        found = _accumulate(i, structure, entries, cursors, overlaps, touched)
        if stored + found > indices.size:
            indices, distances = _grown(indices, stored + found), _grown(distances, stored + found)
        kept = _store(touched[:found], overlaps, cutoff, indices[stored:], distances[stored:])
        counts[i - first] = kept
        stored += kept
    return counts, indices[:stored].copy(), distances[:stored].copy()


@_compiled
def _cursors(entries, first):
    """Position of the first entry of every column whose row is at least ``first``."""
    starts, rows, _ = entries
    cursors = starts[:-1].copy()
    for column in range(cursors.size):
        below = rows[starts[column] : starts[column + 1]]
        cursors[column] += np.searchsorted(below, first)
    return cursors


@_compiled
def _accumulate(i, structure, entries, cursors, overlaps, touched):
    """Add the overlaps of row i with itself and with the rows below it; list the rows met.

    Rows are visited in ascending order, so the cursor of a column stands at row i whenever row i
    has an entry there, and the entries after it belong to the rows j > i.
    """
    row_starts, row_columns = structure
    starts, rows, values = entries
    touched[0] = i
    found = 1
    for column in row_columns[row_starts[i] : row_starts[i + 1]]:
        cursors[column] += 1
        below, end = cursors[column], starts[column + 1]
        own = values[below - 1]
        overlaps[i] += own
        for signed, value in zip(rows[below:end], values[below:end]):  # noqa: B905
            j = np.uint32(signed)  # spares a test for negative positions in the hottest loop
            if overlaps[j] == 0:
                touched[found] = j
                found += 1
            overlaps[j] += min(own, value)
    return found


@_compiled
def _store(touched, overlaps, cutoff, indices, distances):
    """Write the distances up to the cutoff, the diagonal (first) always; clear the overlaps."""
    kept = 0
    for position, j in enumerate(touched):
        if position == 0 or _distance(overlaps[j]) <= cutoff:
            touched[kept] = j
            kept += 1
        else:
            overlaps[j] = 0
    indices[:kept] = np.sort(touched[:kept])
    for position in range(kept):
        distances[position] = _distance(overlaps[indices[position]])
        overlaps[indices[position]] = 0
    return kept


@_compiled
def _distance(overlap):
    return np.float32(max(0.0, 1 - overlap / (2 - overlap)))


@_compiled
def _grown(array, needed):
    larger = np.empty(2 * needed, dtype=array.dtype)
    larger[: array.size] = array
    return larger


@_compiled
def _mirrored(counts, upper_indices, upper_distances, starts):
    """Both triangles from the upper one, row by row; the result stays sorted.

    The upper triangle may be that of the first rows only; they are then those of the result. When
    row i is reached, the rows before it have already placed its entries left of the diagonal.
    """
    free = starts[:-1].copy()
    indices = np.empty(starts[-1], dtype=np.int32)
    distances = np.empty(starts[-1], dtype=np.float32)
    source = 0
    for i in range(counts.size):
        for _ in range(counts[i]):
            j, distance = upper_indices[source], upper_distances[source]
            source += 1
            indices[free[i]], distances[free[i]] = j, distance
            free[i] += 1
            if i < j < counts.size:
                indices[free[j]], distances[free[j]] = i, distance
                free[j] += 1
    return indices, distances
