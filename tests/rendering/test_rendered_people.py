"""What a person carries through both modalities, and what they do not."""

import dataclasses

import numpy as np
import pytest

from clustercontrast.rendering import bodies, figures, people
from clustercontrast.rendering.bands import Band

CROWD = [people.sample_identity(7, number) for number in range(1, 401)]
CLOTHES = ("upper", "lower")
# |correlation| of 400 independent pairs has standard deviation 0.05.
INDEPENDENT = 0.2


def luminance(colour: tuple) -> float:
    return float(np.dot(colour, (0.299, 0.587, 0.114)))


def correlation(first: list, second: list) -> float:
    return float(np.corrcoef(first, second)[0, 1])


def pose(**changes) -> figures.Pose:
    standing = figures.Pose(0.0, 0.0, 0.2, 0.2, 0.0, 0.0, 120.0, (40.0, 126.0))
    return dataclasses.replace(standing, **changes)


def painted(person: people.Identity, **changes) -> np.ndarray:
    figure = bodies.build(person, pose(**changes))
    labels, _ = figure.paint(80, 130)
    figures.print_patterns(figure, person, labels)
    return labels


def test_a_person_depends_on_seed_and_number_alone():
    assert people.sample_identity(7, 3) == CROWD[2]


def test_no_two_people_are_alike_within_or_across_seeds():
    others = [people.sample_identity(8, number) for number in range(1, 401)]
    looks = {dataclasses.replace(person, number=0) for person in CROWD + others}
    assert len(looks) == 800
    cloths = {person.upper.material for person in CROWD + others}
    assert len(cloths) == 800


def test_most_pairs_differ_in_two_bold_cues():
    def cues(person):
        garments = (person.upper, person.lower, person.hat, person.bag)
        kinds = [garment.kind for garment in garments]
        return [*kinds, person.upper.pattern, person.lower.pattern, person.hair_style]

    described = np.array([cues(person) for person in CROWD[:100]])
    differing = (described[:, None] != described[None]).sum(-1)[np.triu_indices(100, 1)]
    assert (differing >= 2).mean() > 0.98
    assert np.median(differing) >= 5


@pytest.mark.parametrize("garment", CLOTHES)
def test_infrared_brightness_says_nothing_about_visible_luminance(garment):
    cloths = [getattr(person, garment).material for person in CROWD]
    visible = [luminance(cloth.visible) for cloth in cloths]
    assert abs(correlation(visible, [cloth.infrared for cloth in cloths])) < INDEPENDENT


@pytest.mark.parametrize("garment", CLOTHES)
def test_pattern_contrasts_of_the_modalities_are_independent_and_bold(garment):
    cloths = [getattr(person, garment).material for person in CROWD]
    visible = np.array([luminance(c.visible_second) - luminance(c.visible) for c in cloths])
    infrared = np.array([cloth.infrared_second - cloth.infrared for cloth in cloths])
    assert abs(correlation(visible, infrared)) < INDEPENDENT
    assert np.abs(infrared).min() >= 0.04
    assert np.quantile(np.abs(infrared), 0.1) > 0.25


def test_temperatures_of_clothes_say_nothing_about_the_other_bands():
    for garment in CLOTHES:
        cloths = [getattr(person, garment).material for person in CROWD]
        heat = [cloth.thermal for cloth in cloths]
        visible = [luminance(cloth.visible) for cloth in cloths]
        assert abs(correlation(heat, visible)) < INDEPENDENT
        assert abs(correlation(heat, [cloth.infrared for cloth in cloths])) < INDEPENDENT
        assert np.ptp(heat) > 0.3


def test_prints_vanish_in_the_heat():
    cloths = [getattr(person, garment).material for person in CROWD for garment in CLOTHES]
    heat = np.array([abs(c.thermal_second - c.thermal) for c in cloths])
    visible = np.array([abs(luminance(c.visible_second) - luminance(c.visible)) for c in cloths])
    assert heat.max() <= people.PRINT_HEAT + 1e-9 < 0.05 * np.median(visible) + 0.02
    assert heat.mean() < 0.05 * visible.mean()


def test_skin_is_warmest_and_bags_and_shoes_are_coldest():
    for person in CROWD:
        clothes = [person.upper.material.thermal, person.lower.material.thermal]
        assert person.skin.thermal > person.hair.thermal
        assert person.skin.thermal > max(clothes)
        assert max(person.bag.material.thermal, person.shoes.thermal) < person.hair.thermal


def test_loose_clothes_are_cooler():
    heat = {kind: [] for kind in people.UPPER_WIDTHS}
    for person in CROWD:
        heat[person.upper.kind].append(person.upper.material.thermal)
    loose = np.mean(heat["hoodie"] + heat["jacket"] + heat["coat"])
    assert loose < np.mean(heat["vest"] + heat["dress"] + heat["gown"]) - 0.06


