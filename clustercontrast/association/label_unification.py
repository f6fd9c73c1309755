"""GUR's cross-modality label unification: infrared labels for visible images.

The infrared images nearest to a visible image vote on its label (heterogeneous affinity); later,
its nearest visible images vote on the outcome (homogeneous structure).  Images are read in blocks
of rows: no N x N array is held (docs/methods/gur.md#label-unification).
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from clustercontrast.association.ranking_agreement import smooth

BLOCK_ROWS = 2048


def unified_labels(
    visible: torch.Tensor,
    infrared: torch.Tensor,
    infrared_labels: np.ndarray,
    k: int,
    is_smoothed: bool,
) -> np.ndarray:
    """Labels of visible images in the space of the infrared clusters.

    Args:
        visible: (N_v, d), of any norm.
        infrared: (N_r, d), on the same device.
        infrared_labels: (N_r,) int64, -1 for outliers, which vote as well.
        k: infrared images that vote on a visible one, and visible ones, itself included, that
            smooth.
        is_smoothed: whether they do.

    Returns:
        (N_v,) int64, -1 for none.

    Raises:
        ValueError: a feature is not finite.
    """
    if not (visible.isfinite().all() and infrared.isfinite().all()):
        raise ValueError("features contain NaN or infinity: no image is nearest to another")
    labels = propagate(visible, infrared, infrared_labels, k)
    return smooth((visible,), labels, k) if is_smoothed else labels


def propagate(
    visible: torch.Tensor, infrared: torch.Tensor, infrared_labels: np.ndarray, k: int
) -> np.ndarray:
    """The label whose voters have most affinity, (N_v,) int64; of equals the smallest, hence -1."""
    y, found = torch.from_numpy(infrared_labels).to(visible.device), []
    for affinity, nearest in affinities(visible, infrared, k):
        voted = y[nearest]
        is_same = voted[:, :, None] == voted[:, None, :]
        scores = (affinity[:, None, :] * is_same).sum(dim=2)
        is_highest = scores == scores.amax(dim=1, keepdim=True)
        found.append(voted.where(is_highest, y.max()).amin(dim=1))
    return torch.cat(found).cpu().numpy()


def affinities(
    visible: torch.Tensor, infrared: torch.Tensor, k: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Affinity (rows, k) and index (rows, k) of the nearest infrared images, block by block.

    Affinity is the soft-max of the cosines (temperature 1) over all infrared images; that of the k
    nearest is not normalised again.
    """
    bank = F.normalize(infrared)
    for rows in F.normalize(visible).split(BLOCK_ROWS):
        yield (rows @ bank.T).softmax(dim=1).topk(min(k, len(bank)))
