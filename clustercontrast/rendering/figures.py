"""A figure in one pose: which pixel shows which material, and a relief for shading.

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

from clustercontrast.rendering.people import LOWER, UPPER, Garment, Identity

SUPERSAMPLING = 2
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
        outer, inner = (_outlines(screen, half * share, bounds) for share in RELIEF)
        balls = np.concatenate((screen - half[:, None], screen + half[:, None]), 1).tolist()
        for rank, i in enumerate(np.argsort(near, kind="stable").tolist()):
            ribbon, tone = self.ribbons[i], 2 * self.ribbons[i].material
            draw.polygon(outer[i], fill=(tone, 90 + rank))
            for ball in balls[bounds[i] : bounds[i] + ribbon.balls]:
                draw.ellipse(ball, fill=(tone, 90 + rank))
            draw.polygon(inner[i], fill=(tone, 105 + rank))
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


def _outlines(screen: np.ndarray, half: np.ndarray, bounds: np.ndarray) -> list[list[float]]:
    """One outline x, y, x, y, ... per ribbon: down one of its sides and up the other."""
    index = np.arange(len(screen))
    ahead, behind = index + 1, index - 1
    ahead[bounds[1:] - 1] -= 1
    behind[bounds[:-1]] += 1
    along = screen[ahead] - screen[behind]
    along /= np.hypot(along[:, 0], along[:, 1])[:, None] + 1e-9
    aside = along[:, ::-1] * half[:, None] * (-1, 1)
    n, right = len(screen), (screen + aside).ravel().tolist()
    left = (screen - aside)[::-1].ravel().tolist()
    spans = itertools.pairwise(bounds.tolist())
    return [[*right[2 * i : 2 * j], *left[2 * (n - j) : 2 * (n - i)]] for i, j in spans]


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
