"""Quality of pseudo labels: cases computed by hand, invariances, a slow twin of the round trips.

Each of these errors in the package was tried and makes a test here fail: the start of a trip not
left out, outliers as starts, unmatched clusters counted as right, unmatched labels without offset.
"""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clustercontrast.association.unified import rows_of_partners
from clustercontrast.evaluation import diagnostics
from clustercontrast.evaluation.diagnostics import (
    association_recall,
    clustering_quality,
    cycle_consistency,
    joint_quality,
    match_accuracy,
    modality_gap,
    teacher_quality,
)

seeds = st.integers(0, 2**32 - 1)


def pair_counting_ari(labels, identities):
    """Adjusted Rand index by looking at every pair of images."""
    pairs = [(i, j) for i in range(len(labels)) for j in range(i)]
    same_label = [labels[i] == labels[j] for i, j in pairs]
    same_person = [identities[i] == identities[j] for i, j in pairs]
    both = sum(a and b for a, b in zip(same_label, same_person, strict=True))
    chance = sum(same_label) * sum(same_person) / len(pairs)
    return (both - chance) / ((sum(same_label) + sum(same_person)) / 2 - chance)


def test_quality_by_hand():
    """Two people; one image of the first is an outlier, one of the second sits in cluster 0."""
    labels, identities = np.array([0, 0, -1, 0, 1, 1]), np.array([7, 7, 7, 9, 9, 9])
    quality = clustering_quality(labels, identities)
    assert quality["clusters"] == 2
    assert quality["outliers"] == pytest.approx(1 / 6)
    # 15 pairs: 4 share a label, 6 a person, 2 both; chance 4·6/15 = 1.6 → (2-1.6)/(5-1.6)
    assert quality["ari"] == pytest.approx(0.4 / 3.4)
    # without the outlier 10 pairs: 4, 4, 2 → (2-1.6)/(4-1.6)
    assert quality["ari_clean"] == pytest.approx(0.4 / 2.4)
    # H(label) = H(person) = -(0.4 ln 0.4 + 0.6 ln 0.6); cells 2/5, 1/5, 2/5
    entropy = -(0.4 * np.log(0.4) + 0.6 * np.log(0.6))
    information = 0.4 * np.log(0.4 / 0.24) + 0.2 * np.log(0.2 / 0.36) + 0.4 * np.log(0.4 / 0.24)
    assert quality["nmi_clean"] == pytest.approx(information / entropy)


def test_perfect_labels_and_outliers_as_a_class():
    identities = np.array([3, 3, 5, 5, 8, 8])
    perfect = clustering_quality(np.array([0, 0, 1, 1, 2, 2]), identities)
    assert [perfect[k] for k in ("ari", "nmi", "ari_clean", "nmi_clean")] == pytest.approx([1] * 4)
    # outliers that happen to be one person are a perfect class of their own
    outliers = clustering_quality(np.array([0, 0, 1, 1, -1, -1]), identities)
    assert outliers["ari"] == pytest.approx(1)
    assert outliers["clusters"] == 2


def test_all_outliers():
    quality = clustering_quality(np.full(4, -1), np.array([1, 1, 2, 2]))
    assert quality == {
        "clusters": 0,
        "outliers": 1.0,
        "ari": 0.0,
        "nmi": 0.0,
        "ari_clean": 0.0,
        "nmi_clean": 0.0,
    }


@given(seed=seeds)
def test_quality_invariances_and_pair_counts(seed):
    generator = np.random.default_rng(seed)
    labels, identities = generator.integers(-1, 4, 12), generator.integers(0, 3, 12)
    quality = clustering_quality(labels, identities)
    order = generator.permutation(12)
    renamed = np.append(generator.permutation(4) + 10, -1)[labels]
    for other in (
        clustering_quality(labels[order], identities[order]),
        clustering_quality(renamed, 100 - identities),
    ):
        assert other == pytest.approx(quality, abs=1e-12)
    if len(set(identities)) > 1:
        assert quality["ari"] == pytest.approx(pair_counting_ari(labels, identities))


@given(seeds)
def test_images_of_unknown_identity_are_left_out_of_agreement_alone(seed):
    rng = np.random.default_rng(seed)
    labels, identities = rng.integers(-1, 4, 30), rng.integers(-1, 3, 30)
    identities[0] = 2
    known = identities >= 0
    quality = clustering_quality(labels, identities)
    among_known = clustering_quality(labels[known], identities[known])
    measures = ("ari", "nmi", "ari_clean", "nmi_clean")
    assert [quality[m] for m in measures] == [among_known[m] for m in measures]
    assert quality["clusters"] == len(set(labels.tolist()) - {-1})
    assert quality["outliers"] == pytest.approx(np.mean(labels == -1))


