"""Photographs: what an infrared camera cannot see, and how hard the people are to match."""

import numpy as np
import pytest
from PIL import Image

from clustercontrast.rendering.bands import Band
from clustercontrast.rendering.cameras import CAMERAS, INFRARED, VISIBLE, photograph
from clustercontrast.rendering.people import sample_identity
from clustercontrast.rendering.scenes import scene

SIZE = (128, 56)
SEED = 11


def pixels(number: int, camera: int, frame: int = 1, seed: int = SEED) -> np.ndarray:
    person = sample_identity(seed, number)
    return np.asarray(photograph(person, camera, frame, seed, SIZE)).astype(int)


def test_the_cameras_are_those_of_sysu_mm01():
    assert VISIBLE == (1, 2, 4, 5)
    assert INFRARED == (3, 6)
    indoor = [number for number, camera in CAMERAS.items() if camera.view.place == "room"]
    assert indoor == [1, 2, 3]
    assert CAMERAS[2].view.room == CAMERAS[3].view.room != CAMERAS[1].view.room


def test_a_photograph_depends_on_its_arguments_alone():
    first = pixels(5, 4, frame=3)
    pixels(6, 1)
    assert np.array_equal(first, pixels(5, 4, frame=3))
    assert first.shape != pixels(5, 4, frame=4).shape or not np.array_equal(
        first, pixels(5, 4, frame=4)
    )


@pytest.mark.parametrize("camera", CAMERAS)
def test_infrared_channels_are_nearly_equal_and_visible_ones_are_not(camera):
    spread = np.concatenate([np.ptp(pixels(n, camera), axis=-1).ravel() for n in range(1, 9)])
    if camera in INFRARED:
        assert spread.max() <= 6
    else:
        assert spread.mean() > 10


def test_crops_vary_in_size_around_the_nominal_one():
    heights = [len(pixels(number, 1)) for number in range(1, 25)]
    assert 0.65 * SIZE[0] < min(heights) < 0.9 * SIZE[0]
    assert 1.1 * SIZE[0] < max(heights) < 1.45 * SIZE[0]


def test_cameras_2_and_3_look_at_the_same_room():
    def edges(number: int, band: Band) -> np.ndarray:
        grey = np.asarray(scene(SEED, "room", number, band).convert("L"), float)
        return np.abs(np.diff(grey, axis=1)).ravel() > 12

    def overlap(first: np.ndarray, second: np.ndarray) -> float:
        return (first & second).sum() / min(first.sum(), second.sum())

    seen, lit = Band.VISIBLE, Band.NEAR_INFRARED
    assert overlap(edges(2, seen), edges(2, lit)) > 2 * overlap(edges(1, seen), edges(2, lit))


def standardised(number: int, camera: int, frame: int) -> np.ndarray:
    image = photograph(sample_identity(SEED, number), camera, frame, SEED, SIZE)
    flat = np.asarray(image.resize((48, 96), Image.BILINEAR), float).ravel()
    return (flat - flat.mean()) / flat.std()


def mean_average_precision(similarity, same, allowed) -> float:
    """Mean over queries of the average precision among the allowed gallery images."""
    precisions = []
    for row in range(len(similarity)):
        columns = np.flatnonzero(allowed[row])
        order = columns[np.argsort(-similarity[row, columns], kind="stable")]
        hits = same[row, order]
        ranks = np.flatnonzero(hits) + 1
        precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return 100 * float(np.mean(precisions))


@pytest.fixture(scope="module")
def raw_matching():
    """mAP of raw pixels and of random features; 30 people, one gallery image per visible camera."""
    people = range(1, 31)
    pairs = [(person, camera) for person in people for camera in VISIBLE]
    gallery = np.array([standardised(*pair, 1) for pair in pairs])
    queries = [(person, camera) for person in people for camera in INFRARED]
    infrared = np.array([standardised(*pair, 1) for pair in queries])
    owners, cameras = np.array(pairs).T
    seekers = np.array(queries)[:, 0]
    same = owners[:, None] == owners
    elsewhere = cameras[:, None] != cameras
    across = seekers[:, None] == owners
    everywhere = np.ones_like(across)
    noise = np.random.default_rng(0).normal(size=(20, *across.shape))
    alike = np.random.default_rng(1).normal(size=(20, *same.shape))
    return {
        "across": mean_average_precision(infrared @ gallery.T, across, everywhere),
        "across by chance": np.mean([mean_average_precision(n, across, everywhere) for n in noise]),
        "visible": mean_average_precision(gallery @ gallery.T, same, elsewhere),
        "visible by chance": np.mean([mean_average_precision(n, same, elsewhere) for n in alike]),
    }


def test_raw_pixels_hardly_match_across_modalities(raw_matching):
    assert raw_matching["across"] < raw_matching["across by chance"] + 4


def test_raw_pixels_match_across_visible_cameras_but_far_from_perfectly(raw_matching):
    assert raw_matching["visible by chance"] + 8 < raw_matching["visible"] < 55
