"""CMC, mAP and mINP: golden vectors, the worked example, and a slow twin written as loops.

Each of these errors in the package was tried and makes a test here fail: excluded pairs kept in the
ranking, an unstable sort, image-level CMC for SYSU, CMC averaged over all queries, INP from the
first hit, AP without M.
"""

import tracemalloc

import golden_set
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustercontrast.evaluation import metrics, pairs
from clustercontrast.evaluation.metrics import evaluate, score_queries

METRICS = "evaluation/metrics.npz"
CASES = sorted({name.rsplit("/", 1)[0] for name in golden_set.entry(METRICS)["arrays"]})

# a worked example, by hand
EXAMPLE = np.array(
    [
        [0.80, 0.30, 0.90, 0.40, 0.70, 0.20, 0.10],
        [0.60, 0.95, 0.50, 0.10, 0.90, 0.40, 0.30],
        [0.70, 0.20, 0.60, 0.50, 0.99, 0.40, 0.30],
        [0.10, 0.20, 0.30, 0.40, 0.50, 0.60, 0.70],
        [0.90, 0.10, 0.20, 0.30, 0.40, 0.50, 0.60],
    ]
)
QUERY_IDENTITIES, QUERY_CAMERAS = np.array([1, 2, 3, 4, 5]), np.array([6, 3, 3, 6, 6])
GALLERY_IDENTITIES, GALLERY_CAMERAS = (
    np.array([1, 1, 2, 2, 3, 3, 4]),
    np.array([1, 2, 1, 4, 2, 5, 4]),
)
SAME_PLACE = (QUERY_CAMERAS[:, None] == 3) & (GALLERY_CAMERAS == 2)


def tolerances():
    """CMC and mAP/mINP tolerance out of the manifest's sentence."""
    words = golden_set.entry(METRICS)["tolerance"].replace(",", " ").split()
    return [float(word) for word in words if word[:2] in ("1e", "2e", "5e")]


@pytest.mark.parametrize("case", CASES)
def test_golden(case):
    arrays = golden_set.load(METRICS)
    of = {name: arrays[f"{case}/{name}"] for name in ("distmat", "q_pids", "g_pids", "cmc")}
    excluded, kind = None, "image"
    if case.startswith("sysu"):
        kind = "identity"
        excluded = (arrays[f"{case}/q_camids"][:, None] == 3) & (arrays[f"{case}/g_camids"] == 2)
    max_rank = golden_set.entry(METRICS)["parameters"]["max_rank"]
    result = evaluate(-of["distmat"], of["q_pids"], of["g_pids"], excluded, kind, max_rank)
    cmc_tolerance, tolerance = tolerances()
    np.testing.assert_allclose(result.cmc[: len(of["cmc"])], of["cmc"], atol=cmc_tolerance, rtol=0)
    assert (result.cmc[len(of["cmc"]) :] == result.cmc[len(of["cmc"]) - 1]).all()
    assert result.mAP == pytest.approx(float(arrays[f"{case}/mAP"]), abs=tolerance)
    assert result.mINP == pytest.approx(float(arrays[f"{case}/mINP"]), abs=tolerance)


def example(queries, cmc, max_rank):
    excluded = SAME_PLACE if cmc == "identity" else np.zeros_like(SAME_PLACE)
    return evaluate(
        EXAMPLE[queries],
        QUERY_IDENTITIES[queries],
        GALLERY_IDENTITIES,
        excluded[queries],
        cmc,
        max_rank,
    )


@pytest.mark.parametrize(
    ("query", "precision", "penalty", "cmc"),
    [
        (0, 0.45, 0.40, [0, 1, 1, 1]),
        (1, 0.45, 0.40, [0, 1, 1, 1]),
        (2, 0.25, 0.25, [0, 0, 1, 1]),  # identity rank 3 although image rank 4
        (3, 1.0, 1.0, [1, 1, 1, 1]),
    ],
)
def test_worked_example_by_identity(query, precision, penalty, cmc):
    result = example([query], "identity", 4)
    assert result.mAP == pytest.approx(precision)
    assert result.mINP == pytest.approx(penalty)
    np.testing.assert_array_equal(result.cmc, cmc)


@pytest.mark.parametrize(
    ("query", "precision", "penalty", "first_rank"),
    [(0, 0.45, 0.4, 2), (1, 0.267857, 0.285714, 4), (2, 0.7, 0.4, 1), (3, 1.0, 1.0, 1)],
)
def test_worked_example_by_image(query, precision, penalty, first_rank):
    result = example([query], "image", 7)
    assert result.mAP == pytest.approx(precision, abs=5e-7)
    assert result.mINP == pytest.approx(penalty, abs=5e-7)
    np.testing.assert_array_equal(result.cmc, np.arange(1, 8) >= first_rank)


