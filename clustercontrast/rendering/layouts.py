"""Rendered identities in SYSU-MM01's raw layout, with SYSU-MM01's counts at full size.

No number measured on these images is a SYSU-MM01 result.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from clustercontrast.rendering import sets
from clustercontrast.rendering.cameras import CAMERAS, INFRARED, VISIBLE, photograph
from clustercontrast.rendering.people import sample_identity
from clustercontrast.rendering.sets import is_rendered as is_rendered

LAST_IDENTITY = 533  # SYSU-MM01 numbers its identities 1 to 533, with gaps
VISIBLE_FOLDERS = 3.136  # cameras per identity, on average: 301 folders of 96 identities
INFRARED_FOLDERS = 1.8
UNEVENNESS = 0.18  # spread of the number of images around a folder's share


@dataclass(frozen=True)
class Size:
    """How much to render; ``height`` and ``width`` are nominal, crops vary around them in pixels.

    Training images are those of the training and validation identities; the query set is every
    infrared test image and the pool of the galleries every visible one, in ``gallery_folders``
    folders.
    """

    name: str
    train_identities: int
    val_identities: int
    test_identities: int
    train_visible: int
    train_infrared: int
    test_infrared: int
    test_visible: int
    gallery_folders: int
    height: int
    width: int
    layout: ClassVar[str] = "SYSU-MM01"

    @property
    def images(self) -> int:
        """Number of images of all subsets together."""
        return self.train_visible + self.train_infrared + self.test_infrared + self.test_visible

    @property
    def counts(self) -> dict[str, int]:
        """What a reader finds; training is training and validation, gallery_draw the folders."""
        return {
            "train_identities": self.train_identities + self.val_identities,
            "test_identities": self.test_identities,
            "train_visible": self.train_visible,
            "train_infrared": self.train_infrared,
            "test_visible": self.test_visible,
            "test_infrared": self.test_infrared,
            "gallery_draw": self.gallery_folders,
        }

    def with_training_identities(self, identities: int) -> "Size":
        """The same size with another number of training identities; the test part stays as it is.

        Args:
            identities: train and validation identities together, at least 2.

        Raises:
            UserError: fewer than 2, or more identities than four digits can number.
        """
        sets.check_identities(identities, most=9999 - self.test_identities)
        before = self.train_identities + self.val_identities
        validation = max(1, round(identities * self.val_identities / before))
        return dataclasses.replace(
            self,
            name=f"{self.name}-{identities}",
            train_identities=identities - validation,
            val_identities=validation,
            train_visible=round(self.train_visible * identities / before),
            train_infrared=round(self.train_infrared * identities / before),
        )


SIZES = {
    "tiny": Size("tiny", 12, 4, 8, 250, 145, 70, 125, 25, 64, 28),
    "demo": Size("demo", 48, 12, 30, 1300, 700, 240, 564, 94, 128, 56),
    "full": Size("full", 296, 99, 96, 22258, 11909, 3803, 6775, 301, 225, 95),
}


@dataclass(frozen=True)
class Folder:
    """One folder ``cam<camera>/<identity>`` with its number of images."""

    identity: int
    camera: int
    images: int


@dataclass(frozen=True)
class Plan:
    """The identity lists and every folder of a rendered set."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]
    folders: tuple[Folder, ...]


def plan(size: Size, seed: int) -> Plan:
    """Identities of all lists, numbers of images of all folders; totals are exactly the size's."""
    generator = np.random.default_rng(np.random.SeedSequence((seed, 0, 0, 1)))
    total = size.train_identities + size.val_identities + size.test_identities
    last = min(9999, max(LAST_IDENTITY, round(1.1 * total)))
    numbers = (1 + generator.permutation(last)[:total]).tolist()
    training = size.train_identities + size.val_identities
    learned, tested = numbers[:training], numbers[training:]
    visible_folders = round(VISIBLE_FOLDERS * training)
    infrared, test_infrared = (round(INFRARED_FOLDERS * len(ids)) for ids in (learned, tested))
    folders = [
        *_folders(learned, VISIBLE, (visible_folders, size.train_visible), generator),
        *_folders(learned, INFRARED, (infrared, size.train_infrared), generator),
        *_folders(tested, VISIBLE, (size.gallery_folders, size.test_visible), generator),
        *_folders(tested, INFRARED, (test_infrared, size.test_infrared), generator),
    ]
    return Plan(
        train=tuple(sorted(learned[: size.train_identities])),
        val=tuple(sorted(learned[size.train_identities :])),
        test=tuple(sorted(tested)),
        folders=tuple(sorted(folders, key=lambda folder: (folder.identity, folder.camera))),
    )


