"""The figure of one person in one pose: which pixel shows which material, and a relief for shading.

A figure is made of ribbons, paths with a half width at each point: limbs follow their joints,
garments and heads are stacks of elliptical rings seen from the side. Body coordinates are in body
heights: x to the right of a camera the person faces, y up from the ground, z forward.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from clustercontrast.rendering.people import (
    BAG,
    GLASSES,
    HAIR,
    HAT,
    LOWER,
    LOWERS,
    SHOES,
    SKIN,
    UPPER,
    UPPERS,
    Garment,
    Identity,
)

SUPERSAMPLING = 2
SIDES = (-1, 1)
RELIEF = (1.0, 0.55)  # shares of a ribbon's width at which its relief rises a step
BALL = np.linspace(0, 1, 9)  # sampling of an ellipsoid from its top downwards


@dataclass(frozen=True)
class Pose:
    """One moment of a walk and where it lands in a crop; angles in radians, lengths in pixels."""

    yaw: float  # 0 faces the camera
    phase: float
    stride: float  # largest angle of the thigh
    elbow: float
    elevation: float  # of the camera above the horizon
    roll: float
    scale: float  # pixels per body height
    foot: tuple[float, float]  # (x, y) of the ground point between the feet


class Ribbon(NamedTuple):
    """A path in body coordinates with an elliptical section at each point."""

    material: int
    points: np.ndarray  # (n, 3)
    sections: np.ndarray  # (n, 2) half width and half depth
    lift: float  # added to the first point's nearness in the painting order
    balls: int  # how many of the points are rounded off


class Spine(NamedTuple):
    """The screen path of the ribbon that carries a pattern: (n,) arrays in supersampled pixels."""

    x: np.ndarray
    y: np.ndarray
    half: np.ndarray


class Figure:
    """Collects the ribbons of one person in one pose and paints them from far to near."""

    def __init__(self, pose: Pose):
        self.pose = pose
        self.scale = pose.scale * SUPERSAMPLING
        self.rise = math.cos(pose.elevation)
        self.ribbons: list[Ribbon] = []
        self.carriers: dict[int, int] = {}
        self.spines: dict[int, Spine] = {}

    def limb(
        self, material: int, joints: list, radii: list, lift: float, open_end: bool = False
    ) -> None:
        """A tapered limb, rounded at its joints but for an open end; see :meth:`column`."""
        sections = np.array((radii, radii)).T
        balls = len(radii) - open_end
        self.ribbons.append(Ribbon(material, np.array(joints, float), sections, lift, balls))

    def column(self, material: int, rings: list, lift: float, spine: bool = False) -> None:
        """A stack of elliptical rings.

        Args:
            material: what it is made of.
            rings: two or more (x, y, z, half width, half depth), from top to bottom.
            lift: added to the first ring's nearness to the camera in the painting order.
            spine: the stack carries the coordinates of its material's pattern.
        """
        rings = np.array(rings, float)
        if spine:
            self.carriers[material] = len(self.ribbons)
        self.ribbons.append(Ribbon(material, rings[:, :3], rings[:, 3:], lift, 0))

    def ball(
        self, material: int, centre: tuple, radii: tuple, lift: float, share: float = 1
    ) -> None:
        """An ellipsoid with radii (wide, high, deep), or the uppermost ``share`` of its height."""
        angle = BALL * math.acos(1 - 2 * share)
        points = np.empty((len(BALL), 3))
        points[:] = centre
        points[:, 1] += radii[1] * np.cos(angle)
        sections = np.sin(angle)[:, None] * (radii[0], radii[2])
        self.ribbons.append(Ribbon(material, points, sections, lift, 0))

    def paint(self, width: int, height: int) -> tuple[np.ndarray, Image.Image]:
        """Paint everything collected so far on a crop of ``width`` x ``height`` finished pixels.

        Returns:
            (2 height, 2 width) uint8 with 2 * material, 0 where no person is; and a grey image of
            that size, a relief whose slopes are the folds and edges of the body.
        """
        canvas = Image.new("LA", (width * SUPERSAMPLING, height * SUPERSAMPLING))
        draw = ImageDraw.Draw(canvas)
        near, screen, half, bounds = self._project()
        self.spines = {
            material: Spine(*screen[bounds[i] : bounds[i + 1]].T, half[bounds[i] : bounds[i + 1]])
            for material, i in self.carriers.items()
        }
        outlines = [_outlines(screen, half * share, bounds) for share in RELIEF]
        for rank, i in enumerate(np.argsort(near, kind="stable").tolist()):
            for step, outline in enumerate(outlines):
                fill = (2 * self.ribbons[i].material, 90 + rank + 15 * step)
                _fill(draw, outline[i], self.ribbons[i].balls, fill)
        labels, relief = canvas.split()
        return np.array(labels), relief

    def _project(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """All ribbons on the screen at once.

        Returns:
            (R,) nearness of the ribbons; (n, 2) positions and (n,) half widths of all their points
            in supersampled pixels; (R + 1,) where each ribbon's points begin.
        """
        pose = self.pose
        sin, cos = math.sin(pose.yaw), math.cos(pose.yaw)
        x, y, z = np.concatenate([ribbon.points for ribbon in self.ribbons]).T
        wide, deep = np.concatenate([ribbon.sections for ribbon in self.ribbons]).T
        near, across = z * cos - x * sin, x * cos + z * sin
        down = near * math.sin(pose.elevation) - y * self.rise
        roll_sin, roll_cos = math.sin(pose.roll), math.cos(pose.roll)
        turned = (across * roll_cos - down * roll_sin, across * roll_sin + down * roll_cos)
        screen = np.stack(turned, 1) * self.scale + np.array(pose.foot) * SUPERSAMPLING
        bounds = np.cumsum([0] + [len(ribbon.points) for ribbon in self.ribbons])
        near = near[bounds[:-1]] + [ribbon.lift for ribbon in self.ribbons]
        return near, screen, np.hypot(wide * cos, deep * sin) * self.scale, bounds


def _outlines(screen: np.ndarray, half: np.ndarray, bounds: np.ndarray) -> list[np.ndarray]:
    """One (2n, 2) closed outline per ribbon: down its right side and up its left side."""
    index = np.arange(len(screen))
    ahead, behind = index + 1, index - 1
    ahead[bounds[1:] - 1] -= 1
    behind[bounds[:-1]] += 1
    along = screen[ahead] - screen[behind]
    along /= np.hypot(along[:, 0], along[:, 1])[:, None] + 1e-9
    aside = along[:, ::-1] * half[:, None] * (-1, 1)
    right, left = screen + aside, screen - aside
    spans = itertools.pairwise(bounds.tolist())
    return [np.concatenate((right[i:j], left[i:j][::-1])) for i, j in spans]


def _fill(draw: ImageDraw.ImageDraw, outline: np.ndarray, balls: int, fill: tuple) -> None:
    """Fill one outline and round off its first ``balls`` points."""
    draw.polygon(outline.ravel().tolist(), fill=fill)
    if not balls:
        return
    ends = outline[:balls], outline[: -balls - 1 : -1]
    centres = (ends[0] + ends[1]) / 2
    radii = np.hypot(*(ends[0] - ends[1]).T) / 2
    for (x, y), radius in zip(centres.tolist(), radii.tolist(), strict=True):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def build(person: Identity, pose: Pose) -> Figure:
    """The person's body, clothes, hair and bag in one pose, ready to be painted."""
    figure = Figure(pose)
    for side in SIDES:
        _leg(figure, person, side)
        _arm(figure, person, side)
    _lower(figure, person)
    _upper(figure, person)
    _head(figure, person)
    _hair(figure, person)
    _hat(figure, person)
    BAG_SHAPES[person.bag.kind](figure, person)
    return figure


