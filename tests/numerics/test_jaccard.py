"""k-reciprocal Jaccard distance against golden vectors, hand cases and a twin written as loops.

Mutation check, done once; each of these errors in the package makes tests below fail: 3a >= 2b
instead of >; a half set one larger, one smaller or rounded up; expansion tested against the
expanded set; softmax of <x, y> instead of 2<x, y>; k2 - 1 neighbours; expansion not skipped for
k2 = 1; one mean over both modalities; always half of each; cursors one entry late; overlaps or
zero weights not cleared; upper triangle not mirrored; cutoff applied with < instead of <= or to the
diagonal; the ranking sorted in place.
"""

import re

import golden_set
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.sparse import csr_array
from sparse_distances import dense

from clustercontrast.clustering import compiled, overlaps
from clustercontrast.clustering import jaccard as module
from clustercontrast.clustering.dbscan import dbscan
from clustercontrast.clustering.jaccard import (
    balanced_jaccard,
    compare,
    encode,
    encodings,
    expand,
    from_ranking,
    jaccard,
    reciprocal,
)
from clustercontrast.clustering.neighbours import nearest

TOLERANCE = 2e-6  # float32 against float64


def on_circle(*degrees):
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angles.cos(), angles.sin()], dim=1).float()


def people(rows, width, seed, length=0.9):
    """Rows in loose groups, norm below 1 as flip-averaged features have."""
    generator = np.random.default_rng(seed)
    groups = generator.standard_normal((max(1, rows // 9), width))
    noisy = groups[generator.integers(len(groups), size=rows)]
    noisy = noisy + generator.uniform(0.3, 1.2) * generator.standard_normal((rows, width))
    noisy *= length / np.linalg.norm(noisy, axis=1, keepdims=True)
    return torch.from_numpy(noisy.astype(np.float32))


# The twin: the steps of docs/methods/common.md one by one, Python sets and float64.


def twin_ranking(features, k1):
    rows = features.double().numpy()
    order = []
    for row in rows:
        distances = [((row - other) ** 2).sum() for other in rows]
        order.append(sorted(range(len(rows)), key=distances.__getitem__)[:k1])
    return np.array(order)


def twin_reciprocal(ranking, i, k):
    count = min(k + 1, len(ranking[0]))
    return {j for j in ranking[i][:count] if i in ranking[j][:count]}


def twin_expanded(ranking, i):
    k1 = len(ranking[0])
    start = twin_reciprocal(ranking, i, k1)
    result = set(start)
    for candidate in start:
        half = twin_reciprocal(ranking, candidate, int(np.round(k1 / 2)))
        if 3 * len(half & start) > 2 * len(half):
            result |= half
    return result


def twin_encoding(rows, ranking):
    encoding = np.zeros((len(rows), len(rows)))
    for i in range(len(rows)):
        members = twin_expanded(ranking, i)
        weights = {j: np.exp(-(2 - 2 * rows[i] @ rows[j])) for j in members}
        for j in members:
            encoding[i, j] = weights[j] / sum(weights.values())
    return encoding


def twin_mean(encoding, neighbours, is_infrared):
    visible = [encoding[j] for j in neighbours if not is_infrared[j]]
    infrared = [encoding[j] for j in neighbours if is_infrared[j]]
    means = [sum(part) / len(part) for part in (visible, infrared) if part]
    return sum(means) / len(means)


def twin(features, ranking, k2, is_infrared=None):
    ranking = [list(map(int, row)) for row in ranking]
    if is_infrared is None:
        is_infrared = [False] * len(ranking)
    encoding = twin_encoding(features.double().numpy(), ranking)
    if k2 > 1:
        encoding = np.array([twin_mean(encoding, row[:k2], is_infrared) for row in ranking])
    result = np.zeros(encoding.shape)
    for i, row in enumerate(encoding):
        for j, other in enumerate(encoding):
            overlap = np.minimum(row, other).sum()
            result[i, j] = max(0, 1 - overlap / (2 - overlap))
    return result


# Golden vectors


def golden_cases():
    for file in golden_set.files("jaccard"):
        for name in golden_set.load(file):
            if name.endswith("/J_triu"):
                case = name.removesuffix("/J_triu")
                yield pytest.param((file, case), id=f"{file}:{case}")


@pytest.fixture(params=golden_cases())
def golden(request):
    """(distances as the package stores them, all golden distances, golden labels by eps)."""
    file, case = request.param
    arrays = golden_set.load(file)
    group, _, setting = case.rpartition("/")
    k1, k2 = map(int, re.fullmatch(r"k1_(\d+)_k2_(\d+)", setting).groups())
    features = torch.from_numpy(arrays[f"{group}/features" if group else "features"])
    size = len(features)
    expected = np.zeros((size, size), dtype=np.float32)
    expected[np.triu_indices(size)] = arrays[f"{case}/J_triu"]
    labels = {
        float(name.rpartition("eps")[2]): value
        for name, value in arrays.items()
        if name.startswith(f"{case}/labels_eps")
    }

    def distances(cutoff=1.0):
        if "modality" not in arrays:
            return jaccard(features, k1, k2, cutoff)
        visible = int((arrays["modality"] == 0).sum())
        return balanced_jaccard(features[:visible], features[visible:], k1, k2, cutoff)

    return file, distances, np.maximum(expected, expected.T), labels


def test_golden_distances(golden):
    file, distances, expected, _ = golden
    stated = golden_set.entry(file)["tolerance"]
    tolerance = float(re.search(r"J: ([\d.e-]+)", stated).group(1))
    np.testing.assert_allclose(dense(distances()), expected, rtol=0, atol=tolerance)


def test_golden_labels(golden):
    file, distances, _, labels = golden
    parameters = golden_set.entry(file)["parameters"]
    assert sorted(labels) == sorted(parameters["eps"])
    for eps, expected in labels.items():
        for stored in (distances(), distances(cutoff=eps)):
            np.testing.assert_array_equal(dbscan(stored, eps, parameters["min_samples"]), expected)


# Recorded values of the official code

EIGHT = on_circle(0, 4, 9, 15, 90, 93, 99, 200)
PAIRS = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3), (4, 5), (4, 6), (5, 6), (4, 7), (0, 4)]
EIGHT_DISTANCES = {
    1: "011963 026799 044278 015015 032702 017955 006022 018050 012100 1 1",
    2: "0 013490 029755 013490 029755 016486 0 009066 009066 666667 1",
    3: "0 014981 014981 014981 014981 0 0 0 0 5 1",
}


@pytest.mark.parametrize("k2", EIGHT_DISTANCES)
def test_eight_angles(k2):
    texts = EIGHT_DISTANCES[k2].split()
    expected = [1.0 if text == "1" else float(f".{text}") for text in texts]
    found = dense(jaccard(EIGHT, 4, k2))
    np.testing.assert_allclose([found[pair] for pair in PAIRS], expected, rtol=0, atol=1e-6)


def test_eight_angles_balanced_pulls_the_isolated_point_closer():
    """The other pairs are taken as equal to the plain ones, true to 1e-5."""
    visible, infrared = EIGHT[0::2], EIGHT[1::2]
    found = dense(balanced_jaccard(visible, infrared, 4, 3))
    position = {0: 0, 2: 1, 4: 2, 6: 3, 1: 4, 3: 5, 5: 6, 7: 7}
    expected = dense(jaccard(EIGHT, 4, 3))
    for pair in [*PAIRS, (5, 7), (6, 7)]:
        value = 0.4 if pair[1] == 7 else expected[pair]
        assert found[position[pair[0]], position[pair[1]]] == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("k2", [1, 2])
@pytest.mark.parametrize(
    ("min_samples", "labels"),
    [
        (2, [0, 0, 0, 0, 1, 1, 1, -1]),
        (3, [0, 0, 0, 0, 1, 1, 1, -1]),
        (4, [0, 0, 0, 0, -1, -1, -1, -1]),
    ],
)
def test_eight_angles_labels(k2, min_samples, labels):
    assert dbscan(jaccard(EIGHT, 4, k2, cutoff=0.6), 0.6, min_samples).tolist() == labels


@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_twenty_four_angles_exercise_the_expansion(backend):
    """Some points lie halfway between two others: of equally near rows the first counts."""
    if backend == "faiss":
        pytest.importorskip("faiss")
    degrees = "0 2 5 9 14 20 27 35 44 54 65 77 90 104 119 135 152 170 189 209 230 252 275 299"
    found = dense(jaccard(on_circle(*map(float, degrees.split())), 8, 3, backend=backend))
    assert found.sum(dtype=np.float64) == pytest.approx(434.3955, abs=1e-4)
    assert (found < 1).sum() == 402
    pairs = [(0, 5), (5, 10), (10, 15), (20, 23), (3, 9), (0, 23)]
    expected = [0.352041, 0.840792, 0.795763, 0.506879, 0.817638, 1]
    np.testing.assert_allclose([found[pair] for pair in pairs], expected, rtol=0, atol=1e-6)


def test_sine_vector():
    rows, columns = np.arange(12)[:, None], np.arange(6)
    features = np.sin(1 + 0.9 * rows + 1.7 * columns * (1 + rows % 3))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    found = dense(jaccard(torch.from_numpy(features), 5, 3))
    assert found.sum(dtype=np.float64) == pytest.approx(99.309, abs=1e-3)
    expected = "0 .9411 .3806 .9767 .7421 .9654 0 .9411 .3806 .9763 .8502 .9678"
    np.testing.assert_allclose(found[0], [float(v) for v in expected.split()], rtol=0, atol=6e-5)


def test_column_limit_makes_the_full_set_one_smaller_than_the_half_rule_suggests():
    ranking = np.array([[0, 1, 2], [1, 0, 2], [2, 1, 0]], dtype=np.int32)
    assert reciprocal(ranking, 1).toarray().tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert reciprocal(ranking, 3).toarray().tolist() == [[1, 1, 1]] * 3


# The twin on random inputs


@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (4, 1), (5, 2), (7, 3), (10, 6), (30, 6), (40, 32)])
@pytest.mark.parametrize("seed", range(3))
def test_equals_twin(k1, k2, seed):
    features = people(37, 6, seed)
    k1, k2 = min(k1, 37), min(k2, 37)
    expected = twin(features, twin_ranking(features, k1), k2)
    np.testing.assert_allclose(dense(jaccard(features, k1, k2)), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("k1", "k2"), [(4, 1), (5, 2), (8, 5), (14, 12)])
