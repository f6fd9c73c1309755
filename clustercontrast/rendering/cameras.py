"""The six cameras of SYSU-MM01's layout: where they hang, what they do to light, one photograph.

Cameras 1 and 2 (rooms), 4 and 5 (outdoors) see colours; camera 3 (the room of camera 2 in the dark)
and camera 6 (a passage at night) see reflectances under their own infrared lamp (common.md 1.1).
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from clustercontrast.rendering import bodies, figures, scenes
from clustercontrast.rendering.people import OCCLUDER, Identity, palette

FRAMES_PER_WALK = 8  # frames of one folder that show the same walk through the view
NOISE_SHAPE = (720, 480, 3)


@dataclass(frozen=True)
class View:
    """Where a camera hangs and what it sees; angles in radians."""

    place: str  # kind of scene
    room: int  # which one of that kind
    heading: float  # favourite yaw of the people in view
    elevation: float  # above the horizon


@dataclass(frozen=True)
class Light:
    """``gain`` (a range over walks) and ``cast`` multiply; contrast turns around mid grey."""

    gain: tuple[float, float]
    cast: tuple[float, float, float]
    contrast: float
    falloff: float  # towards the corners
    source: tuple[float, float, float]  # from the right, from above, along the view


@dataclass(frozen=True)
class Sensor:
    """What becomes of the light."""

    infrared: bool
    blur: float  # radius in per cent of the crop's height
    noise: float  # standard deviation in grey values of 0 to 255
    quality: int  # of the JPEG


@dataclass(frozen=True)
class Camera:
    """One of the six cameras."""

    view: View
    light: Light
    sensor: Sensor


CAMERAS = {
    1: Camera(
        View("room", 1, heading=0.0, elevation=0.10),
        Light((0.85, 1.05), (1.06, 1.0, 0.84), 0.95, falloff=0.1, source=(0.6, 0.8, 0.2)),
        Sensor(infrared=False, blur=0.25, noise=4, quality=88),
    ),
    2: Camera(
        View("room", 2, heading=2.6, elevation=0.24),
        Light((0.65, 0.85), (0.9, 1.0, 1.08), 0.85, falloff=0.2, source=(-0.7, 0.7, 0.2)),
        Sensor(infrared=False, blur=0.45, noise=6, quality=82),
    ),
    3: Camera(
        View("room", 2, heading=0.7, elevation=0.20),
        Light((0.7, 0.95), (1.0, 0.99, 1.0), 1.0, falloff=0.5, source=(0.0, 0.2, 1.0)),
        Sensor(infrared=True, blur=0.45, noise=8, quality=82),
    ),
    4: Camera(
        View("gate", 4, heading=-0.9, elevation=0.16),
        Light((0.9, 1.2), (1.0, 1.0, 1.0), 1.1, falloff=0.0, source=(0.9, 0.5, 0.1)),
        Sensor(infrared=False, blur=0.3, noise=4, quality=86),
    ),
    5: Camera(
        View("garden", 5, heading=1.6, elevation=0.06),
        Light((0.7, 1.1), (0.92, 1.04, 0.9), 1.0, falloff=0.05, source=(-0.3, 1.0, 0.2)),
        Sensor(infrared=False, blur=0.4, noise=5, quality=84),
    ),
    6: Camera(
        View("passage", 6, heading=-2.2, elevation=0.14),
        Light((0.75, 1.05), (1.0, 0.99, 1.01), 1.15, falloff=0.75, source=(0.1, 0.2, 1.2)),
        Sensor(infrared=True, blur=0.6, noise=10, quality=78),
    ),
}
VISIBLE = tuple(number for number, camera in CAMERAS.items() if not camera.sensor.infrared)
INFRARED = tuple(number for number, camera in CAMERAS.items() if camera.sensor.infrared)
DAYLIGHT_DRIFT = 0.05  # relative change of each colour channel between walks


def photograph(
    person: Identity, number: int, frame: int, seed: int, size: tuple[int, int]
) -> Image.Image:
    """Frame ``frame`` of a person in camera ``number``; a pure function of its arguments.

    Args:
        person: who is seen.
        number: camera, 1 to 6.
        frame: counted from 1; eight frames in a row show one walk.
        seed: seed of the rendered world.
        size: nominal (height, width) of a crop; crops vary around it.

    Returns:
        RGB image; infrared cameras give three nearly equal channels.
    """
    camera = CAMERAS[number]
    walk = _generator(seed, person.number, number, 1, (frame - 1) // FRAMES_PER_WALK)
    moment = _generator(seed, person.number, number, 2, frame)
    light, course = _light(camera, walk), _course(camera, walk)
    stature = walk.uniform(0.75, 1.3) * moment.uniform(0.93, 1.07)
    high = round(size[0] * stature)
    wide = round(size[1] * stature * moment.uniform(0.88, 1.12))
    pose = _pose(camera, course, moment, (high, wide))
    crop = _background(camera, seed, walk, moment, (high, wide))
    image = _composed(person, pose, camera, moment, crop)
    return _exposed(image, camera, light, moment)


def _generator(*entropy: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(entropy))


def _light(camera: Camera, walk: np.random.Generator) -> np.ndarray:
    """(3,) factors of one walk on red, green, blue; daylight drifts, an infrared lamp does not."""
    drift = 0.0 if camera.sensor.infrared else DAYLIGHT_DRIFT
    factors = walk.uniform(*camera.light.gain) * (1 + drift * walk.standard_normal(3))
    return (factors * camera.light.cast).astype(np.float32)


def _course(camera: Camera, walk: np.random.Generator) -> float:
    """Yaw of one walk: mostly along the camera's favourite direction, sometimes any."""
    along = camera.view.heading + walk.normal(0, 0.6)
    return along if walk.uniform() < 0.6 else walk.uniform(-np.pi, np.pi)