def test_nothing_is_said_of_agreement_when_nobody_is_known():
    labels, unknown = np.array([0, 0, 1, -1]), np.full(4, -1)
    assert clustering_quality(labels, unknown) == {"clusters": 2, "outliers": 0.25}
    joint = joint_quality(labels, labels, np.array([1, 0]), unknown, unknown)
    assert joint == {"clusters": 2, "outliers": 0.25}


def test_clusters_of_nobody_known_are_not_judged():
    """Visible: 0 is person 5 (one image of four, the rest unknown), 1 unknown, 2 is person 6."""
    labels_v = np.array([0, 0, 0, 0, 1, 2])
    identities_v = np.array([-1, -1, 5, -1, -1, 6])
    labels_r, identities_r = np.array([0, 1, 2]), np.array([5, -1, 7])
    judge = functools.partial(match_accuracy, labels_v, identities_v, labels_r, identities_r)
    assert judge(np.array([0, 2, 2])) == pytest.approx(1 / 2)  # right, not judged, wrong
    assert judge(np.array([0, 0, 1])) == 1  # the last one's partner is not known
    assert judge(np.array([0, 0, -1])) == pytest.approx(1 / 2)  # unmatched is wrong as ever
    assert judge(np.array([1, 0, 1])) == 0  # nothing left to judge


def test_joint_quality_relabels_by_the_matching():
    """Visible clusters 0, 1 are the infrared clusters 1, 0; outliers of both are one class."""
    labels_v, identities_v = np.array([0, 0, 1, 1, -1]), np.array([4, 4, 6, 6, 6])
    labels_r, identities_r = np.array([0, 0, 1, -1]), np.array([6, 6, 4, 4])
    joint = joint_quality(labels_v, labels_r, np.array([1, 0]), identities_v, identities_r)
    expected = clustering_quality(
        np.array([1, 1, 0, 0, -1, 0, 0, 1, -1]), np.r_[identities_v, identities_r]
    )
    assert joint == expected
    assert joint["ari_clean"] == pytest.approx(1)
    swapped = joint_quality(labels_v, labels_r, np.array([0, 1]), identities_v, identities_r)
    assert swapped["ari_clean"] < joint["ari_clean"]


def test_unmatched_visible_clusters_keep_labels_of_their_own():
    labels_v, identities_v = np.array([0, 0, 1, 1, 2, 2]), np.array([1, 1, 2, 2, 3, 3])
    labels_r, identities_r = np.array([0, 0, 1, 1]), np.array([3, 3, 4, 4])
    joint = joint_quality(labels_v, labels_r, np.array([-1, -1, 0]), identities_v, identities_r)
    assert joint["clusters"] == 4
    assert joint["ari"] == pytest.approx(1)
    nothing = joint_quality(labels_v, labels_r, np.full(3, -1), identities_v, identities_r)
    assert nothing["clusters"] == 5


def test_match_accuracy_by_hand():
    labels_v = np.array([0, 0, 0, 1, 1, 2, -1])
    identities_v = np.array([5, 5, 8, 8, 8, 9, 9])
    labels_r = np.array([0, 0, 1, 1, 1, -1])
    identities_r = np.array([8, 8, 5, 5, 9, 9])
    both = (labels_v, identities_v, labels_r, identities_r)
    # cluster 0 is person 5 = infrared 1, cluster 1 is person 8 = infrared 0, cluster 2 has nobody
    assert match_accuracy(*both, np.array([1, 0, -1])) == pytest.approx(2 / 3)
    assert match_accuracy(*both, np.array([0, 0, 1])) == pytest.approx(1 / 3)
    assert match_accuracy(*both, np.array([0, 1, 1])) == 0
    other_way = (labels_r, identities_r, labels_v, identities_v)
    assert match_accuracy(*other_way, np.array([1, 0])) == 1
    assert match_accuracy(*other_way, np.array([1, 2])) == 0.5


def test_match_accuracy_of_nothing():
    empty, one = np.zeros(0, dtype=np.int64), np.array([0])
    assert match_accuracy(np.array([-1]), one, one, one, empty) == 0
    # infrared has no labelled image: a match to one of its clusters names nobody
    assert match_accuracy(one, one, np.array([-1]), one, np.array([0])) == 0
    # a cluster without images has no person, not the person of another empty cluster
    assert match_accuracy(one, one, one, one, np.array([0, 1])) == 0.5


def test_equally_frequent_identities_are_settled_by_the_smallest():
    labels = np.array([0, 0])
    for identities in (np.array([3, 7]), np.array([7, 3])):
        people = np.array([3, 3])
        assert match_accuracy(labels, identities, labels, people, np.array([0])) == 1


