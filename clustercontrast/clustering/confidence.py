"""How far a pseudo label is to be trusted, by the loss of its image (MMM, final stage)."""

import numpy as np
import torch
from sklearn.mixture import GaussianMixture


def clean_probability(losses: list[np.ndarray]) -> list[np.ndarray]:
    """Posterior of the component with small losses in a mixture of two.

    See docs/methods/mmm.md#final-training.

    Args:
        losses: per view (n,) losses; each view is scaled to [0, 1] by itself, all are fitted
            together.

    Returns:
        Per view (n,) probabilities; 1 throughout when there are fewer than two images, or all have
        the same loss.
    """
    scaled = [_unit_interval(view) for view in losses]
    points = np.concatenate(scaled)[:, None]
    if len(points) < 2 or np.ptp(points) == 0:
        return [np.ones(len(view)) for view in losses]
    mixture = GaussianMixture(2, max_iter=100, tol=1e-2, reg_covar=5e-4, random_state=0)
    posterior = mixture.fit(points).predict_proba(points)[:, mixture.means_.argmin()]
    return np.split(posterior, np.cumsum([len(view) for view in scaled])[:-1])


def _unit_interval(values: np.ndarray) -> np.ndarray:
    low, width = values.min(initial=np.inf), np.ptp(values) if len(values) else 0
    return (values - low) / width if width else np.zeros(len(values))


def class_prototypes(
    features: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, before: torch.Tensor
) -> torch.Tensor:
    """Sum of w g of every class over its count; classes not seen keep their row.

    Args:
        features: (n, d).
        labels: (n,) classes 0..C-1.
        weights: (n,).
        before: (C, d) earlier prototypes.
    """
    counts = torch.bincount(labels, minlength=len(before))
    sums = torch.zeros_like(before).index_add_(0, labels, (weights[:, None] * features).to(before))
    seen = counts > 0
    return torch.where(seen[:, None], sums / counts.clamp_min(1)[:, None], before)
