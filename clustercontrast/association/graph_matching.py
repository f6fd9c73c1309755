"""Progressive graph matching of visible and infrared clusters (PGM, CVPR 2023)."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist


def graph_matching(
    visible: torch.Tensor, infrared: torch.Tensor, rounds: str = "total"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Match the clusters of two modalities until every cluster has a partner.

    The cost of a pair is exp(-cos).  Round 1 assigns every cluster of the smaller side a partner of
    its own, one to one.  Each further round assigns the clusters of the larger side that are still
    single to the smaller side, one to one within the round, until none is left.

    Every cluster gets a partner for any pair of cluster counts.  The official codes stop after one
    further round (PCLHD's on SYSU-MM01: two), pair wrong rows beyond, and on SYSU-MM01 match
    nothing when infrared clusters outnumber visible ones (PGM-4).  Below a ratio of two the maps
    are equal to the official ones.

    Args:
        visible: (C_v, d) centroids, any length.
        infrared: (C_r, d) centroids.
        rounds: whether the smaller side keeps its partners of round 1, "total", or infrared
            clusters take those of the last round that they are in, "upstream": the rewriting of
            PCLHD's code on SYSU-MM01, with twice to three times as many visible clusters.  That
            code ends in an error with more, where "upstream" is "total".

    Returns:
        ``to_infrared`` (C_v,) and ``to_visible`` (C_r,), int64 cluster numbers on the CPU; -1
        throughout when the other side has no cluster.
    """
    cost = centroid_cost(visible, infrared)
    if cost.shape[0] >= cost.shape[1]:
        to_infrared, to_visible = _match(cost, rewrites(*cost.shape, rounds))
    else:
        to_visible, to_infrared = _match(cost.T)
    return torch.from_numpy(to_infrared), torch.from_numpy(to_visible)


def rewrites(visible: int, infrared: int, rounds: str) -> bool:
    """Whether so many infrared clusters take the partners of later rounds."""
    return rounds == "upstream" and 2 * infrared <= visible <= 3 * infrared


def hungarian(visible: torch.Tensor, infrared: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One round of :func:`graph_matching`: one to one, the rest of the larger side stays single.

    Returns:
        ``to_infrared`` (C_v,) and ``to_visible`` (C_r,), int64 on the CPU, -1 without a partner.
    """
    return _one_to_one(centroid_cost(visible, infrared))


def maximum_matching(
    visible: torch.Tensor, infrared: torch.Tensor, similarity: str = "cosine"
) -> tuple[torch.Tensor, torch.Tensor]:
    """One to one, the greatest sum of similarities (CMAM Eq. 16; A23).

    With as many clusters on either side, as in the paper, every cluster has a partner: no pair is
    refused for being weak (A24).

    Args:
        visible: (k_v, d) centres, any length.
        infrared: (k_r, d) centres.
        similarity: "cosine", or "euclidean" – the negative distance of the centres as they are.

    Returns:
        ``to_infrared`` (k_v,) and ``to_visible`` (k_r,), int64 on the CPU, -1 without a partner.

    Raises:
        ValueError: unknown similarity.
    """
    centres = [x.detach().double().cpu() for x in (visible, infrared)]
    if similarity == "cosine":
        visible, infrared = map(F.normalize, centres)
        return _one_to_one(-(visible @ infrared.T).numpy())
    if similarity == "euclidean":
        return _one_to_one(cdist(*(x.numpy() for x in centres)))
    raise ValueError(f"similarity is {similarity!r}, expected 'cosine' or 'euclidean'")


def shared_labels(
    visible: np.ndarray, infrared: np.ndarray, to_visible: torch.Tensor, k_v: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pseudo labels that matched clusters share (docs/methods/cmam.md#self-training).

    Args:
        visible: (N_v,) int64 clusters 0 … k_v−1, which are the labels.
        infrared: (N_r,) int64 clusters 0 … k_r−1.
        to_visible: (k_r,) int64 partners, -1 for infrared clusters without one.
        k_v: visible clusters; those without a partner keep their number.

    Returns:
        Labels (N_v,) and (N_r,), int64; infrared clusters without a partner count on from k_v.
    """
    of_cluster = to_visible.cpu().numpy().copy()
    single = of_cluster < 0
    of_cluster[single] = k_v + np.arange(single.sum())
    return visible, of_cluster[infrared]


def _one_to_one(cost: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Partners of the rows and of the columns by one round of the Hungarian algorithm."""
    maps = tuple(np.full(size, -1, dtype=np.int64) for size in cost.shape)
    rows, columns = linear_sum_assignment(cost)
    maps[0][rows], maps[1][columns] = columns, rows
    return torch.from_numpy(maps[0]), torch.from_numpy(maps[1])


def centroid_cost(visible: torch.Tensor, infrared: torch.Tensor) -> np.ndarray:
    """Costs exp(-cos) of centroids (C_v, d) and (C_r, d) of any length: (C_v, C_r) float64."""
    cosine = F.normalize(visible.float()) @ F.normalize(infrared.float()).T
    return torch.exp(-cosine).double().cpu().numpy()


def _match(cost: np.ndarray, rewritten: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Partners of the larger side (rows) and of the smaller side (columns).

    ``rewritten``: rounds after the first give columns another partner.
    """
    partner_of_row = np.full(cost.shape[0], -1, dtype=np.int64)
    partner_of_column = np.full(cost.shape[1], -1, dtype=np.int64)
    rows, columns = linear_sum_assignment(cost)
    partner_of_row[rows], partner_of_column[columns] = columns, rows
    single = np.flatnonzero(partner_of_row < 0)
    while len(single) and cost.shape[1]:
        rows, columns = linear_sum_assignment(cost[single])
        partner_of_row[single[rows]] = columns
        if rewritten:
            partner_of_column[columns] = single[rows]
        single = np.flatnonzero(partner_of_row < 0)
    return partner_of_row, partner_of_column
