"""How good pseudo labels are: logged for the reader, never used in training.

All functions but ``cycle_consistency`` look at true identities and may therefore not influence a
training in any way, not even the choice of a checkpoint. ``cycle_consistency`` needs none.
Images of unknown identity, -1, are left out of whatever is compared with identities.
"""

import numpy as np
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

Labels = tuple[np.ndarray, np.ndarray]  # visible, infrared
BLOCK_CELLS = 1 << 23
"""Cells of the visible-infrared similarity matrix held at a time."""


def clustering_quality(labels: np.ndarray, identities: np.ndarray) -> dict[str, float]:
    """Agreement of pseudo labels with true identities.

    See docs/methods/common.md#agreement-with-true-identities.

    Args:
        labels: (N,) int64 pseudo labels, -1 = outlier.
        identities: (N,) int64 true identities, -1 = unknown.

    Returns:
        "clusters": how many there are; "outliers": their share in [0, 1]; and, unless all
        identities are unknown (training images of SYSU-MM02): "ari" and "nmi": adjusted
        Rand index and normalised mutual information with the outliers kept as one class -1 (the
        protocol of MMM); "ari_clean" and "nmi_clean": the same without the outliers, 0 when nothing
        is left.

    Raises:
        ValueError: no image, or the lengths disagree.
    """
    labels, identities = np.asarray(labels), np.asarray(identities)
    if not len(labels) or labels.shape != identities.shape:
        raise ValueError(f"labels {labels.shape} and identities {identities.shape} must agree")
    clean, known = labels >= 0, identities >= 0
    counted = {
        "clusters": len(np.unique(labels[clean])),
        "outliers": float(1 - clean.mean()),
    }
    if not known.any():
        return counted
    ari, nmi = _agreement(labels[known], identities[known])
    ari_clean, nmi_clean = _agreement(labels[clean & known], identities[clean & known])
    return counted | {"ari": ari, "nmi": nmi, "ari_clean": ari_clean, "nmi_clean": nmi_clean}


def joint_quality(
    labels_v: np.ndarray,
    labels_r: np.ndarray,
    to_infrared: np.ndarray,
    identities_v: np.ndarray,
    identities_r: np.ndarray,
) -> dict[str, float]:
    """``clustering_quality`` of both modalities together after the matching.

    Every visible cluster takes the label of its matched infrared cluster; an unmatched one keeps a
    label of its own beyond all infrared labels. Outliers stay -1.

    Args:
        labels_v: (N_v,) int64 visible pseudo labels in 0..C_v-1, -1 = outlier.
        labels_r: (N_r,) int64 infrared pseudo labels, -1 = outlier.
        to_infrared: (C_v,) int64 infrared label of every visible cluster, -1 = unmatched.
        identities_v: (N_v,) int64 true identities, -1 = unknown.
        identities_r: (N_r,) int64 true identities, -1 = unknown.

    Raises:
        ValueError: as ``clustering_quality``, or a visible label has no entry in ``to_infrared``.
    """
    labels_v, labels_r, to_infrared = map(np.asarray, (labels_v, labels_r, to_infrared))
    _check_map(labels_v, to_infrared)
    beyond = 1 + max(labels_r.max(initial=-1), to_infrared.max(initial=-1))
    own = beyond + np.arange(len(to_infrared))
    # The last entry answers for label -1.
    relabelled = np.append(np.where(to_infrared >= 0, to_infrared, own), -1)[labels_v]
    return clustering_quality(
        np.concatenate([relabelled, labels_r]), np.concatenate([identities_v, identities_r])
    )