def test_worked_example_means():
    everyone = slice(None)
    result = example(everyone, "identity", 4)
    assert result.mAP == pytest.approx(0.5375)
    assert result.mINP == pytest.approx(0.5125)
    assert result.queries == 4
    np.testing.assert_allclose(result.cmc, [0.25, 0.75, 1, 1])
    result = example(everyone, "image", 7)
    assert result.mAP == pytest.approx(0.604464, abs=5e-7)
    assert result.mINP == pytest.approx(0.521429, abs=5e-7)
    np.testing.assert_allclose(result.cmc, [0.5, 0.75, 0.75, 1, 1, 1, 1])


def test_short_lists_are_padded_with_their_last_value():
    """Upstream raises here: the number of identities left differs between queries."""
    cmc = example(slice(None), "identity", 20).cmc
    assert cmc.shape == (20,)
    np.testing.assert_allclose(cmc, [0.25, 0.75] + 18 * [1.0])


def slow_twin(similarity, query_identities, gallery_identities, excluded, cmc, max_rank):
    """The definitions word by word, one query and one rank at a time."""
    cmc_rows, precisions, penalties = [], [], []
    for q, identity in enumerate(query_identities):
        kept = [g for g in range(len(gallery_identities)) if not excluded[q][g]]
        ranked = [gallery_identities[g] for g in sorted(kept, key=lambda g: -similarity[q][g])]
        total = sum(other == identity for other in ranked)
        if total == 0:
            continue
        found, precision, last = 0, 0.0, None
        for rank, other in enumerate(ranked, start=1):
            if other == identity:
                found += 1
                precision += found / rank
                last = rank
        precisions.append(precision / total)
        penalties.append(total / last)
        people = list(dict.fromkeys(ranked)) if cmc == "identity" else ranked
        cmc_rows.append([identity in people[:rank] for rank in range(1, max_rank + 1)])
    if not cmc_rows:
        return None
    return np.mean(cmc_rows, axis=0), np.mean(precisions), np.mean(penalties), len(cmc_rows)


@given(
    seed=st.integers(0, 2**32 - 1),
    queries=st.integers(1, 12),
    gallery=st.integers(1, 25),
    people=st.integers(1, 8),
    share=st.sampled_from([0.0, 0.2, 0.8]),
    cmc=st.sampled_from(["identity", "image"]),
    max_rank=st.integers(1, 30),
)
def test_equals_slow_twin(seed, queries, gallery, people, share, cmc, max_rank):
    generator = np.random.default_rng(seed)
    arguments = (
        generator.permutation(queries * gallery).reshape(queries, gallery) / 7.0,
        generator.integers(people + 1, size=queries),
        generator.integers(people, size=gallery),
        generator.random((queries, gallery)) < share,
        cmc,
        max_rank,
    )
    expected = slow_twin(*arguments)
    if expected is None:
        with pytest.raises(ValueError, match="no query"):
            evaluate(*arguments)
        return
    result = evaluate(*arguments)
    np.testing.assert_allclose(result.cmc, expected[0], atol=1e-12)
    np.testing.assert_allclose((result.mAP, result.mINP), expected[1:3], atol=1e-12)
    assert result.queries == expected[3]


@pytest.mark.parametrize("cmc", ["identity", "image"])
def test_equal_similarities_keep_gallery_order(cmc):
    similarity = np.random.default_rng(0).integers(3, size=500) / 2
    ranked = sorted(range(500), key=lambda g: -similarity[g])
    for rank in (1, 77, 250, 499):
        person = np.array([ranked[rank - 1]])
        result = evaluate(similarity[None], person, np.arange(500), None, cmc, 500)
        np.testing.assert_array_equal(result.cmc, np.arange(1, 501) >= rank)
        assert result.mAP == pytest.approx(1 / rank)


def test_blocks_change_nothing(monkeypatch):
    generator = np.random.default_rng(3)
    arguments = (
        generator.random((37, 23)),
        generator.integers(6, size=37),
        generator.integers(6, size=23),
        generator.random((37, 23)) < 0.3,
    )
    whole = evaluate(*arguments)
    monkeypatch.setattr(metrics, "BLOCK_CELLS", 50)
    monkeypatch.setattr(metrics, "HELD_CELLS", 120)
    assert_same(evaluate(*arguments), whole)


def assert_same(found, expected):
    np.testing.assert_array_equal(found.cmc, expected.cmc)
    assert (found.mAP, found.mINP, found.queries) == (
        expected.mAP,
        expected.mINP,
        expected.queries,
    )


