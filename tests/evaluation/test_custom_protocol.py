"""The search of a custom dataset under its rules: by hand, and against loops."""

import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercontrast.data.images import ImageArray
from clustercontrast.data.samples import ImageList
from clustercontrast.evaluation import protocols
from clustercontrast.evaluation.protocols import (
    DIRECTIONS,
    Rules,
    custom_protocol,
    protocol_of,
    score,
)
from clustercontrast.evaluation.scoring import features_of, retrieve
from clustercontrast.files import UserError

TO_VISIBLE, TO_INFRARED = "infrared_to_visible", "visible_to_infrared"
RULES = [
    Rules(queries, shots, skip)
    for queries, shots, skip in itertools.product(
        ("visible", "infrared", "both"), ("all", "single"), (True, False)
    )
]


def images(modality, rows):
    """Images of (identity, camera, track) rows."""
    table = np.array(rows, np.int64).reshape(-1, 3)
    paths = tuple(f"{modality}/{number:03d}" for number in range(len(rows)))
    return ImageList(modality, paths, table[:, 0], table[:, 1], table[:, 2])


def search(rules, visible, infrared, mode, draw=0):
    return custom_protocol(rules).search(visible, infrared, mode, draw)


VISIBLE = images("visible", [(1, 1, 7), (1, 1, 7), (1, 2, -1), (2, 1, -1), (-1, 1, -1)])
INFRARED = images("infrared", [(1, 1, -1), (2, 3, -1), (2, 3, 8), (2, 3, 8)])


def test_queries_are_items_of_known_identity_and_galleries_all_items():
    found = search(Rules(), VISIBLE, INFRARED, TO_INFRARED)
    assert (found.query, found.gallery, found.cmc) == ("visible", "infrared", "image")
    assert found.query_rows.tolist() == [0, 2, 3]  # a track once, the bystander not at all
    assert found.gallery_rows.tolist() == [0, 1, 2]
    back = search(Rules(), VISIBLE, INFRARED, TO_VISIBLE)
    assert back.query_rows.tolist() == [0, 1, 2]
    assert back.gallery_rows.tolist() == [0, 2, 3, 4]


def test_the_own_camera_is_left_out_for_the_own_identity_alone():
    found = search(Rules(), VISIBLE, INFRARED, TO_INFRARED)
    # track 7 is identity 1 of camera 1, as the first infrared image is
    assert np.asarray(found.excluded).tolist() == [[True, False, False], [False] * 3, [False] * 3]
    assert search(Rules(skip_own_camera=False), VISIBLE, INFRARED, TO_INFRARED).excluded is None


def test_an_unknown_camera_is_nobodys_own():
    lists = images("visible", [(1, -1, -1)]), images("infrared", [(1, -1, -1)])
    assert not np.asarray(search(Rules(), *lists, TO_VISIBLE).excluded).any()


def test_what_is_left_out_is_made_for_the_queries_asked_for():
    excluded = search(Rules(), VISIBLE, INFRARED, TO_INFRARED).excluded
    whole = np.asarray(excluded)
    assert whole.shape == excluded.shape == (3, 3)
    for start in range(3):
        np.testing.assert_array_equal(excluded[start : start + 2], whole[start : start + 2])


@pytest.mark.parametrize("at_once", [1, 2, 64])
def test_one_right_pair_anywhere_is_enough(monkeypatch, at_once):
    monkeypatch.setattr(protocols, "QUERIES_AT_ONCE", at_once)
    visible = images("visible", [(1, 1, -1), (2, 1, -1), (3, 1, -1)])
    infrared = images("infrared", [(1, 1, -1), (2, 1, -1), (3, 2, -1)])
    found = search(Rules(), visible, infrared, TO_INFRARED)
    assert np.asarray(found.excluded).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_nobody_left_is_an_error_with_a_remedy():
    lists = images("visible", [(1, 4, -1)]), images("infrared", [(1, 4, -1)])
    with pytest.raises(UserError, match="pass --no-skip-own-camera"):
        search(Rules(), *lists, TO_VISIBLE)
    assert search(Rules(skip_own_camera=False), *lists, TO_VISIBLE).gallery_rows.tolist() == [0]


