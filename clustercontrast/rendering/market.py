"""Rendered identities in Market-1501's layout, with its counts at full size.

Cameras c1 to c6 are played by the visible cameras 1, 2, 4, 5, 1, 2 of :mod:`cameras`; c5 and c6 see
other walks than c1 and c2.  Besides the identities of the training and of the test list there are
passers-by that are never a query: their images are distractors (identity 0) or, where a crop
misses the person, junk (identity -1).

No number measured on these images is a Market-1501 result.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from clustercontrast.rendering import exposure, sets
from clustercontrast.rendering.cameras import VISIBLE
from clustercontrast.rendering.layouts import uneven_shares
from clustercontrast.rendering.people import sample_identity
from clustercontrast.rendering.stand_ins import in_turn

CAMERAS = in_turn(range(1, 7), VISIBLE)
TRAIN, GALLERY, QUERY = "bounding_box_train", "bounding_box_test", "query"
JUNK, DISTRACTOR = -1, 0
# No identity of this layout is in a set of another one, not even with the same seed.
FIRST_PERSON, FIRST_PASSER_BY = 20_000, 40_000
IMAGES_PER_PASSER_BY = 4
MISSED_BY = (0.45, 0.8)  # distance of a junk crop from the person, in widths of the crop


@dataclass(frozen=True)
class MarketSize:
    """How much to render; every image has ``height`` x ``width`` pixels.

    Every test identity has one query in each camera that saw it; ``gallery`` counts its other
    images, beside which there are ``junk`` and ``distractors`` in the gallery's folder.
    """

    name: str
    train_identities: int
    test_identities: int
    train: int
    gallery: int
    query: int
    junk: int
    distractors: int
    height: int
    width: int
    layout: ClassVar[str] = "Market-1501"

    @property
    def images(self) -> int:
        """Number of images of all folders together."""
        return sum(self.counts.values())

    @property
    def counts(self) -> dict[str, int]:
        """What a reader finds."""
        gallery = self.gallery + self.junk + self.distractors
        return {"train": self.train, "gallery": gallery, "query": self.query}

    def with_training_identities(self, identities: int) -> "MarketSize":
        """The same size with another number of training identities; the test part stays as it is.

        Args:
            identities: at least 2.

        Raises:
            UserError: fewer than 2, or more identities than four digits can number.
        """
        sets.check_identities(identities, most=9999 - self.test_identities)
        return dataclasses.replace(
            self,
            name=f"{self.name}-{identities}",
            train_identities=identities,
            train=round(self.train * identities / self.train_identities),
        )


MARKET_SIZES = {
    "tiny": MarketSize("tiny", 12, 6, 120, 36, 18, 8, 8, 64, 28),
    "demo": MarketSize("demo", 150, 20, 1500, 160, 60, 30, 20, 128, 64),
    "full": MarketSize("full", 751, 750, 12936, 13120, 3368, 3819, 2793, 128, 64),
}


@dataclass(frozen=True)
class Track:
    """Images of one person in one camera, named by ``identity`` and numbered from ``first``.

    Attributes:
        folder: one of the three below the root.
        identity: as in the names of the files; -1 junk, 0 distractors.
        person: number of the rendered person.
        camera: 1 to 6.
        first: number of the first image, from 1.
        images: how many there are.
    """

    folder: str
    identity: int
    person: int
    camera: int
    first: int
    images: int

    def name(self, frame: int) -> str:
        """Name of the file of an image."""
        label = f"{self.identity:04d}" if self.identity >= 0 else str(self.identity)
        return f"{label}_c{self.camera}s1_{frame:06d}_00.jpg"


def plan(size: MarketSize, seed: int) -> tuple[Track, ...]:
    """Every image of a rendered set; totals are exactly the size's."""
    generator = np.random.default_rng(np.random.SeedSequence((seed, 0, 0, 3)))
    total = size.train_identities + size.test_identities
    numbers = (1 + generator.permutation(total)).tolist()
    learned, tested = numbers[: size.train_identities], numbers[size.train_identities :]
    seen = round(size.query / size.test_identities * size.train_identities)
    train = _tracks(TRAIN, _sightings(learned, seen, generator), size.train, generator)
    gallery = _tracks(GALLERY, _sightings(tested, size.query, generator), size.gallery, generator)
    queries = (
        dataclasses.replace(track, folder=QUERY, first=1 + track.images, images=1)
        for track in gallery
    )
    junk = _passers_by(JUNK, 0, size.junk)
    distractors = _passers_by(DISTRACTOR, len(junk), size.distractors)
    return (*train, *gallery, *queries, *junk, *distractors)