def _pose(
    camera: Camera, course: float, moment: np.random.Generator, size: tuple[int, int]
) -> figures.Pose:
    high, wide = size
    scale = high * moment.uniform(0.8, 0.97) / math.cos(camera.view.elevation)
    foot = (wide * (0.5 + moment.normal(0, 0.06)), high * moment.uniform(0.94, 1.01))
    return figures.Pose(
        yaw=course + moment.normal(0, 0.15),
        phase=moment.uniform(0, 2 * np.pi),
        stride=moment.uniform(0.15, 0.45),
        elbow=moment.uniform(0.1, 0.7),
        elevation=camera.view.elevation + moment.normal(0, 0.02),
        roll=moment.normal(0, 0.03),
        scale=scale,
        foot=foot,
    )


def _background(
    camera: Camera,
    seed: int,
    walk: np.random.Generator,
    moment: np.random.Generator,
    size: tuple[int, int],
) -> Image.Image:
    """The piece of the scene behind the person; the wall ends at half to nine tenths of it."""
    high, wide = size
    view = scenes.scene(seed, camera.view.place, camera.view.room, camera.sensor.infrared)
    tall = walk.uniform(170, 240)
    broad = tall * wide / high
    top = scenes.HORIZON - tall * walk.uniform(0.55, 0.92) + moment.normal(0, 2)
    left = walk.uniform(60, scenes.WIDTH - broad - 60) + moment.uniform(-50, 50)
    top = min(max(top, 0), scenes.HEIGHT - tall)
    return view.resize((wide, high), Image.BILINEAR, (left, top, left + broad, top + tall))


def _composed(
    person: Identity,
    pose: figures.Pose,
    camera: Camera,
    moment: np.random.Generator,
    crop: Image.Image,
) -> np.ndarray:
    """Person over background, shaded; (h, w, 3) float32 in 0 to 255, linear in the surfaces."""
    figure = bodies.build(person, pose)
    labels, relief = figure.paint(*crop.size)
    figures.print_patterns(figure, person, labels)
    if moment.uniform() < 0.05:
        _occlude(labels, moment)
    colours = palette(person, camera.sensor.infrared)
    body = Image.fromarray(colours[labels].view(np.uint8).reshape(*labels.shape, 4))
    body = np.asarray(body.reduce(figures.SUPERSAMPLING))
    cover = body[..., 3] * np.float32(1 / 255)
    shade = cover * _shade(relief.reduce(figures.SUPERSAMPLING), camera.light.source)
    ground = np.array(crop, np.float32)
    _cast_shadow(ground, pose)
    ground *= (1 - cover)[..., None]
    return ground + body[..., :3] * shade[..., None]


