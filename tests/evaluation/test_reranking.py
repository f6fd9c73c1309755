"""k-reciprocal re-ranking against hand-computed cases and a dense twin written from the paper."""

import re
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercontrast.evaluation.reranking import Reranking


def people(count, seed, width=12, identities=9):
    """Unit rows in loose groups."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((identities, width))
    rows = centres[generator.integers(identities, size=count)]
    rows = rows + 0.6 * generator.standard_normal((count, width))
    return torch.nn.functional.normalize(torch.from_numpy(rows).float())


def on_circle(*degrees):
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angles.cos(), angles.sin()], dim=1).float()


# --- the twin: dense float64 arrays and Python sets, section by section of the paper ---


def reciprocal_set(ranking, image, k):
    """R(p, k), Eq. 2: the image itself stands first in its own list and is not counted in k."""
    return {near for near in ranking[image][: k + 1] if image in ranking[near][: k + 1]}


def expanded_set(ranking, image, k1):
    """R*(p, k), Eq. 3."""
    full = reciprocal_set(ranking, image, k1)
    found = set(full)
    for candidate in full:
        half = reciprocal_set(ranking, candidate, round(k1 / 2))
        if 3 * len(full & half) > 2 * len(half):
            found |= half
    return found


def twin(queries, gallery, k1, k2, weight):
    """d*, Eq. 12, (Q, G) float64."""
    union = torch.cat([queries, gallery]).double().numpy()
    distances = np.maximum(0, 2 - 2 * union @ union.T)
    ranking = np.argsort(distances, axis=1, kind="stable").tolist()
    vectors = np.zeros_like(distances)
    for image in range(len(union)):  # Eq. 7
        members = sorted(expanded_set(ranking, image, k1))
        vectors[image, members] = np.exp(-distances[image, members])
        vectors[image] /= vectors[image].sum()
    vectors = np.stack([vectors[own[:k2]].mean(axis=0) for own in ranking])  # Eq. 11
    count = len(queries)
    smaller = np.minimum(vectors[:count, None], vectors[None]).sum(axis=2)  # Eq. 10
    larger = np.maximum(vectors[:count, None], vectors[None]).sum(axis=2)
    original = distances[:count] / distances[:count].max(axis=1, keepdims=True)
    return ((1 - weight) * (1 - smaller / larger) + weight * original)[:, count:]


@pytest.mark.parametrize(
    ("k1", "k2", "weight"), [(1, 1, 0.3), (4, 1, 0.0), (5, 3, 0.3), (20, 6, 0.3), (25, 6, 0.7)]
)
@pytest.mark.parametrize("seed", range(2))
def test_equals_the_twin_of_the_paper(k1, k2, weight, seed):
    union = people(150, seed)
    queries, gallery = union[:40], union[40:]
    found = Reranking(queries, gallery, k1, k2, weight).distances(slice(0, 40))
    assert found.shape == (40, 110)
    assert found.dtype == np.float32
    assert found == pytest.approx(twin(queries, gallery, k1, k2, weight), abs=3e-6)


def test_the_defaults_are_those_of_the_paper():
    queries, gallery = people(130, 3).split([30, 100])
    assert np.array_equal(
        Reranking(queries, gallery).distances(slice(None)),
        Reranking(queries, gallery, k1=20, k2=6, weight=0.3).distances(slice(None)),
    )


def test_three_images_by_hand():
    """A query at 0 degrees, gallery images at 10 and 180 degrees, k1 = 1 without expansion.

    Query and first image have each other, so both encodings lie on both images with the weights
    a = exp(0) and b = exp(-d), d = 2 - 2 cos 10.  The third image is nearest to nobody.
    """
    near = 2 - 2 * np.cos(np.deg2rad(10))
    a, b = np.array([1, np.exp(-near)]) / (1 + np.exp(-near))
    overlap = 2 * min(a, b)
    jaccard = 1 - overlap / (2 - overlap)
    found = Reranking(on_circle(0), on_circle(10, 180), 1, 1, 0.3).distances(slice(None))
    expected = [0.7 * jaccard + 0.3 * near / 4, 0.7 * 1 + 0.3 * 4 / 4]
    assert found[0] == pytest.approx(expected, abs=1e-6)


def test_neighbours_bring_an_image_forward_that_lies_farther():
    """The query's group reaches one image by its neighbours; a nearer one is of another group."""
    group = on_circle(0, 8, 16, 24, 32)
    others = on_circle(-30, -31, -32, -33, -34)
    queries, gallery = group[:1], torch.cat([group[1:], others])
    plain = Reranking(queries, gallery, 4, 2, 1.0).distances(slice(None))[0]
    found = Reranking(queries, gallery, 4, 2, 0.3).distances(slice(None))[0]
    farthest_of_group, nearest_of_others = 3, 4
    assert plain[farthest_of_group] > plain[nearest_of_others]
    assert found[farthest_of_group] < found[nearest_of_others]


