"""Distances of pairs and the map of ten people: by hand, and at the edges.

Mutations seen to fail: excluded pairs counted, gap with the other sign, counts instead of
densities, unusable images shown, the richest ten instead of evenly spaced ones.
"""

import numpy as np
import pytest
from test_retrievals import hand_made, image_list

from clustercontrast.files import UserError
from clustercontrast.report.retrievals import Ranking
from clustercontrast.report.spaces import (
    IMAGES,
    PEOPLE,
    choose_people,
    common_edges,
    density,
    distances,
    draw_people,
    embed,
)

MODALITIES = ("visible", "infrared")


def test_distances_means_and_gap_by_hand():
    parts = hand_made([[0.9, 0.2, 0.4], [0.5, 0.7, 0.1]], [1, 2], [1, 2, 1], [[0, 0, 1], [0, 0, 0]])
    found = distances(Ranking(*parts))
    # 0.6, one person's distance, is left out.
    assert found.same == pytest.approx([0.1, 0.3])
    assert found.different == pytest.approx([0.8, 0.5, 0.9])
    assert found.means == pytest.approx((0.2, 2.2 / 3))
    assert found.gap == pytest.approx(2.2 / 3 - 0.2)


def test_only_one_person():
    found = distances(Ranking(*hand_made([[0.9, 0.8]], [1], [1, 1])))
    assert found.means[0] == pytest.approx(0.15)
    assert np.isnan(found.means[1])
    assert not density(found.different, common_edges([found])).any()


def test_histograms_have_area_one_and_hold_every_pair():
    rng = np.random.default_rng(1)
    models = [
        distances(Ranking(*hand_made(rng.random((9, 8)), rng.integers(0, 3, 9), np.arange(8) % 3)))
        for _ in range(2)
    ]
    edges = common_edges(models)
    for kind in (models[0].same, models[1].different):
        assert edges[0] <= kind.min()
        assert kind.max() <= edges[-1]
        assert (density(kind, edges) * np.diff(edges)).sum() == pytest.approx(1)
    low = min(kind.min() for model in models for kind in (model.same, model.different))
    assert edges[0] == low
    np.testing.assert_allclose(density(np.array([0.25, 0.25, 0.75]), [0, 0.5, 1]), [4 / 3, 2 / 3])


def test_one_single_distance_has_a_histogram():
    found = distances(Ranking(*hand_made([[0.5]], [1], [1])))
    edges = common_edges([found, found])
    assert (np.diff(edges) > 0).all()
    assert density(found.same, edges).max() > 0


def lists_of(counts_v, counts_r):
    """Image lists with so many images of persons 10, 11, ..."""
    return {
        name: image_list(name, np.repeat(np.arange(len(counts)) + 10, counts))
        for name, counts in zip(MODALITIES, (counts_v, counts_r), strict=True)
    }


def every(lists):
    return {name: np.ones(len(own), bool) for name, own in lists.items()}


def test_ten_people_evenly_spaced_among_those_with_most_images():
    # Persons 10..29; the even ones have three images of each modality, the others one.
    lists = lists_of([3, 1] * 10, [3, 4] * 10)
    people = choose_people(lists, every(lists))
    assert people.chosen.tolist() == list(range(10, 30, 2))
    lists = lists_of([4] * 19, [5] * 19)
    assert choose_people(lists, every(lists)).chosen.tolist() == list(range(10, 30, 2))


def test_few_people_and_many_images():
    lists = lists_of([40, 2, 3], [20, 0, 1])
    people = choose_people(lists, every(lists))
    assert people.chosen.tolist() == [10, 12]
    assert np.bincount(people.identities["visible"])[10:].tolist() == [IMAGES, 0, 3]
    assert np.bincount(people.identities["infrared"])[10:].tolist() == [IMAGES, 0, 1]
    mine = people.rows["visible"][people.identities["visible"] == 10]
    assert (mine[0], mine[-1]) == (0, 39)
    assert set(np.diff(mine)) <= {2, 3}


def test_unusable_images_are_never_shown():
    rng = np.random.default_rng(3)
    lists = lists_of([6] * 15, [5] * 15)
    usable = {name: rng.random(len(own)) < 0.5 for name, own in lists.items()}
    people = choose_people(lists, usable)
    assert len(people.chosen) <= PEOPLE
    for name in MODALITIES:
        assert usable[name][people.rows[name]].all()
        np.testing.assert_array_equal(
            lists[name].identities[people.rows[name]], people.identities[name]
        )


def test_ten_people_are_drawn_by_a_seed_among_those_in_both_modalities():
    lists = lists_of([2] * 10 + [0] * 5 + [20] * 10, [3] * 25)
    people = draw_people(lists, seed=4)
    assert people.chosen.tolist() == draw_people(lists, seed=4).chosen.tolist()
    assert people.chosen.tolist() != draw_people(lists, seed=5).chosen.tolist()
    seen = np.unique(np.concatenate([draw_people(lists, seed=i).chosen for i in range(20)]))
    assert seen.tolist() == [*range(10, 20), *range(25, 35)]  # not those without a visible image
    for name in MODALITIES:
        np.testing.assert_array_equal(
            lists[name].identities[people.rows[name]], people.identities[name]
        )
        counts = np.bincount(people.identities[name])[people.chosen]
        assert counts.tolist() == [
            min(IMAGES, (lists[name].identities == one).sum()) for one in people.chosen
        ]


def test_nobody_in_both_modalities_is_one_line():
    with pytest.raises(UserError, match="no test identity has images of both modalities"):
        draw_people(lists_of([2, 0], [0, 3]), seed=1)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_the_map_keeps_people_apart_and_is_the_same_every_time():
    rng = np.random.default_rng(0)
    lists = lists_of([8] * 5, [8] * 5)
    people = choose_people(lists, every(lists))
    centres = rng.standard_normal((5, 16))
    features = {
        name: unit(centres[lists[name].identities - 10] + 0.05 * rng.standard_normal((40, 16)))
        for name in MODALITIES
    }
    shown = {name: features[name][people.rows[name]] for name in MODALITIES}
    first, second = embed(shown), embed(shown)
    for name in MODALITIES:
        np.testing.assert_array_equal(first[name], second[name])
    points = np.concatenate([first[name] for name in MODALITIES])
    whose = np.concatenate([people.identities[name] for name in MODALITIES])
    apart = np.linalg.norm(points[:, None] - points, axis=2) + 1e9 * np.eye(len(points))
    np.testing.assert_array_equal(whose[apart.argmin(axis=1)], whose)


@pytest.mark.parametrize("counts", [[1], [1, 1], [2, 1, 3]])
def test_maps_of_hardly_any_image(counts):
    lists = lists_of(counts, counts)
    rng = np.random.default_rng(0)
    features = {name: unit(rng.standard_normal((len(own), 8))) for name, own in lists.items()}
    positions = embed(features)
    for name in MODALITIES:
        assert positions[name].shape == (sum(counts), 2)
        assert np.isfinite(positions[name]).all()


def test_a_collapsed_network_has_a_map():
    # Exactly one point: nothing for a principal component to start from.
    features = {name: np.eye(1, 8).repeat(6, axis=0).astype(np.float32) for name in MODALITIES}
    first, second = embed(features), embed(features)
    for name in MODALITIES:
        assert np.isfinite(first[name]).all()
        np.testing.assert_array_equal(first[name], second[name])
