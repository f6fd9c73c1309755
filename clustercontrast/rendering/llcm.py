"""Rendered identities in LLCM's raw layout, with LLCM's counts at full size.

The nine cameras are played by 1, 2, 4, 5 of :mod:`cameras` (visible) and 3, 6 (infrared) in turn;
camera 3 sees no infrared light.  Everything is labelled.

No number measured on these images is an LLCM result.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clustercontrast.rendering import sets
from clustercontrast.rendering.cameras import INFRARED, VISIBLE
from clustercontrast.rendering.manifests import Network, Track, TrackSize, photographs, plan
from clustercontrast.rendering.stand_ins import in_turn

FOLDERS = {"visible": "vis", "infrared": "nir"}
CAMERAS = {"visible": range(1, 10), "infrared": (1, 2, 4, 5, 6, 7, 8, 9)}
PLAYERS = {"visible": VISIBLE, "infrared": INFRARED}
NETWORK = Network({name: in_turn(own, PLAYERS[name]) for name, own in CAMERAS.items()}, True)


class LLCMSize(TrackSize):
    """A size of LLCM's layout."""

    layout = "LLCM"
    network = NETWORK

    @property
    def counts(self) -> dict[str, int]:
        """What a reader finds."""
        return {
            "train_identities": self.train_identities,
            "test_identities": self.test_identities,
            "train_visible": self.train_visible,
            "train_infrared": self.train_infrared,
            "test_visible": self.test_visible,
            "test_infrared": self.test_infrared,
        }


LLCM_SIZES = {
    "tiny": LLCMSize("tiny", 12, 6, 120, 100, 60, 50, 64, 28),
    "demo": LLCMSize("demo", 60, 30, 900, 750, 420, 350, 128, 56),
    "full": LLCMSize("full", 713, 351, 16946, 13975, 8680, 7166, 225, 95),
}


@dataclass(frozen=True)
class Pictures:
    """The images of a track and what they are called.

    Attributes:
        track: person, camera, modality and part.
        names: of the images, ascending.
    """

    track: Track
    names: tuple[str, ...]

    @property
    def place(self) -> str:
        """Folder below the root."""
        return f"{FOLDERS[self.track.modality]}/{self.track.person:04d}"

    @property
    def copies(self) -> str:
        """Folder below the root of the copies of test images."""
        track = self.track
        return f"test_{FOLDERS[track.modality]}/cam{track.camera}/{track.person:04d}"


def pictures(size: LLCMSize, seed: int) -> tuple[Pictures, ...]:
    """Every image of a rendered set by its name; totals are exactly the size's."""
    generator = np.random.default_rng(np.random.SeedSequence((seed, 0, 0, 5)))
    return tuple(Pictures(track, _names(track, generator)) for track in plan(size, seed))


def _names(track: Track, generator: np.random.Generator) -> tuple[str, ...]:
    """Names as 0351_c06_s200656_f4830_nir.jpg, in one sequence of frames."""
    sequence = int(generator.integers(100_000, 240_000))
    frames = generator.integers(0, 3000) + np.cumsum(generator.integers(1, 9, track.images))
    start = f"{track.person:04d}_c{track.camera:02d}_s{sequence}"
    return tuple(f"{start}_f{frame:04d}_{FOLDERS[track.modality]}.jpg" for frame in frames.tolist())


def render_llcm(
    root: Path,
    size: LLCMSize,
    seed: int,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> dict[str, int]:
    """Render a whole data set, exactly as :func:`clustercontrast.rendering.sets.render` says.

    The files depend on ``size``, one of :data:`LLCM_SIZES` or a variation of it, and on ``seed``
    alone.
    """
    return sets.render(root, size, seed, lambda: _content(size, seed), workers, progress)


def _content(size: LLCMSize, seed: int) -> sets.Content:
    planned, shape = pictures(size, seed), (size.height, size.width)
    folders = ((own.place, functools.partial(_draw, own, seed, shape)) for own in planned)
    copies = {
        f"{own.copies}/{name}": f"{own.place}/{name}"
        for own in planned
        if own.track.split == "test"
        for name in own.names
    }
    return sets.Content(tuple(folders), index_files(planned), copies)


def _draw(own: Pictures, seed: int, shape: tuple[int, int]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the images of one track."""
    return zip(own.names, photographs(own.track, NETWORK, seed, shape), strict=True)


def index_files(planned: Iterable[Pictures]) -> dict[str, str]:
    """Path below the root -> content of the lists; labels number the identities of a part."""
    lists = {}
    for split in ("train", "test"):
        part = [own for own in planned if own.track.split == split]
        people = sorted({own.track.person for own in part})
        for modality, folder in FOLDERS.items():
            lists[f"idx/{split}_{folder}.txt"] = "".join(
                f"{own.place}/{name} {people.index(own.track.person)}\n"
                for own in sorted(part, key=lambda own: own.place)
                if own.track.modality == modality
                for name in own.names
            )
    return lists | {"idx/test_id.txt": ",".join(map(str, people)) + "\n"}
