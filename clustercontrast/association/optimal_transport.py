"""Matching by entropic optimal transport (RPNR's OTPM)."""

import warnings

import numpy as np
import ot
import torch

from clustercontrast.association.graph_matching import centroid_cost

ITERATIONS, TOLERANCE = 5000, 1e-5
"""Of POT's Sinkhorn as released: the most steps, and the error of the masses that ends them."""


def optimal_transport(
    visible: torch.Tensor, infrared: torch.Tensor, regularisation: float = 5.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Match clusters by the argmax of the transport plan per row and column.

    See docs/methods/rpnr.md#transport-matching.

    Costs are exp(-cos), every cluster of a side has the same mass.

    Args:
        visible: (C_v, d) centroids, any length.
        infrared: (C_r, d) centroids.
        regularisation: weight of the entropy; 5, as released, makes the plan nearly flat.

    Returns:
        ``to_infrared`` (C_v,) and ``to_visible`` (C_r,), int64 on the CPU, many to one on both
        sides; -1 throughout when the other side has no cluster.
    """
    maps = transport_maps(centroid_cost(visible, infrared), regularisation)
    return torch.from_numpy(maps[0]), torch.from_numpy(maps[1])


def transport_maps(cost: np.ndarray, regularisation: float) -> tuple[np.ndarray, np.ndarray]:
    """Argmax of the transport plan of a cost matrix, per row and per column.

    Args:
        cost: (C_v, C_r) float64, finite.
        regularisation: weight of the entropy, in units of the cost, above 0.

    Returns:
        (C_v,) and (C_r,) int64, the first of equal ones; -1 throughout when the other side has no
        cluster.

    Raises:
        ValueError: the regularisation is not positive.
    """
    if 0 in cost.shape:
        return tuple(np.full(size, -1, dtype=np.int64) for size in cost.shape)
    plan = transport_plan(cost, regularisation)
    return plan.argmax(axis=1), plan.argmax(axis=0)


def transport_plan(cost: np.ndarray, regularisation: float) -> np.ndarray:
    """(C_v, C_r) float64 plan of POT's Sinkhorn between uniform masses.

    Costs that are large against the regularisation leave the range of float64 in POT's plain
    iteration; they are solved in its logarithmic domain.

    It warns when the masses of the plan are still wrong after the last step.

    Raises:
        ValueError: the regularisation is not positive, or a cost is not finite.
    """
    if not regularisation > 0:
        raise ValueError(f"regularisation is {regularisation}, expected a positive number")
    if not np.isfinite(cost).all():
        raise ValueError("the costs contain NaN or infinity: nothing matches")
    masses = [np.full(size, 1 / size) for size in cost.shape]
    settings = {"numItermax": ITERATIONS, "stopThr": TOLERANCE, "warn": False}
    sharp = np.ptp(cost) > 100 * regularisation or np.abs(cost).max() > 500 * regularisation
    method = "sinkhorn_log" if sharp else "sinkhorn"
    plan = ot.sinkhorn(*masses, cost, regularisation, method=method, **settings)
    errors = [np.linalg.norm(plan.sum(axis=1 - i) - masses[i]) for i in (0, 1)]
    if not max(errors) < TOLERANCE:
        warnings.warn(
            f"the optimal transport has not converged in {ITERATIONS} steps, its masses are wrong "
            f"by {max(errors):.1g}: raise --ot-regularisation, now {regularisation:g}",
            stacklevel=2,
        )
    return plan
