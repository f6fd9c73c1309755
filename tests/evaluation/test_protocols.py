"""Search protocols: galleries of the literature, exclusion, directions, averages over draws."""

import dataclasses
import random

import golden_set
import numpy as np
import pytest

from clustercontrast.data.samples import ImageList
from clustercontrast.evaluation.metrics import Retrieval
from clustercontrast.evaluation.protocols import (
    PROTOCOLS,
    SYSU_CAMERAS,
    draw_gallery,
    same_place,
    score,
    summarise,
)
from clustercontrast.files import UserError

GALLERIES = "evaluation/sysu_gallery.json"

# files 0001… of each (camera, identity) folder
SMALL_TREE = {
    (1, 6): 5,
    (2, 6): 5,
    (4, 6): 5,
    (5, 6): 5,
    (2, 12): 3,
    (5, 12): 7,
    (1, 21): 20,
    (4, 21): 20,
}


def images(cells, modality="visible"):
    """ImageList of (camera, identity, file number) cells, in path order."""
    cells = sorted(cells, key="cam{0[0]}/{0[1]:04d}/{0[2]:04d}.jpg".format)
    return ImageList(
        modality=modality,
        paths=tuple(
            f"cam{camera}/{identity:04d}/{file:04d}.jpg" for camera, identity, file in cells
        ),
        identities=np.array([identity for _, identity, _ in cells]),
        cameras=np.array([camera for camera, _, _ in cells]),
    )


def small_pool():
    return images((c, i, file) for (c, i), n in SMALL_TREE.items() for file in range(1, n + 1))


def golden_pool(cameras):
    tree = golden_set.load_json(GALLERIES)
    people = set(tree["test_ids_file_order"])
    return images(
        (folder["cam"], folder["id"], folder["first"] + folder["step"] * place)
        for folder in tree["folders"]
        if folder["id"] in people and folder["cam"] in cameras
        for place in range(folder["count"])
    )


@pytest.mark.parametrize("mode", golden_set.entry(GALLERIES)["parameters"]["modes"])
def test_golden_galleries(mode):
    pool = golden_pool((1, 2, 4, 5))
    for trial in golden_set.entry(GALLERIES)["parameters"]["trials"]:
        drawn = draw_gallery(pool, SYSU_CAMERAS[mode], trial)
        expected = golden_set.load_json(GALLERIES)["gallery"][mode][str(trial)]
        assert [pool.paths[row] for row in drawn] == expected


def test_order_of_the_pool_does_not_matter():
    pool = small_pool()
    shuffled = pool.subset(np.random.default_rng(0).permutation(len(pool)))
    for trial in range(3):
        straight = draw_gallery(pool, (1, 2, 4, 5), trial)
        drawn = draw_gallery(shuffled, (1, 2, 4, 5), trial)
        assert [pool.paths[r] for r in straight] == [shuffled.paths[r] for r in drawn]


@pytest.mark.parametrize(
    ("mode", "trial", "frames"),
    [
        ("all", 0, [4, 4, 1, 3, 3, 4, 13, 10]),
        ("all", 1, [2, 5, 1, 3, 1, 4, 15, 16]),
        ("all", 9, [4, 5, 3, 3, 1, 2, 1, 11]),
        ("indoor", 0, [4, 4, 1, 9]),
        ("indoor", 1, [2, 5, 1, 9]),
    ],
)
def test_table_of_draws(mode, trial, frames):
    pool = small_pool()
    drawn = draw_gallery(pool, SYSU_CAMERAS[mode], trial)
    assert [int(pool.paths[row][-8:-4]) for row in drawn] == frames
    assert list(pool.identities[drawn]) == sorted(pool.identities[drawn])


def test_global_generator_is_left_alone():
    state = random.getstate()
    draw_gallery(small_pool(), (1, 2, 4, 5), 0)
    assert random.getstate() == state


def test_same_place_is_camera_two_for_queries_of_camera_three():
    np.testing.assert_array_equal(
        same_place(np.array([3, 6]), np.array([1, 2, 4, 2])),
        [[False, True, False, True], [False, False, False, False]],
    )