def test_a_label_without_entry_in_the_map():
    one, two = np.array([0]), np.array([0, 1])
    with pytest.raises(ValueError, match="label 1 has no entry in a map of 1 clusters"):
        match_accuracy(two, two, two, two, one)
    with pytest.raises(ValueError, match="label 1 has no entry"):
        joint_quality(two, two, one, two, two)


def clusters_of(*people):
    """Labels and identities of clusters with one image each, and of an outlier."""
    return np.append(np.arange(len(people)), -1), np.append(np.array(people, dtype=np.int64), 1)


def recall(people_v, people_r, maps, likely):
    (y_v, t_v), (y_r, t_r) = clusters_of(*people_v), clusters_of(*people_r)
    partners = maps and rows_of_partners(*map(torch.tensor, maps)).numpy()[:, None]
    return association_recall((y_v, y_r), (t_v, t_r), partners, np.array(likely))


def test_association_recall_by_hand():
    """People 1, 2, 3 and 1, 3, 1: three true pairs, (0, 0), (0, 2) and (2, 1)."""
    maps = [0, 1, -1], [0, -1, 1]  # matched: (0, 0), (1, 1); (0, 0), (1, 2)
    # rows 0..5: of the likely ones in the other modality (0, 0), (2, 1), (2, 1), (0, 2)
    likely = [[0, 3], [1, 0], [4, 2], [3, 0], [2, 4], [5, 0]]
    found = recall([1, 2, 3], [1, 3, 1], maps, likely)
    assert found == {
        "matched": pytest.approx(1 / 3),
        "united": 1.0,
        "overlap": pytest.approx(1 / 5),  # (0, 0) of that and (1, 1), (1, 2), (2, 1), (0, 2)
    }
    alone = recall([1, 2, 3], [1, 3, 1], None, likely)
    assert alone == {"matched": 0.0, "united": 1.0, "overlap": 0.0}


def test_without_a_true_pair_there_is_no_recall():
    likely = [[0, 1], [1, 0]]
    assert recall([1], [2], ([0], [0]), likely) == {}
    assert recall([-1], [-1], ([0], [0]), likely) == {}  # unknown identities


def test_a_teacher_is_graded_by_hand():
    """Proxies 0, 1 visible, 2, 3 infrared, of clusters 0, 1, 0, 2 and people 7, 8, 7, 8."""
    targets = np.array([[0.4, 0.1, 0.4, 0.1], [0.0, 0.5, 0.25, 0.25], [0.5, 0.0, 0.0, 0.5]])
    rows, people = np.array([0, 1, 3]), np.array([7, 8, 7, 8])
    clusters, is_infrared = np.array([0, 1, 0, 2]), np.array([False, False, True, True])
    found = teacher_quality(targets, rows, clusters, is_infrared, people, np.array([7, 8, -1]))
    mixed = -(0.8 * np.log(0.8) + 0.2 * np.log(0.2))
    np.testing.assert_allclose(found["entropy_own"], [mixed, 0, 0])
    np.testing.assert_allclose(found["entropy_other"], [mixed, np.log(2), 0])
    np.testing.assert_allclose(found["positives"], [0.8, 0.5, 0.5])
    np.testing.assert_allclose(found["right"], [0.8, 0.5, np.nan])  # the last is of nobody known


def test_the_gap_of_modalities_is_a_mean_cosine_distance():
    visible, infrared = np.array([[2.0, 0], [0, 1]]), np.array([[0, 3.0], [0, 5]])
    assert modality_gap(visible, infrared) == pytest.approx(0.5)
    assert modality_gap(visible[:0], infrared[:0]) == 0.0


@given(st.integers(0, 10**6))
def test_association_recall_counts_pairs(seed):
    """The same in sets of pairs; what is united is never less than what is matched."""
    rng = np.random.default_rng(seed)
    visible, infrared = rng.integers(1, 6, 2)
    people = rng.integers(0, 3, visible), rng.integers(0, 3, infrared)
    maps = rng.integers(-1, infrared, visible), rng.integers(-1, visible, infrared)
    likely = rng.integers(0, visible + infrared, (visible + infrared, 2))
    found = recall(*people, maps, likely)
    matched = {(v, r) for v, r in enumerate(maps[0]) if r >= 0}
    matched |= {(v, r) for r, v in enumerate(maps[1]) if v >= 0}
    taught = {(min(u, w), max(u, w) - visible) for u, row in enumerate(likely) for w in row}
    taught = {(v, r) for v, r in taught if v < visible and r >= 0}
    true = {(v, r) for v in range(visible) for r in range(infrared) if people[0][v] == people[1][r]}
    if not true:
        assert found == {}
        return
    assert found["matched"] == pytest.approx(len(true & matched) / len(true))
    assert found["united"] == pytest.approx(len(true & (matched | taught)) / len(true))
    both = len(matched & taught) / max(1, len(matched | taught))
    assert found["overlap"] == pytest.approx(both)
    assert found["united"] >= found["matched"]