def test_blocks_are_slices_of_all_rows():
    queries, gallery = people(90, 5).split([40, 50])
    reranking = Reranking(queries, gallery, 8, 3)
    whole = reranking.distances(slice(None))
    for rows in (slice(0, 1), slice(7, 19), slice(30, 99)):
        assert reranking.distances(rows) == pytest.approx(whole[rows], abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), k1=st.integers(1, 30), weight=st.floats(0, 1))
def test_the_order_of_the_gallery_does_not_matter(seed, k1, weight):
    queries, gallery = people(60, seed).split([20, 40])
    order = np.random.default_rng(seed).permutation(40)
    found = Reranking(queries, gallery, k1, min(3, k1), weight).distances(slice(None))
    permuted = Reranking(queries, gallery[order], k1, min(3, k1), weight).distances(slice(None))
    assert permuted == pytest.approx(found[:, order], abs=2e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), k1=st.integers(1, 30))
def test_with_a_weight_of_one_the_ranking_is_the_plain_one(seed, k1):
    queries, gallery = people(60, seed).split([20, 40])
    found = Reranking(queries, gallery, k1, 1, 1.0).distances(slice(None))
    similarity = (queries.double() @ gallery.double().T).numpy()
    by_distance = np.take_along_axis(similarity, found.argsort(axis=1, kind="stable"), axis=1)
    assert (np.diff(by_distance, axis=1) < 1e-6).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), k1=st.integers(1, 20), weight=st.floats(0, 1))
def test_distances_lie_between_0_and_1(seed, k1, weight):
    queries, gallery = people(50, seed).split([10, 40])
    found = Reranking(queries, gallery, k1, 1, weight).distances(slice(None))
    assert found.min() >= -1e-6
    assert found.max() <= 1 + 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_doubles_equal_the_twin(seed):
    """Every image twice: the first of two equal rows is the nearer one."""
    queries, gallery = people(50, seed).split([10, 40])
    gallery = torch.cat([gallery, gallery, queries])
    found = Reranking(queries, gallery, 6, 3, 0.3).distances(slice(None))
    assert found == pytest.approx(twin(queries, gallery, 6, 3, 0.3), abs=3e-6)


def test_many_doubles_of_one_image_are_no_harm():
    rows = people(1, 0).expand(60, -1)
    found = Reranking(rows[:20], rows[20:], 5, 3).distances(slice(None))
    assert np.isfinite(found).all()


def test_fewer_images_than_neighbours_asked_for():
    queries, gallery = people(5, 1).split([2, 3])
    found = Reranking(queries, gallery, 20, 6, 0.3).distances(slice(None))
    assert found == pytest.approx(twin(queries, gallery, 4, 5, 0.3), abs=3e-6)


@pytest.mark.slow
def test_nothing_of_the_size_of_all_pairs_is_held():
    """Of 20,000 images all pairs would be 1.6 GB; torch's blocks are bounded by themselves."""
    queries, gallery = people(20_000, 0, width=8, identities=2000).split([50, 19_950])
    tracemalloc.start()
    Reranking(queries, gallery).distances(slice(None))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400e6


@pytest.mark.parametrize(
    "wrong", [{"k1": 0}, {"k2": 0}, {"k1": 5, "k2": 6}, {"weight": -0.1}, {"weight": 1.1}]
)
def test_wrong_parameters_are_refused(wrong):
    queries, gallery = people(50, 0).split([10, 40])
    with pytest.raises(ValueError, match=re.escape("expected 1 ≤ k2 ≤ k1")):
        Reranking(queries, gallery, **wrong)


def test_no_query_and_no_gallery_are_refused():
    with pytest.raises(ValueError, match="one image each at least"):
        Reranking(people(5, 0), torch.empty(0, 12))