def unit_rows(generator, count):
    rows = generator.standard_normal((count, 8)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_sysu_search_step_by_step():
    """One draw recomputed with loops; features of images that were not drawn are never read."""
    pool, generator = small_pool(), np.random.default_rng(1)
    query = images(((3, 6, 1), (6, 12, 1), (3, 12, 2), (6, 21, 5), (3, 99, 1)), "infrared")
    features = {"infrared": unit_rows(generator, len(query)), "visible": None}
    features["visible"] = unit_rows(generator, len(pool))
    search = PROTOCOLS["sysu"].search(pool, query, "all", 2)
    assert (search.query, search.gallery, search.cmc) == ("infrared", "visible", "identity")
    drawn = draw_gallery(pool, SYSU_CAMERAS["all"], 2)
    np.testing.assert_array_equal(search.gallery_rows, drawn)
    first_ranks = []
    for q in range(len(query)):
        kept = [r for r in drawn if not (query.cameras[q] == 3 and pool.cameras[r] == 2)]
        ranked = sorted(kept, key=lambda r: -(features["infrared"][q] @ features["visible"][r]))
        people = list(dict.fromkeys(pool.identities[r] for r in ranked))
        if query.identities[q] in people:
            first_ranks.append(people.index(query.identities[q]))
    expected = [np.mean(np.array(first_ranks) < rank) for rank in range(1, 21)]
    unread = np.setdiff1d(np.arange(len(pool)), drawn)
    features["visible"][unread] = np.nan
    result = score(search, {"visible": pool, "infrared": query}, features)
    assert result.queries == len(first_ranks) == len(query) - 1
    np.testing.assert_allclose(result.cmc, expected)


def test_perfect_features_find_everybody():
    pool = small_pool()
    query = images(((6, 6, 1), (6, 12, 1), (6, 21, 5)), "infrared")
    code = {6: 0, 12: 1, 21: 2}
    features = {"visible": np.eye(3)[[code[i] for i in pool.identities]], "infrared": np.eye(3)}
    for own in PROTOCOLS["sysu"].searches(pool, query, ["all", "indoor"], 2).values():
        for search in own:
            result = score(search, {"visible": pool, "infrared": query}, features)
            assert (result.cmc[0], result.mAP, result.mINP) == (1.0, 1.0, 1.0)


def test_searches_of_every_mode_and_draw():
    pool, query = small_pool(), images([(6, 6, 1)], "infrared")
    searches = PROTOCOLS["sysu"].searches(pool, query, ["indoor", "all"], 3)
    assert {mode: len(own) for mode, own in searches.items()} == {"indoor": 3, "all": 3}
    for mode, own in searches.items():
        for trial, search in enumerate(own):
            expected = draw_gallery(pool, SYSU_CAMERAS[mode], trial)
            np.testing.assert_array_equal(search.gallery_rows, expected)


# --- RegDB ---

# the worked example of test_metrics.py; the cameras do not matter
SIMILARITY = [
    [0.80, 0.30, 0.90, 0.40, 0.70, 0.20, 0.10],
    [0.60, 0.95, 0.50, 0.10, 0.90, 0.40, 0.30],
    [0.70, 0.20, 0.60, 0.50, 0.99, 0.40, 0.30],
    [0.10, 0.20, 0.30, 0.40, 0.50, 0.60, 0.70],
    [0.90, 0.10, 0.20, 0.30, 0.40, 0.50, 0.60],
]


def people(modality, identities):
    cameras = np.full(len(identities), 1 if modality == "visible" else 2)
    paths = tuple(f"{modality}/{number}" for number in range(len(identities)))
    return ImageList(modality, paths, np.array(identities), cameras)


@pytest.mark.parametrize("query", ["visible", "infrared"])
def test_worked_example_of_regdb_in_both_directions(query):
    gallery = "infrared" if query == "visible" else "visible"
    lists = {
        query: people(query, [1, 2, 3, 4, 5]),
        gallery: people(gallery, [1, 1, 2, 2, 3, 3, 4]),
    }
    features = {query: np.array(SIMILARITY), gallery: np.eye(7)}  # whose products are the table
    mode = f"{query}_to_{gallery}"
    search = PROTOCOLS["regdb"].search(lists["visible"], lists["infrared"], mode, 0)
    assert search.excluded is None
    result = score(search, lists, features)
    assert result.queries == 4
    assert result.mAP == pytest.approx(0.604464, abs=1e-6)
    assert result.mINP == pytest.approx(0.521429, abs=1e-6)
    np.testing.assert_allclose(result.cmc[:7], [0.5, 0.75, 0.75, 1, 1, 1, 1])


def test_regdb_counts_images_where_sysu_counts_people():
    """The right image is third, behind two of one other person: rank 3 of images, 2 of people."""
    lists = {"visible": people("visible", [1]), "infrared": people("infrared", [2, 2, 1])}
    features = {"visible": np.array([[3.0, 2.0, 1.0]]), "infrared": np.eye(3)}
    search = PROTOCOLS["regdb"].search(*lists.values(), "visible_to_infrared", 0)
    assert score(search, lists, features).cmc[:3].tolist() == [0, 0, 1]
    by_people = dataclasses.replace(search, cmc="identity")
    assert score(by_people, lists, features).cmc[:3].tolist() == [0, 1, 1]


def test_every_protocol_selects_by_one_of_its_modes():
    for protocol in PROTOCOLS.values():
        assert protocol.selection in protocol.modes


# --- averages and bad input ---


def test_summary_is_mean_and_population_deviation_in_percent():
    draws = [
        Retrieval(cmc=np.full(20, 0.5), mAP=0.2, mINP=0.1, queries=4),
        Retrieval(cmc=np.r_[0.7, np.full(19, 0.9)], mAP=0.4, mINP=0.1, queries=4),
    ]
    summary = summarise(draws)
    assert list(summary) == ["rank1", "rank5", "rank10", "rank20", "mAP", "mINP"]
    assert summary["rank1"] == {"mean": pytest.approx(60), "std": pytest.approx(10)}
    assert summary["rank5"] == {"mean": pytest.approx(70), "std": pytest.approx(20)}
    assert summary["mAP"] == {"mean": pytest.approx(30), "std": pytest.approx(10)}
    assert summary["mINP"] == {"mean": pytest.approx(10), "std": pytest.approx(0)}


def test_summary_reads_the_named_rank():
    draw = Retrieval(cmc=np.arange(1, 21) / 20, mAP=0.0, mINP=0.0, queries=1)
    summary = summarise([draw])
    assert [summary[f"rank{rank}"]["mean"] for rank in (1, 5, 10, 20)] == [5, 25, 50, 100]


def test_bad_input():
    pool = small_pool()
    stranger, known = images([(6, 99, 1)], "infrared"), images([(6, 6, 1)], "infrared")
    sysu, regdb = PROTOCOLS["sysu"], PROTOCOLS["regdb"]
    with pytest.raises(UserError, match=r"unknown mode 'outdoor'.*all, indoor"):
        sysu.searches(pool, known, ["outdoor"], 1)
    with pytest.raises(UserError, match=r"no gallery image of the cameras \(7,\)"):
        draw_gallery(pool, (7,), 0)
    with pytest.raises(UserError, match="none of the 1 query images"):
        sysu.search(pool, stranger, "all", 0)
    with pytest.raises(UserError, match="no test identity has both"):
        regdb.search(pool, stranger, "visible_to_infrared", 0)
    with pytest.raises(ValueError, match="no galleries"):
        regdb.search(pool, known, "visible_to_infrared", 1)
    features = {"visible": np.zeros((len(pool), 2)), "infrared": np.zeros((2, 2))}
    with pytest.raises(ValueError, match="as many features"):
        score(sysu.search(pool, known, "all", 0), {"visible": pool, "infrared": known}, features)
    with pytest.raises(ValueError, match="no search"):
        summarise([])
