"""The only description of images: a list whose order is the row order of everything else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from clustercontrast.data.paths import Paths

MODALITIES = ("visible", "infrared")
PARTS = ("train_visible", "train_infrared", "test_visible", "test_infrared")
"""What training and testing see of a dataset, or of one trial of it."""


@dataclass(frozen=True, eq=False)
class ImageList:
    """Images of one modality in path order, which is the row order of arrays, features and labels.

    Attributes:
        modality: "visible" or "infrared".
        paths: N paths relative to the dataset's folder, with forward slashes; kept as ``Paths``.
        identities: (N,) int64 true identities; for evaluation and diagnostics, never for training;
            -1 means unknown or none.
        cameras: (N,) int64 camera numbers as the dataset counts them, from 1; -1 means unknown.
        tracks: (N,) int64; images of one track show one person in one walk and are searched as one
            item; -1 means an image by itself.  None where the dataset has no tracks.
    """

    modality: str
    paths: Sequence[str]
    identities: np.ndarray
    cameras: np.ndarray
    tracks: np.ndarray | None = None

    def __post_init__(self):
        if self.modality not in MODALITIES:
            raise ValueError(f"modality is {self.modality!r}, expected one of {MODALITIES}")
        if not isinstance(self.paths, Paths):
            object.__setattr__(self, "paths", Paths(self.paths))
        lengths = [len(self.paths), len(self.identities), len(self.cameras)]
        lengths += [] if self.tracks is None else [len(self.tracks)]
        if len(set(lengths)) > 1:
            raise ValueError(f"paths, identities, ... have different lengths: {lengths}")

    def __len__(self) -> int:
        return len(self.paths)

    def is_like(self, other: "ImageList") -> bool:
        """Whether another list says the same of the same paths, in the same order."""
        return (
            (self.modality, self.paths) == (other.modality, other.paths)
            and np.array_equal(self.identities, other.identities)
            and np.array_equal(self.cameras, other.cameras)
            and np.array_equal(self.items(), other.items())
        )

    def subset(self, rows: np.ndarray) -> "ImageList":
        """Images at ``rows`` (M,) integers, in that order."""
        rows = np.asarray(rows, dtype=np.int64)
        paths = self.paths.take(rows)
        tracks = None if self.tracks is None else self.tracks[rows]
        return ImageList(self.modality, paths, self.identities[rows], self.cameras[rows], tracks)

    @property
    def number_of_tracks(self) -> int:
        """How many tracks the images belong to."""
        return 0 if self.tracks is None else len(np.unique(self.tracks[self.tracks >= 0]))

    def items(self) -> np.ndarray:
        """(N,) int64 for every image the row of the first image of its track, else its own row.

        The rows that stand for themselves are the items of a search.
        """
        own = np.arange(len(self))
        if self.tracks is None:
            return own
        _, first, track = np.unique(self.tracks, return_index=True, return_inverse=True)
        return np.where(self.tracks < 0, own, first[track]).astype(np.int64)


@dataclass(frozen=True)
class Listing:
    """What a dataset's folder holds.

    Attributes:
        lists: image lists by name, each to be prepared as one array.
        trials: trial -> part -> (name of a list, rows of it); empty when the lists are the parts.
        skipped: paths relative to the folder that were passed over, such as hidden files.
        notes: what the user is told of the reading, a line each.
    """

    lists: Mapping[str, ImageList]
    trials: Mapping[int, Mapping[str, tuple[str, np.ndarray]]] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_split(self) -> bool:
        """Whether there are training and test images."""
        return bool(self.trials) or self.lists.keys() >= set(PARTS)

    def parts(self, trial: int | None = None) -> dict[str, ImageList]:
        """Image lists of ``PARTS``, of one trial where the dataset has trials."""
        if trial is None:
            return {part: self.lists[part] for part in PARTS}
        rows = self.rows(trial)
        return {part: self.lists[name].subset(own) for part, (name, own) in rows.items()}

    def rows(self, trial: int | None = None) -> dict[str, tuple[str, np.ndarray]]:
        """Name of a list and rows (M,) of it for each of ``PARTS``, as in ``parts``."""
        if trial is None:
            return {part: (part, np.arange(len(self.lists[part]))) for part in PARTS}
        return {part: self.trials[trial][part] for part in PARTS}


def known_people(*lists: ImageList) -> np.ndarray:
    """(P,) int64 different identities in image lists, ascending; negative ones are unknown."""
    identities = np.concatenate([images.identities for images in lists])
    return np.unique(identities[identities >= 0])


def number_of_people(*lists: ImageList) -> int:
    """Number of different identities in image lists; negative ones do not count."""
    return len(known_people(*lists))