def angles(*degrees):
    """Unit vectors of the plane."""
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def test_cycle_consistency_by_hand():
    visible, labels_v = angles(0, 4, 90), np.array([0, 0, 1])
    infrared, labels_r = angles(1, 6, 84, 95), np.array([0, 0, 1, -1])
    # infrared 1° → 0° → 6° (not itself): right; 6° → 4° → 1°: right; 84° → 90° → 95°: an outlier;
    # 95° starts no trip. Visible 0° → 1° → 4°: right; 4° → 6° → 0°: right; 90° → 95° → 4°: wrong.
    assert cycle_consistency(visible, infrared, labels_v, labels_r) == pytest.approx(2 / 3)


def test_cycle_consistency_leaves_the_start_out():
    """Both infrared images find visible 0°; each one must then find the other, not itself."""
    visible, infrared = angles(0, 180), angles(1, -2)
    assert cycle_consistency(visible, infrared, np.array([0, -1]), np.array([0, 1])) == 0
    assert cycle_consistency(visible, infrared, np.array([-1, -1]), np.array([0, 0])) == 0.5


def test_cycle_consistency_without_labels_is_zero():
    rows = angles(0, 10, 20)
    assert cycle_consistency(rows, rows, np.full(3, -1), np.full(3, -1)) == 0


def slow_cycle(visible, infrared, labels_v, labels_r):
    """One trip at a time."""
    shares = []
    for near, far, labels in ((infrared, visible, labels_r), (visible, infrared, labels_v)):
        trips = []
        for start in range(len(near)):
            if labels[start] < 0:
                continue
            middle = max(range(len(far)), key=lambda j, s=start: near[s] @ far[j])
            others = [i for i in range(len(near)) if i != start]
            end = max(others, key=lambda i, m=middle: far[m] @ near[i])
            trips.append(labels[end] == labels[start])
        shares.append(np.mean(trips) if trips else 0.0)
    return np.mean(shares)


@given(seed=seeds, count_v=st.integers(2, 15), count_r=st.integers(2, 15))
def test_cycle_equals_slow_twin_and_ignores_order(seed, count_v, count_r):
    generator = np.random.default_rng(seed)
    visible, infrared = (
        generator.standard_normal((count_v, 4)),
        generator.standard_normal((count_r, 4)),
    )
    visible /= np.linalg.norm(visible, axis=1, keepdims=True)
    infrared /= np.linalg.norm(infrared, axis=1, keepdims=True)
    labels_v, labels_r = generator.integers(-1, 3, count_v), generator.integers(-1, 3, count_r)
    score = cycle_consistency(visible, infrared, labels_v, labels_r)
    assert score == pytest.approx(slow_cycle(visible, infrared, labels_v, labels_r))
    order_v, order_r = generator.permutation(count_v), generator.permutation(count_r)
    assert score == pytest.approx(
        cycle_consistency(visible[order_v], infrared[order_r], labels_v[order_v], labels_r[order_r])
    )


def test_blocks_change_nothing(monkeypatch):
    generator = np.random.default_rng(5)
    visible, infrared = generator.standard_normal((40, 4)), generator.standard_normal((31, 4))
    labels_v, labels_r = generator.integers(-1, 3, 40), generator.integers(-1, 3, 31)
    copies = visible.copy(), infrared.copy()
    whole = cycle_consistency(visible, infrared, labels_v, labels_r)
    monkeypatch.setattr(diagnostics, "BLOCK_CELLS", 100)
    assert cycle_consistency(visible, infrared, labels_v, labels_r) == whole
    np.testing.assert_array_equal(visible, copies[0])
    np.testing.assert_array_equal(infrared, copies[1])


def test_bad_input():
    rows, labels = angles(0, 10), np.array([0, 0])
    with pytest.raises(ValueError, match="at least two images"):
        cycle_consistency(rows[:1], rows, labels[:1], labels)
    with pytest.raises(ValueError, match="2 visible and 2 infrared features, but 1 and 2 labels"):
        cycle_consistency(rows, rows, labels[:1], labels)
    with pytest.raises(ValueError, match="must agree"):
        clustering_quality(labels, labels[:1])
    with pytest.raises(ValueError, match="must agree"):
        clustering_quality(labels[:0], labels[:0])


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_features_that_are_not_finite_have_no_cycle(broken):
    rows, labels = np.eye(3), np.zeros(3, np.int64)
    bad = rows.copy()
    bad[1, 2] = broken
    for pair in ((bad, rows), (rows, bad)):
        with pytest.raises(ValueError, match="NaN or infinity"):
            cycle_consistency(*pair, labels, labels)
