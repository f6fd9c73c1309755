"""Contrast with the prototypes of both modalities (PoSeD Eq. 5-6).

Nothing here rewrites the rows: they are compared with as they stand.
"""

import torch
import torch.nn.functional as F

from clustercontrast.losses.multi_positive import multi_positive
from clustercontrast.losses.placing import beside


def similarity(features: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Cosines f Mᵀ (B, C) of features (B, d), not normalised, with unit rows M (C, d).

    The product is that of the rows' precision, under autocast as well.
    """
    with torch.autocast(features.device.type, enabled=False):
        return F.normalize(features.to(rows.dtype)) @ rows.T


def unified_contrast(
    features: torch.Tensor,
    labels: torch.Tensor,
    hard: torch.Tensor,
    is_positive: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """L_unified: the hard prototypes of both modalities that share a label are positives (Eq. 6).

        -1/|pos(y)| Σ_{j ∈ pos(y)} log softmax_j(P f / τ), mean over the batch

    Args:
        features: (B, d), not normalised.
        labels: (B,) int64 row u(y) of every feature, at best on the CPU.
        hard: P, (C, d), visible rows first.
        is_positive: (C, C) bool beside the rows, from
            :func:`clustercontrast.association.unified.positives`; row u are the positives of u.
        temperature: τ.
    """
    logits = similarity(features, hard) / temperature
    return multi_positive(logits, is_positive[beside(labels, hard)])


def partner_contrast(
    features: torch.Tensor,
    labels: torch.Tensor,
    prototypes: tuple[torch.Tensor, torch.Tensor],
    temperature: float,
) -> torch.Tensor:
    """CE over the centroids and CE over the hard prototypes of one modality, summed (Eq. 5).

    Args:
        features: (B, d) of the other modality, not normalised.
        labels: (B,) int64 partner of every feature, at best on the CPU.
        prototypes: centroids and hard prototypes, (C, d) each.
        temperature: τ.
    """
    targets = beside(labels, features)
    return sum(F.cross_entropy(similarity(features, x) / temperature, targets) for x in prototypes)
