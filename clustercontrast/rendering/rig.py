"""RegDB's dual camera: a visible and a thermal lens side by side, looking at the same moment.

The lenses differ a little in scale and position. A person is seen from the front or from behind, in
one walk or two. Each eye cuts its own crop and has its own stretch of the avenue
behind the person, so that no edge of the surroundings links the modalities.
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from clustercontrast.rendering import exposure, figures
from clustercontrast.rendering.bands import Band
from clustercontrast.rendering.exposure import Camera, Light, Sensor, View
from clustercontrast.rendering.people import Identity

RIG = 7  # the number of the rig's place and of its random numbers, after SYSU-MM01's six cameras
AVENUE = View("avenue", RIG, heading=0.0, elevation=0.17)
# Spread of what differs between the eyes at one moment: the logarithm of the person's scale, their
# place in crop heights, the phase of their walk in radians.
CROP_SCALE, CROP_SHIFT, DELAY = 0.06, 0.025, 0.08


@dataclass(frozen=True)
class Eye:
    """One camera of the rig; lengths in heights of the crop."""

    camera: Camera
    number: int
    zoom: float
    shift: tuple[float, float]
    backdrop: tuple[float, float]  # range over walks of a factor on all that is behind the person


EYES = {
    "visible": Eye(
        Camera(
            AVENUE,
            Light((0.75, 1.15), (1.0, 1.0, 0.98), 1.0, falloff=0.0, source=(0.7, 0.7, 0.2)),
            Sensor(Band.VISIBLE, blur=0.5, noise=5),
        ),
        number=1,
        zoom=0.95,
        shift=(0.0, 0.0),
        backdrop=(1.0, 1.0),
    ),
    "infrared": Eye(
        Camera(
            AVENUE,
            Light((0.85, 1.0), (1.0, 1.0, 1.0), 0.9, falloff=0.06, source=(0.0, 0.0, 1.0)),
            Sensor(Band.THERMAL, blur=0.9, noise=2, halo=35),
        ),
        number=2,
        zoom=0.98,
        shift=(0.012, -0.01),
        backdrop=(0.75, 1.35),
    ),
}


@dataclass(frozen=True)
class Habits:
    """How a person passes the rig."""

    view: str  # "front" or "back"
    first_walk: int  # number of frames before the second walk begins, if that many are taken


def habits(person: int, seed: int) -> Habits:
    """How person number ``person`` of the world ``seed`` passes the rig."""
    generator = exposure.generator(seed, person, RIG, 1)
    view = "front" if generator.uniform() < 0.4 else "back"
    return Habits(view, first_walk=int(generator.integers(3, 17)))


def photograph(
    person: Identity, modality: str, frame: int, seed: int, size: tuple[int, int]
) -> Image.Image:
    """Frame ``frame`` of a person through one eye of the rig; a pure function of its arguments.

    Args:
        person: who is seen.
        modality: key of :data:`EYES`.
        frame: counted from 1; the same number is the same moment in both modalities.
        seed: seed of the rendered world.
        size: (height, width) of the image.

    Returns:
        RGB image of exactly that size; thermal images have three equal channels.
    """
    eye, walk_number = EYES[modality], _walk(person.number, frame, seed)
    walk = exposure.generator(seed, person.number, RIG, 2, walk_number)
    moment = exposure.generator(seed, person.number, RIG, 3, frame)
    weather = exposure.generator(seed, person.number, RIG, 4, eye.number, walk_number)
    chance = exposure.generator(seed, person.number, RIG, 5, eye.number, frame)
    pose = _seen_through(eye, _pose(person.number, seed, walk, moment, size), chance, size[0])
    factor = weather.uniform(*eye.backdrop)
    crop = exposure.backdrop(eye.camera, seed, weather, chance, size)
    crop = crop.point(lambda level: level * factor)
    image = exposure.compose(person, pose, eye.camera, moment, crop)
    return exposure.expose(image, eye.camera, exposure.walk_light(eye.camera, weather), chance)


def _walk(person: int, frame: int, seed: int) -> int:
    return int(frame > habits(person, seed).first_walk)


def _pose(
    person: int,
    seed: int,
    walk: np.random.Generator,
    moment: np.random.Generator,
    size: tuple[int, int],
) -> figures.Pose:
    """What both eyes look at; nearly the same yaw in all frames."""
    ahead = 0.0 if habits(person, seed).view == "front" else np.pi
    return exposure.walking_pose(EYES["visible"].camera, ahead + walk.normal(0, 0.3), moment, size)


def _seen_through(
    eye: Eye, pose: figures.Pose, chance: np.random.Generator, high: int
) -> figures.Pose:
    """The pose as this eye has it: in a crop of its own and an instant earlier or later."""
    right, down = high * (np.array(eye.shift) + chance.normal(0, CROP_SHIFT, 2))
    return dataclasses.replace(
        pose,
        phase=pose.phase + chance.normal(0, DELAY),
        scale=pose.scale * eye.zoom * math.exp(chance.normal(0, CROP_SCALE)),
        foot=(pose.foot[0] + right, pose.foot[1] + down),
    )
