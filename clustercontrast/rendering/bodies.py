"""Anatomy and clothes: the ribbons of one person in one pose.

The lifts of limbs and columns order what is equally near to the camera: legs lowest, then skirt and
straps, the upper garment, the arms, the head, and last hair and hats.
"""

import numpy as np

from clustercontrast.rendering.figures import Figure, Pose
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
    Identity,
)

SIDES = (-1, 1)


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
