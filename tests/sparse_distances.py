"""Sparse distances as tests compare them."""

import numpy as np
from scipy.sparse import csr_array


def dense(distances: csr_array) -> np.ndarray:
    """All N x N distances; what is not stored is 1."""
    full = np.ones(distances.shape, dtype=np.float32)
    entries = distances.tocoo()
    full[entries.row, entries.col] = entries.data
    return full
