"""Scores of a network: retrieval of test people, and label-free consistency on training images."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from clustercontrast.data.images import ImageArray
from clustercontrast.evaluation.diagnostics import cycle_consistency
from clustercontrast.evaluation.metrics import Retrieval
from clustercontrast.evaluation.protocols import evaluate_sysu, needed_gallery
from clustercontrast.features import extract

Draws = dict[str, list[Retrieval]]


def sysu_draws(
    network: nn.Module,
    query: ImageArray,
    gallery: ImageArray,
    modes: Iterable[str],
    trials: int,
    batch_size: int,
) -> Draws:
    """Search SYSU-MM01's queries in ``trials`` gallery draws of every mode.

    Every image that any draw needs is extracted once (common.md 2.1, 2.2).  The caller puts the
    network in eval mode, without gradients.
    """
    modes = tuple(modes)
    needed = needed_gallery(gallery.list, modes, range(trials))
    found = extract(network, gallery, batch_size, torch.from_numpy(needed), unit=True).numpy()
    queries = extract(network, query, batch_size, unit=True).numpy()
    return _search(query, gallery, queries, needed, found, modes, trials)


def chance_draws(
    query: ImageArray, gallery: ImageArray, modes: Iterable[str], trials: int
) -> Draws:
    """The same search with random features: what knowing nothing scores."""
    modes, generator = tuple(modes), np.random.default_rng(0)
    needed = needed_gallery(gallery.list, modes, range(trials))
    found = generator.standard_normal((len(needed), 64))
    queries = generator.standard_normal((len(query), 64))
    return _search(query, gallery, queries, needed, found, modes, trials)


def training_cycle(
    network: nn.Module,
    visible: ImageArray,
    infrared: ImageArray,
    labels: tuple[np.ndarray, np.ndarray],
    images: int,
    batch_size: int,
) -> float:
    """Cycle consistency of a network on training images and the epoch's pseudo labels.

    Args:
        network: in eval mode, without gradients.
        visible: training images.
        infrared: training images.
        labels: pseudo labels (N_v,), (N_r,), -1 for outliers.
        images: at most this many of each modality, the same ones every time.
        batch_size: images per forward.
    """
    features, chosen = [], []
    for number, (array, y) in enumerate(zip((visible, infrared), labels, strict=True)):
        rows = np.random.default_rng(number).permutation(len(array))[:images]
        features.append(extract(network, array, batch_size, torch.from_numpy(rows), unit=True))
        chosen.append(y[rows])
    return cycle_consistency(*(f.numpy() for f in features), *chosen)


def _search(query, gallery, queries, needed, found, modes, trials) -> Draws:
    rows = dict(zip(needed.tolist(), found, strict=True))
    return {
        mode: [
            evaluate_sysu(query.list, gallery.list, queries, rows, mode, trial)
            for trial in range(trials)
        ]
        for mode in modes
    }
