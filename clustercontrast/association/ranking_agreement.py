"""SDCL's collaborative ranking association and smoothing: infrared labels for visible images.

Two rankings must agree (sdcl.md 3.5): the nearest infrared images by the deep feature propose their
labels, and the one that the nearest by the shallow feature share most is taken; then the nearest
visible images vote.  All images are seen in blocks of rows: no N x N array is held.
"""

import numpy as np
import torch
import torch.nn.functional as F

Halves = tuple[torch.Tensor, torch.Tensor]  # deep, shallow
BLOCK_ROWS = 1024


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
    """
    labels = associate(visible, infrared, infrared_labels, candidates)
    return smooth(visible, labels, neighbours)


def associate(
    visible: Halves, infrared: Halves, infrared_labels: np.ndarray, candidates: int
) -> np.ndarray:
    """The candidate label with most votes, (N_v,) int64; of equals, the nearest by deep feature.

    Upstream leaves the choice among equals to ``torch.topk`` (quirk SDCL-5).
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


def smooth(visible: Halves, labels: np.ndarray, neighbours: int) -> np.ndarray:
    """The most frequent label among the nearest visible images by both features, (N_v,) int64.

    Of equally frequent labels the smallest wins, hence -1 before all others.
    """
    both = torch.cat([F.normalize(half) for half in visible], dim=1)
    y = torch.from_numpy(labels).to(both.device)
    count, found = min(neighbours, len(y)), []
    for rows in both.split(BLOCK_ROWS):
        near = y[(rows @ both.T).topk(count).indices].sort(dim=1).values
        votes = (near[:, :, None] == near[:, None, :]).sum(dim=2)
        found.append(_first_greatest(votes, near))
    return torch.cat(found).cpu().numpy()


def _first_greatest(votes: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Label of the first column with most votes; ``argmax`` may return any of them."""
    columns = votes.shape[1]
    rank = votes * columns - torch.arange(columns, device=votes.device)
    return labels.gather(1, rank.argmax(dim=1, keepdim=True))[:, 0]
