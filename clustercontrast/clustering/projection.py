"""Features along the directions in which they vary.

Fewer numbers per row give nearly the same distances.
"""

import numpy as np
import torch

from clustercontrast.clustering.feature_rows import FeatureRows, float32_products

VARIANCE = 0.99
"""Share of the variance that is kept."""

SAMPLE = 8192
"""Rows whose variance is measured."""

SMALLEST = 128
"""Widths up to this one stay as they are."""


def projected(features: FeatureRows) -> FeatureRows:
    """Rows (N, w) along their principal axes, or the same rows where that saves less than half.

    Args:
        features: N rows of width d.

    Returns:
        N rows of width w < d/2, float32, on the same device; or the features.
    """
    axes = _principal_axes(features) if features.width > SMALLEST else None
    if axes is None or 2 * axes.shape[1] > features.width:
        return features
    narrow = torch.empty(len(features), axes.shape[1], device=features.device)
    with float32_products():
        for part, rows in features.blocks():
            torch.mm(rows, axes, out=narrow[part])
    return FeatureRows(narrow)


def _principal_axes(features: FeatureRows) -> torch.Tensor:
    """Fewest axes (d, w), unit and orthogonal, that hold the variance of a sample of the rows."""
    order = np.random.default_rng(2).permutation(len(features))
    some = features.take(np.sort(order[:SAMPLE]))
    with float32_products():
        centred = some - some.mean(dim=0)
        variances, axes = torch.linalg.eigh(centred.T @ centred)
    shares = variances.flip(0).cumsum(0) / variances.sum()
    return axes.flip(1)[:, : 1 + int((shares < VARIANCE).sum())].contiguous()
