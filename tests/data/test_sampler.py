"""Camera-diverse draw against docs/methods/common.md#sampler, block by block.

Mutations tried once, each made a test fail: the replacement rule one candidate off either way;
companions from all cameras; anchor among its companions; clusters in order; uneven anchors.
"""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from clustercontrast.data.sampler import batches_of_rows, draw_pass
from clustercontrast.files import UserError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def candidates_of(anchor: int, labels: np.ndarray, cameras: np.ndarray | None) -> list[int]:
    """Slow twin of the rule: who may follow this anchor?"""
    mates = [i for i in range(len(labels)) if labels[i] == labels[anchor] and i != anchor]
    if cameras is None:
        return mates
    elsewhere = [i for i in mates if cameras[i] != cameras[anchor]]
    return elsewhere or mates


def blocks_of(rows: list[int], labels, cameras, num_instances) -> list[list[int]]:
    """Cut a pass into blocks by the rule: a lonely image is a block of its own."""
    blocks, start = [], 0
    while start < len(rows):
        size = num_instances if candidates_of(rows[start], labels, cameras) else 1
        blocks.append(rows[start : start + size])
        start += size
    return blocks


def check_pass(rows: list[int], labels, cameras, num_instances) -> None:
    blocks = blocks_of(rows, labels, cameras, num_instances)
    drawn = [labels[block[0]] for block in blocks]
    assert sorted(drawn) == sorted(set(labels[labels >= 0].tolist()))
    for anchor, *companions in blocks:
        allowed = candidates_of(anchor, labels, cameras)
        assert set(companions) <= set(allowed)
        assert len(companions) == (num_instances - 1 if allowed else 0)
        if len(allowed) >= num_instances:
            assert len(set(companions)) == num_instances - 1


@st.composite
def populations(draw):
    size = draw(st.integers(1, 40))
    labels = draw(st.lists(st.integers(-1, 6), min_size=size, max_size=size))
    cameras = draw(st.lists(st.integers(1, 3), min_size=size, max_size=size))
    labels = [3 * label if label > 0 else label for label in labels]  # gaps between the labels
    labels[draw(st.integers(0, size - 1))] = 0  # at least one cluster
    return np.array(labels), np.array(cameras)


@settings(max_examples=150)
@given(populations(), st.integers(1, 6), st.booleans(), st.integers(0, 2**31))
def test_every_pass_obeys_the_rules(population, num_instances, with_cameras, seed):
    labels, cameras = population
    cameras = cameras if with_cameras else None
    rows = draw_pass(labels, cameras, num_instances, seeded(seed))
    assert rows.dtype == torch.int64
    check_pass(rows.tolist(), labels, cameras, num_instances)


def test_k_minus_one_candidates_already_repeat():
    """|O| = K-1 draws with replacement: over many passes some companion must repeat."""
    labels, cameras = np.zeros(4, np.int64), np.array([1, 2, 2, 2])
    repeats = 0
    for seed in range(200):
        anchor, *companions = draw_pass(labels, cameras, 4, seeded(seed)).tolist()
        if anchor == 0:
            repeats += len(set(companions)) < 3
    assert repeats > 0


def test_exactly_k_candidates_do_not_repeat():
    labels, cameras = np.zeros(5, np.int64), np.array([1, 2, 2, 2, 2])
    for seed in range(200):
        anchor, *companions = draw_pass(labels, cameras, 4, seeded(seed)).tolist()
        if anchor == 0:
            assert len(set(companions)) == 3


def test_the_anchors_camera_contributes_only_the_anchor():
    labels, cameras = np.zeros(30, np.int64), np.repeat([1, 2, 3], 10)
    for seed in range(50):
        anchor, *companions = draw_pass(labels, cameras, 16, seeded(seed)).tolist()
        assert all(cameras[row] != cameras[anchor] for row in companions)


