"""Searches of SYSU-MM02 and LLCM: who is searched among whom, in both directions."""

import random

import numpy as np
import pytest

from clustercontrast.data.samples import ImageList
from clustercontrast.evaluation.protocols import DIRECTIONS, PROTOCOLS, draw_gallery, score
from clustercontrast.files import UserError

BOTH = pytest.mark.parametrize("mode", DIRECTIONS)


def images(modality, people, cameras):
    """One image for every pair of identity and camera; file names count downwards."""
    paths = tuple(f"{modality}/{len(people) - row:03d}.jpg" for row in range(len(people)))
    return ImageList(modality, paths, np.array(people), np.array(cameras))


def sysu02():
    """One visible and two infrared cameras, unequal numbers of images, a bystander in each."""
    visible = images("visible", [4, 4, 4, 9, -1], [1, 1, 1, 1, 1])
    return visible, images("infrared", [9, 4, 9, -1, 4, 9], [2, 2, 3, 3, 3, 3])


def llcm(per_cell=4):
    """Two modalities of the same cameras; identity 3 is not in camera 7 of the visible ones."""
    cells = [(i, c) for i in (3, 8, 5) for c in (7, 2) for _ in range(per_cell)]
    seen = [(i, c) for i, c in cells if (i, c) != (3, 7)]
    visible, infrared = (zip(*own, strict=True) for own in (seen, cells))
    return images("visible", *visible), images("infrared", *infrared)


def slow_scores(query, gallery, features):
    """CMC per image and mean average precision by loops; nothing is excluded."""
    firsts, precisions = [], []
    for row, person in enumerate(query.identities):
        if person < 0:
            continue
        similarity = features[gallery.modality] @ features[query.modality][row]
        ranked = gallery.identities[np.argsort(-similarity, kind="stable")]
        found = np.flatnonzero(ranked == person)
        if len(found):
            firsts.append(found[0])
            precisions.append(np.mean([(n + 1) / (place + 1) for n, place in enumerate(found)]))
    return [np.mean(np.array(firsts) < rank) for rank in range(1, 4)], np.mean(precisions)


@BOTH
def test_all_of_one_modality_are_searched_among_all_of_the_other(mode):
    visible, infrared = lists = sysu02()
    (search,) = PROTOCOLS["sysu02"].searches(visible, infrared, [mode], 1)[mode]
    query, gallery = lists if mode.startswith("visible") else lists[::-1]
    assert (search.query, search.gallery) == (query.modality, gallery.modality)
    assert len(search.query_rows) == len(query) - 1  # nobody looks for the bystander
    np.testing.assert_array_equal(search.gallery_rows, np.arange(len(gallery)))
    rng = np.random.default_rng(7)
    features = {own.modality: rng.standard_normal((len(own), 4)) for own in lists}
    result = score(search, {own.modality: own for own in lists}, features)
    cmc, average = slow_scores(query, gallery, features)
    np.testing.assert_allclose(result.cmc[:3], cmc)
    assert result.mAP == pytest.approx(average)


def test_images_of_a_camera_of_the_own_number_are_not_excluded():
    for mode in DIRECTIONS:
        search = PROTOCOLS["sysu02"].search(*llcm(), mode, 0)
        assert search.excluded is None
        assert search.cmc == "image"


@BOTH
def test_a_single_shot_gallery_has_one_image_of_every_person_and_camera(mode):
    """The draw recomputed by the rule: identities, then cameras ascending, files by path."""
    lists = dict(zip(("visible", "infrared"), llcm(), strict=True))
    query, gallery = (lists[name] for name in mode.split("_to_"))
    for draw in range(3):
        search = PROTOCOLS["llcm"].search(*lists.values(), mode, draw)
        generator, expected = random.Random(draw), []
        for person in (3, 5, 8):
            for camera in (2, 7):
                cell = (gallery.identities == person) & (gallery.cameras == camera)
                files = sorted(np.flatnonzero(cell), key=lambda row: gallery.paths[row])
                expected += [generator.choice(files)] if files else []
        assert len(expected) == (5 if gallery.modality == "visible" else 6)
        np.testing.assert_array_equal(search.gallery_rows, expected)
        np.testing.assert_array_equal(search.query_rows, np.arange(len(query)))


@BOTH
def test_ten_draws_differ_and_each_repeats(mode):
    visible, infrared = llcm(per_cell=20)
    protocol = PROTOCOLS["llcm"]
    assert protocol.draws == 10
    first, again = (
        protocol.searches(visible, infrared, [mode], protocol.draws)[mode] for _ in range(2)
    )
    galleries = {tuple(search.gallery_rows) for search in first}
    assert len(galleries) == 10
    assert galleries == {tuple(search.gallery_rows) for search in again}


def test_the_draw_does_not_depend_on_the_order_of_the_images():
    _, infrared = llcm()
    order = np.random.default_rng(1).permutation(len(infrared))
    shuffled = infrared.subset(order)
    drawn = draw_gallery(infrared, (2, 7), 4), draw_gallery(shuffled, (2, 7), 4)
    assert [infrared.paths[row] for row in drawn[0]] == [shuffled.paths[row] for row in drawn[1]]


def test_bad_input():
    visible, infrared = sysu02()
    strangers = images("infrared", [1, -1], [2, 3])  # the bystanders are not one person
    for name in ("sysu02", "llcm"):
        with pytest.raises(UserError, match="no test identity has both"):
            PROTOCOLS[name].search(visible, strangers, "visible_to_infrared", 0)
        with pytest.raises(UserError, match="unknown mode 'all'"):
            PROTOCOLS[name].searches(visible, infrared, ["all"], 1)
    with pytest.raises(ValueError, match="no galleries"):
        PROTOCOLS["sysu02"].search(visible, infrared, "visible_to_infrared", 1)
