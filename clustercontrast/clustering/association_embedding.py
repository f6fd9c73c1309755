"""GUR's association embedding: an image described by its resemblance to the rows of a memory bank.

The bank comes in groups, one per camera or modality.  Within each group an image spreads the weight
one over the rows, so that images are compared by whom they resemble and not by how they look, which
camera and modality change (docs/methods/gur.md#association-embedding).
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F


def association_embedding(
    features: torch.Tensor, bank: torch.Tensor, sizes: Sequence[int], temperature: float
) -> torch.Tensor:
    """e(φ) = [softmax(φ̂ B₁ᵀ / τ); ...; softmax(φ̂ B_kᵀ / τ)], φ̂ and the rows of B normalised.

    Args:
        features: (N, d) φ, of any norm.
        bank: (M, d) B, the rows of all groups behind each other, on the same device.
        sizes: rows of every group; their sum is M, and a group may be empty.
        temperature: τ.

    Returns:
        (N, M) rows, not normalised: each sums up to the number of groups that are not empty.

    Raises:
        ValueError: the sizes do not add up to M.
    """
    if sum(sizes) != len(bank):
        raise ValueError(f"groups of {list(sizes)} rows are not the {len(bank)} rows of the bank")
    similarity = F.normalize(features) @ F.normalize(bank).T
    groups = (similarity / temperature).split(list(sizes), dim=1)
    return torch.cat([group.softmax(dim=1) for group in groups], dim=1)


def released_sizes(sizes: Sequence[int]) -> list[int]:
    """Sizes of the groups that GUR's released code makes of cameras with so many rows (GUR-1).

    It adds sizes up, s_i = n_0 + ... + n_i, and then takes every s_i for the size of a group: these
    end at s_0, s_0 + s_1, ..., or where the rows end, and the last group has what is left.  Two
    cameras are grouped as they are; of four of about the same size, the second and the third share
    a group and the last one is empty.

    Args:
        sizes: rows of every camera.

    Returns:
        As many sizes, of the same sum.
    """
    total = sum(sizes)
    ends = itertools.accumulate(itertools.accumulate(sizes[:-1]))
    bounds = [0, *(min(end, total) for end in ends), total]
    return [end - start for start, end in itertools.pairwise(bounds)]