def test_drawn_galleries_hold_one_item_of_every_identity_and_camera_and_all_bystanders():
    rows = [(1, 1, 7), (1, 1, 7), (1, 1, -1), (1, 2, -1), (-1, 1, -1), (-1, 1, -1)]
    visible = images("visible", rows)
    rules = Rules(gallery_shots="single", skip_own_camera=False)
    drawn = {tuple(search(rules, visible, INFRARED, TO_VISIBLE, d).gallery_rows) for d in range(9)}
    assert drawn == {(0, 3, 4, 5), (2, 3, 4, 5)}
    assert search(rules, visible, INFRARED, TO_VISIBLE).cmc == "identity"
    again = [search(rules, visible, INFRARED, TO_VISIBLE, 3).gallery_rows for _ in range(2)]
    assert np.array_equal(*again)


@pytest.mark.parametrize("rules", RULES)
def test_a_protocol_follows_from_its_rules(rules):
    protocol = custom_protocol(rules)
    wanted = {"visible": [TO_INFRARED], "infrared": [TO_VISIBLE]}.get(rules.queries, [*DIRECTIONS])
    assert list(protocol.modes) == wanted
    assert protocol.selection == wanted[0]
    assert protocol.draws == (10 if rules.gallery_shots == "single" else 1)


def test_rules_are_told_apart_in_words_and_in_names():
    assert len({custom_protocol(rules).note for rules in RULES}) == len(RULES)
    assert len({rules.name for rules in RULES}) == len(RULES)
    assert protocol_of("custom", None).note == Rules().words
    assert protocol_of("regdb", None).note == ""
    assert list(protocol_of("custom", vars(Rules("infrared"))).modes) == [TO_VISIBLE]


# --- features of tracks ---


class Looks(torch.nn.Module):
    """Unit features that are the mean colour of an image."""

    flip_averaged = False

    def embed(self, batch, modality):
        colour = batch.mean((2, 3)).double()
        return (colour / colour.norm(dim=1, keepdim=True)).float()


def arrays(*lists):
    generator = np.random.default_rng(5)
    return {
        own.modality: ImageArray(own, generator.integers(0, 256, (len(own), 8, 4, 3), np.uint8))
        for own in lists
    }


def test_the_feature_of_a_track_is_the_unit_mean_of_its_images():
    made = arrays(VISIBLE, INFRARED)
    searches = {TO_INFRARED: [search(Rules(), VISIBLE, INFRARED, TO_INFRARED)]}
    with torch.no_grad():
        found = features_of(Looks(), made, searches, batch_size=2)
        alone = arrays(*(ImageList(own.modality, own.paths, own.identities, own.cameras)
                         for own in (VISIBLE, INFRARED)))  # fmt: skip
        every = {
            name: [search(Rules(), *(own.index for own in alone.values()), mode)]
            for name, mode in (("visible", TO_INFRARED), ("infrared", TO_VISIBLE))
        }
        single = features_of(Looks(), alone, every, batch_size=2)
    mean = single["visible"][:2].sum(axis=0)
    np.testing.assert_allclose(found["visible"][0], mean / np.linalg.norm(mean), atol=1e-6)
    assert np.isnan(found["visible"][1]).all()  # stands for nobody
    np.testing.assert_array_equal(found["visible"][2:4], single["visible"][2:4])
    pair = single["infrared"][2:].sum(axis=0)
    np.testing.assert_allclose(found["infrared"][2], pair / np.linalg.norm(pair), atol=1e-6)
    np.testing.assert_array_equal(found["infrared"][:2], single["infrared"][:2])


# --- against loops ---


def slow_items(own):
    """Rows of every item, in the order of its first image."""
    found = {}
    for row in range(len(own)):
        key = ("alone", row) if own.tracks[row] < 0 else ("track", int(own.tracks[row]))
        found.setdefault(key, []).append(row)
    return sorted(found.values())


def slow_gallery(own, items, rules, draw):
    if rules.gallery_shots == "all":
        return items
    generator, drawn = random.Random(draw), []
    known = [item for item in items if own.identities[item[0]] >= 0]
    keys = [(int(own.identities[item[0]]), int(own.cameras[item[0]])) for item in known]
    for key in sorted(set(keys)):
        drawn.append(generator.choice([k for k, found in zip(known, keys, strict=True)
                                       if found == key]))  # fmt: skip
    return drawn + [item for item in items if own.identities[item[0]] < 0]


