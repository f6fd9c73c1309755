"""One label space for the clusters of both modalities, out of the maps between them (PoSeD)."""

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def unified_labels(to_infrared: torch.Tensor, to_visible: torch.Tensor) -> torch.Tensor:
    """Unified pseudo labels z (C_v + C_r,) int64: clusters that matches connect share one.

    Labels count on in the order of the rows, visible clusters first.  A match of either direction
    connects, so clusters of one modality with the same partner have the same label.

    Args:
        to_infrared: (C_v,) int64 partners, -1 for none.
        to_visible: (C_r,) int64 partners, -1 for none.
    """
    clusters = len(to_infrared) + len(to_visible)
    ends = _edges(to_infrared, to_visible)
    graph = coo_array((np.ones(ends.shape[1], dtype=bool), tuple(ends)), shape=(clusters, clusters))
    return torch.from_numpy(connected_components(graph, directed=False)[1]).long()


def positives(
    to_infrared: torch.Tensor, to_visible: torch.Tensor, reading: str = "components"
) -> torch.Tensor:
    """pos(u) of every row u of both modalities as (C, C) bool: the row itself, and its positives.

    Args:
        to_infrared: (C_v,) int64 partners, -1 for none.
        to_visible: (C_r,) int64 partners, -1 for none.
        reading: "components": all rows with the same unified label; "partner": the row's own
            partner alone.
    """
    if reading == "components":
        z = unified_labels(to_infrared, to_visible)
        return z[:, None] == z
    own = torch.eye(len(to_infrared) + len(to_visible), dtype=torch.bool)
    own[tuple(torch.from_numpy(_edges(to_infrared, to_visible)))] = True
    return own


def rows_of_partners(to_infrared: torch.Tensor, to_visible: torch.Tensor) -> torch.Tensor:
    """Row of the partner of every row (C_v + C_r,) int64, visible rows first, -1 for none."""
    beyond = torch.where(to_infrared >= 0, len(to_infrared) + to_infrared, -1)
    return torch.cat([beyond, to_visible])


def _edges(to_infrared: torch.Tensor, to_visible: torch.Tensor) -> np.ndarray:
    """Rows (2, E) of clusters that have a partner, and of that partner."""
    partners = rows_of_partners(to_infrared, to_visible).numpy()
    matched = np.flatnonzero(partners >= 0)
    return np.stack([matched, partners[matched]])