def _sightings(
    identities: list[int], number: int, generator: np.random.Generator
) -> list[tuple[int, int]]:
    """``number`` pairs (identity, camera); every identity is in two cameras, then in any others."""
    orders = [(i, generator.permutation(list(CAMERAS)).tolist()) for i in identities]
    sure = [(i, camera) for i, order in orders for camera in order[:2]]
    others = [(i, camera) for i, order in orders for camera in order[2:]]
    extra = generator.permutation(len(others))[: number - len(sure)]
    return sorted(sure + [others[k] for k in extra.tolist()])


def _tracks(
    folder: str, sightings: list[tuple[int, int]], images: int, generator: np.random.Generator
) -> list[Track]:
    """Share ``images`` out."""
    shares = uneven_shares(images, len(sightings), generator).tolist()
    return [
        Track(folder, identity, FIRST_PERSON + identity, camera, 1, share)
        for (identity, camera), share in zip(sightings, shares, strict=True)
    ]


def _passers_by(identity: int, before: int, images: int) -> list[Track]:
    """A few images each of identities in no list, after ``before`` others, numbered through."""
    return [
        Track(
            GALLERY,
            identity,
            person=FIRST_PASSER_BY + before + k,
            camera=1 + k % len(CAMERAS),
            first=1 + start,
            images=min(IMAGES_PER_PASSER_BY, images - start),
        )
        for k, start in enumerate(range(0, images, IMAGES_PER_PASSER_BY))
    ]


def render_market(
    root: Path,
    size: MarketSize,
    seed: int,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> dict[str, int]:
    """Render a whole data set, exactly as :func:`clustercontrast.rendering.sets.render` says.

    The files depend on ``size``, one of :data:`MARKET_SIZES` or a variation of it, and on ``seed``
    alone; different seeds share no identity, and no other layout has identities of this one.
    """
    return sets.render(root, size, seed, lambda: _content(size, seed), workers, progress)


def _content(size: MarketSize, seed: int) -> sets.Content:
    shape = size.height, size.width
    folders = (
        (track.folder, functools.partial(_draw, track, seed, shape)) for track in plan(size, seed)
    )
    return sets.Content(tuple(folders), {})


def _draw(track: Track, seed: int, shape: tuple[int, int]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the images of one track."""
    photograph = _missed if track.identity == JUNK else _met
    quality = CAMERAS[track.camera].quality
    for frame in range(track.first, track.first + track.images):
        image = photograph(track, frame, seed, shape).resize(shape[::-1], Image.BILINEAR)
        yield track.name(frame), sets.encoded(image, "JPEG", quality=quality)


def _met(track: Track, frame: int, seed: int, shape: tuple[int, int]) -> Image.Image:
    """A crop around the person."""
    person = sample_identity(seed, track.person)
    return CAMERAS[track.camera].photograph(person, frame, seed, shape)


def _missed(track: Track, frame: int, seed: int, shape: tuple[int, int]) -> Image.Image:
    """A crop to the left or right of the person, who is cut or out of sight."""
    wide = _met(track, frame, seed, (shape[0], 3 * shape[1]))
    chance = exposure.generator(seed, track.person, track.camera, 3, frame)
    shift = chance.uniform(*MISSED_BY) * chance.choice([-1, 1])
    left = round(wide.width * (1 + shift) / 3)
    return wide.crop((left, 0, left + wide.width // 3, wide.height))
