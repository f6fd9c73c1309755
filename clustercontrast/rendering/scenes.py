"""The places behind the persons, drawn once per camera: rooms, a gate, a garden and others.

A scene is a wide picture with a wall or a view above :data:`HORIZON` and the ground below it. Each
surface has a visible colour and an infrared reflectance of its own; foliage is bright in near
infrared whatever its green. Only a thermal camera looks at the avenue without light: there the
second number is a temperature.
"""

import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from clustercontrast.rendering.bands import Band

WIDTH, HEIGHT, HORIZON = 960, 420, 250
THERMAL_BLUR = 4  # in pixels; heat spreads, and the distance is out of focus
GRAINS = {"room": 0.035, "avenue": 0.04}  # strength of the texture, elsewhere 0.09


class Painter:
    """Draws shapes whose tone in the wanted modality is drawn anew for every shape.

    Args:
        seed: entropy of the place; two painters with one seed lay out the same place.
        band: draw colours, or reflectances or temperatures.
    """

    def __init__(self, seed: tuple, band: Band):
        self.generator = np.random.default_rng(np.random.SeedSequence(seed))
        self.band = band
        self.image = Image.new("RGB", (WIDTH, HEIGHT))
        self.draw = ImageDraw.Draw(self.image)

    def tone(self, colour: tuple, level: float, spread: float = 0.08) -> tuple[int, ...]:
        """An 8-bit fill near the colour, or near the grey of the level."""
        shift = self.generator.uniform(-spread, spread, 5)  # the same draws in every band
        tinted = np.array(colour) + shift[0] + 0.35 * shift[1:4]
        tone = tinted if self.band is Band.VISIBLE else np.full(3, level + shift[4])
        return tuple((np.clip(tone, 0.02, 0.98) * 255).astype(int).tolist())

    def box(self, x: float, y: float, wide: float, high: float, fill: tuple) -> None:
        """A filled rectangle with its upper left corner at (x, y)."""
        self.draw.rectangle((x, y, x + wide, y + high), fill=fill)

    def blobs(self, centre: tuple, radius: float, count: int, material: tuple) -> None:
        """A heap of discs around a centre, such as the crown of a tree."""
        for dx, dy, size in self.generator.normal(0, 0.5, (count, 3)) * radius:
            x, y, r = centre[0] + dx, centre[1] + dy, 0.25 * radius + 0.3 * abs(size)
            self.draw.ellipse((x - r, y - r, x + r, y + r), fill=self.tone(*material))

    def positions(self, count: int) -> np.ndarray:
        """``count`` horizontal positions, one in each of as many equal strips."""
        return (np.arange(count) + self.generator.uniform(0, 0.7, count)) * WIDTH / count

    def finish(self, grain: float) -> Image.Image:
        """Add a soft texture and return the picture."""
        small = self.generator.normal(0, grain, (HEIGHT // 6, WIDTH // 6))
        texture = Image.fromarray(small.astype(np.float32)).resize((WIDTH, HEIGHT), Image.BILINEAR)
        blur = THERMAL_BLUR if self.band is Band.THERMAL else 1.2
        pixels = np.asarray(self.image.filter(ImageFilter.GaussianBlur(blur)), np.float32)
        pixels = pixels * (1 + np.asarray(texture)[..., None])
        return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _ground(painter: Painter, material: tuple, joints: tuple | None) -> None:
    painter.box(0, HORIZON, WIDTH, HEIGHT, painter.tone(*material))
    if joints is None:
        return
    line = painter.tone(*joints)
    for step in np.linspace(0, 1, 9) ** 1.6:
        y = HORIZON + step * (HEIGHT - HORIZON)
        painter.draw.line((0, y, WIDTH, y), fill=line, width=2)
    for x in np.linspace(-WIDTH, 2 * WIDTH, 49):
        painter.draw.line(
            (WIDTH / 2 + (x - WIDTH / 2) * 0.5, HORIZON, x, HEIGHT), fill=line, width=2
        )


def _room(painter: Painter) -> None:
    painter.box(0, 0, WIDTH, HORIZON, painter.tone((0.72, 0.71, 0.66), 0.55, 0.14))
    _ground(painter, ((0.55, 0.52, 0.48), 0.42, 0.12), ((0.42, 0.4, 0.38), 0.32))
    painter.box(0, HORIZON - 9, WIDTH, 9, painter.tone((0.35, 0.3, 0.27), 0.3))
    for x in painter.positions(9):
        kind = painter.generator.integers(4)
        shade = painter.generator.uniform(0.15, 0.9)
        fill = painter.tone((shade, shade * 0.9, shade * 0.75), 0.15 + 0.6 * (1 - shade), 0.1)
        inner = painter.tone((0.5, 0.6, 0.65), 0.3, 0.2)
        if kind == 0:  # a door
            painter.box(x, 50, 70, HORIZON - 50, fill)
            painter.box(x + 8, 65, 54, 80, inner)
        elif kind == 1:  # a cabinet
            painter.box(x, HORIZON - 110, 85, 120, fill)
            painter.box(x + 6, HORIZON - 100, 34, 95, inner)
        elif kind == 2:  # a poster
            painter.box(x, 60, 50, 65, fill)
            painter.box(x + 8, 72, 34, 20, inner)
        else:  # a table
            painter.box(x, HORIZON - 60, 95, 9, fill)
            painter.box(x + 6, HORIZON - 51, 7, 75, fill)
            painter.box(x + 82, HORIZON - 51, 7, 75, fill)


def _gate(painter: Painter) -> None:
    painter.box(0, 0, WIDTH, HORIZON, painter.tone((0.62, 0.5, 0.42), 0.5, 0.1))
    for x in painter.positions(8):
        painter.box(x, 30, 60, 90, painter.tone((0.25, 0.3, 0.36), 0.15, 0.12))
    _ground(painter, ((0.5, 0.5, 0.5), 0.3), ((0.42, 0.42, 0.42), 0.26))
    for x in np.arange(0, WIDTH, 24):
        painter.box(x, HORIZON - 115, 5, 125, painter.tone((0.16, 0.2, 0.18), 0.25, 0.03))
    for x in painter.positions(4):  # parked cars
        body = painter.tone((0.5, 0.45, 0.45), 0.4, 0.3)
        painter.box(x, HORIZON - 45, 170, 45, body)
        painter.box(x + 35, HORIZON - 80, 95, 38, painter.tone((0.2, 0.24, 0.28), 0.12))
        for wheel in (x + 22, x + 126):
            painter.draw.ellipse((wheel, HORIZON - 14, wheel + 22, HORIZON + 8), fill=(25, 25, 25))


def _garden(painter: Painter) -> None:
    painter.box(0, 0, WIDTH, HORIZON, painter.tone((0.7, 0.78, 0.84), 0.2))
    for x in painter.positions(14):
        painter.blobs((x, HORIZON - 40), 60, 14, ((0.2, 0.36, 0.16), 0.75, 0.09))
    for x in painter.positions(7):
        painter.box(x, 40, 16, HORIZON - 30, painter.tone((0.33, 0.26, 0.2), 0.35))
        painter.blobs((x + 8, 60), 70, 16, ((0.27, 0.45, 0.2), 0.8, 0.1))
    _ground(painter, ((0.42, 0.5, 0.28), 0.6), None)
    painter.box(0, HORIZON + 22, WIDTH, HEIGHT, painter.tone((0.6, 0.57, 0.52), 0.45))


def _passage(painter: Painter) -> None:
    painter.box(0, 0, WIDTH, HORIZON, painter.tone((0.4, 0.4, 0.4), 0.12, 0.04))
    for x in painter.positions(7):
        painter.box(x, 0, 34, HORIZON + 12, painter.tone((0.5, 0.5, 0.48), 0.34, 0.1))
    for x in painter.positions(8):
        painter.blobs((x + 20, HORIZON - 20), 42, 12, ((0.3, 0.4, 0.2), 0.62, 0.14))
    _ground(painter, ((0.45, 0.45, 0.45), 0.28), ((0.4, 0.4, 0.4), 0.22))


def _avenue(painter: Painter) -> None:
    """Fronts of houses behind hedges and cars; panes mirror the cold sky, the ground is warm."""
    painter.box(0, 0, WIDTH, HORIZON, painter.tone((0.6, 0.56, 0.5), 0.2))
    for x in painter.positions(7):
        painter.box(x, 0, 120, HORIZON, painter.tone((0.58, 0.5, 0.44), 0.22, 0.05))
        for y in (15, 95):
            painter.box(x + 20, y, 34, 50, painter.tone((0.22, 0.27, 0.32), 0.13, 0.04))
            painter.box(x + 68, y, 34, 50, painter.tone((0.22, 0.27, 0.32), 0.13, 0.04))
    for x in painter.positions(9):
        painter.blobs((x + 40, HORIZON - 25), 55, 14, ((0.24, 0.36, 0.18), 0.19, 0.04))
    _ground(painter, ((0.5, 0.49, 0.47), 0.25, 0.03), ((0.44, 0.43, 0.41), 0.23, 0.02))
    for x in painter.positions(5):
        painter.box(x, HORIZON - 30, 130, 34, painter.tone((0.45, 0.42, 0.42), 0.2, 0.06))
        painter.box(x + 26, HORIZON - 55, 74, 28, painter.tone((0.2, 0.22, 0.25), 0.12, 0.03))
    for x in painter.positions(8):
        painter.box(x, 60, 6, HORIZON - 40, painter.tone((0.3, 0.3, 0.3), 0.16, 0.03))


PLACES = {"room": _room, "gate": _gate, "garden": _garden, "passage": _passage, "avenue": _avenue}


@functools.lru_cache(maxsize=12)
def scene(seed: int, place: str, number: int, band: Band) -> Image.Image:
    """The picture of one place, (WIDTH, HEIGHT) RGB; grey but in the visible.

    Args:
        seed: seed of the rendered world.
        place: key of :data:`PLACES`.
        number: which place of that kind; cameras 2 and 3 look at the same room.
        band: colours, or reflectances or temperatures.
    """
    painter = Painter((seed, 0, number), band)
    PLACES[place](painter)
    return painter.finish(GRAINS.get(place, 0.09))
