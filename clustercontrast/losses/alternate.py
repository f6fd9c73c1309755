"""Alternate cross-modality contrast (PGM, CVPR 2023)."""

from collections.abc import Callable

import torch

from clustercontrast.losses.placing import beside

Memory = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Pair = tuple[torch.Tensor, torch.Tensor]


def alternate_contrast(
    epoch: int, memories: tuple[Memory, Memory], features: Pair, targets: Pair
) -> torch.Tensor:
    """Contrast one modality with the other's memory, changing sides every epoch (PGM-7).

    Even epochs: visible features against the infrared memory; odd epochs: infrared features against
    the visible memory.  The call also rewrites that memory with the other modality's features.

    Args:
        epoch: counted from 0.
        memories: visible, infrared.
        features: visible (n_v, d), infrared (n_r, d).
        targets: the *other* modality's cluster of every visible (n_v,), infrared (n_r,) feature, -1
            for features of a cluster without a partner, which are left out; at best on the CPU.
    """
    if epoch % 2 == 0:
        return contrast_matched(memories[1], features[0], targets[0])
    return contrast_matched(memories[0], features[1], targets[1])


def contrast_matched(memory: Memory, features: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Contrast features (n, d) with a memory, those with target -1 left out; 0 if none is left.

    ``targets`` (n,) are read on the CPU; on a device they are waited for.
    """
    matched = targets >= 0
    if matched.all():
        return memory(features, targets)
    if not matched.any():
        return features.sum() * 0
    rows = matched.nonzero()[:, 0]
    return memory(features[beside(rows, features)], targets[rows])