@pytest.mark.parametrize("visible", [1, 15, 39])
def test_balanced_equals_twin(k1, k2, visible):
    features = people(40, 5, seed=visible)
    is_infrared = np.arange(40) >= visible
    expected = twin(features, twin_ranking(features, k1), k2, is_infrared)
    found = dense(balanced_jaccard(features[:visible], features[visible:], k1, k2))
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (3, 2), (30, 6)])
def test_few_rows_clamp_k1_and_k2(rows, k1, k2):
    features = people(rows, 4, seed=rows)
    expected = twin(features, twin_ranking(features, min(k1, rows)), min(k2, rows))
    np.testing.assert_allclose(dense(jaccard(features, k1, k2)), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("copies", "k1", "k2"), [(2, 6, 3), (5, 6, 6), (9, 4, 1), (9, 4, 3)])
def test_duplicates_equal_twin(copies, k1, k2):
    """With more than k1 copies, a row may be missing from its own neighbours."""
    features = people(6, 4, seed=copies).repeat(copies, 1)
    ranking = nearest(features, k1)
    found = dense(from_ranking(features, ranking, k2))
    np.testing.assert_allclose(found, twin(features, ranking, k2), rtol=0, atol=TOLERANCE)


def test_row_without_any_reciprocal_neighbour_is_far_from_everything():
    """Row 0 is nobody's neighbour, not even its own: no encoding, as upstream's empty row."""
    features = people(4, 3, seed=0)
    ranking = np.array([[1, 2], [1, 2], [2, 1], [3, 1]])
    found = from_ranking(features, ranking, 1)
    np.testing.assert_allclose(dense(found), twin(features, ranking, 1), rtol=0, atol=TOLERANCE)
    assert found[0, 0] == 1
    assert dbscan(found, 0.6, 1)[0] == -1


