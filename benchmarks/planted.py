"""Features around planted identities, of any number: made block by block."""

import numpy as np
import torch

IMAGES = 50
"""Images of an identity."""

BEND, FALL = 16, 1.25
"""Direction i has the standard deviation (1 + i / BEND) ** -FALL: few directions say most, and 99 %
of the variance lie in about 300 of 2,048."""

BLOCK_ROWS = 16384


def planted(
    rows: int, dim: int, spread: float, seed: int, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, np.ndarray]:
    """Unit rows (N, d) grouped by identity, as files on disk are, and their identities (N,).

    ``spread``: of the images of an identity; that of the identities is 1.
    """
    generator = np.random.default_rng(seed)
    deviations = ((1 + np.arange(dim) / BEND) ** -FALL).astype(np.float32)
    identities = np.arange(rows) // IMAGES
    centres = generator.standard_normal((identities[-1] + 1, dim), np.float32) * deviations
    features = torch.empty(rows, dim, dtype=dtype)
    for start in range(0, rows, BLOCK_ROWS):
        own = identities[start : start + BLOCK_ROWS]
        block = generator.standard_normal((len(own), dim), np.float32)
        block *= spread * deviations
        block += centres[own]
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        features[start : start + BLOCK_ROWS] = torch.from_numpy(block)
    return features, identities