def match_accuracy(
    labels_v: np.ndarray,
    identities_v: np.ndarray,
    labels_r: np.ndarray,
    identities_r: np.ndarray,
    to_infrared: np.ndarray,
) -> float:
    """Share of visible clusters matched to an infrared cluster of the same identity.

    The identity of a cluster is its most frequent one, the smallest of equally frequent ones.
    Unmatched clusters count as wrong; clusters without a known identity, and those matched to one,
    are not counted. For the other direction exchange the modalities.

    Args:
        labels_v: (N_v,) int64 visible pseudo labels in 0..C_v-1, -1 = outlier (ignored).
        identities_v: (N_v,) int64 true identities, -1 = unknown.
        labels_r: (N_r,) int64 infrared pseudo labels, -1 = outlier (ignored).
        identities_r: (N_r,) int64 true identities, -1 = unknown.
        to_infrared: (C_v,) int64 infrared label of every visible cluster, -1 = unmatched.

    Returns:
        In [0, 1]; 0 when there is no visible cluster to judge.

    Raises:
        ValueError: a visible label has no entry in ``to_infrared``.
    """
    labels_v, labels_r, to_infrared = map(np.asarray, (labels_v, labels_r, to_infrared))
    _check_map(labels_v, to_infrared)
    if not len(to_infrared):
        return 0.0
    clusters_r = 1 + max(labels_r.max(initial=-1), to_infrared.max())
    people_v = majority(labels_v, identities_v, len(to_infrared))
    # The last entry, no identity, answers for unmatched clusters.
    people_r = np.append(majority(labels_r, identities_r, clusters_r), -1)
    right = (people_v == people_r[to_infrared]) & (people_v >= 0)
    unknown_r = np.append(_unknown(labels_r, identities_r, clusters_r), False)
    judged = ~(_unknown(labels_v, identities_v, len(to_infrared)) | unknown_r[to_infrared])
    return float(right[judged].mean()) if judged.any() else 0.0


def matching_quality(
    labels: Labels, identities: Labels, maps: Labels
) -> dict[str, dict[str, float]]:
    """Quality of clusters that are matched: of the labels they make together, and of the matches.

    Args:
        labels: (N_v,), (N_r,) int64 pseudo labels, -1 = outlier.
        identities: (N_v,), (N_r,) int64 true identities, -1 = unknown.
        maps: (C_v,), (C_r,) int64 cluster of the other modality, -1 = unmatched.

    Returns:
        ``joint``: see :func:`joint_quality`; where identities of both modalities are known also
        ``match_accuracy`` by modality.
    """
    (y_v, y_r), (true_v, true_r), (to_infrared, to_visible) = labels, identities, maps
    quality = {"joint": joint_quality(y_v, y_r, to_infrared, true_v, true_r)}
    if (true_v >= 0).any() and (true_r >= 0).any():
        quality["match_accuracy"] = {
            "visible": match_accuracy(y_v, true_v, y_r, true_r, to_infrared),
            "infrared": match_accuracy(y_r, true_r, y_v, true_v, to_visible),
        }
    return quality


def association_recall(
    labels: tuple[np.ndarray, np.ndarray],
    identities: tuple[np.ndarray, np.ndarray],
    partners: np.ndarray | None,
    likely: np.ndarray,
) -> dict[str, float]:
    """How many true pairs of clusters a matching finds, alone and with a teacher's candidates.

    A pair is a visible and an infrared cluster; it is true if their most frequent identities are
    equal.  For every cluster the matching proposes its partners, and the teacher its likely rows,
    as far as they belong to the other modality.

    Args:
        labels: (N_v,), (N_r,) int64 pseudo labels, -1 = outlier.
        identities: (N_v,), (N_r,) int64 true identities, -1 = unknown.
        partners: (C_v + C_r, n) int64 rows of both modalities, visible ones first, -1 for none;
            None: nothing is matched.
        likely: (C_v + C_r, n) int64 rows, likewise.

    Returns:
        "matched": share of the true pairs that the matching finds; "united": share that it or the
        teacher finds; "overlap": pairs that both propose among those that either does, 0 if there
        is none.  Nothing where no pair is true, as with unknown identities.
    """
    counts = [1 + y.max(initial=-1) for y in labels]
    people = [majority(*own) for own in zip(labels, identities, counts, strict=True)]
    same = (people[0][:, None] == people[1]) & (people[0][:, None] >= 0)
    true = np.flatnonzero(same)  # pair (v, r) is v C_r + r
    if not len(true):
        return {}
    taught = _pairs_of(likely, *counts)
    matched = np.empty(0, dtype=np.int64) if partners is None else _pairs_of(partners, *counts)
    united = np.union1d(matched, taught)
    return {
        "matched": float(np.isin(true, matched).mean()),
        "united": float(np.isin(true, united).mean()),
        "overlap": len(np.intersect1d(matched, taught)) / max(1, len(united)),
    }


