"""Intervals of paired differences: a slow twin, cases by hand, coverage, a block at a time.

Mutations seen to fail: groups drawn without replacement, groups weighted alike whatever their size,
the ends exchanged.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercontrast.evaluation import bootstrap
from clustercontrast.evaluation.bootstrap import intervals


def twin(differences, groups, seed, resamples, level):
    """Resample by resample, query by query; the same draws."""
    names = sorted(set(groups.tolist()))
    rng, means = np.random.default_rng(seed), []
    for _ in range(resamples):
        queries = []
        for number in rng.integers(len(names), size=len(names)):
            queries += [
                d for d, own in zip(differences, groups, strict=True) if own == names[number]
            ]
        means.append(np.mean(queries, axis=0))
    tails = 100 * (1 - level) / 2, 100 * (1 + level) / 2
    return np.array(
        [[np.percentile(column, tail) for tail in tails] for column in np.transpose(means)]
    )


@settings(max_examples=20)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 99), st.sampled_from([0.5, 0.95]))
def test_slow_twin(queries, people, seed, level):
    rng = np.random.default_rng(seed)
    differences = rng.uniform(-1, 1, (queries, 2))
    for groups in (np.arange(queries), rng.integers(people, size=queries)):
        found = intervals(differences, groups, seed, resamples=15, level=level)
        np.testing.assert_allclose(found, twin(differences, groups, seed, 15, level), atol=1e-12)


def test_what_is_the_same_for_every_query_is_certain():
    found = intervals(np.full((7, 3), [0.25, 0.0, -1.0]), np.arange(7), seed=0, resamples=50)
    np.testing.assert_allclose(found, [[0.25, 0.25], [0, 0], [-1, -1]])


def test_two_queries_by_hand():
    """Means of two draws out of {0, 1}: 0 and 1 with a chance of 1/4 each, 1/2 else."""
    ends = intervals(np.array([[0.0], [1.0]]), np.arange(2), seed=3, resamples=2000, level=0.4)
    assert ends.tolist() == [[0.5, 0.5]]
    ends = intervals(np.array([[0.0], [1.0]]), np.arange(2), seed=3, resamples=2000, level=0.9)
    assert ends.tolist() == [[0, 1]]


def test_the_interval_is_that_of_the_normal_law_and_wider_over_identities():
    """Ten queries per identity that differ alike: a deviation of the mean ten times as often."""
    rng = np.random.default_rng(1)
    people = np.repeat(np.arange(100), 10)
    differences = rng.standard_normal(100)[people][:, None]
    own, whole = (intervals(differences, groups, 5)[0] for groups in (np.arange(1000), people))
    deviation = differences.std()
    assert np.ptp(own) == pytest.approx(2 * 1.96 * deviation / np.sqrt(1000), rel=0.05)
    assert np.ptp(whole) == pytest.approx(2 * 1.96 * deviation / np.sqrt(100), rel=0.05)
    assert own.mean() == pytest.approx(differences.mean(), abs=0.01)


def test_blocks_change_nothing(monkeypatch):
    differences = np.random.default_rng(2).uniform(-1, 1, (30, 2))
    whole = intervals(differences, np.arange(30), 7, resamples=40)
    monkeypatch.setattr(bootstrap, "BLOCK_CELLS", 100)
    assert np.array_equal(intervals(differences, np.arange(30), 7, resamples=40), whole)
    assert not np.array_equal(intervals(differences, np.arange(30), 8, resamples=40), whole)


def test_bad_input():
    with pytest.raises(ValueError, match="0 differences"):
        intervals(np.zeros((0, 1)), np.zeros(0), 0)
    with pytest.raises(ValueError, match="2 differences of queries in 3 groups"):
        intervals(np.zeros((2, 1)), np.arange(3), 0)
