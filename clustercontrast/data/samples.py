"""The only description of images: a list whose order is the row order of everything else."""

from dataclasses import dataclass

import numpy as np

MODALITIES = ("visible", "infrared")


@dataclass(frozen=True, eq=False)
class ImageList:
    """Images of one modality in path order, which is the row order of arrays, features and labels.

    Attributes:
        modality: "visible" or "infrared".
        paths: N paths relative to the dataset's folder, with forward slashes.
        identities: (N,) int64 true identities; for evaluation and diagnostics, never for training.
        cameras: (N,) int64 camera numbers as the dataset counts them, from 1.
    """

    modality: str
    paths: tuple[str, ...]
    identities: np.ndarray
    cameras: np.ndarray

    def __post_init__(self):
        if self.modality not in MODALITIES:
            raise ValueError(f"modality is {self.modality!r}, expected one of {MODALITIES}")
        lengths = len(self.paths), len(self.identities), len(self.cameras)
        if len(set(lengths)) > 1:
            raise ValueError(f"paths, identities and cameras have different lengths: {lengths}")

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, rows: np.ndarray) -> "ImageList":
        """Images at ``rows`` (M,) integers, in that order."""
        rows = np.asarray(rows, dtype=np.int64)
        paths = tuple(self.paths[row] for row in rows)
        return ImageList(self.modality, paths, self.identities[rows], self.cameras[rows])
