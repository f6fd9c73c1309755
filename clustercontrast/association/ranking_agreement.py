"""SDCL's collaborative ranking association and smoothing: infrared labels for visible images.

Two rankings must agree (docs/methods/sdcl.md#ranking-agreement): the nearest infrared images by the
deep feature propose their labels, and the label that occurs most among the nearest ones by the
shallow feature is taken; then the nearest visible images vote.  Images are read in blocks of rows:
no N x N array is held.
"""

import numpy as np
import torch
import torch.nn.functional as F

Halves = tuple[torch.Tensor, torch.Tensor]  # deep, shallow
BLOCK_ROWS = 2048


def agreed_labels(
    visible: Halves,
    infrared: Halves,
    infrared_labels: np.ndarray,
    candidates: int = 20,
    neighbours: int = 5,
) -> np.ndarray:
    """Labels of visible images in the space of the infrared clusters.

    Args:
        visible: deep and shallow features (N_v, d), of any norm.
        infrared: the same of infrared images (N_r, d).
        infrared_labels: (N_r,) int64, -1 for outliers, which propose and vote as well.
        candidates: K, infrared images of either ranking.
        neighbours: visible images that vote on an image's label, itself included.

    Returns:
        (N_v,) int64 labels, -1 for none.

    Raises:
        ValueError: a feature is not finite.
    """
    if not all(half.isfinite().all() for half in (*visible, *infrared)):
        raise ValueError("features contain NaN or infinity: no image is nearest to another")
    labels = associate(visible, infrared, infrared_labels, candidates)
    return smooth(visible, labels, neighbours)


def associate(
    visible: Halves, infrared: Halves, infrared_labels: np.ndarray, candidates: int
) -> np.ndarray:
    """The candidate label with most votes, (N_v,) int64; of equals, the nearest by deep feature.

    Upstream leaves the choice among equals to ``torch.topk`` (SDCL-5).
    """
    y = torch.from_numpy(infrared_labels).to(visible[0].device)
    count = min(candidates, len(y))
    banks, found = [F.normalize(half) for half in infrared], []
    for block in zip(*(F.normalize(half).split(BLOCK_ROWS) for half in visible), strict=True):
        proposed, voting = (
            y[(rows @ bank.T).topk(count).indices] for rows, bank in zip(block, banks, strict=True)
        )
        votes = (proposed[:, :, None] == voting[:, None, :]).sum(dim=2)
        found.append(_first_greatest(votes, proposed))
    return torch.cat(found).cpu().numpy()


def smooth(visible: tuple[torch.Tensor, ...], labels: np.ndarray, neighbours: int) -> np.ndarray:
    """The most frequent label among the nearest visible images by all features, (N_v,) int64.

    Of equally frequent labels the smallest wins, hence -1 before all others.
    """
    rows = torch.cat([F.normalize(own) for own in visible], dim=1)
    near = torch.from_numpy(labels).to(rows.device)[_nearest(rows, neighbours)].sort(dim=1).values
    votes = (near[:, :, None] == near[:, None, :]).sum(dim=2)
    return _first_greatest(votes, near).cpu().numpy()


def _nearest(features: torch.Tensor, count: int) -> torch.Tensor:
    """Indices (N, at most ``count``) of the rows most similar to every row, itself included.

    Every product of two blocks serves both of them.
    """
    blocks = features.split(BLOCK_ROWS)
    found: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in blocks]
    for i, rows in enumerate(blocks):
        for j in range(i, len(blocks)):
            product = rows @ blocks[j].T
            found[i].append(_greatest(product, count, j))
            if j > i:
                found[j].append(_greatest(product.T, count, i))
    return torch.cat([_merged(parts, count) for parts in found])


def _greatest(product: torch.Tensor, count: int, block: int) -> tuple[torch.Tensor, torch.Tensor]:
    values, columns = product.topk(min(count, product.shape[1]))
    return values, columns + block * BLOCK_ROWS


def _merged(parts: list[tuple[torch.Tensor, torch.Tensor]], count: int) -> torch.Tensor:
    values, indices = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    return indices.gather(1, values.topk(min(count, values.shape[1])).indices)


def _first_greatest(votes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Label of the first column with most votes; ``argmax`` may return any of them."""
    columns = votes.shape[1]
    rank = votes * columns - torch.arange(columns, device=votes.device)
    return labels.gather(1, rank.argmax(dim=1, keepdim=True))[:, 0]