def teacher_quality(
    targets: np.ndarray,
    rows: np.ndarray,
    clusters: np.ndarray,
    is_infrared: np.ndarray,
    people: np.ndarray,
    identities: np.ndarray,
) -> dict[str, np.ndarray]:
    """What a teacher's distributions over proxies of both modalities say of n images.

    Args:
        targets: (n, P) rows that sum to 1.
        rows: (n,) proxy of every image.
        clusters: (P,) joint cluster of every proxy.
        is_infrared: (P,) bool.
        people: (P,) most frequent identity of every proxy, -1 = unknown.
        identities: (n,) true identities, -1 = unknown.

    Returns:
        (n,) float each.  "entropy_own", "entropy_other": nats of the part on the image's own and
        on the other modality, each as a distribution, 0 for a part without mass; "positives": mass
        on the proxies of the image's cluster; "right": share of the other modality's mass that
        lies on proxies of the image's person, NaN where no proxy there or no identity is known.
    """
    is_other = is_infrared != is_infrared[rows][:, None]
    own, other = (_distribution(np.where(part, targets, 0)) for part in (~is_other, is_other))
    same = (people == identities[:, None]) & (people >= 0)
    return {
        "entropy_own": _entropy(own),
        "entropy_other": _entropy(other),
        "positives": np.where(clusters == clusters[rows][:, None], targets, 0).sum(1),
        "right": np.where((same & is_other).any(1), np.where(same, other, 0).sum(1), np.nan),
    }


def modality_gap(visible: np.ndarray, infrared: np.ndarray) -> float:
    """Mean cosine distance of the visible and the infrared mean (C, d) of joint clusters.

    In [0, 2]; 0 without clusters.
    """
    lengths = np.linalg.norm(visible, axis=1) * np.linalg.norm(infrared, axis=1)
    distances = 1 - (visible * infrared).sum(1) / np.maximum(lengths, 1e-12)
    return float(distances.mean()) if len(distances) else 0.0


def majority(labels: np.ndarray, identities: np.ndarray, clusters: int) -> np.ndarray:
    """(clusters,) most frequent known identity of every cluster, -1 where there is none.

    The smallest of equally frequent ones.  Labels (N,) int64, -1 = outlier; identities (N,) int64.
    """
    identities = np.asarray(identities)
    people, person = np.unique(identities, return_inverse=True)
    member = (labels >= 0) & (identities >= 0)
    cells = labels[member] * len(people) + person[member]
    counts = np.bincount(cells, minlength=clusters * len(people)).reshape(clusters, len(people))
    return np.where(counts.any(axis=1), people[counts.argmax(axis=1)], -1)