def slow_scores(rules, lists, features, mode, draw):
    """mAP and Rank-1 by plain loops; None where nobody can be found."""
    query, gallery = (lists[name] for name in mode.split("_to_"))
    mean = {
        own.modality: {tuple(item): features[own.modality][item].sum(axis=0)
                       for item in slow_items(own)}
        for own in (query, gallery)
    }  # fmt: skip
    ranked = slow_gallery(gallery, slow_items(gallery), rules, draw)
    precisions, firsts = [], []
    for q in slow_items(query):
        who, camera = query.identities[q[0]], query.cameras[q[0]]
        if who < 0:
            continue
        rows = []
        for g in ranked:
            own = gallery.identities[g[0]] == who and gallery.cameras[g[0]] == camera >= 0
            if rules.skip_own_camera and own:
                continue
            a, b = mean[query.modality][tuple(q)], mean[gallery.modality][tuple(g)]
            cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
            rows.append((cosine, bool(gallery.identities[g[0]] == who)))
        rows.sort(key=lambda row: -row[0])
        hits = [rank for rank, (_, right) in enumerate(rows, start=1) if right]
        if hits:
            precisions.append(np.mean([n / rank for n, rank in enumerate(hits, start=1)]))
            firsts.append(hits[0] == 1)
    return (np.mean(precisions), np.mean(firsts)) if precisions else None


def drawn_images(modality, generator, count):
    """Random items; images of a track agree."""
    tracks = generator.integers(-1, 4, count)
    people, cameras = generator.integers(-1, 3, count), generator.integers(-1, 3, count)
    for track in range(4):
        rows = np.flatnonzero(tracks == track)
        people[rows], cameras[rows] = people[rows[:1]], cameras[rows[:1]]
    return images(modality, np.stack([people, cameras, tracks], axis=1))


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.sampled_from(RULES), st.integers(1, 12), st.integers(1, 12))
def test_scores_against_loops(seed, rules, many, more):
    generator = np.random.default_rng(seed)
    lists = {
        "visible": drawn_images("visible", generator, many),
        "infrared": drawn_images("infrared", generator, more),
    }
    features = {name: generator.standard_normal((len(own), 5)) for name, own in lists.items()}
    features = {n: f / np.linalg.norm(f, axis=1, keepdims=True) for n, f in features.items()}
    protocol = custom_protocol(rules)
    for mode in protocol.modes:
        expected = slow_scores(rules, lists, features, mode, 1 if protocol.draws > 1 else 0)
        try:
            found = protocol.search(*lists.values(), mode, 1 if protocol.draws > 1 else 0)
        except UserError:
            assert expected is None
            continue
        averaged = {name: unit(own, features[name]) for name, own in lists.items()}
        result = score(found, lists, averaged)
        np.testing.assert_allclose((result.mAP, result.cmc[0]), expected)


def unit(own, features):
    """Features with the mean of every track at its first row."""
    found = features.copy()
    for item in slow_items(own):
        found[item[0]] = features[item].sum(axis=0)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_retrieval_ranks_tracks():
    """The mean of a track finds what none of its images would."""
    rows = [(1, 1, 0), (1, 1, 0), (2, 1, -1), (3, 1, -1)]
    visible, infrared = images("visible", rows), images("infrared", [(1, 2, -1), (2, 2, -1)])
    colours = {
        "visible": [(250, 130, 130), (130, 250, 130), (130, 130, 250), (250, 130, 250)],
        "infrared": [(250, 250, 130), (130, 130, 250)],
    }
    made = {
        name: ImageArray(
            own, np.tile(np.array(colours[name], np.uint8)[:, None, None], (1, 8, 4, 1))
        )
        for name, own in (("visible", visible), ("infrared", infrared))
    }
    searches = custom_protocol(Rules("infrared")).searches(visible, infrared, [TO_VISIBLE], 1)
    with torch.no_grad():
        (found,) = retrieve(Looks(), made, searches, batch_size=3)[TO_VISIBLE]
    assert found.queries == 2
    assert found.cmc[0] == found.mAP == 1.0