@given(
    seed=st.integers(0, 1000),
    queries=st.integers(1, 30),
    gallery=st.integers(1, 30),
    block=st.integers(1, 200),
    held=st.integers(1, 400),
    length=st.integers(1, 9),
)
def test_pairs_made_by_blocks_are_ranked_as_the_matrix_is(
    seed, queries, gallery, block, held, length
):
    """Features of small whole numbers: products are exact, and many are equal."""
    generator = np.random.default_rng(seed)
    of_queries, of_gallery = (
        generator.integers(-2, 3, (count, 4)).astype(np.float32) for count in (queries, gallery)
    )
    people = generator.integers(4, size=queries), np.arange(gallery) % 4
    people[0][0] = 0  # a query that is valid
    cameras = generator.integers(3, size=queries), generator.integers(3, size=gallery)
    excluded = cameras[0][:, None] == cameras[1]
    excluded[0, 0] = False
    similarity = of_queries.astype(np.float64) @ of_gallery.astype(np.float64).T
    whole = evaluate(similarity, *people, excluded)
    asked = []

    def rows(part):
        asked.append(len(excluded[part]))
        return excluded[part]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "BLOCK_CELLS", block)
        patch.setattr(metrics, "HELD_CELLS", held)
        patch.setattr(pairs, "GALLERY_BYTES", 32 * length)
        blocked = evaluate(
            pairs.cosines(of_queries, of_gallery),
            *people,
            pairs.Pairs(excluded.shape, rows),
        )
    assert_same(blocked, whole)
    assert max(asked) <= max(1, block // gallery)


def test_a_gallery_too_large_for_a_matrix_is_never_one():
    """What is held grows with the gallery, not with queries times gallery."""
    generator = np.random.default_rng(0)
    queries, gallery = 600, 20_000  # 96 MB as a matrix
    features = [generator.standard_normal((n, 8), dtype=np.float32) for n in (queries, gallery)]
    people = generator.integers(50, size=queries), generator.integers(50, size=gallery)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "BLOCK_CELLS", 1 << 16)
        patch.setattr(metrics, "HELD_CELLS", 1 << 18)
        tracemalloc.start()
        evaluate(pairs.cosines(*features), *people, cmc="image")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 24e6


@pytest.mark.parametrize("cmc", ["identity", "image"])
def test_one_query_one_image(cmc):
    result = evaluate(np.array([[-0.5]]), np.array([9]), np.array([9]), None, cmc, 3)
    np.testing.assert_array_equal(result.cmc, [1, 1, 1])
    assert (result.mAP, result.mINP, result.queries) == (1.0, 1.0, 1)


def test_invalid_queries_are_ignored():
    """A person who is not in the gallery, and one whose only image is excluded."""
    similarity = np.array([[0.9, 0.8], [0.9, 0.8], [0.9, 0.8]])
    excluded = np.array([[False, False], [False, True], [False, False]])
    result = evaluate(similarity, np.array([2, 2, 7]), np.array([1, 2]), excluded)
    assert result.queries == 1
    assert result.mAP == 0.5
    assert result.cmc[0] == 0
    assert result.cmc[1] == 1


def test_an_excluded_image_costs_no_rank():
    excluded = np.array([[True, False, False]])
    result = evaluate(np.array([[0.9, 0.8, 0.7]]), np.array([1]), np.array([2, 1, 1]), excluded)
    assert (result.mAP, result.mINP, result.cmc[0]) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"query_identities": np.array([5, 6])}, "no query"),
        ({"excluded": np.ones((2, 3), dtype=bool)}, "no query"),
        ({"excluded": np.zeros((2, 2), dtype=bool)}, "must both be"),
        ({"similarity": np.zeros((3, 2))}, "must both be"),
        ({"similarity": np.full((2, 3), np.nan)}, "NaN"),
        ({"similarity": np.zeros((2, 0)), "gallery_identities": np.zeros(0)}, "nothing to rank"),
        ({"cmc": "images"}, "'identity' or 'image'"),
        ({"max_rank": 0}, "max_rank"),
    ],
)
def test_bad_input(changed, message):
    good = {
        "similarity": np.zeros((2, 3)),
        "query_identities": np.array([1, 2]),
        "gallery_identities": np.array([1, 2, 3]),
    }
    with pytest.raises(ValueError, match=message):
        evaluate(**(good | changed))


@pytest.mark.parametrize("kind", ["identity", "image"])
def test_scores_of_single_queries_are_those_of_each_alone(kind, monkeypatch):
    """Blocks of two queries; the fourth has no correct image."""
    monkeypatch.setattr(metrics, "BLOCK_CELLS", 2 * EXAMPLE.shape[1])
    people = np.array([1, 2, 3, 9, 3])
    found = score_queries(EXAMPLE, people, GALLERY_IDENTITIES, SAME_PLACE, kind)
    assert found.rows.tolist() == [0, 1, 2, 4]
    for place, row in enumerate(found.rows):
        own = slice(row, row + 1)
        alone = evaluate(
            EXAMPLE[own], people[own], GALLERY_IDENTITIES, SAME_PLACE[own], kind, max_rank=7
        )
        assert found.hit_ranks[place] == np.count_nonzero(alone.cmc == 0)
        assert (found.precisions[place], found.penalties[place]) == (alone.mAP, alone.mINP)