@pytest.mark.parametrize("k2", [1, 3])
def test_vanishing_weights(k2):
    """Long rows drive most weights to 0 in float32; products of about 81 are less exact."""
    features = people(30, 4, seed=3, length=9.0)
    ranking = twin_ranking(features, 8)
    pattern = expand(*(reciprocal(ranking.astype(np.int32), k) for k in (8, 4)))
    assert (encode(features, pattern).data == 0).any()
    found = dense(from_ranking(features, ranking, k2))
    np.testing.assert_allclose(found, twin(features, ranking, k2), rtol=0, atol=1e-4)


def test_stored_zero_weights_do_not_repeat_entries():
    """Rows 0 and 1 share two columns and a stored zero, row 2 is empty; the others are equal."""
    values = np.array([0, 0.4, 0.6, 0, 0.4, 0.6], dtype=np.float32)
    encoding = csr_array((values, [0, 1, 2, 0, 1, 2], [0, 3, 6, 6]), shape=(3, 3))
    found = compare(encoding)
    assert found.indices.tolist() == [0, 1, 0, 1, 2]
    np.testing.assert_allclose(found.data, [0, 0, 0, 0, 1], rtol=0, atol=1e-6)


# Storage


@pytest.mark.parametrize("cutoff", [0.0, 0.3, 0.6, 0.95])
def test_cutoff_filters_the_full_result(cutoff):
    features = people(80, 5, seed=1)
    full, cut = jaccard(features, 9, 4), jaccard(features, 9, 4, cutoff)
    expected = dense(full)
    expected[(expected > np.float32(cutoff)) & ~np.eye(80, dtype=bool)] = 1
    np.testing.assert_array_equal(dense(cut), expected)
    assert cut.nnz == max(80, (expected < 1).sum())
    for eps in (cutoff or 0.1, 0.05):
        if eps <= cutoff:
            np.testing.assert_array_equal(dbscan(cut, eps), dbscan(full, eps))