def _folders(
    identities: list[int],
    cameras: tuple[int, ...],
    counts: tuple[int, int],
    generator: np.random.Generator,
) -> Iterator[Folder]:
    """Choose ``counts[0]`` pairs (identity, camera), all identities among them, and share images.

    Every identity is seen by a camera other than 2: queries of camera 3 skip the gallery of camera
    2, so an identity that no other visible camera sees could not be found.
    """
    number, images = counts
    free = [camera for camera in cameras if camera != 2]
    sure = [(identity, int(generator.choice(free))) for identity in identities]
    others = sorted({(i, c) for i in identities for c in cameras} - set(sure))
    extra = generator.permutation(len(others))[: number - len(sure)]
    pairs = sure + [others[k] for k in extra.tolist()]
    shares = uneven_shares(images, len(pairs), generator)
    return (Folder(i, c, n) for (i, c), n in zip(pairs, shares.tolist(), strict=True))


def uneven_shares(total: int, folders: int, generator: np.random.Generator) -> np.ndarray:
    """(folders,) int64 uneven numbers of images that sum to ``total`` exactly."""
    weights = np.clip(generator.normal(1, UNEVENNESS, folders), 1 - UNEVENNESS, 1 + UNEVENNESS)
    ends = np.rint(np.cumsum(weights) / weights.sum() * total).astype(np.int64)
    return np.diff(ends, prepend=0)


def render_sysu(
    root: Path,
    size: Size,
    seed: int,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> dict[str, int]:
    """Render a whole data set; the files depend on size and seed alone, not on ``workers``.

    A finished folder of the same size and seed is left as it is; an interrupted one is completed.

    Args:
        root: folder to make; it must be empty, missing, or of the same size and seed.
        size: one of :data:`SIZES`, or a variation of it.
        seed: world of identities, at least 0; different seeds share none.
        workers: processes, 1 renders in this one.
        progress: called with the number of images finished since the last call.

    Returns:
        The size's counts, which ``rendered.json`` holds as well.

    Raises:
        UserError: the folder holds something else, or it cannot be written.
    """
    return sets.render(root, size, seed, lambda: _content(size, seed), workers, progress)


def _content(size: Size, seed: int) -> sets.Content:
    planned, shape = plan(size, seed), (size.height, size.width)
    folders = (
        (f"cam{folder.camera}/{folder.identity:04d}", functools.partial(_draw, folder, seed, shape))
        for folder in planned.folders
    )
    return sets.Content(tuple(folders), _lists(planned))


def _draw(folder: Folder, seed: int, shape: tuple[int, int]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the images of one (identity, camera) folder."""
    person = sample_identity(seed, folder.identity)
    quality = CAMERAS[folder.camera].sensor.quality
    for frame in range(1, folder.images + 1):
        image = photograph(person, folder.camera, frame, seed, shape)
        yield f"{frame:04d}.jpg", sets.encoded(image, "JPEG", quality=quality)


def _lists(planned: Plan) -> dict[str, str]:
    """The four lists: one line each, integers without padding, separated by commas."""
    lists = {
        "train": planned.train,
        "val": planned.val,
        "test": planned.test,
        "available": sorted(planned.train + planned.val + planned.test),
    }
    return {
        f"exp/{name}_id.txt": ",".join(map(str, numbers)) + "\n" for name, numbers in lists.items()
    }
