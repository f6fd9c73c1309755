"""Pseudo labels as a file that any method writes and reads.

A ``.npz`` with, for ``visible`` and ``infrared`` each::

    <modality>_paths     (N,) text, relative to the dataset's folder, forward slashes
    <modality>_labels    (N,) int64 clusters from 0, -1 for outliers
    <modality>_features  (N, d) float32 clustering features; may be missing

and ``one_label_space``: whether equal labels of both modalities mean one identity.
Rows are joined by path, never by position (MMM-5): the order of the file does not matter,
and images that it does not know are outliers.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from clustercontrast.data.label_files import compacted, joined, read_arrays, say_unknown
from clustercontrast.data.samples import MODALITIES, ImageList
from clustercontrast.files import UserError, atomic, say

FILE = "pseudo_labels.npz"
NEEDED = tuple(f"{name}_{what}" for name in MODALITIES for what in ("paths", "labels"))
Lists = tuple[ImageList, ImageList]
Labels = tuple[np.ndarray, np.ndarray]
Features = tuple[torch.Tensor, torch.Tensor]


def save(
    path: Path,
    lists: Lists,
    labels: Labels,
    features: Features | None = None,
    one_label_space: bool = False,
) -> None:
    """Write labels (N_v,), (N_r,) and features (N_v, d), (N_r, d) of the images of ``lists``.

    ``one_label_space``: equal labels of both modalities mean one identity.
    """
    content = {"one_label_space": np.array(one_label_space)}
    for number, modality in enumerate(MODALITIES):
        content[f"{modality}_paths"] = np.array(lists[number].paths)
        content[f"{modality}_labels"] = np.asarray(labels[number], dtype=np.int64)
        if features is not None:
            content[f"{modality}_features"] = features[number].float().cpu().numpy()
    with atomic(path, "wb") as file:
        np.savez_compressed(file, **content)


def load(
    path: Path, lists: Lists, say: Callable[[str], None] = say
) -> tuple[Labels, Features | None]:
    """Labels and, if the file has them, features in the order of ``lists``.

    Images that the file does not know get label -1 and a feature of zeros; their number is said.

    Args:
        path: the file.
        lists: images of both modalities, visible first.
        say: what to tell a person with.

    Returns:
        Labels (N_v,), (N_r,) int64 without gaps, each modality's from 0 on; features (N_v, d),
        (N_r, d).

    Raises:
        UserError: the file is missing or damaged, holds other than whole numbers from -1 as labels
            or other than finite numbers as features, knows none of a modality's images, or knows
            fewer than two clusters of them.
    """
    content = read_arrays(path, NEEDED)
    labels, features, found = [], [], {}
    for modality, images in zip(MODALITIES, lists, strict=True):
        names = content[f"{modality}_paths"]
        rows, y = joined(path, names, content[f"{modality}_labels"], images)
        if (rows < 0).all():
            raise UserError(
                f"{path} has none of the {len(images)} {images.modality} images: it belongs to "
                "another dataset or trial"
            )
        found[modality] = rows
        labels.append(_clusters(path, compacted(y), rows, modality))
        if f"{modality}_features" in content:
            features.append(_features(path, modality, content, len(names))[rows])
    _check_widths(path, features)
    say_unknown(path, found, say)
    return tuple(labels), tuple(map(torch.from_numpy, features)) or None


def _clusters(path: Path, y: np.ndarray, rows: np.ndarray, modality: str) -> np.ndarray:
    """Labels (N,) of a modality's images, if they are of two clusters or more."""
    clusters = y.max(initial=-1) + 1
    if clusters < 2:
        raise UserError(
            f"{path} has {clusters} cluster(s) among the {np.count_nonzero(rows >= 0):,} of "
            f"{len(y):,} {modality} images that it knows, but at least two are needed: give a file "
            "of labels of these images"
        )
    return y


def _features(path: Path, modality: str, content: dict[str, np.ndarray], size: int) -> np.ndarray:
    """A modality's features (N + 1, d) float32, the last row, of unknown images, zeros."""
    known = content[f"{modality}_features"]
    if known.dtype.kind != "f" or known.ndim != 2 or len(known) != size or not known.size:
        raise UserError(
            f"{path} is damaged: its {modality}_features are {known.dtype} of shape {known.shape}, "
            f"expected {size} rows of one floating-point number or more; make it again"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite
        known = known.astype(np.float32)
    broken = np.count_nonzero(~np.isfinite(known).all(axis=1))
    if broken:
        raise UserError(
            f"{path}: {broken} of {size} rows of {modality}_features are not finite; make it again "
            "with weights that are"
        )
    return np.vstack([known, np.zeros_like(known[:1])])


def _check_widths(path: Path, features: list[np.ndarray]) -> None:
    """Features are there for both modalities, equally long, or for none."""
    widths = {f.shape[1] for f in features}
    if len(features) == 1 or len(widths) > 1:
        raise UserError(
            f"{path} is damaged: its features must be those of both modalities, equally long, or "
            "be left out; make it again"
        )