def _shoulder_height(person: Identity) -> float:
    return 1 - person.head - 0.03


def _cut(joints: np.ndarray, share: float) -> np.ndarray:
    """The first ``share`` of a chain of three joints with segments of about one length."""
    if share <= 0.5:
        return np.stack([joints[0], joints[0] + (joints[1] - joints[0]) * 2 * share])
    end = joints[1] + (joints[2] - joints[1]) * (2 * share - 1)
    return np.stack([joints[0], joints[1], end])


def _tapered(first: float, last: float, joints: np.ndarray) -> np.ndarray:
    return np.linspace(first, last, len(joints))


def _leg(figure: Figure, person: Identity, side: int) -> None:
    pose, half_leg = figure.pose, (person.leg - 0.035) / 2
    swing = side * pose.stride * np.sin(pose.phase)
    bend = 0.9 * pose.stride * max(0.0, side * np.cos(pose.phase)) + 0.04
    hip = np.array([side * person.hip * 0.52, person.leg, 0.0])
    knee = hip + half_leg * np.array([0, -np.cos(swing), np.sin(swing)])
    shin = swing - bend
    ankle = knee + half_leg * np.array([0, -np.cos(shin), np.sin(shin)])
    joints = np.stack([hip, knee, ankle])
    figure.limb(SKIN, joints, np.array([0.046, 0.036, 0.022]) * person.limb, 0.0)
    foot = ankle + np.array([(0, -0.012, -0.015), (side * 0.012, -0.02, 0.075)])
    figure.limb(SHOES, foot, [0.026, 0.018], 0.004)
    if person.lower.kind.endswith("skirt"):
        return
    share, at_hip, at_hem = LOWERS[person.lower.kind]
    covered = _cut(joints, share)
    last = (0.046 - 0.022 * share) * person.limb + at_hem
    figure.limb(LOWER, covered, _tapered(0.047 * person.limb + at_hip, last, covered), 0.006, True)


