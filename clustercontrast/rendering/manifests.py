"""Rendered identities in place of SYSU-MM02, described by a manifest.

The visible camera 1 is played by camera 4 of :mod:`cameras`, the infrared cameras 2 and 3 by 3 and
6; training images are unlabelled, and some identities appear in one modality only.  Paths do not
tell the identity.

No number measured on these images is a SYSU-MM02 result.
"""

import csv
import dataclasses
import functools
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from clustercontrast.rendering import sets
from clustercontrast.rendering.cameras import INFRARED
from clustercontrast.rendering.layouts import uneven_shares
from clustercontrast.rendering.people import sample_identity
from clustercontrast.rendering.stand_ins import StandIn, in_turn

FILE, HEADER = "manifest.csv", ("relpath", "split", "modality", "camera", "identity")
CAMERAS_PER_PERSON = 3  # of one modality, if it has as many
ALONE = 0.15  # share of the identities of an unlabelled set that only one modality sees, for either


@dataclass(frozen=True)
class Network:
    """A layout's cameras by modality, and whether its training images are labelled."""

    cameras: dict[str, dict[int, StandIn]]
    labelled: bool


SYSU02 = Network({"visible": in_turn([1], (4,)), "infrared": in_turn([2, 3], INFRARED)}, False)


@dataclass(frozen=True)
class TrackSize:
    """How much to render; ``height`` and ``width``, in pixels, are nominal: crops vary."""

    name: str
    train_identities: int
    test_identities: int
    train_visible: int
    train_infrared: int
    test_visible: int
    test_infrared: int
    height: int
    width: int
    layout: ClassVar[str]
    network: ClassVar[Network]

    @property
    def images(self) -> int:
        """Number of images of all parts together."""
        return self.train_visible + self.train_infrared + self.test_visible + self.test_infrared

    def with_training_identities(self, identities: int) -> "TrackSize":
        """The same size with another number of training identities; the test part stays as it is.

        Args:
            identities: at least 2.

        Raises:
            UserError: fewer than 2, or more than four digits can number.
        """
        sets.check_identities(identities, most=9999 - self.test_identities)
        return dataclasses.replace(
            self,
            name=f"{self.name}-{identities}",
            train_identities=identities,
            train_visible=round(self.train_visible * identities / self.train_identities),
            train_infrared=round(self.train_infrared * identities / self.train_identities),
        )


class SYSU02Size(TrackSize):
    """A size of SYSU-MM02's layout; how many identities the training images show is not known."""

    layout = "SYSU-MM02"
    network = SYSU02

    @property
    def counts(self) -> dict[str, int]:
        """What a reader finds."""
        return {
            "train_visible": self.train_visible,
            "train_infrared": self.train_infrared,
            "test_identities": self.test_identities,
            "test_visible": self.test_visible,
            "test_infrared": self.test_infrared,
        }


SYSU02_SIZES = {
    "tiny": SYSU02Size("tiny", 14, 6, 90, 160, 24, 24, 64, 28),
    "demo": SYSU02Size("demo", 60, 24, 600, 1100, 240, 240, 128, 56),
    "full": SYSU02Size("full", 400, 118, 7440, 13614, 2360, 2360, 225, 95),
}


@dataclass(frozen=True)
class Track:
    """Images of one person in one camera, numbered from ``first`` in the camera's folder.

    Attributes:
        split: "train" or "test".
        modality: "visible" or "infrared".
        camera: as the layout counts them.
        person: number of the rendered person.
        first: number of the first image, from 1.
        images: how many there are.
    """

    split: str
    modality: str
    camera: int
    person: int
    first: int
    images: int

    @property
    def place(self) -> str:
        """Folder below the root."""
        return f"{self.split}/{self.modality}{self.camera}"

    @property
    def names(self) -> list[str]:
        """Names of the images."""
        return [f"{number:06d}.jpg" for number in range(self.first, self.first + self.images)]


def plan(size: TrackSize, seed: int) -> tuple[Track, ...]:
    """Every image of a rendered set; totals are exactly the size's."""
    generator = np.random.default_rng(np.random.SeedSequence((seed, 0, 0, 4)))
    total = size.train_identities + size.test_identities
    numbers = (1 + generator.permutation(total)).tolist()
    learned, tested = numbers[: size.train_identities], numbers[size.train_identities :]
    alone = 0 if size.network.labelled else max(1, round(ALONE * len(learned)))
    people = {
        "train_visible": learned[alone:],
        "train_infrared": learned[: len(learned) - alone],
        "test_visible": tested,
        "test_infrared": tested,
    }
    return tuple(
        track
        for part, who in people.items()
        for track in _tracks(size.network, part, who, getattr(size, part), generator)
    )


def _tracks(
    network: Network, part: str, people: list[int], images: int, generator: np.random.Generator
) -> Iterator[Track]:
    """Share the images of a part out; every camera numbers its own in random order."""
    split, _, modality = part.partition("_")
    cameras = list(network.cameras[modality])
    pairs = [
        (person, camera)
        for person in generator.permutation(people).tolist()
        for camera in generator.permutation(cameras)[:CAMERAS_PER_PERSON].tolist()
    ]
    ends = dict.fromkeys(cameras, 0)
    shares = uneven_shares(images, len(pairs), generator).tolist()
    for (person, camera), share in zip(pairs, shares, strict=True):
        yield Track(split, modality, camera, person, 1 + ends[camera], share)
        ends[camera] += share


def render_sysu02(
    root: Path,
    size: SYSU02Size,
    seed: int,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> dict[str, int]:
    """Render identities in place of SYSU-MM02.

    It goes exactly as :func:`clustercontrast.rendering.sets.render` says; the files depend on
    ``size``, one of :data:`SYSU02_SIZES` or a variation of it, and on ``seed`` alone.
    """
    return sets.render(root, size, seed, lambda: _content(size, seed), workers, progress)


def _content(size: TrackSize, seed: int) -> sets.Content:
    tracks, shape = plan(size, seed), (size.height, size.width)
    folders = (
        (track.place, functools.partial(_draw, track, size.network, seed, shape))
        for track in tracks
    )
    return sets.Content(tuple(folders), {FILE: manifest(tracks)})


def _draw(
    track: Track, network: Network, seed: int, shape: tuple[int, int]
) -> Iterator[tuple[str, bytes]]:
    """Name and content of the images of one track."""
    return zip(track.names, photographs(track, network, seed, shape), strict=True)


def photographs(
    track: Track, network: Network, seed: int, shape: tuple[int, int]
) -> Iterator[bytes]:
    """Contents of the JPEG files of a track, each about (height, width) ``shape`` pixels."""
    person = sample_identity(seed, track.person)
    camera = network.cameras[track.modality][track.camera]
    for frame in range(1, track.images + 1):
        image = camera.photograph(person, frame, seed, shape)
        yield sets.encoded(image, "JPEG", quality=camera.quality)


def manifest(tracks: tuple[Track, ...]) -> str:
    """The table of all images, ascending by path; training identities are -1, unknown."""
    rows = sorted(
        (
            f"{track.place}/{name}",
            track.split,
            track.modality,
            track.camera,
            track.person if track.split == "test" else -1,
        )
        for track in tracks
        for name in track.names
    )
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([HEADER, *rows])
    return table.getvalue()