def _occlude(labels: np.ndarray, moment: np.random.Generator) -> None:
    """Put something in front: the lower part of the body, or a post; in place."""
    high, wide = labels.shape
    if moment.uniform() < 0.5:
        labels[int(high * moment.uniform(0.7, 0.85)) :] = 2 * OCCLUDER + 1
    else:
        left = int(wide * moment.uniform(0.1, 0.7))
        labels[:, left : left + wide // 7] = 2 * OCCLUDER + 1


def _cast_shadow(ground: np.ndarray, pose: figures.Pose) -> None:
    """Darken a soft ellipse around the feet, in place."""
    wide, high = 0.2 * pose.scale, 0.045 * pose.scale
    top = max(0, int(pose.foot[1] - 1.3 * high))
    rows, columns = np.ogrid[top : ground.shape[0], : ground.shape[1]]
    distance = ((columns - pose.foot[0]) / wide) ** 2 + ((rows - pose.foot[1]) / high) ** 2
    ground[top:] *= 1 - 0.4 * np.clip(1.4 - distance, 0, 1)[..., None]


def _shade(relief: Image.Image, light: tuple[float, float, float]) -> np.ndarray:
    """(h, w) factor around 1 from the slopes of the relief: bright towards the light.

    The third component of the light is its share along the view, which darkens every slope.
    """
    radius = relief.height * 0.009
    height = np.asarray(relief.filter(ImageFilter.BoxBlur(radius)), np.float32)
    height *= np.float32(4e-5 * relief.height)
    across, down = np.zeros_like(height), np.zeros_like(height)
    across[:, 1:-1] = height[:, :-2] - height[:, 2:]
    down[1:-1] = height[2:] - height[:-2]
    slope = light[0] * across + light[1] * down - light[2] * (np.abs(across) + np.abs(down))
    return 1 + np.clip(slope, -0.4, 0.25)


@functools.cache
def _noise() -> np.ndarray:
    """Standard normal noise, softened a little as a sensor's is, to be cut at random places."""
    table = np.random.default_rng(0).standard_normal(NOISE_SHAPE, np.float32)
    return (table + 0.5 * np.roll(table, 1, 1)) / np.float32(1.118)


def _exposed(
    image: np.ndarray, camera: Camera, light: np.ndarray, moment: np.random.Generator
) -> Image.Image:
    """Light, contrast, colour cast, lens and sensor of the camera."""
    high, wide = image.shape[:2]
    channels = 1 if camera.sensor.infrared else 3
    image = image[..., :channels] * _lamp(camera, high, wide, moment)[..., None]
    image = (128 + camera.light.contrast * (image - 128)) * light
    picture = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    picture = picture.filter(ImageFilter.BoxBlur(camera.sensor.blur * high / 100))
    top, left = moment.integers(0, NOISE_SHAPE[0] - high), moment.integers(0, NOISE_SHAPE[1] - wide)
    noise = _noise()[top : top + high, left : left + wide, :channels]
    image = np.asarray(picture, np.float32) + camera.sensor.noise * noise
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


def _lamp(camera: Camera, high: int, wide: int, moment: np.random.Generator) -> np.ndarray:
    """(h, w) fall-off of the light around a centre in the upper half of the crop."""
    x = np.linspace(-1, 1, wide, dtype=np.float32) - np.float32(moment.normal(0, 0.25))
    y = np.linspace(-1, 1, high, dtype=np.float32) - np.float32(moment.normal(-0.25, 0.2))
    return 1 / (1 + camera.light.falloff * (0.7 * x**2 + 0.5 * y[:, None] ** 2))
