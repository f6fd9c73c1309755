"""What a query found: hand-made rankings, agreement with the metrics, and which queries are shown.

Mutations seen to fail: ranking excluded pairs, counting them as right, rising similarity,
reversed ties, queries without anybody to find shown, spreading over query order instead of AP.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercontrast.data.samples import ImageList
from clustercontrast.evaluation.protocols import Search, score
from clustercontrast.report import retrievals
from clustercontrast.report.retrievals import Ranking


def image_list(modality, identities, cameras=None):
    n = len(identities)
    cameras = np.ones(n, np.int64) if cameras is None else np.array(cameras)
    paths = tuple(f"{modality}/{i:04d}.jpg" for i in range(n))
    return ImageList(modality, paths, np.array(identities), cameras)


def hand_made(similarity, people, gallery_people, excluded=None):
    """A search of infrared queries; gallery features are the axes, so queries are similarities."""
    similarity = np.array(similarity, np.float32)
    queries, gallery = similarity.shape
    lists = {
        "infrared": image_list("infrared", people),
        "visible": image_list("visible", gallery_people),
    }
    features = {"infrared": similarity, "visible": np.eye(gallery, dtype=np.float32)}
    excluded = None if excluded is None else np.array(excluded, bool)
    rows = np.arange(queries), np.arange(gallery)
    search = Search("infrared", "visible", *rows, excluded, "image")
    return search, lists, features


def test_average_precision_by_hand():
    # Right at ranks 1, 3, 5; at rank 2; nowhere.
    falling = [0.9, 0.8, 0.7, 0.6, 0.5]
    given_ = hand_made([falling, falling, falling], [1, 2, 9], [1, 2, 1, 3, 1])
    np.testing.assert_allclose(
        Ranking(*given_).precisions, [(1 + 2 / 3 + 3 / 5) / 3, 1 / 2, np.nan]
    )


def test_an_answer_by_hand():
    # By rank: columns 2, 0, 3, 1; column 4 is left out though it is the nearest and right.
    ranking = Ranking(
        *hand_made([[0.8, 0.2, 0.9, 0.6, 1.0]], [7], [5, 7, 6, 7, 7], [[0, 0, 0, 0, 1]])
    )
    answer = ranking.answer(0, length=10)
    assert [hit.row for hit in answer.hits] == [2, 0, 3, 1]
    assert [hit.rank for hit in answer.hits] == [1, 2, 3, 4]
    assert [hit.right for hit in answer.hits] == [False, False, True, True]
    assert [hit.similarity for hit in answer.hits] == pytest.approx([0.9, 0.8, 0.6, 0.2])
    assert answer.first == answer.hits[2]
    assert answer.precision == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert ranking.answer(0, length=1).first == answer.first
    assert len(ranking.answer(0, length=1).hits) == 1


def test_rows_are_those_of_the_images_and_not_of_the_search():
    search, lists, features = hand_made([[0.1, 0.9, 0.5]], [4], [4, 4, 5])
    lists["infrared"] = image_list("infrared", [0, 0, 4])
    features["infrared"] = np.concatenate([np.full((2, 3), np.nan), features["infrared"]])
    search = Search("infrared", "visible", np.array([2]), np.array([2, 0]), None, "image")
    answer = Ranking(search, lists, features).answer(0, 5)
    assert answer.row == 2
    assert [(hit.row, hit.right) for hit in answer.hits] == [(2, False), (0, True)]


def test_equal_similarities_stand_in_gallery_order():
    ranking = Ranking(*hand_made([[0.5, 0.5, 0.7, 0.5]], [1], [1, 2, 3, 1]))
    assert [hit.row for hit in ranking.answer(0, 4).hits] == [2, 0, 1, 3]


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.booleans())
def test_precisions_average_to_the_map_of_the_metrics(seed, with_excluded):
    rng = np.random.default_rng(seed)
    queries, gallery = rng.integers(1, 12, 2)
    people, others = rng.integers(0, 4, queries), rng.integers(0, 4, gallery)
    people[0] = others[0]
    excluded = rng.random((queries, gallery)) < 0.3
    excluded[0, 0] = False
    similarity = rng.integers(0, 5, (queries, gallery)) / 5  # many ties
    parts = hand_made(similarity, people, others, excluded if with_excluded else None)
    ranking = Ranking(*parts)
    expected = score(*parts)
    assert np.nanmean(ranking.precisions) == pytest.approx(expected.mAP, rel=1e-12)
    assert np.isfinite(ranking.precisions).sum() == expected.queries


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    parts = hand_made(rng.random((11, 6)), rng.integers(0, 3, 11), rng.integers(0, 3, 6))
    whole = Ranking(*parts).precisions
    monkeypatch.setattr(retrievals, "BLOCK_CELLS", 13)
    np.testing.assert_array_equal(Ranking(*parts).precisions, whole)


def ranks_of_first(ranks, gallery=12):
    """One right image per query, at the given rank: AP = 1 / rank; 0 for nobody to find."""
    similarity = np.tile(np.linspace(1, 0.1, gallery), (len(ranks), 1))
    return Ranking(*hand_made(similarity, np.array(ranks), np.arange(1, gallery + 1)))


def test_worst_are_those_of_lowest_precision_one_per_person():
    ranking = ranks_of_first([1, 9, 0, 4, 9, 12, 2])  # queries 1 and 4 show one person
    assert ranking.worst(3).tolist() == [5, 1, 3]
    assert ranking.worst(20).tolist() == [5, 1, 3, 6, 0]


def test_spread_takes_the_middles_of_equal_parts():
    ranks = [3, 1, 2, 12, 11, 10, 6, 5, 4, 9, 8, 7, 0]
    shown = ranks_of_first(ranks).spread(4)
    # Twelve queries that find somebody, parts of three: the second of each.
    assert [ranks[query] for query in shown] == [2, 5, 8, 11]
    few = ranks_of_first([5, 0, 3]).spread(6)
    assert few.tolist() == [2, 0]
