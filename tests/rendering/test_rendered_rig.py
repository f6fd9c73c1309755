"""RegDB's dual camera: what a thermal image shows, and what the eyes have in common."""

import collections
import dataclasses

import numpy as np
import pytest
from PIL import Image

from clustercontrast.evaluation.metrics import evaluate
from clustercontrast.rendering import bodies, exposure, figures, people, rig
from clustercontrast.rendering.bands import Band
from clustercontrast.rendering.scenes import scene

SEED = 4
CROWD = [people.sample_identity(SEED, number) for number in range(1, 41)]
SHAPE = (128, 64)


def photograph(person: people.Identity, modality: str, frame: int = 1) -> np.ndarray:
    return np.asarray(rig.photograph(person, modality, frame, SEED, SHAPE)).astype(int)


@pytest.fixture
def labelled(monkeypatch):
    """Photograph -> (its grey values, the labels of its pixels); nothing stands in front."""
    monkeypatch.setattr(exposure, "occlude", lambda labels, moment: None)
    seen = []
    paint = figures.Figure.paint

    def watched(figure, width, height):
        labels, relief = paint(figure, width, height)
        seen.append(labels)  # patterns are printed into this very array
        return labels, relief

    monkeypatch.setattr(figures.Figure, "paint", watched)

    def take(person: people.Identity, modality: str) -> tuple[np.ndarray, np.ndarray]:
        image = photograph(person, modality)
        return image.mean(-1), seen[-1][::2, ::2]

    return take


def test_all_images_have_the_same_shape():
    shapes = {photograph(p, m, f).shape for p in CROWD[:8] for m in rig.EYES for f in (1, 6)}
    assert shapes == {(*SHAPE, 3)}


def test_a_photograph_depends_on_its_arguments_alone():
    first = photograph(CROWD[0], "infrared", 3)
    photograph(CROWD[1], "visible")
    assert np.array_equal(first, photograph(CROWD[0], "infrared", 3))
    assert not np.array_equal(first, photograph(CROWD[0], "infrared", 4))


def test_thermal_images_are_grey_and_visible_ones_are_not():
    for person in CROWD[:8]:
        assert np.ptp(photograph(person, "infrared"), axis=-1).max() == 0
        assert np.ptp(photograph(person, "visible"), axis=-1).mean() > 10


def test_skin_is_brighter_than_clothes_and_clothes_than_the_background(labelled):
    levels = collections.defaultdict(list)
    for person in CROWD:
        image, labels = labelled(person, "infrared")
        for name, materials in {
            "skin": [people.SKIN],
            "clothes": [people.UPPER, people.LOWER],
            "bag": [people.BAG],
            "background": [0],
        }.items():
            mask = np.isin(labels // 2, materials)
            if mask.sum() > 40:
                levels[name].append(image[mask].mean())
    skin, clothes, bag, background = (
        np.mean(levels[name]) for name in ("skin", "clothes", "bag", "background")
    )
    assert skin > clothes + 25
    assert clothes > bag + 15
    assert clothes > background + 50
    assert background < 80


def test_the_background_is_cool_smooth_and_of_low_contrast_in_the_heat():
    views = {
        band: np.asarray(scene(SEED, "avenue", rig.RIG, band).convert("L"), float)
        for band in (Band.VISIBLE, Band.THERMAL)
    }
    edges = {b: np.quantile(np.abs(np.diff(view, axis=1)), 0.99) for b, view in views.items()}
    assert edges[Band.THERMAL] < 0.25 * edges[Band.VISIBLE]
    assert views[Band.THERMAL].std() < 0.6 * views[Band.VISIBLE].std()
    assert views[Band.THERMAL].max() < 255 * people.SHOE_HEAT[1]


def test_brightness_of_a_garment_does_not_link_the_modalities(labelled):
    levels = {modality: [] for modality in rig.EYES}
    crowd = [people.sample_identity(SEED, number) for number in range(1, 151)]
    for person in crowd:
        for modality, found in levels.items():
            image, labels = labelled(person, modality)
            found.append(image[labels // 2 == people.UPPER].mean())
    # |correlation| of 150 independent pairs has standard deviation 0.08.
    assert abs(np.corrcoef(levels["visible"], levels["infrared"])[0, 1]) < 0.25
    assert np.std(levels["infrared"]) > 10


def test_prints_can_hardly_be_seen_in_the_heat(labelled):
    def contrast(person: people.Identity, modality: str) -> float:
        image, labels = labelled(person, modality)
        tones = [image[labels == 2 * people.UPPER + second] for second in (0, 1)]
        return abs(tones[0].mean() - tones[1].mean())

    checked = [
        dataclasses.replace(p, upper=dataclasses.replace(p.upper, pattern="checks", period=0.14))
        for p in CROWD[:20]
    ]
    seen, felt = (np.mean([contrast(p, m) for p in checked]) for m in rig.EYES)
    assert felt < 4 < 20 < seen


def test_frames_of_a_pair_share_the_pose(monkeypatch):
    poses = []
    build = bodies.build

    def watched(person, pose):
        poses.append(pose)
        return build(person, pose)

    monkeypatch.setattr(bodies, "build", watched)
    for person in CROWD:
        for modality in rig.EYES:
            photograph(person, modality)
    visible, thermal = poses[::2], poses[1::2]
    for seen, felt in zip(visible, thermal, strict=True):
        for field in ("yaw", "stride", "elbow", "elevation", "roll"):
            assert getattr(seen, field) == getattr(felt, field)
        assert abs(seen.phase - felt.phase) < 0.5
        assert seen.foot != felt.foot
    scales = [felt.scale / seen.scale for seen, felt in zip(visible, thermal, strict=True)]
    assert 0.02 < np.std(scales) < 0.15
    assert np.std([pose.phase for pose in visible]) > 1


def test_the_view_is_the_one_in_the_names(monkeypatch):
    yaws = []
    build = bodies.build
    monkeypatch.setattr(bodies, "build", lambda p, pose: yaws.append(pose.yaw) or build(p, pose))
    for person in CROWD:
        photograph(person, "infrared", frame=8)
        is_front = rig.habits(person.number, SEED).view == "front"
        assert (np.cos(yaws[-1]) > 0) == is_front


def standardised(person: people.Identity, modality: str, frame: int) -> np.ndarray:
    image = rig.photograph(person, modality, frame, SEED, (96, 48))
    flat = np.asarray(image.convert("L").resize((24, 48), Image.BILINEAR), float).ravel()
    return (flat - flat.mean()) / flat.std()


def test_raw_pixels_hardly_match_across_modalities_but_well_within():
    pairs = [(person, frame) for person in CROWD for frame in (1, 4, 7, 10)]
    owners = np.array([person.number for person, _ in pairs])
    pixels = {m: np.array([standardised(p, m, f) for p, f in pairs]) for m in rig.EYES}
    itself = np.eye(len(owners), dtype=bool)

    def precision(similarity, excluded=None) -> float:
        return 100 * evaluate(similarity, owners, owners, excluded, cmc="image").mAP

    generator = np.random.default_rng(0)
    chance = np.mean([precision(generator.random(itself.shape)) for _ in range(10)])
    across = precision(pixels["visible"] @ pixels["infrared"].T)
    back = precision(pixels["infrared"] @ pixels["visible"].T)
    within = precision(pixels["visible"] @ pixels["visible"].T, itself)
    assert max(across, back) < chance + 4
    assert chance + 8 < within < 80
