"""From a person and a place to a photograph: light, pose, composition, lens and sensor.

The cameras of the layouts differ in numbers only: :mod:`cameras` holds those of SYSU-MM01's,
:mod:`rig` the two of RegDB's.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from clustercontrast.rendering import bodies, figures, scenes
from clustercontrast.rendering.bands import Band
from clustercontrast.rendering.people import OCCLUDER, Identity, palette

NOISE_SHAPE = (720, 480, 3)
DAYLIGHT_DRIFT = 0.05  # relative change of each colour channel between walks
# How warm a surface is kept at a height above the ground, in body heights.
WARMTH_HEIGHTS, WARMTHS = (0.0, 0.2, 0.5, 0.8), (0.8, 0.88, 0.97, 1.04)
PATCHINESS = 0.06


@dataclass(frozen=True)
class View:
    """Where a camera hangs and what it sees; angles in radians."""

    place: str  # kind of scene
    room: int  # which one of that kind
    heading: float  # favourite yaw of the persons in view
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

    band: Band
    blur: float  # radius in per cent of the crop's height
    noise: float  # standard deviation in grey values of 0 to 255
    quality: int = 100  # of a JPEG
    halo: int = 0  # per cent by which the surroundings are darker beside what is bright


@dataclass(frozen=True)
class Camera:
    """One camera."""

    view: View
    light: Light
    sensor: Sensor


def generator(*entropy: int) -> np.random.Generator:
    """Random numbers that depend on ``entropy`` alone."""
    return np.random.default_rng(np.random.SeedSequence(entropy))


def walk_light(camera: Camera, walk: np.random.Generator) -> np.ndarray:
    """(3,) factors of one walk on red, green, blue; only daylight changes its colour."""
    drift = DAYLIGHT_DRIFT if camera.sensor.band is Band.VISIBLE else 0.0
    factors = walk.uniform(*camera.light.gain) * (1 + drift * walk.standard_normal(3))
    return (factors * camera.light.cast).astype(np.float32)


def walking_pose(
    camera: Camera, course: float, moment: np.random.Generator, size: tuple[int, int]
) -> figures.Pose:
    """One moment of a walk with the yaw ``course``, standing in a crop of (height, width)."""
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


def backdrop(
    camera: Camera,
    seed: int,
    walk: np.random.Generator,
    moment: np.random.Generator,
    size: tuple[int, int],
) -> Image.Image:
    """The piece of the scene behind the person; the wall ends at half to nine tenths of it."""
    high, wide = size
    view = scenes.scene(seed, camera.view.place, camera.view.room, camera.sensor.band)
    tall = walk.uniform(170, 240)
    broad = tall * wide / high
    top = scenes.HORIZON - tall * walk.uniform(0.55, 0.92) + moment.normal(0, 2)
    left = walk.uniform(60, scenes.WIDTH - broad - 60) + moment.uniform(-50, 50)
    top = min(max(top, 0), scenes.HEIGHT - tall)
    return view.resize((wide, high), Image.BILINEAR, (left, top, left + broad, top + tall))


def compose(
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
        occlude(labels, moment)
    colours = palette(person, camera.sensor.band)
    body = Image.fromarray(colours[labels].view(np.uint8).reshape(*labels.shape, 4))
    body = np.asarray(body.reduce(figures.SUPERSAMPLING))
    cover = body[..., 3] * np.float32(1 / 255)
    shade = cover * _shade(relief.reduce(figures.SUPERSAMPLING), camera.light.source)
    ground = np.array(crop, np.float32)
    if camera.sensor.band is Band.THERMAL:
        shade *= _warmth(pose, moment, shade.shape)
    else:
        _cast_shadow(ground, pose)
    ground *= (1 - cover)[..., None]
    return ground + body[..., :3] * shade[..., None]


def occlude(labels: np.ndarray, moment: np.random.Generator) -> None:
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


def _warmth(pose: figures.Pose, moment: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """(h, w) factor around 1: the trunk warms its clothes, folds and limbs cool in patches."""
    high, wide = size
    height = (pose.foot[1] - np.arange(high)) / pose.scale
    along = np.interp(height, WARMTH_HEIGHTS, WARMTHS).astype(np.float32)
    patches = Image.fromarray(moment.normal(0, PATCHINESS, (12, 6)).astype(np.float32))
    return along[:, None] + np.asarray(patches.resize((wide, high), Image.BICUBIC))


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


def expose(
    image: np.ndarray, camera: Camera, light: np.ndarray, moment: np.random.Generator
) -> Image.Image:
    """Light, contrast, colour cast, lens and sensor of the camera."""
    high, wide = image.shape[:2]
    channels = 3 if camera.sensor.band is Band.VISIBLE else 1
    image = image[..., :channels] * _lamp(camera, high, wide, moment)[..., None]
    image = (128 + camera.light.contrast * (image - 128)) * light
    picture = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    picture = picture.filter(ImageFilter.BoxBlur(camera.sensor.blur * high / 100))
    if camera.sensor.halo:
        picture = picture.filter(ImageFilter.UnsharpMask(0.05 * high, camera.sensor.halo, 0))
    top, left = moment.integers(0, NOISE_SHAPE[0] - high), moment.integers(0, NOISE_SHAPE[1] - wide)
    noise = _noise()[top : top + high, left : left + wide, :channels]
    image = np.asarray(picture, np.float32) + camera.sensor.noise * noise
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


def _lamp(camera: Camera, high: int, wide: int, moment: np.random.Generator) -> np.ndarray:
    """(h, w) fall-off of the light around a centre in the upper half of the crop."""
    x = np.linspace(-1, 1, wide, dtype=np.float32) - np.float32(moment.normal(0, 0.25))
    y = np.linspace(-1, 1, high, dtype=np.float32) - np.float32(moment.normal(-0.25, 0.2))
    return 1 / (1 + camera.light.falloff * (0.7 * x**2 + 0.5 * y[:, None] ** 2))