def cycle_consistency(
    visible: np.ndarray, infrared: np.ndarray, labels_v: np.ndarray, labels_r: np.ndarray
) -> float:
    """Share of round trips through the other modality that end in the cluster they began in.

    From every infrared image with a label: to its most similar visible image, and from there to the
    most similar infrared image other than the first. The trip is consistent when both ends have the
    same pseudo label; ending at an outlier is not. The same from the visible side; the result is
    the mean of both shares. No true identity is used, so the score may choose a checkpoint.
    It compares epochs of one run: few large clusters raise it, one single cluster makes it 1.

    Args:
        visible: (N_v, d) unit rows.
        infrared: (N_r, d) unit rows.
        labels_v: (N_v,) int64 visible pseudo labels, -1 = outlier (no trip begins there).
        labels_r: (N_r,) int64 infrared pseudo labels, -1 = outlier (no trip begins there).

    Returns:
        In [0, 1]; a modality without any label contributes 0.

    Raises:
        ValueError: fewer than two images in a modality, lengths disagree, or a feature is not
            finite.
    """
    labels_v, labels_r = np.asarray(labels_v), np.asarray(labels_r)
    if min(len(visible), len(infrared)) < 2:
        raise ValueError("a round trip needs at least two images of each modality")
    if len(visible) != len(labels_v) or len(infrared) != len(labels_r):
        raise ValueError(
            f"{len(visible)} visible and {len(infrared)} infrared features, but "
            f"{len(labels_v)} and {len(labels_r)} labels"
        )
    if not (np.isfinite(visible).all() and np.isfinite(infrared).all()):
        raise ValueError("the features contain NaN or infinity: no image is nearest to another")
    from_visible = _two_nearest(visible, infrared)
    from_infrared = _two_nearest(infrared, visible)
    return (
        _returning(from_infrared, from_visible, labels_r)
        + _returning(from_visible, from_infrared, labels_v)
    ) / 2


def _agreement(labels: np.ndarray, identities: np.ndarray) -> tuple[float, float]:
    """ARI and NMI, both 0 without images."""
    if not len(labels):
        return 0.0, 0.0
    return (
        float(adjusted_rand_score(identities, labels)),
        float(normalized_mutual_info_score(identities, labels)),
    )


def _check_map(labels: np.ndarray, to_other: np.ndarray) -> None:
    """Every cluster must have an entry in the map."""
    if labels.max(initial=-1) >= len(to_other):
        raise ValueError(f"label {labels.max()} has no entry in a map of {len(to_other)} clusters")


def _pairs_of(rows: np.ndarray, visible: int, infrared: int) -> np.ndarray:
    """Distinct pairs v C_r + r among clusters and the rows (C, n) named for each, -1 for none."""
    own = np.repeat(np.arange(visible + infrared), rows.shape[1])
    low, high = np.minimum(own, rows.ravel()), np.maximum(own, rows.ravel())
    crosses = (low >= 0) & (low < visible) & (visible <= high)
    return np.unique(low[crosses] * infrared + high[crosses] - visible)


def _distribution(masses: np.ndarray) -> np.ndarray:
    """Rows (n, P) that sum to 1, or to 0 without mass."""
    return masses / np.maximum(masses.sum(1, keepdims=True), 1e-12)


def _entropy(rows: np.ndarray) -> np.ndarray:
    """(n,) entropy of every row in nats."""
    return -(rows * np.log(np.maximum(rows, 1e-30))).sum(1)


def _unknown(labels: np.ndarray, identities: np.ndarray, clusters: int) -> np.ndarray:
    """(clusters,) bool: the cluster has images, but none of a known identity."""
    member, known = labels >= 0, np.asarray(identities) >= 0
    images = np.bincount(labels[member], minlength=clusters)
    return (images > 0) & (np.bincount(labels[member & known], minlength=clusters) == 0)


def _two_nearest(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n, 2) rows of ``others`` most similar to every row, the nearest first."""
    nearest = np.empty((len(rows), 2), dtype=np.int64)
    size = max(1, BLOCK_CELLS // len(others))
    for first in range(0, len(rows), size):
        similarity = rows[first : first + size] @ others.T
        inside = np.arange(len(similarity))
        best = similarity.argmax(axis=1)
        # Two passes of argmax beat a partition of the whole row.
        similarity[inside, best] = -np.inf
        nearest[first : first + size] = np.stack([best, similarity.argmax(axis=1)], axis=1)
    return nearest


def _returning(there: np.ndarray, back: np.ndarray, labels: np.ndarray) -> float:
    """Share of labelled images whose round trip ends under their own label."""
    start = np.flatnonzero(labels >= 0)
    if not len(start):
        return 0.0
    ends = back[there[start, 0]]
    end = np.where(ends[:, 0] == start, ends[:, 1], ends[:, 0])
    return float((labels[end] == labels[start]).mean())
