"""The figure of one person in one pose: which pixel shows which material, and a relief for shading.

A figure is made of ribbons, paths with a half width at each point: limbs follow their joints,
garments and heads are stacks of elliptical rings seen from the side. Body coordinates are in body
heights: x to the right of a camera the person faces, y up from the ground, z forward.
"""

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
    """A path on the screen with a half width at each point, and when to paint it."""

    near: float
    material: int
    points: np.ndarray
    half: np.ndarray
    is_limb: bool  # round at every joint


class Figure:
    """Collects the ribbons of one person in one pose and paints them from far to near."""

    def __init__(self, pose: Pose):
        self.pose = pose
        self.scale = pose.scale * SUPERSAMPLING
        self.foot = np.array(pose.foot) * SUPERSAMPLING
        self.sin, self.cos = np.sin(pose.yaw), np.cos(pose.yaw)
        self.tilt, self.rise = np.sin(pose.elevation), np.cos(pose.elevation)
        sin, cos = np.sin(pose.roll), np.cos(pose.roll)
        self.roll = np.array([[cos, sin], [-sin, cos]])
        self.ribbons: list[Ribbon] = []
        self.spines: dict[int, Ribbon] = {}

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, 3) body coordinates to (n, 2) supersampled pixels and (n,) nearness to the camera."""
        x, y, z = points.T
        near = z * self.cos - x * self.sin
        screen = np.stack([x * self.cos + z * self.sin, near * self.tilt - y * self.rise], 1)
        return screen @ self.roll * self.scale + self.foot, near

    def limb(self, material: int, joints: list, radii: list, lift: float) -> None:
        """A tapered limb; ``lift`` is added to its first joint's nearness in the painting order."""
        points, near = self.project(np.array(joints, float))
        half = np.array(radii) * self.scale
        self.ribbons.append(Ribbon(near[0] + lift, material, points, half, True))

    def column(self, material: int, rings: list, lift: float, spine: bool = False) -> None:
        """A stack of elliptical rings.

        Args:
            material: what it is made of.
            rings: two or more (x, y, z, half width, half depth), from top to bottom.
            lift: added to the first ring's nearness in the painting order.
            spine: the stack carries the coordinates of its material's pattern.
        """
        rings = np.array(rings, float)
        points, near = self.project(rings[:, :3])
        half = np.hypot(rings[:, 3] * self.cos, rings[:, 4] * self.sin) * self.scale
        ribbon = Ribbon(near[0] + lift, material, points, half, False)
        self.ribbons.append(ribbon)
        if spine:
            self.spines[material] = ribbon

    def ball(self, material: int, centre: tuple, radii: tuple, lift: float, share: float = 1) -> None:
        """An ellipsoid with radii (wide, high, deep), or the uppermost ``share`` of its height."""
        angle = BALL * np.arccos(1 - 2 * share)
        rings = np.empty((len(BALL), 5))
        rings[:, :3] = centre
        rings[:, 1] += radii[1] * np.cos(angle)
        rings[:, 3:] = np.sin(angle)[:, None] * (radii[0], radii[2])
        self.column(material, rings, lift)

    def paint(self, width: int, height: int) -> tuple[np.ndarray, Image.Image]:
        """Paint everything collected so far on a crop of ``width`` x ``height`` finished pixels.

        Returns:
            (2 height, 2 width) uint8 with 2 * material, 0 where no person is; and a grey image of
            that size, a relief whose slopes are the folds and edges of the body.
        """
        size = (width * SUPERSAMPLING, height * SUPERSAMPLING)
        labels, relief = Image.new("L", size), Image.new("L", size)
        paint, emboss = ImageDraw.Draw(labels), ImageDraw.Draw(relief)
        for rank, ribbon in enumerate(sorted(self.ribbons, key=lambda ribbon: ribbon.near)):
            _fill(paint, ribbon, 2 * ribbon.material, 1.0)
            _fill(emboss, ribbon, 90 + 2 * rank, 1.0)
            _fill(emboss, ribbon, 105 + 2 * rank, 0.55)
        return np.array(labels), relief


