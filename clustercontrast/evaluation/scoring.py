"""Scores of a network: retrieval of test identities, and label-free consistency in training."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from clustercontrast.data.images import ImageArray
from clustercontrast.evaluation.diagnostics import cycle_consistency
from clustercontrast.evaluation.features import extract
from clustercontrast.evaluation.metrics import Retrieval
from clustercontrast.evaluation.pairs import cosines
from clustercontrast.evaluation.protocols import Search, Similarity, score
from clustercontrast.processes import ranks

Searches = Mapping[str, Sequence[Search]]


def retrieve(
    network: nn.Module, images: Mapping[str, ImageArray], searches: Searches, batch_size: int
) -> dict[str, list[Retrieval]]:
    """Score a network in every search of every mode.

    Args:
        network: in eval mode, without gradients.
        images: test images by modality.
        searches: by mode, see :meth:`clustercontrast.evaluation.protocols.Protocol.searches`.
        batch_size: images per forward.
    """
    return score_all(images, features_of(network, images, searches, batch_size), searches)


def chance(images: Mapping[str, ImageArray], searches: Searches) -> dict[str, list[Retrieval]]:
    """The same searches with random features: the chance level."""
    generator = np.random.default_rng(0)
    features = {name: generator.standard_normal((len(array), 64)) for name, array in images.items()}
    return score_all(images, features, searches)


def features_of(
    network: nn.Module, images: Mapping[str, ImageArray], searches: Searches, batch_size: int
) -> dict[str, np.ndarray]:
    """Features of the test images that any search uses, each extracted once.

    Returns:
        (N, d) float32 unit rows by modality, that of a track at its first image; rows that no
        search uses are NaN.
    """
    found = {}
    for name, array in images.items():
        rows = _rows_used(name, searches)
        some = _items(network, array, rows, batch_size)
        found[name] = np.full((len(array), some.shape[1]), np.nan, np.float32)
        found[name][rows] = some
    return found


def _items(network: nn.Module, array: ImageArray, rows: np.ndarray, batch_size: int) -> np.ndarray:
    """Unit features (n, d) of the items that rows stand for.

    That of a track is the mean of the unit features of its images, brought to unit length.

    Args:
        network: in eval mode, without gradients.
        array: images.
        rows: (n,) int64, ascending: images, or the first images of tracks.
        batch_size: images per forward.
    """
    items = array.index.items()
    members = np.flatnonzero(np.isin(items, rows))
    features = extract(network, array, batch_size, torch.from_numpy(members), unit=True)
    if len(members) == len(rows):
        return features.numpy()
    sums = features.new_zeros(len(rows), features.shape[1])
    sums.index_add_(0, torch.from_numpy(np.searchsorted(rows, items[members])), features)
    return (sums / sums.norm(dim=1, keepdim=True)).numpy()


def score_all(
    images: Mapping[str, ImageArray],
    features: Mapping[str, np.ndarray],
    searches: Searches,
    similarity: Similarity = cosines,
) -> dict[str, list[Retrieval]]:
    """Score features (N, d) by modality in every search of every mode; processes share them."""
    lists = {name: array.index for name, array in images.items()}
    every = [(mode, search) for mode, own in searches.items() for search in own]
    own = every[ranks.number() :: ranks.count()]
    parts = ranks.everyones([score(search, lists, features, similarity) for _, search in own])
    found: dict[str, list[Retrieval]] = {mode: [] for mode in searches}
    for place, (mode, _) in enumerate(every):
        found[mode].append(parts[place % len(parts)][place // len(parts)])
    return found


def _rows_used(modality: str, searches: Searches) -> np.ndarray:
    """Rows of one modality's test images that any search uses, ascending."""
    used = [
        rows
        for own in searches.values()
        for search in own
        for name, rows in (
            (search.query, search.query_rows),
            (search.gallery, search.gallery_rows),
        )
        if name == modality
    ]
    return np.unique(np.concatenate(used))


def cycle_rows(labels: Sequence[np.ndarray], images: int) -> tuple[torch.Tensor, ...]:
    """Rows of the training images that the cycle score looks at, the same ones every time.

    Args:
        labels: pseudo labels (N_v,), (N_r,).
        images: at most this many of each modality.

    Returns:
        (n_v,), (n_r,) int64.
    """
    return tuple(
        torch.from_numpy(np.random.default_rng(number).permutation(len(y))[:images])
        for number, y in enumerate(labels)
    )


def training_cycle(
    features: Sequence[torch.Tensor], labels: Sequence[np.ndarray], rows: Sequence[torch.Tensor]
) -> float:
    """Cycle consistency of training images and the epoch's pseudo labels.

    Args:
        features: (n_v, d), (n_r, d) of the images at ``rows``.
        labels: pseudo labels (N_v,), (N_r,), -1 for outliers.
        rows: (n_v,), (n_r,) int64, see ``cycle_rows``.
    """
    unit = ((f / f.norm(dim=1, keepdim=True)).numpy() for f in features)
    return cycle_consistency(*unit, *(y[own] for y, own in zip(labels, rows, strict=True)))
