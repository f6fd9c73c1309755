"""Cameras of other layouts, played by the six of SYSU-MM01's (:mod:`cameras`)."""

from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image

from clustercontrast.rendering import cameras
from clustercontrast.rendering.cameras import FRAMES_PER_WALK
from clustercontrast.rendering.people import Identity

FRAMES_PER_VISIT = 1000 * FRAMES_PER_WALK  # more than any person's images in one camera


@dataclass(frozen=True)
class StandIn:
    """A rendered camera in the place of a layout's.

    Attributes:
        camera: 1 to 6, of :data:`clustercontrast.rendering.cameras.CAMERAS`.
        visit: layouts' cameras with the same stand-in see other walks, on other visits.
    """

    camera: int
    visit: int

    @property
    def quality(self) -> int:
        """Of the camera's JPEG files."""
        return cameras.CAMERAS[self.camera].sensor.quality

    def photograph(
        self, person: Identity, frame: int, seed: int, size: tuple[int, int]
    ) -> Image.Image:
        """As :func:`clustercontrast.rendering.cameras.photograph`, ``frame`` from 1 to 8,000."""
        frame += self.visit * FRAMES_PER_VISIT
        return cameras.photograph(person, self.camera, frame, seed, size)


def in_turn(numbers: Iterable[int], players: tuple[int, ...]) -> dict[int, StandIn]:
    """Stand-ins of a layout's cameras ``numbers``: ``players`` in turn, again and again."""
    return {
        number: StandIn(players[k % len(players)], k // len(players))
        for k, number in enumerate(numbers)
    }