def _arm(figure: Figure, person: Identity, side: int) -> None:
    pose, top = figure.pose, _shoulder_height(person) - 0.03
    sleeve, _, bulk, _ = UPPERS[person.upper.kind]
    swing = -side * 0.8 * pose.stride * np.sin(pose.phase) + 0.03
    spread = 0.09 + 0.6 * bulk
    shoulder = np.array([side * (person.shoulder * 0.93), top, 0.0])
    upward = np.array([side * spread, -np.cos(swing), np.sin(swing)])
    elbow = shoulder + 0.165 * upward
    fore = swing + pose.elbow
    wrist = elbow + 0.15 * np.array([side * spread * 0.4, -np.cos(fore), np.sin(fore)])
    joints = np.stack([shoulder, elbow, wrist])
    figure.limb(SKIN, joints, np.array([0.034, 0.026, 0.02]) * person.limb, 0.2)
    if sleeve:
        covered = _cut(joints, sleeve)
        radii = _tapered(0.037 * person.limb + 0.7 * bulk, 0.03 * person.limb + 0.7 * bulk, covered)
        figure.limb(UPPER, covered, radii, 0.202, True)


def _lower(figure: Figure, person: Identity) -> None:
    """The seat of the trousers, or the whole skirt."""
    share, at_hip, at_hem = LOWERS[person.lower.kind]
    waist, hip, deep = person.leg + 0.1, person.hip + at_hip, person.depth + at_hip
    rings = [(0, waist, 0, hip * 0.88, deep * 0.9), (0, person.leg, 0, hip * 1.04, deep * 1.05)]
    lift = 0.008
    if person.lower.kind.endswith("skirt"):
        lift = 0.1
        hem = person.leg * (1 - share)
        rings.append((0, hem, 0, hip + at_hem, deep + at_hem))
    else:
        rings.append((0, person.leg - 0.05, 0, hip * 0.86, deep * 0.8))
    figure.column(LOWER, rings, lift, spine=True)


def _upper(figure: Figure, person: Identity) -> None:
    _, hem, bulk, flare = UPPERS[person.upper.kind]
    top, hem = _shoulder_height(person), hem + person.leg - 0.485
    waist = person.leg + 0.1
    shoulder, hip, deep = person.shoulder + bulk, person.hip + bulk, person.depth + bulk
    belly = 0.5 * shoulder * 0.88 + 0.5 * hip
    rings = [
        (0, top + 0.02, 0, 0.042, 0.04),
        (0, top + 0.005, 0, shoulder * 0.72, deep * 0.62),
        (0, top - 0.02, 0, shoulder, deep * 0.9),
        (0, top - 0.1, 0, shoulder * 0.93, deep * 1.08),
        (0, waist, 0, belly * 0.92, deep),
        (0, person.leg + 0.01, 0, hip * 1.05, deep * 1.05),
        (0, min(hem, person.leg), 0, hip * 1.05 + flare, deep * 1.05 + flare),
    ]
    figure.column(UPPER, rings, 0.15, spine=True)
    figure.limb(SKIN, [(0, top - 0.005, 0), (0, top + 0.06, 0.01)], [0.034, 0.032], 0.151)


def _head_centre(person: Identity) -> tuple[float, float, float]:
    return 0.0, 1 - person.head / 2, 0.012


