"""All ways of matching clusters across modalities behind one call (``--association``)."""

from dataclasses import dataclass

import numpy as np
import torch

from clustercontrast.association.graph_matching import graph_matching, hungarian
from clustercontrast.association.instance_votes import instance_votes
from clustercontrast.association.multi_memory import multi_memory_matching
from clustercontrast.association.optimal_transport import optimal_transport

Tensors = tuple[torch.Tensor, torch.Tensor]
Maps = tuple[torch.Tensor, torch.Tensor]

ASSOCIATIONS = ("pgm", "mmm", "ot", "cma", "hungarian")


@dataclass(frozen=True, eq=False)
class Clusters:
    """The clusters of both modalities, visible first.

    Attributes:
        features: (N_v, d), (N_r, d) clustering features; cma counts its votes where they are.
        labels: (N_v,), (N_r,) int64 pseudo labels, -1 for outliers.
        means: (C_v, d), (C_r, d) cluster means, any length.
    """

    features: Tensors
    labels: tuple[np.ndarray, np.ndarray]
    means: Tensors

    def __post_init__(self):
        if not all(t.isfinite().all() for t in (*self.features, *self.means)):
            raise ValueError("features or cluster means contain NaN or infinity: nothing matches")


def associate(
    name: str,
    clusters: Clusters,
    vote_threshold: float = 0.5,
    regularisation: float = 5.0,
    forget_last: bool = False,
    matching_rounds: str = "total",
) -> Maps:
    """Match clusters.

    ==========  =========================================  ==================  =====================
    name        method                                     many to one         clusters without one
    ==========  =========================================  ==================  =====================
    pgm         progressive graph matching                 the larger side     none
    hungarian   one optimal assignment                     no                  of the larger side
    ot          optimal transport (RPNR)                   both sides          none
    mmm         nearest cluster by sub-memories (MMM)      both sides          none
    cma         votes of similar images (ADCA)             no                  those without votes
    ==========  =========================================  ==================  =====================

    Args:
        name: one of ``ASSOCIATIONS``.
        clusters: of both modalities.
        vote_threshold: similarity from which two images vote (cma).
        regularisation: of the transport plan (ot).
        forget_last: MMM's released code, which forgets the last cluster of either side (mmm).
        matching_rounds: "total" or "upstream", see ``graph_matching`` (pgm).

    Returns:
        ``to_infrared`` (C_v,) and ``to_visible`` (C_r,), int64 on the CPU, -1 without a partner.
    """
    if name == "mmm":
        return multi_memory_matching(clusters.features, clusters.labels, upstream=forget_last)
    if name == "cma":
        return _by_votes(clusters, vote_threshold)
    if name == "ot":
        return optimal_transport(*clusters.means, regularisation)
    if name == "pgm":
        return graph_matching(*clusters.means, matching_rounds)
    return hungarian(*clusters.means)


def _by_votes(clusters: Clusters, threshold: float) -> Maps:
    maps = tuple(torch.full((len(means),), -1) for means in clusters.means)
    pairs = torch.from_numpy(instance_votes(*clusters.features, *clusters.labels, threshold))
    maps[0][pairs[:, 0]], maps[1][pairs[:, 1]] = pairs[:, 1], pairs[:, 0]
    return maps