def _fill(draw: ImageDraw.ImageDraw, ribbon: Ribbon, fill: int, share: float) -> None:
    """Fill a ribbon, or the middle ``share`` of its width."""
    points, half = ribbon.points, ribbon.half * share
    along = np.gradient(points, axis=0) if len(points) > 2 else (points[1:] - points[:1]).repeat(2, 0)
    along /= np.hypot(along[:, 0], along[:, 1])[:, None] + 1e-9
    aside = along[:, ::-1] * (-half[:, None], half[:, None])[0]
    aside[:, 1] *= -1
    outline = np.concatenate([points + aside, (points - aside)[::-1]])
    draw.polygon(outline.ravel().tolist(), fill=fill)
    if ribbon.is_limb:
        for (x, y), radius in zip(points.tolist(), half.tolist(), strict=True):
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
    heel, toe = ankle + [0, -0.012, -0.015], ankle + [side * 0.012, -0.02, 0.075]
    figure.limb(SHOES, [heel, toe], [0.026, 0.018], 0.004)
    if person.lower.kind.endswith("skirt"):
        return
    share, at_hip, at_hem = LOWERS[person.lower.kind]
    covered = _cut(joints, share)
    last = (0.046 - 0.022 * share) * person.limb + at_hem
    figure.limb(LOWER, covered, _tapered(0.047 * person.limb + at_hip, last, covered), 0.006)


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
        figure.limb(UPPER, covered, radii, 0.202)


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
        figure.column(HAIR, [*rings, (x, low, -0.055, wide * 1.3, 0.04)], 0.24)
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
        figure.limb(HAT, [(x, rim, z + wide), (x, rim - 0.008, z + wide + 0.05)], [0.022, 0.016], 0.3)
    elif kind == "wide":
        brim = [(x, rim, z, wide * 2.0, wide * 2.0), (x, rim - 0.022, z, wide * 2.1, wide * 2.1)]
        figure.column(HAT, brim, 0.31)


def _no_bag(figure: Figure, person: Identity) -> None:  # noqa: ARG001 - one signature for all bags
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
    """Move the patterned pixels of ``labels`` to their material's second tone, in place."""
    for material, garment in ((UPPER, person.upper), (LOWER, person.lower)):
        if garment.pattern != "plain":
            _print_pattern(figure, figure.spines[material], garment, labels)


def _print_pattern(figure: Figure, spine: Ribbon, garment: Garment, labels: np.ndarray) -> None:
    """Lay a pattern around the body: rows by height, columns by the angle from the front."""
    mask = labels == 2 * spine.material
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return
    part = slice(rows[0], rows[-1] + 1)
    y = np.arange(rows[0], rows[-1] + 1)
    middle = np.interp(y, spine.points[:, 1], spine.points[:, 0])
    half = np.interp(y, spine.points[:, 1], spine.half)
    across = (np.arange(labels.shape[1]) - middle[:, None]) / half[:, None]
    angle = np.arcsin(np.clip(across, -0.999, 0.999)) - figure.pose.yaw
    around = np.mod(angle + np.pi, 2 * np.pi) - np.pi
    height = (figure.foot[1] - y[:, None]) / (figure.scale * figure.rise)
    second = is_second_tone(garment, height, around)
    labels[part] += (mask[part] & second).astype(np.uint8)


def is_second_tone(garment: Garment, height: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Where a garment shows its second tone.

    Args:
        garment: its pattern, period and place.
        height: above the ground in body heights, broadcasts against ``around``.
        around: angle from the front of the body in radians, in [-pi, pi].

    Returns:
        bool array of the broadcast shape (or one that broadcasts to it).
    """
    bands = np.mod(height / garment.period, 1) < 0.5
    columns = np.mod(around / (8 * garment.period), 1) < 0.5
    if garment.pattern == "bands":
        return bands
    if garment.pattern == "columns":
        return columns
    if garment.pattern == "checks":
        return bands ^ columns
    low, high = (0.14, 0.4) if height.max() < 0.75 else (0.52, 0.74)
    edge = low + (high - low) * garment.place
    if garment.pattern == "block":
        return height < edge
    if garment.pattern == "logo":
        from_front = np.minimum(np.abs(around), np.pi - np.abs(around))
        return (from_front < 0.65) & (np.abs(height - 0.71) < 0.03 + 0.04 * garment.place)
    if garment.pattern == "sash":
        return np.abs(height - 0.66 - 0.1 * around * np.sign(garment.place - 0.5)) < 0.05
    return np.abs(height - 0.58 - 0.16 * garment.place) < 0.045
