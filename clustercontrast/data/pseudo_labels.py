"""Pseudo labels as a file that any method writes and reads.

A ``.npz`` with, for ``visible`` and ``infrared`` each::

    <modality>_paths     (N,) text, relative to the dataset's folder, forward slashes
    <modality>_labels    (N,) int64 clusters from 0, -1 for outliers
    <modality>_features  (N, d) float32 clustering features; may be missing

Rows are joined by path, never by position (MMM-5): the order of the file does not matter,
and images that it does not know are outliers.
"""

import zipfile
from pathlib import Path

import numpy as np
import torch

from clustercontrast.data.samples import MODALITIES, ImageList
from clustercontrast.files import UserError, atomic

FILE = "pseudo_labels.npz"
Lists = tuple[ImageList, ImageList]
Labels = tuple[np.ndarray, np.ndarray]
Features = tuple[torch.Tensor, torch.Tensor]


def save(path: Path, lists: Lists, labels: Labels, features: Features | None = None) -> None:
    """Write labels (N_v,), (N_r,) and features (N_v, d), (N_r, d) of the images of ``lists``."""
    content = {}
    for number, modality in enumerate(MODALITIES):
        content[f"{modality}_paths"] = np.array(lists[number].paths)
        content[f"{modality}_labels"] = np.asarray(labels[number], dtype=np.int64)
        if features is not None:
            content[f"{modality}_features"] = features[number].float().cpu().numpy()
    with atomic(path, "wb") as file:
        np.savez_compressed(file, **content)


def load(path: Path, lists: Lists) -> tuple[Labels, Features | None]:
    """Labels and, if the file has them, features in the order of ``lists``.

    Images that the file does not know get label -1 and a feature of zeros.

    Raises:
        UserError: the file is missing or damaged, or knows none of a modality's images.
    """
    content = _read(path)
    labels, features = [], []
    for modality, images in zip(MODALITIES, lists, strict=True):
        rows = _rows(path, content[f"{modality}_paths"], images)
        labels.append(np.append(content[f"{modality}_labels"], -1)[rows])
        if f"{modality}_features" in content:
            known = content[f"{modality}_features"]
            features.append(torch.from_numpy(np.vstack([known, np.zeros_like(known[:1])])[rows]))
    return tuple(labels), tuple(features) if len(features) == 2 else None


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as file:
            content = dict(file)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"cannot read the pseudo labels {path} ({error})") from error
    for modality in MODALITIES:
        sizes = {len(content.get(f"{modality}_{what}", ())) for what in ("paths", "labels")}
        if len(sizes) > 1 or 0 in sizes:
            raise UserError(
                f"{path} is not a file of pseudo labels: it needs as many {modality}_labels as "
                f"{modality}_paths"
            )
    return content


def _rows(path: Path, known: np.ndarray, images: ImageList) -> np.ndarray:
    """Row in the file of every image, -1 for images that it does not know."""
    place = {name: row for row, name in enumerate(known.tolist())}
    rows = np.array([place.get(name, -1) for name in images.paths], dtype=np.int64)
    if (rows < 0).all():
        raise UserError(
            f"{path} has none of the {len(images)} {images.modality} images: it belongs to another "
            "dataset or trial"
        )
    return rows