@pytest.mark.parametrize("first", [1, 7, 40])
@pytest.mark.parametrize("cutoff", [0.6, 1.0])
def test_the_first_rows_alone_are_a_slice_of_the_full_result(first, cutoff):
    features = people(40, 16, seed=5)
    encoding = encodings(features, nearest(features, 9), 8, 3)
    whole, part = compare(encoding, cutoff), compare(encoding, cutoff, first)
    assert part.shape == (first, 40)
    assert (part.indptr == whole.indptr[: first + 1]).all()
    assert (part.indices == whole.indices[: part.nnz]).all()
    assert (part.data == whole.data[: part.nnz]).all()


def test_cutoff_keeps_the_distance_that_equals_it():
    features = people(80, 5, seed=2)
    value = float(np.median(jaccard(features, 9, 4).data))
    kept = jaccard(features, 9, 4, cutoff=value)
    assert kept.data.max() == np.float32(value)


def test_storage_format():
    found = jaccard(people(90, 5, seed=4).repeat(2, 1), 6, 3)
    assert found.format == "csr"
    assert found.dtype == np.float32
    assert found.indices.dtype == np.int32
    assert all((np.diff(found[[i]].indices) > 0).all() for i in range(180))
    np.testing.assert_array_equal(dense(found), dense(found).T)
    stored = np.zeros(found.shape, dtype=bool)
    stored[found.tocoo().row, found.tocoo().col] = True
    assert stored.diagonal().all()
    assert found.data.max() < 1
    assert (found.data[:] == 0).any()  # distance 0 is an entry, not a gap