def _head(figure: Figure, person: Identity) -> None:
    x, y, z = _head_centre(person)
    wide, high = person.head * 0.37, person.head / 2
    figure.ball(SKIN, (x, y, z), (wide, high, wide * 1.12), 0.25)
    for side in SIDES:
        eye = (x + side * wide * 0.4, y + 0.12 * high, z + wide * 1.02)
        figure.ball(HAIR, eye, (0.0075, 0.006, 0.006), 0.25)
    if person.glasses:
        band = [(x, y + high * 0.25, z + wide, wide * 0.85, 0.006)]
        band.append((x, y - high * 0.08, z + wide, wide * 0.85, 0.006))
        figure.column(GLASSES, band, 0.25)


def _hair(figure: Figure, person: Identity) -> None:
    if person.hair_style == "bald":
        return
    x, y, z = _head_centre(person)
    high, volume = person.head / 2, person.hair_volume
    wide = person.head * 0.37 * volume
    figure.ball(HAIR, (x, y + 0.15 * high, z - 0.4 * wide), (wide, high * 0.98, wide), 0.251)
    figure.ball(HAIR, (x, y + 0.06 * high, z), (wide * 1.03, high * volume, wide * 1.1), 0.28, 0.3)
    nape = (x, y - 0.3 * high, z - wide)
    if person.hair_style == "long":
        low = y - high - 0.1 * volume
        rings = [(x, y + 0.5 * high, -0.035, wide, 0.045), (x, y - high, -0.04, wide * 1.22, 0.05)]
        figure.column(HAIR, [*rings, (x, low, -0.055, wide * 1.3, 0.04)], 0.16)
    elif person.hair_style == "bun":
        figure.ball(HAIR, (x, y + 0.95 * high, z - wide), (0.036, 0.036, 0.036), 0.27)
    elif person.hair_style == "ponytail":
        tail = [nape, (x, y - high, z - 0.085), (x, y - high - 0.11, z - 0.09)]
        figure.limb(HAIR, tail, [0.022, 0.03, 0.012], 0.27)
    elif person.hair_style == "afro":
        big = wide * 1.55
        figure.ball(HAIR, (x, y + 0.25 * high, z - 0.3 * big), (big, high * 1.3, big * 1.05), 0.245)


def _hat(figure: Figure, person: Identity) -> None:
    kind = person.hat.kind
    x, y, z = _head_centre(person)
    high, wide = person.head / 2, person.head * 0.42
    if kind == "none":
        return
    volume = person.hair_volume * (1.25 if kind == "beanie" else 1.08)
    figure.ball(HAT, (x, y + 0.1 * high, z), (wide * volume, high * 1.16, wide * volume), 0.3, 0.44)
    rim = y + 0.28 * high
    if kind == "cap":
        figure.limb(
            HAT, [(x, rim, z + wide), (x, rim - 0.008, z + wide + 0.05)], [0.022, 0.016], 0.3
        )
    elif kind == "wide":
        brim = [(x, rim, z, wide * 2.0, wide * 2.0), (x, rim - 0.022, z, wide * 2.1, wide * 2.1)]
        figure.column(HAT, brim, 0.31)


def _no_bag(figure: Figure, person: Identity) -> None:
    """Nothing to carry."""


def _backpack(figure: Figure, person: Identity) -> None:
    top, size = _shoulder_height(person) - 0.005, person.bag_size
    bulk = UPPERS[person.upper.kind][2]
    deep = 0.05 * size
    z = -(person.depth + bulk + deep * 0.7)
    wide, low = 0.085 * size, top - 0.2 * size
    rings = [(0, top, z, wide * 0.75, deep * 0.7), (0, top - 0.03, z, wide, deep)]
    figure.column(BAG, [*rings, (0, low, z, wide * 1.05, deep * 1.1)], 0.12)
    front = person.depth + bulk
    for side in SIDES:
        x = side * person.shoulder * 0.58
        strap = [(x, top, front * 0.5), (x, top - 0.09, front), (x, top - 0.2, front * 0.9)]
        figure.limb(BAG, strap, [0.011] * 3, 0.12)


def _shoulder_bag(figure: Figure, person: Identity) -> None:
    top, side, size = _shoulder_height(person), person.bag_side, person.bag_size
    bulk = UPPERS[person.upper.kind][2]
    x, y = side * (person.hip + bulk + 0.045), person.leg + 0.06
    wide, deep, high = 0.05 * size, 0.085 * size, 0.14 * size
    figure.column(BAG, [(x, y, 0, wide, deep), (x, y - high, 0, wide * 1.1, deep * 1.08)], 0.3)
    front = person.depth + bulk
    for z in (front, -front):
        strap = [(-side * person.shoulder * 0.6, top, 0.6 * z), (0, top - 0.17, 1.1 * z), (x, y, z)]
        figure.limb(BAG, strap, [0.011] * 3, 0.14)