def test_single_images_end_the_alignment():
    """As upstream: the pass is shorter than clusters times K."""
    labels = np.array([0, 1, 1, 1, -1, 2])
    rows = draw_pass(labels, np.ones(6, np.int64), 4, seeded())
    assert len(rows) == 1 + 4 + 1
    assert 4 not in rows


def test_anchors_companions_and_cluster_orders_are_uniform():
    labels = np.array([7, 2, 7, 2, 2, 7, 2, 7, 2, 2, 5])
    cameras = np.array([1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 1])
    generator, orders, anchors = seeded(3), [], []
    companions = {size: [] for size in (3, 5)}
    for _ in range(3000):
        blocks = blocks_of(draw_pass(labels, cameras, 3, generator).tolist(), labels, cameras, 3)
        orders.append(tuple(int(labels[block[0]]) for block in blocks))
        block = next(block for block in blocks if labels[block[0]] == 2)
        anchors.append(block[0])
        if block[0] == 1:  # three candidates 6, 8, 9: without replacement
            companions[3].append(tuple(block[1:]))
        block = next(block for block in blocks if labels[block[0]] == 7)
        if block[0] == 0:  # two candidates 5, 7: with replacement
            companions[5].append(tuple(block[1:]))
    check_uniform(orders, list(itertools.permutations((2, 5, 7))))
    check_uniform(anchors, [1, 3, 4, 6, 8, 9])
    check_uniform(companions[3], list(itertools.permutations((6, 8, 9), 2)))
    check_uniform(companions[5], list(itertools.product((5, 7), repeat=2)))


def check_uniform(outcomes: list, possible: list) -> None:
    counts = [outcomes.count(outcome) for outcome in possible]
    assert sum(counts) == len(outcomes)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_only_the_generator_decides():
    labels, cameras = np.arange(40) % 5, np.arange(40) % 3
    first = draw_pass(labels, cameras, 4, seeded(1))
    torch.rand(3)
    assert torch.equal(first, draw_pass(labels, cameras, 4, seeded(1)))
    assert not torch.equal(first, draw_pass(labels, cameras, 4, seeded(2)))


def test_number_of_draws_depends_on_sizes_alone():
    states = []
    for cameras in (np.ones(12, np.int64), np.arange(12) % 4):
        generator = seeded(5)
        draw_pass(np.arange(12) % 3, cameras, 4, generator)
        states.append(generator.get_state())
    assert torch.equal(*states)


@settings(max_examples=60)
@given(populations(), st.integers(1, 5), st.integers(1, 30), st.integers(0, 2**31))
def test_batches_are_consecutive_slices_of_passes(population, num_instances, batch_size, seed):
    labels, cameras = population
    batches = batches_of_rows(labels, cameras, num_instances, batch_size, seeded(seed))
    generator, expected = seeded(seed), []
    while len(expected) < 4:
        stream = draw_pass(labels, cameras, num_instances, generator).tolist()
        while len(stream) < batch_size:
            stream += draw_pass(labels, cameras, num_instances, generator).tolist()
        starts = range(0, len(stream) - batch_size + 1, batch_size)
        expected += [stream[start : start + batch_size] for start in starts]
    found = [next(batches).tolist() for _ in expected]
    assert found == expected


def test_a_new_pass_begins_where_the_last_whole_batch_ended():
    # 5 clusters of 4 give 20 rows: two batches of 8, the last 4 rows are dropped.
    labels = np.arange(40) % 5
    batches = batches_of_rows(labels, None, 4, 8, seeded(4))
    clusters = [set(labels[next(batches)].tolist()) for _ in range(6)]
    for first, second in zip(clusters[::2], clusters[1::2], strict=True):
        assert len(first) == len(second) == 2
        assert not first & second


def test_only_outliers_is_an_error_with_a_remedy():
    with pytest.raises(
        UserError, match=r"all 3 images are outliers.*change the flags that make them"
    ):
        draw_pass(np.full(3, -1), None, 4, seeded())
    with pytest.raises(UserError):
        next(batches_of_rows(np.full(3, -1), None, 4, 8, seeded()))