@pytest.mark.parametrize("block", [1, 7, 64])
@pytest.mark.parametrize("cutoff", [0.6, 1.0])
def test_blocks_and_threads_do_not_change_a_bit(monkeypatch, block, cutoff):
    features = people(100, 6, seed=5)
    expected = jaccard(features, 12, 5, cutoff)
    monkeypatch.setattr(compiled, "BLOCK_ROWS", block)
    monkeypatch.setattr(overlaps, "BLOCK_ROWS", block)
    monkeypatch.setattr(overlaps, "BLOCKS", 1000)
    found = jaccard(features, 12, 5, cutoff)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.data, expected.data)


sparse_rows = npst.arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.just(12)),
    elements=st.sampled_from([0, 0, 0, 1, 2, 3, 8]).map(float),
)


@given(
    sparse_rows.map(lambda rows: rows[:, : len(rows)]),
    st.sampled_from([0.0, 1e-7, 0.2, 1 / 3, 0.5, 0.6, 2 / 3, 0.9, 0.999]),
)
def test_columns_not_searched_lose_no_pair(weights, cutoff):
    """What is stored up to a cutoff is what is stored without one, to the last bit."""
    sums = weights.sum(axis=1, keepdims=True)
    encoding = csr_array(weights / np.where(sums, sums, 1))
    every = compare(encoding)
    rows = np.repeat(np.arange(len(weights)), np.diff(every.indptr))
    is_kept = (every.data <= np.float32(cutoff)) | (every.indices == rows)
    found = compare(encoding, cutoff)
    np.testing.assert_array_equal(found.indices, every.indices[is_kept])
    np.testing.assert_array_equal(found.data, every.data[is_kept])
    np.testing.assert_array_equal(
        np.diff(found.indptr), np.bincount(rows[is_kept], minlength=len(weights))
    )


@pytest.mark.parametrize("cast", [torch.Tensor.half, torch.Tensor.bfloat16, torch.Tensor.double])
def test_features_of_other_types_give_what_their_float32_gives(monkeypatch, cast):
    features = cast(people(90, 6, seed=9))
    ranking = nearest(features, 12)
    expected = from_ranking(features.float(), ranking, 4)
    monkeypatch.setattr(module, "CONVERTED_ROWS", 7)
    found = from_ranking(features, ranking, 4)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.data, expected.data)


def test_mapped_features_are_read_where_they_lie(tmp_path):
    features = people(90, 6, seed=9)
    np.save(tmp_path / "features.npy", features.half().numpy())
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    ranking = nearest(features, 12)
    expected = from_ranking(features.half().float(), ranking, 4)
    np.testing.assert_array_equal(dense(from_ranking(mapped, ranking, 4)), dense(expected))


# Interface


def test_balanced_with_one_modality_is_plain():
    features = people(50, 6, seed=6)
    expected = dense(jaccard(features, 10, 6))
    np.testing.assert_array_equal(dense(balanced_jaccard(features, features[:0], 10, 6)), expected)
    np.testing.assert_array_equal(dense(balanced_jaccard(features[:0], features, 10, 6)), expected)


def test_rows_are_not_normalised():
    features = people(50, 6, seed=7)
    found = dense(jaccard(features / 2, 10, 1))
    assert np.abs(found - dense(jaccard(features, 10, 1))).max() > 0.01


@pytest.mark.parametrize(("k1", "k2"), [(5, 6), (0, 0), (3, 0), (-1, -2)])
def test_wrong_sizes_are_refused(k1, k2):
    with pytest.raises(ValueError, match=f"k1 is {k1} and k2 is {k2}"):
        jaccard(people(20, 4, seed=0), k1, k2)
    with pytest.raises(ValueError, match="expected 1 ≤ k2 ≤ k1"):
        balanced_jaccard(people(20, 4, seed=0), people(20, 4, seed=1), k1, k2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_features_are_refused(value):
    features = people(20, 4, seed=0)
    features[3, 2] = value
    with pytest.raises(ValueError, match="1 of 20 feature rows"):
        jaccard(features, 5, 2)


def test_empty_input_is_refused():
    with pytest.raises(ValueError, match="no feature rows"):
        jaccard(torch.empty(0, 4), 5, 2)
    with pytest.raises(ValueError, match="no feature rows"):
        balanced_jaccard(torch.empty(0, 4), torch.empty(0, 4), 5, 2)