def _tote(figure: Figure, person: Identity) -> None:
    side, size = person.bag_side, person.bag_size
    x, y = side * (person.shoulder + 0.045), _shoulder_height(person) - 0.37
    wide, deep, high = 0.035 * size, 0.08 * size, 0.15 * size
    figure.limb(BAG, [(x, y + 0.06, 0), (x, y, 0)], [0.012, 0.02], 0.3)
    figure.column(BAG, [(x, y, 0, wide, deep), (x, y - high, 0, wide * 1.3, deep * 1.15)], 0.3)


def _suitcase(figure: Figure, person: Identity) -> None:
    side, size = person.bag_side, person.bag_size
    x, z, high = side * (person.shoulder + 0.07), -0.1, 0.24 * size
    wide, deep = 0.06 * size, 0.085 * size
    figure.limb(BAG, [(x, high, z), (x * 0.95, high + 0.14, z)], [0.008, 0.01], 0.3)
    figure.column(BAG, [(x, high, z, wide, deep), (x, 0.015, z, wide, deep)], 0.3)


BAG_SHAPES = {
    "none": _no_bag,
    "backpack": _backpack,
    "shoulder bag": _shoulder_bag,
    "tote": _tote,
    "suitcase": _suitcase,
}


def print_patterns(figure: Figure, person: Identity, labels: np.ndarray) -> None:
    """Move the patterned pixels of painted ``labels`` to their material's second tone, in place."""
    for material, garment in ((UPPER, person.upper), (LOWER, person.lower)):
        if garment.pattern in PATTERN_SHAPES:
            _print_pattern(figure, material, garment, labels)


def _print_pattern(figure: Figure, material: int, garment: Garment, labels: np.ndarray) -> None:
    """Lay a pattern around the body: rows by height, columns by the angle from the front."""
    spine, mask = figure.spines[material], labels == 2 * material
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    y = np.arange(rows[0], rows[-1] + 1)
    below = (y - spine.y[0])[:, None] / (figure.scale * figure.rise)
    middle, half = np.interp(y, spine.y, spine.x), np.interp(y, spine.y, spine.half)
    x = np.arange(columns[0], columns[-1] + 1, dtype=np.float32)
    across = (x - middle.astype(np.float32)[:, None]) / half.astype(np.float32)[:, None]
    around = np.arcsin(np.clip(across, -1, 1)) - figure.pose.yaw
    labels[part] += mask[part] & PATTERN_SHAPES[garment.pattern](garment, below, around)


def _bands(garment: Garment, below: np.ndarray, around: np.ndarray) -> np.ndarray:  # noqa: ARG001
    return np.mod(below, garment.period) < 0.5 * garment.period


def _columns(garment: Garment, below: np.ndarray, around: np.ndarray) -> np.ndarray:  # noqa: ARG001
    return np.sin(around * round(0.8 / garment.period)) > 0


def _checks(garment: Garment, below: np.ndarray, around: np.ndarray) -> np.ndarray:
    return _bands(garment, below, around) ^ _columns(garment, below, around)


def _block(garment: Garment, below: np.ndarray, around: np.ndarray) -> np.ndarray:  # noqa: ARG001
    return below > 0.1 + 0.15 * garment.place


def _logo(garment: Garment, below: np.ndarray, around: np.ndarray) -> np.ndarray:
    """One print on the chest and one on the back."""
    is_high_enough = np.abs(below - 0.13) < 0.03 + 0.04 * garment.place
    return is_high_enough & (np.abs(np.cos(around)) > 0.78)


def _sash(garment: Garment, below: np.ndarray, around: np.ndarray) -> np.ndarray:
    slope = 0.12 if garment.place > 0.5 else -0.12
    return np.abs(below - 0.17 - slope * np.sin(around)) < 0.05


def _chest(garment: Garment, below: np.ndarray, around: np.ndarray) -> np.ndarray:  # noqa: ARG001
    return np.abs(below - 0.09 - 0.16 * garment.place) < 0.045


# Where a garment shows its second tone, given the distance from its top in body heights and the
# angle from the front of the body in radians (any number of full turns).
PATTERN_SHAPES: dict[str, Callable[[Garment, np.ndarray, np.ndarray], np.ndarray]] = {
    "bands": _bands,
    "columns": _columns,
    "checks": _checks,
    "block": _block,
    "logo": _logo,
    "sash": _sash,
    "chest": _chest,
}
