"""Jaccard distance of k-reciprocal encodings: plain, balanced, modality-aware, camera-aware.

Every image is described by its k-reciprocal neighbours, weighted by their similarity; two images
are close when their descriptions overlap.  The functions below are the steps of
docs/methods/common.md#k-reciprocal-jaccard-distance in their order: ``reciprocal`` (2), ``expand``
(3), ``encode`` (4), ``expand_query`` (5), ``compare`` (6), on top of ``nearest`` (1).  Every N x N
matrix is sparse, and the result does not depend on the number of threads.
"""

import functools
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_array

from clustercontrast.clustering.compiled import compiled, in_blocks
from clustercontrast.clustering.neighbours import (
    Search,
    nearest,
    nearest_of_both,
    nearest_of_groups,
)
from clustercontrast.clustering.overlaps import compare, index_dtype, upper_rows

CONVERTED_ROWS = 128  # features that are not float32 are converted for so many rows at a time


def jaccard(
    features: torch.Tensor, k1: int, k2: int, cutoff: float = 1.0, backend: Search | str = "torch"
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
    backend: Search | str = "torch",
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


def modality_jaccard(
    visible: torch.Tensor,
    infrared: torch.Tensor,
    k1: int,
    k2: int,
    cutoff: float = 1.0,
    rank: str = "dot",
) -> csr_array:
    """Jaccard distance whose neighbours are as many visible as infrared rows (BMIL).

    A row is described by its ⌊k1/2⌋ visible and ⌊k1/2⌋ infrared neighbours, whatever is nearer, and
    its encoding is averaged over k2 rows of either modality, with equal weight.  See
    docs/methods/bmil.md#modality-aware-distance.

    Args:
        visible: (N_v, d) flip-averaged features, norm ≤ 1, *not* re-normalised.
        infrared: (N_r, d), same space and device.
        k1: neighbours of the reciprocal test, half of either modality; a modality that has fewer
            images than that limits both.
        k2: neighbours *of either modality* in the query expansion; 1 switches it off.
        cutoff: largest distance that is stored; DBSCAN needs its eps only.
        rank: by what neighbours are found and ordered, see ``nearest_of_both`` (BMIL-9).

    Returns:
        (N, N) CSR float32, N = N_v + N_r, visible rows first; contents as in ``jaccard``.

    Raises:
        ValueError: k1 below 2, k2 below 1, a modality without rows, or non-finite features.
    """
    own, encoding = _encodings_of_both(visible, infrared, k1, k2, rank)
    if k2 > 1:
        count = own.shape[1] // 2
        k2, of_each = min(k2, count), own.reshape(len(own), 2, count)
        is_infrared = np.arange(len(own)) >= len(visible)
        nearest_rows = of_each[:, :, :k2].reshape(len(own), 2 * k2).astype(np.int32)
        encoding = expand_query(encoding, nearest_rows, is_infrared)
    return compare(encoding, cutoff)


def camera_jaccard(
    visible: torch.Tensor,
    infrared: torch.Tensor,
    cameras: tuple[np.ndarray, np.ndarray],
    k1: int,
    cap: int,
    cutoff: float = 1.0,
    rank: str = "dot",
) -> csr_array:
    """``modality_jaccard`` whose expansion is even over the cameras of either modality.

    The encoding of a row is averaged over its nearest rows of every camera, then over the cameras
    of a modality, then over the two modalities (docs/methods/united.md#cameras).

    Args:
        visible: (N_v, d) flip-averaged features, norm ≤ 1, *not* re-normalised.
        infrared: (N_r, d), same space and device.
        cameras: (N_v,), (N_r,) integers; equal numbers in both modalities are two cameras.
        k1: as in ``modality_jaccard``.
        cap: rows of every camera in the expansion; a camera with fewer gives all.
        cutoff: largest distance that is stored; DBSCAN needs its eps only.
        rank: as in ``modality_jaccard``.

    Returns:
        (N, N) CSR float32, N = N_v + N_r, visible rows first; contents as in ``jaccard``.

    Raises:
        ValueError: k1 below 2, cap below 1, a modality without rows, or non-finite features.
    """
    _, encoding = _encodings_of_both(visible, infrared, k1, cap, rank)
    groups, of_modality = camera_groups(*cameras)
    near = nearest_of_groups(torch.cat([visible, infrared]), groups, cap, rank)
    counts = np.array([own.shape[1] for own in near])
    shares = 1 / (2 * np.repeat(of_modality, of_modality) * counts)
    shares = np.repeat(shares, counts).astype(np.float32)
    return compare(_averaged(encoding, np.concatenate(near, axis=1), shares), cutoff)


def camera_groups(visible: np.ndarray, infrared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cameras of both modalities, counted from 0, the visible ones first.

    Args:
        visible: (N_v,) integers.
        infrared: (N_r,) integers; equal numbers in both modalities are two cameras.

    Returns:
        (N_v + N_r,) int64 camera of every image; (2,) int64 number of cameras of either modality.
    """
    kinds = [np.unique(own, return_inverse=True) for own in (visible, infrared)]
    counts = np.array([len(names) for names, _ in kinds])
    return np.concatenate([kinds[0][1], counts[0] + kinds[1][1]]), counts


def _encodings_of_both(
    visible: torch.Tensor, infrared: torch.Tensor, k1: int, k2: int, rank: str
) -> tuple[np.ndarray, csr_array]:
    """Neighbours of either modality of every row, and the encodings by all of them, unexpanded."""
    count = min(k1 // 2, len(visible), len(infrared))
    if count < 1 or k2 < 1:
        raise ValueError(
            f"k1 is {k1}, k2 is {k2}, with {len(visible)} visible and {len(infrared)} infrared "
            "rows: expected k1 ≥ 2, k2 ≥ 1 and rows of both"
        )
    own, ranking = nearest_of_both(visible, infrared, count, rank)
    return own, encodings(torch.cat([visible, infrared]), ranking, k1, 1)


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
    starts = _even_starts(size, count)
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


def encode(features: torch.Tensor | np.ndarray, pattern: csr_array) -> csr_array:
    """Softmax of −d_ij = 2⟨x_i, x_j⟩ − 2 over the stored positions of each row (step 4).

    The rows x are used as they come: for features shorter than 1 it is not a Euclidean distance.

    Args:
        features: (N, d) of any floating-point type; a memory map in float32 or float16 is never
            copied as a whole.
        pattern: (N, N), stored where j ∈ E_i.

    Returns:
        (N, N) CSR float32, V; the sum of a row is 1.
    """
    rows = _array_of(features)
    weights = np.empty(pattern.nnz, dtype=np.float32)

    def fill(first: int, last: int) -> None:
        starts = pattern.indptr[first : last + 1]
        entries = slice(starts[0], starts[-1])
        near = _float32_rows(rows, np.arange(first, last), pattern.indices[entries])
        _softmax_rows(*near, starts - starts[0], weights[entries])

    in_blocks(fill, len(rows), None if rows.dtype == np.float32 else CONVERTED_ROWS)
    return csr_array((weights, pattern.indices, pattern.indptr), shape=pattern.shape)


def _array_of(features: torch.Tensor | np.ndarray) -> np.ndarray:
    """Features as float32 or float16 on the CPU, not copied where they are that already."""
    if isinstance(features, torch.Tensor):
        features = features.detach().cpu()
        is_kept = features.dtype in (torch.float32, torch.float16)
        features = (features if is_kept else features.float()).numpy()
    return np.ascontiguousarray(features)


def _float32_rows(
    rows: np.ndarray, own: np.ndarray, near: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Float32 features, and where ``own`` and ``near`` are among them: all, or those two alone."""
    if rows.dtype == np.float32:
        return rows, own, near
    needed, places = np.unique(np.concatenate([own, near]), return_inverse=True)
    return rows[needed].astype(np.float32), places[: len(own)], places[len(own) :]


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
    return _averaged(encoding, nearest_rows, (1 / peers).astype(np.float32))


def _averaged(encoding: csr_array, nearest_rows: np.ndarray, shares: np.ndarray) -> csr_array:
    """Σ_k shares_k V[nearest_rows_k] of every row; shares (k,) or (N, k) float32."""
    size, k = nearest_rows.shape
    shares = np.broadcast_to(shares, nearest_rows.shape).ravel()
    structure = (nearest_rows.ravel().astype(np.int32), _even_starts(size, k))
    return csr_array((shares, *structure), shape=(size, size)) @ encoding


def is_compiled() -> bool:
    """Whether numba has compiled these steps before, in this process or in an earlier one."""
    place = upper_rows.stats.cache_path  # None where no place can be written
    kept = place and any(Path(place).glob("overlaps.upper_rows-*.nbi"))
    return bool(upper_rows.signatures or kept)


def _even_starts(rows: int, entries: int) -> np.ndarray:
    """CSR pointers (rows + 1,) of rows that all have as many entries."""
    return np.arange(rows + 1, dtype=index_dtype(rows * entries)) * entries


def _clamped(k1: int, k2: int, rows: int) -> tuple[int, int]:
    if not 1 <= k2 <= k1:
        raise ValueError(f"k1 is {k1} and k2 is {k2}, expected 1 ≤ k2 ≤ k1")
    if rows == 0:
        raise ValueError("there are no feature rows to compare")
    return min(k1, rows), min(k2, rows)


# Regrouping the sum is what lets the compiler vectorise it; no other shortcut is allowed.
@functools.partial(compiled, fastmath={"reassoc", "contract"})
def _dot(left, right):
    total = np.float32(0)
    for position in range(left.size):
        total += left[position] * right[position]
    return total


@compiled
def _softmax_rows(features, own, near, starts, weights):
    """Weights of every row of ``own`` for its part of ``near``, from starts[i] to starts[i + 1]."""
    for i in range(own.size):
        row = weights[starts[i] : starts[i + 1]]
        if row.size == 0:  # possible among more than k1 exact duplicates
            continue
        for position in range(row.size):
            row[position] = 2 * _dot(features[own[i]], features[near[starts[i] + position]])
        row[:] = np.exp(row - row.max())
        row /= row.sum()
