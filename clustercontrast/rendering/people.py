"""Rendered people: who they are and what their surfaces look like in either modality.

An :class:`Identity` carries what a camera of either modality can see of the same person: build,
garment cut, pattern layout, hair, hat and bag. Visible colours and infrared reflectances are drawn
independently of each other, so neither brightness nor colour links the modalities. A thermal camera
sees a third, independent set of tones: how warm a surface is.
"""

import colorsys
import functools
from dataclasses import dataclass

import numpy as np

from clustercontrast.rendering.bands import Band

SKIN, HAIR, UPPER, LOWER, SHOES, BAG, HAT, GLASSES, OCCLUDER = range(1, 10)
MATERIALS = 10  # 0 is the background
# Kind of upper garment: length of the sleeve, height of the hem, extra width, flare of the hem.
UPPERS = {
    "vest": (0.0, 0.48, 0.0, 0.0),
    "t-shirt": (0.42, 0.47, 0.004, 0.0),
    "shirt": (0.95, 0.46, 0.004, 0.005),
    "hoodie": (0.95, 0.45, 0.026, -0.01),
    "jacket": (0.95, 0.41, 0.022, 0.01),
    "coat": (0.95, 0.29, 0.018, 0.035),
    "long coat": (0.95, 0.13, 0.016, 0.055),
    "dress": (0.38, 0.30, 0.0, 0.1),
    "gown": (0.95, 0.10, 0.0, 0.07),
}
# Kind of lower garment: share of the leg it covers, extra width at the hip and at the hem.
LOWERS = {
    "leggings": (0.97, 0.004, 0.004),
    "trousers": (0.98, 0.010, 0.014),
    "wide trousers": (0.98, 0.014, 0.036),
    "shorts": (0.50, 0.016, 0.026),
    "short skirt": (0.42, 0.0, 0.075),
    "long skirt": (0.84, 0.0, 0.10),
}
UPPER_WIDTHS = {kind: width for kind, (_, _, width, _) in UPPERS.items()}
LOWER_WIDTHS = {kind: width for kind, (_, width, _) in LOWERS.items()}
PATTERNS = ("plain", "bands", "columns", "checks", "block", "logo", "sash", "chest")
PATTERN_SHARES = (0.24, 0.16, 0.12, 0.12, 0.12, 0.08, 0.08, 0.08)
LOWER_PATTERN_SHARES = (0.5, 0.14, 0.14, 0.1, 0.12, 0.0, 0.0, 0.0)
HAIRS = ("bald", "short", "long", "bun", "ponytail", "afro")
HAIR_SHARES = (0.08, 0.32, 0.24, 0.1, 0.12, 0.14)
HATS = ("none", "cap", "beanie", "wide")
HAT_SHARES = (0.64, 0.14, 0.12, 0.1)
BAGS = ("none", "backpack", "shoulder bag", "tote", "suitcase")
BAG_SHARES = (0.3, 0.24, 0.18, 0.14, 0.14)
# Lowest and highest temperature of a surface; 0 is the coldest a thermal camera shows, 1 the
# hottest. Cloth that hangs loose by its garment's extra width is LOOSENESS times that width cooler.
SKIN_HEAT, HAIR_HEAT, CLOTH_HEAT = (0.86, 0.95), (0.5, 0.68), (0.44, 0.8)
SHOE_HEAT, HAT_HEAT, BAG_HEAT = (0.28, 0.46), (0.3, 0.5), (0.16, 0.38)
LOOSENESS = 6.0
PRINT_HEAT = 0.02  # by how much a print may warm or cool its cloth