def test_upper_and_lower_reflectances_are_independent():
    upper, lower = ([getattr(p, g).material.infrared for p in CROWD] for g in CLOTHES)
    assert abs(correlation(upper, lower)) < INDEPENDENT


def test_palettes_are_opaque_but_for_the_background_and_grey_but_in_the_visible():
    for person in CROWD[:5]:
        for band in Band:
            colours = people.palette(person, band).view(np.uint8).reshape(-1, 4)
            assert (colours[:2] == 0).all()
            assert (colours[2:, 3] == 255).all()
            grey = (colours[:, :1] == colours[:, :3]).all()
            assert grey == (band is not Band.VISIBLE)


def test_a_figure_stands_between_its_ground_point_and_its_height():
    for person in CROWD[:40]:
        person = dataclasses.replace(
            person,
            hat=dataclasses.replace(person.hat, kind="none"),
            hair_style="bald",
            bag=dataclasses.replace(person.bag, kind="none"),
        )
        rows = np.flatnonzero(painted(person).any(1)) / figures.SUPERSAMPLING
        assert rows[0] == pytest.approx(126 - 120, abs=2)
        assert rows[-1] == pytest.approx(126, abs=3)


def test_a_backpack_is_seen_from_behind_and_its_straps_alone_from_in_front():
    bag = dataclasses.replace(CROWD[0].bag, kind="backpack")
    person = dataclasses.replace(
        CROWD[0], bag=bag, bag_size=1.0, hair_style="short", shoulder=0.12, depth=0.07
    )
    front, back = (np.sum(painted(person, yaw=yaw) == 2 * people.BAG) for yaw in (0.0, np.pi))
    assert 0 < 2 * front < back


def test_a_face_is_seen_from_in_front_only():
    person = dataclasses.replace(
        CROWD[0], hair_style="short", hat=dataclasses.replace(CROWD[0].hat, kind="none")
    )
    head = slice(0, int(2 * (126 - 120 * 0.9)))
    front, back = (
        np.sum(painted(person, yaw=yaw)[head] == 2 * people.SKIN) for yaw in (0.0, np.pi)
    )
    assert front > 4 * back


@pytest.mark.parametrize("kind", people.LOWERS)
def test_longer_lower_garments_leave_less_skin(kind):
    def bare(kind):
        person = dataclasses.replace(
            CROWD[0],
            upper=dataclasses.replace(CROWD[0].upper, kind="shirt"),
            lower=dataclasses.replace(CROWD[0].lower, kind=kind, pattern="plain"),
            bag=dataclasses.replace(CROWD[0].bag, kind="none"),
        )
        legs = painted(person)[int(2 * (126 - 120 * 0.4)) :]
        return np.sum(legs == 2 * people.SKIN)

    covered, shorts = people.LOWERS[kind][0], people.LOWERS["shorts"][0]
    if covered > shorts:
        assert bare(kind) < bare("shorts")
    elif covered < shorts:
        assert bare(kind) > bare("shorts")


def garment(pattern: str, period: float = 0.1, place: float = 0.5) -> people.Garment:
    return people.Garment("shirt", CROWD[0].upper.material, pattern, period, place)


def second_tone(cloth: people.Garment, below, around) -> np.ndarray:
    shape = figures.PATTERN_SHAPES[cloth.pattern]
    return shape(cloth, np.array(below, float), np.array(around, float))


def test_every_pattern_but_plain_has_a_shape():
    assert set(people.PATTERNS) == {"plain", *figures.PATTERN_SHAPES}


def test_bands_alternate_with_the_period_and_do_not_turn_with_the_body():
    got = second_tone(garment("bands", period=0.1), [0.02, 0.07, 0.12, 0.17], 0.0)
    assert got.tolist() == [True, False, True, False]
    assert second_tone(garment("bands", period=0.1), 0.02, 2.0)


def test_columns_alternate_around_the_body_whatever_the_height():
    around = np.linspace(0, 2 * np.pi, 1000, endpoint=False) + 1e-3
    got = second_tone(garment("columns", period=0.1), 0.1, around)
    assert np.sum(got != np.roll(got, 1)) == 2 * 8  # 0.8 / period dark columns
    assert got.tolist() == second_tone(garment("columns"), 0.3, around).tolist()


def test_a_logo_is_on_chest_and_back_but_not_on_the_sides():
    got = second_tone(garment("logo"), 0.13, [0.0, np.pi / 2, np.pi, -np.pi / 2])
    assert got.tolist() == [True, False, True, False]


def test_a_pattern_is_the_same_at_every_full_turn():
    around = np.linspace(-3, 3, 50)
    for pattern in figures.PATTERN_SHAPES:
        cloth = garment(pattern, period=0.08, place=0.3)
        below = np.full(50, 0.13)
        turned = second_tone(cloth, below, around + 2 * np.pi)
        assert np.array_equal(second_tone(cloth, below, around), turned)
