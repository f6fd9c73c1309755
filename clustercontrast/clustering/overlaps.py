"""Jaccard distances of sparse encodings (step 6 of the k-reciprocal distance).

Pairs are found through the columns that they share.  Common columns are shared by pairs that have
little else in common, and there are many of these where features show no clusters.  The search
therefore leaves out the commonest columns of every row, as far as a pair within the cutoff is
found without them (prefix filtering: Chaudhuri, Ganti, Kaushik, "A primitive operator for
similarity joins in data cleaning", ICDE 2006); the few pairs that it finds are compared in full.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csc_array, csr_array

from clustercontrast.clustering.compiled import BLOCK_ROWS, compiled, in_blocks

SPARED = 0.8  # of the overlap that a pair needs, this share may lie in columns not searched
BLOCKS = 64  # of rows at most, as each needs cursors and sums for all rows
ROUNDING = 1e-6  # overlaps this much below the needed one are searched for, too


class _Lines(NamedTuple):
    """Rows, or columns, of a sparse matrix: where each starts, ascending positions, values."""

    starts: np.ndarray
    positions: np.ndarray
    values: np.ndarray


class _Search(NamedTuple):
    """What pairs are searched in.

    Attributes:
        rows: whole encodings.
        searched: encodings without their commonest columns; ``rows`` where all are searched.
        columns: those of ``searched``.
        least: overlap of the searched part that a pair within the cutoff has; 0: all is searched.
        cutoff: largest distance that is stored off the diagonal.
    """

    rows: _Lines
    searched: _Lines
    columns: _Lines
    least: float
    cutoff: np.float32


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
    cutoff = min(np.float32(cutoff), np.nextafter(np.float32(1), np.float32(0)))
    counts, indices, distances = _upper_triangle(encoding, first, cutoff)
    met = np.bincount(indices, minlength=size)[:first]
    starts = np.cumsum(np.append(0, counts + met - 1))  # the diagonal counts once
    starts = starts.astype(index_dtype(starts[-1]))
    indices, distances = _mirrored(counts, indices, distances, starts)
    return csr_array((distances, indices, starts), shape=(first, size))


def index_dtype(most: int) -> type[np.signedinteger]:
    """Of the pointers of a sparse matrix with ``most`` entries: int32 halves the memory."""
    return np.int32 if most <= np.iinfo(np.int32).max else np.int64


def _upper_triangle(
    encoding: csr_array, first: int, cutoff: np.float32
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances (i, j ≥ i) of the first rows: entries per row, indices, distances."""
    columns = encoding.tocsc()
    columns.eliminate_zeros()  # the kernel takes an overlap of 0 for "not met yet"
    rows = columns.tocsr()
    needed = max(0.0, 2 * (1 - float(cutoff)) / (2 - float(cutoff)) - ROUNDING)
    searched = rows
    if needed:
        del columns
        searched = _without_common_columns(rows, SPARED * needed)
        columns = searched.tocsc()
    search = _Search(_parts(rows), _parts(searched), _parts(columns), (1 - SPARED) * needed, cutoff)
    length = max(BLOCK_ROWS, -(-first // BLOCKS))
    blocks = in_blocks(lambda start, stop: upper_rows(search, start, stop), first, length)
    counts, indices, distances = zip(*blocks, strict=True)
    return np.concatenate(counts), np.concatenate(indices), np.concatenate(distances)


def _parts(matrix: csr_array | csc_array) -> _Lines:
    return _Lines(matrix.indptr, matrix.indices, matrix.data)


def _without_common_columns(rows: csr_array, spared: float) -> csr_array:
    """Rows without their commonest columns, whose values add up to ``spared`` at most in each row.

    Two rows share ``spared`` at most in the columns that one of them lacks: with one order of the
    columns for all rows, these are the columns that the row with the later cut lacks.  The columns
    of the result are in that order, the commonest first.
    """
    met = np.bincount(rows.indices, minlength=rows.shape[1])
    places = np.empty(len(met), dtype=np.int32)
    places[np.argsort(-met, kind="stable")] = np.arange(len(met), dtype=np.int32)
    ranked = csr_array((rows.data, places[rows.indices], rows.indptr), shape=rows.shape)
    ranked = ranked.tocsc().tocsr()  # sorts the entries of every row
    is_kept = np.empty(ranked.nnz, dtype=np.bool_)
    starts = _mark_kept(_parts(ranked), spared, is_kept)
    return csr_array((ranked.data[is_kept], ranked.indices[is_kept], starts), shape=rows.shape)


@compiled
def _mark_kept(rows, spared, is_kept):
    """Leave out the first entries of every row, as long as they add up to ``spared`` at most.

    Returns where the rows start among the entries that are kept.
    """
    starts = np.zeros_like(rows.starts)
    for i in range(starts.size - 1):
        total, kept = 0.0, 0
        for entry in range(rows.starts[i], rows.starts[i + 1]):
            total += rows.values[entry]
            is_kept[entry] = total > spared
            kept += is_kept[entry]
        starts[i + 1] = starts[i] + kept
    return starts


@compiled
def upper_rows(search, first, last):
    """Distances (i, j ≥ i) of the rows first ≤ i < last: entries per row, indices, distances."""
    size = search.rows.starts.size - 1
    cursors = _cursors(search.columns, first)
    overlaps = np.zeros(size, dtype=np.float64)
    touched = np.empty(size + 1, dtype=np.int32)
    own = np.zeros(size, dtype=np.float32)
    counts = np.empty(last - first, dtype=np.int64)
    indices, distances = np.empty(size, dtype=np.int32), np.empty(size, dtype=np.float32)
    stored = 0
    for i in range(first, last):
        found = _accumulate(i, search, cursors, overlaps, touched)
        if search.least > 0:
            found = _candidates(touched[:found], overlaps, search.least)
            _overlap_in_full(i, search.rows, touched[:found], own, overlaps)
        if stored + found > indices.size:
            indices, distances = _grown(indices, stored + found), _grown(distances, stored + found)
        kept = _store(
            touched[:found], overlaps, search.cutoff, indices[stored:], distances[stored:]
        )
        counts[i - first] = kept
        stored += kept
    return counts, indices[:stored].copy(), distances[:stored].copy()


@compiled
def _cursors(columns, first):
    """Position of the first entry of every column whose row is at least ``first``."""
    starts, rows = columns.starts, columns.positions
    cursors = starts[:-1].copy()
    for column in range(cursors.size):
        below = rows[starts[column] : starts[column + 1]]
        cursors[column] += np.searchsorted(below, first)
    return cursors


@compiled
def _accumulate(i, search, cursors, overlaps, touched):
    """Add the overlaps of row i with itself and with the rows below it; list the rows met.

    Rows are visited in ascending order, so the cursor of a column stands at row i whenever row i
    has an entry there, and the entries after it belong to the rows j > i.
    """
    row_starts, row_columns = search.searched.starts, search.searched.positions
    starts, rows, values = search.columns.starts, search.columns.positions, search.columns.values
    touched[0] = i
    found = 1
    for column in row_columns[row_starts[i] : row_starts[i + 1]]:
        cursors[column] += 1
        below, end = cursors[column], starts[column + 1]
        own = values[below - 1]
        overlaps[i] += own
        for signed, value in zip(rows[below:end], values[below:end]):  # noqa: B905
            j = np.uint32(signed)  # spares a test for negative positions in the hottest loop
            touched[found] = j
            found += overlaps[j] == 0  # a branch would be guessed wrong too often
            overlaps[j] += min(own, value)
    return found


@compiled
def _candidates(touched, overlaps, least):
    """Keep the first and those with an overlap of ``least``, forget the others; their number."""
    kept = 1
    for j in touched[1:]:
        if overlaps[j] >= least:
            touched[kept] = j
            kept += 1
        else:
            overlaps[j] = 0
    return kept


@compiled
def _overlap_in_full(i, rows, others, own, overlaps):
    """Overlaps of row i with other rows, over all columns; ``own`` is zero before and after."""
    entries = range(rows.starts[i], rows.starts[i + 1])
    for entry in entries:
        own[rows.positions[entry]] = rows.values[entry]
    for j in others:
        total = 0.0
        for entry in range(rows.starts[j], rows.starts[j + 1]):
            total += min(own[rows.positions[entry]], rows.values[entry])
        overlaps[j] = total
    for entry in entries:
        own[rows.positions[entry]] = 0


@compiled
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


@compiled
def _distance(overlap):
    return np.float32(max(0.0, 1 - overlap / (2 - overlap)))


@compiled
def _grown(array, needed):
    larger = np.empty(2 * needed, dtype=array.dtype)
    larger[: array.size] = array
    return larger


@compiled
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
