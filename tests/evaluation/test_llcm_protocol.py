"""LLCM's search: against loops written from the description of the protocol, and by hand."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustercontrast.data.samples import ImageList
from clustercontrast.evaluation.protocols import DIRECTIONS, PROTOCOLS, SWAPPED, score
from clustercontrast.files import UserError

LLCM = PROTOCOLS["llcm"]
MODES = [*DIRECTIONS, *SWAPPED]


def images(modality, rows):
    """Images of (identity, camera, name) rows."""
    paths = tuple(f"test_{modality}/cam{camera}/{who:04d}/{name}" for who, camera, name in rows)
    table = np.array([row[:2] for row in rows], dtype=np.int64).reshape(-1, 2)
    return ImageList(modality, paths, table[:, 0], table[:, 1])


def slow_gallery(gallery, draw):
    """One file of every folder: identities, then cameras ascending, files sorted."""
    generator = random.Random()
    generator.seed(draw)
    drawn = []
    for who in sorted(set(gallery.identities.tolist())):
        for camera in range(1, 10):
            files = sorted(
                gallery.paths[row]
                for row in range(len(gallery))
                if gallery.identities[row] == who and gallery.cameras[row] == camera
            )
            if files:
                drawn.append(gallery.paths.index(generator.choice(files)))
    return drawn


def slow_scores(lists, features, mode, draw):
    """CMC by identities, mean average precision and mINP of one search, by plain loops."""
    query, gallery = mode.removeprefix("swapped_").split("_to_")
    rows = {
        query: list(range(len(lists[query]))),
        gallery: slow_gallery(lists[gallery], draw),
    }
    if mode.startswith("swapped_"):
        query, gallery = gallery, query
    q_list, g_list = lists[query], lists[gallery]
    first_ranks, precisions, penalties = [], [], []
    for q in rows[query]:
        who, camera = q_list.identities[q], q_list.cameras[q]
        kept = [
            g
            for g in rows[gallery]
            if not (g_list.identities[g] == who and g_list.cameras[g] == camera)
        ]
        kept.sort(key=lambda g: -float(features[query][q] @ features[gallery][g]))
        people = [g_list.identities[g] for g in kept]
        if who not in people:
            continue
        first_ranks.append(list(dict.fromkeys(people)).index(who))
        hits = [rank for rank, other in enumerate(people, start=1) if other == who]
        precisions.append(np.mean([(n + 1) / rank for n, rank in enumerate(hits)]))
        penalties.append(len(hits) / hits[-1])
    if not first_ranks:
        return None
    cmc = [np.mean(np.array(first_ranks) < rank) for rank in range(1, 21)]
    return cmc, np.mean(precisions), np.mean(penalties), len(first_ranks)


@given(
    seed=st.integers(0, 2**32 - 1),
    people=st.integers(1, 5),
    cameras=st.integers(1, 4),
    most=st.integers(1, 3),
    mode=st.sampled_from(MODES),
    draw=st.integers(0, 9),
)
def test_equals_the_slow_twin(seed, people, cameras, most, mode, draw):
    generator = np.random.default_rng(seed)
    cells = list(itertools.product(range(3, 3 + people), range(1, 1 + cameras)))
    lists, features = {}, {}
    for modality in ("visible", "infrared"):
        rows = [(*cell, f"f{k}.jpg") for cell in cells for k in range(generator.integers(most + 1))]
        order = generator.permutation(len(rows))
        lists[modality] = images(modality, [rows[k] for k in order])
        features[modality] = generator.standard_normal((len(rows), 3))
    if not all(map(len, lists.values())):
        return
    expected = slow_scores(lists, features, mode, draw)
    if expected is None:
        with pytest.raises(UserError, match="no test identity"):
            LLCM.search(*lists.values(), mode, draw)
        return
    result = score(LLCM.search(*lists.values(), mode, draw), lists, features)
    np.testing.assert_allclose(result.cmc, expected[0], atol=1e-12)
    np.testing.assert_allclose((result.mAP, result.mINP), expected[1:3], atol=1e-12)
    assert result.queries == expected[3]


def by_hand():
    """Two people in two cameras, one image each; person 5 is not seen by camera 2 in infrared."""
    visible = images("visible", [(4, 1, "a"), (4, 2, "a"), (5, 1, "a"), (5, 2, "a")])
    infrared = images("infrared", [(4, 1, "a"), (4, 2, "a"), (5, 1, "a")])
    lists = {"visible": visible, "infrared": infrared}
    # similarities of visible (rows) and infrared images
    table = np.array([[0.9, 0.2, 0.5], [0.1, 0.9, 0.3], [0.8, 0.7, 0.9], [0.6, 0.5, 0.4]])
    return lists, {"visible": table, "infrared": np.eye(3)}


def test_images_of_the_own_identity_and_camera_are_left_out():
    """By hand, visible to infrared.

    Query (4, 1): without its own camera's 0.9 it meets person 5 (0.5), then 4 (0.2): rank 2.
    Query (4, 2): person 5 (0.3), then 4 (0.1): rank 2.  Query (5, 1): its only image is left out,
    so the query is skipped.  Query (5, 2): 4, 4 (0.6, 0.5), then 5: the third image, the second
    identity.
    """
    lists, features = by_hand()
    search = LLCM.search(*lists.values(), "visible_to_infrared", 0)
    assert np.asarray(search.excluded).tolist() == [
        [True, False, False],
        [False, True, False],
        [False, False, True],
        [False, False, False],
    ]
    result = score(search, lists, features)
    assert result.queries == 3
    assert result.cmc[:2].tolist() == [0, 1]
    assert result.mAP == pytest.approx((1 / 2 + 1 / 2 + 1 / 3) / 3)


def test_the_swapped_search_has_the_draw_as_queries():
    """By hand, without the own identity and camera.

    Infrared (4, 1) ranks the visible 5, 5, 4 (0.8, 0.6, 0.1), as does (4, 2) (0.7, 0.5, 0.2);
    (5, 1) ranks 4 (0.5), 5 (0.4), 4 (0.3).
    """
    lists, features = by_hand()
    (mode,) = SWAPPED
    search = LLCM.search(*lists.values(), mode, 0)
    assert (search.query, search.gallery) == ("infrared", "visible")
    assert (len(search.query_rows), len(search.gallery_rows)) == (3, 4)
    result = score(search, lists, features)
    assert result.cmc[:2].tolist() == [0, 1]
    assert result.mAP == pytest.approx((1 / 3 + 1 / 3 + 1 / 2) / 3)


def test_the_swapped_search_is_made_when_asked_for_alone():
    assert list(LLCM.modes) == list(DIRECTIONS)
    assert LLCM.selection == "visible_to_infrared"
    assert all("LLCM-1" in heading for heading in LLCM.variants.values())
    lists, _ = by_hand()
    found = LLCM.searches(*lists.values(), list(LLCM.headings), 2)
    assert {mode: len(own) for mode, own in found.items()} == dict.fromkeys(MODES, 2)


def test_every_draw_of_the_protocol_follows_the_rule():
    cells = [(who, camera, f"{k}.jpg") for who in (3, 8) for camera in (1, 7) for k in range(9)]
    lists = {name: images(name, cells) for name in ("visible", "infrared")}
    for mode in MODES:
        for draw in range(LLCM.draws):
            search = LLCM.search(*lists.values(), mode, draw)
            drawn = search.query_rows if mode in SWAPPED else search.gallery_rows
            side = search.query if mode in SWAPPED else search.gallery
            assert drawn.tolist() == slow_gallery(lists[side], draw)


def test_nothing_to_search_for_is_one_line():
    alone = images("visible", [(1, 1, "a"), (2, 2, "a")]), images("infrared", [(1, 1, "a")])
    for mode in MODES:
        with pytest.raises(UserError, match="no test identity is seen by one camera"):
            LLCM.search(*alone, mode, 0)
