"""Pseudo labels of images, and what is asked of them: words of the stages that cluster."""

import numpy as np
import torch

from clustercontrast.clustering.dbscan import dbscan
from clustercontrast.clustering.jaccard import is_compiled, jaccard
from clustercontrast.clustering.neighbours import Search
from clustercontrast.engine.stage import Stage
from clustercontrast.files import UserError
from clustercontrast.processes import ranks


def cluster(
    name: str,
    features: torch.Tensor,
    k1: int,
    eps: float,
    stage: Stage,
    flag: str | None = None,
) -> np.ndarray:
    """Pseudo labels (N,) int64 of a stage's images, -1 for outliers.

    Args:
        name: of the images, for the message.
        features: (N, d).
        k1: k-reciprocal neighbours of the Jaccard distance.
        eps: radius of DBSCAN.
        stage: gives the other flags, the device and the position in the run.
        flag: that says the radius; by default the one of these images, or of all.

    Raises:
        UserError: fewer than two clusters; says which flag to change.
    """
    a, run = stage.args, stage.run
    if not is_compiled():
        run.log.say("clustering: compiling (once)")
    with run.timed("clustering"):
        distances = jaccard(features.to(run.device), k1, a.k2, eps, neighbour_search(stage))
        y = ranks.first(lambda: dbscan(distances, eps, a.min_samples))
    clusters, outliers = y.max(initial=-1) + 1, np.count_nonzero(y < 0)
    if clusters < 2:
        advice = "lower" if clusters == 1 and outliers < len(y) / 2 else "raise"
        flag = flag or (f"--eps-{name}" if f"eps_{name}" in a else "--eps")
        raise UserError(
            f"the {name} images fell into {clusters} cluster(s) with {outliers} of {len(y)} as "
            f"outliers {run.position}, but at least two clusters are needed: {advice} {flag} "
            f"(now {eps}), or change --min-samples ({a.min_samples}), --k1 ({a.k1}) or "
            "--pretrained; the epochs before are saved"
        )
    return y


def neighbour_search(stage: Stage) -> Search:
    """The search that ``--neighbours`` names; what is to be known of it goes to the log."""
    return Search(stage.args.neighbours, stage.run.log.say)


def taken(features: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
    """Features of the images at ``rows``, which are not copied where these are all."""
    return features if len(rows) == len(features) else features[torch.from_numpy(rows)]


def spread(labels: np.ndarray, rows: np.ndarray, size: int) -> np.ndarray:
    """Labels (n,) of the images at ``rows`` as labels of all images, -1 for the others."""
    everyones = np.full(size, -1)
    everyones[rows] = labels
    return everyones


def can_contrast(y: np.ndarray, split: int) -> bool:
    """Whether joint labels (N_v + N_r,) have two clusters, and images of either modality in any."""
    visible, infrared = y[:split], y[split:]
    return y.max(initial=-1) >= 1 and min(visible.max(), infrared.max()) >= 0


def mixed_clusters(y: np.ndarray, split: int) -> np.ndarray:
    """Clusters of joint labels (N_v + N_r,) that hold both modalities; ``split`` is N_v."""
    visible, infrared = y[:split], y[split:]
    return np.intersect1d(visible[visible >= 0], infrared[infrared >= 0])
