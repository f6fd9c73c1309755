"""Exact nearest neighbours, step 1 of the k-reciprocal distance."""

import numpy as np
import torch

BLOCK_BYTES = 128 * 2**20  # scores of one block of queries against all rows


def nearest(
    features: torch.Tensor,
    k: int,
    backend: str = "torch",
    device: torch.device | str | None = None,
) -> np.ndarray:
    """Indices of the k nearest rows of every row by squared Euclidean distance.

    The search is exact up to float32 rounding, whatever the process allows of TF32.  A row is
    normally its own first neighbour.  Among equally near rows the lower index comes first, as far
    as rounding leaves them equal.

    Args:
        features: (N, d) rows of any length.
        k: neighbours per row, self included, 1 ≤ k ≤ N; callers clamp larger values to N.
        backend: "torch" – blocks of matrix products – or "faiss" – IndexFlatL2 on the CPU.
        device: where "torch" computes; default: the device of the features.

    Returns:
        (N, k) int64, ascending distance.

    Raises:
        ValueError: empty or non-finite features, k out of range, unknown backend.
        ImportError: backend "faiss" without faiss installed.
    """
    features = features.detach().float()
    _check(features, k)
    if backend == "torch":
        return _search_blocks(features.to(device or features.device), k)
    if backend == "faiss":
        return _search_faiss(features, k)
    raise ValueError(f"backend is {backend!r}, expected 'torch' or 'faiss'")


def _check(features: torch.Tensor, k: int) -> None:
    if features.ndim != 2 or len(features) == 0:
        raise ValueError(f"features have shape {tuple(features.shape)}, expected (N, d) with N ≥ 1")
    broken = int((~torch.linalg.vector_norm(features, dim=1).isfinite()).sum())
    if broken:
        raise ValueError(f"{broken} of {len(features)} feature rows hold NaN or infinite values")
    if not 1 <= k <= len(features):
        raise ValueError(f"k is {k}, expected 1 to {len(features)} (the number of rows)")


def _search_blocks(features: torch.Tensor, k: int) -> np.ndarray:
    allowed, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, False
    half_squares = torch.linalg.vector_norm(features, dim=1).square() / 2
    indices = torch.empty(len(features), k, dtype=torch.int64)
    rows = max(1, BLOCK_BYTES // (4 * len(features)))
    for start in range(0, len(features), rows):
        # Ascending ‖x − y‖² is descending ⟨x, y⟩ − ‖y‖²/2: the query's own norm is a constant.
        scores = (features[start : start + rows] @ features.T).sub_(half_squares)
        indices[start : start + rows] = largest(scores, k)
    torch.backends.cuda.matmul.allow_tf32 = allowed
    return indices.numpy()


def largest(scores: torch.Tensor, k: int) -> torch.Tensor:
    """Columns of the k largest scores of every row, descending; the lower column wins a tie."""
    values, columns = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    columns, order = columns.sort(dim=1)
    order = values.gather(1, order).argsort(dim=1, descending=True, stable=True)
    columns = columns.gather(1, order)[:, :k]
    # topk cuts through a tie anywhere; only such rows are worth a full sort.
    is_cut = values[:, k - 1] == values[:, -1]
    columns[is_cut] = scores[is_cut].argsort(dim=1, descending=True, stable=True)[:, :k]
    return columns


def _search_faiss(features: torch.Tensor, k: int) -> np.ndarray:
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "backend 'faiss' needs faiss: pip install faiss-cpu, or use backend 'torch'"
        ) from error
    rows = np.ascontiguousarray(features.cpu().numpy())
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(rows)
    return index.search(rows, k)[1]