@dataclass(frozen=True)
class Material:
    """Two tones of a surface: sRGB colours, infrared reflectances, temperatures, all in [0, 1]."""

    visible: tuple[float, float, float]
    visible_second: tuple[float, float, float]
    infrared: float
    infrared_second: float
    thermal: float
    thermal_second: float

    def tones(self, band: Band) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The two tones as a camera of that band sees them, each three channels."""
        if band is Band.VISIBLE:
            return self.visible, self.visible_second
        if band is Band.NEAR_INFRARED:
            return (self.infrared,) * 3, (self.infrared_second,) * 3
        return (self.thermal,) * 3, (self.thermal_second,) * 3


@dataclass(frozen=True)
class Garment:
    """Cut, cloth and pattern layout; the layout is the same in both modalities."""

    kind: str
    material: Material
    pattern: str = "plain"
    period: float = 0.1  # of stripes, in body heights
    place: float = 0.5  # where a block ends or a sash runs, in [0, 1]


@dataclass(frozen=True)
class Identity:
    """Everything that stays the same about one person; lengths in body heights."""

    number: int
    shoulder: float
    hip: float
    depth: float
    limb: float  # thickness of the limbs, 1 is average
    leg: float  # height of the hip joint
    head: float  # height of the head
    skin: Material
    hair_style: str
    hair: Material
    hair_volume: float
    upper: Garment
    lower: Garment
    shoes: Material
    hat: Garment
    glasses: bool
    bag: Garment
    bag_size: float
    bag_side: int  # -1 or 1


def sample_identity(seed: int, number: int) -> Identity:
    """The person ``number`` of the world ``seed``; the same arguments give the same person."""
    generator = np.random.default_rng(np.random.SeedSequence((seed, number, 1)))
    warmth = np.random.default_rng(np.random.SeedSequence((seed, number, 2)))
    build = generator.choice([0.8, 1.0, 1.28]) * generator.uniform(0.93, 1.07)
    uniform = generator.uniform
    return Identity(
        number=number,
        shoulder=0.108 * build * uniform(0.92, 1.1),
        hip=0.083 * build * uniform(0.88, 1.16),
        depth=0.066 * build**1.3 * uniform(0.9, 1.1),
        limb=build * uniform(0.9, 1.1),
        leg=uniform(0.445, 0.525),
        head=uniform(0.118, 0.156),
        skin=_skin(generator, warmth),
        hair_style=_pick(generator, HAIRS, HAIR_SHARES),
        hair=_hair(generator, warmth),
        hair_volume=uniform(1.0, 1.25),
        upper=_garment(generator, warmth, UPPER_WIDTHS, PATTERN_SHARES),
        lower=_garment(generator, warmth, LOWER_WIDTHS, LOWER_PATTERN_SHARES),
        shoes=_cloth(generator, warmth, SHOE_HEAT),
        hat=Garment(_pick(generator, HATS, HAT_SHARES), _cloth(generator, warmth, HAT_HEAT)),
        glasses=bool(uniform() < 0.2),
        bag=Garment(_pick(generator, BAGS, BAG_SHARES), _cloth(generator, warmth, BAG_HEAT)),
        bag_size=uniform(0.8, 1.4),
        bag_side=int(generator.choice([-1, 1])),
    )


def _pick(generator: np.random.Generator, names: tuple, shares: tuple | None = None) -> str:
    return str(generator.choice(names, p=shares))


def _garment(
    generator: np.random.Generator,
    warmth: np.random.Generator,
    widths: dict[str, float],
    shares: tuple,
) -> Garment:
    """A garment of one of the kinds that ``widths`` gives the extra widths of."""
    kind = _pick(generator, tuple(widths))
    cooler = LOOSENESS * widths[kind]
    return Garment(
        kind=kind,
        material=_cloth(generator, warmth, (CLOTH_HEAT[0] - cooler, CLOTH_HEAT[1] - cooler)),
        pattern=_pick(generator, PATTERNS, shares),
        period=float(np.exp(generator.uniform(np.log(0.055), np.log(0.15)))),
        place=generator.uniform(),
    )


def _second_tone(generator: np.random.Generator, first: float) -> float:
    """A level 0.3 to 0.6 away from ``first``, to whichever side there is room for."""
    step = generator.uniform(0.3, 0.6) * generator.choice([-1, 1])
    return first + step if 0.05 < first + step < 0.95 else float(np.clip(first - step, 0.05, 0.95))


def _colour(generator: np.random.Generator, value: float) -> tuple[float, float, float]:
    saturation = generator.choice([0.05, 0.1, 0.3, 0.65]) * generator.uniform(0.7, 1.3)
    return colorsys.hsv_to_rgb(generator.uniform(), min(1.0, saturation), value)


def _cloth(
    generator: np.random.Generator, warmth: np.random.Generator, heat: tuple[float, float]
) -> Material:
    """Cloth whose two infrared tones know nothing of its two visible ones, nor its temperature."""
    value, reflectance = generator.uniform(0.1, 0.95), generator.uniform(0.12, 0.92)
    temperature = warmth.uniform(*heat)
    return Material(
        visible=_colour(generator, value),
        visible_second=_colour(generator, _second_tone(generator, value)),
        infrared=reflectance,
        infrared_second=_second_tone(generator, reflectance),
        thermal=temperature,
        thermal_second=temperature + warmth.uniform(-PRINT_HEAT, PRINT_HEAT),
    )


def _plain(colour: tuple[float, float, float], reflectance: float, temperature: float) -> Material:
    return Material(colour, colour, reflectance, reflectance, temperature, temperature)


def _skin(generator: np.random.Generator, warmth: np.random.Generator) -> Material:
    tone = np.array([0.87, 0.68, 0.56]) * generator.uniform(0.5, 1.05)
    reflectance = generator.uniform(0.66, 0.78)  # skin hardly varies in near infrared
    return _plain(tuple(tone.tolist()), reflectance, warmth.uniform(*SKIN_HEAT))


def _hair(generator: np.random.Generator, warmth: np.random.Generator) -> Material:
    colour = colorsys.hsv_to_rgb(
        generator.uniform(0.04, 0.12), generator.uniform(0.1, 0.6), generator.uniform(0.06, 0.5)
    )
    return _plain(colour, generator.uniform(0.12, 0.6), warmth.uniform(*HAIR_HEAT))


@functools.lru_cache(maxsize=4)
def palette(person: Identity, band: Band) -> np.ndarray:
    """(2 * MATERIALS,) uint32 colours: entry 2m is material m's first tone, 2m + 1 its second.

    The four bytes of an entry are red, green, blue and opacity; the background is transparent.
    """
    dark = Material((0.08,) * 3, (0.3,) * 3, 0.1, 0.3, 0.25, 0.2)
    surfaces = {
        SKIN: person.skin,
        HAIR: person.hair,
        UPPER: person.upper.material,
        LOWER: person.lower.material,
        SHOES: person.shoes,
        BAG: person.bag.material,
        HAT: person.hat.material,
        GLASSES: dark,
        OCCLUDER: dark,
    }
    rows = np.zeros((2 * MATERIALS, 4))
    for index, surface in surfaces.items():
        rows[2 * index : 2 * index + 2, :3] = surface.tones(band)
        rows[2 * index : 2 * index + 2, 3] = 1
    return (rows * 255).astype(np.uint8).view(np.uint32)[:, 0]
