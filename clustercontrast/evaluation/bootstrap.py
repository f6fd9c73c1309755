"""How far a difference of two models may come from the queries that they were compared on.

The paired bootstrap (Efron, 1979): queries are drawn anew, with replacement, each with its scores
under both models, and the middle of the differences that result is the interval.  Queries of one
identity resemble each other, so that whole identities may be drawn instead, which widens it.
"""

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95
BLOCK_CELLS = 1 << 20
"""Drawn numbers that are held at a time: some 40 MB of temporary memory."""


def intervals(
    differences: np.ndarray,
    groups: np.ndarray,
    seed: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> np.ndarray:
    """Percentile intervals of mean differences, whole groups drawn with replacement.

    Args:
        differences: (n, m) of every query in every measure.
        groups: (n,) integers, what is drawn as one: the query's own number, or its identity.
        seed: of the draws.
        resamples: number of draws of all groups.
        level: share of the resampled means between the ends.

    Returns:
        (m, 2) float64, lower and upper end.

    Raises:
        ValueError: there is no query, or not one group per query.
    """
    if not len(differences) or len(groups) != len(differences):
        raise ValueError(f"{len(differences)} differences of queries in {len(groups)} groups")
    _, own, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.zeros((len(sizes), differences.shape[1]))
    np.add.at(sums, own, differences)
    generator, length = np.random.default_rng(seed), max(1, BLOCK_CELLS // len(sizes))
    starts = range(0, resamples, length)
    means = [_means(sums, sizes, min(length, resamples - i), generator) for i in starts]
    ends = (1 - level) / 2, (1 + level) / 2
    return np.quantile(np.concatenate(means), ends, axis=0).T


def _means(
    sums: np.ndarray, sizes: np.ndarray, resamples: int, generator: np.random.Generator
) -> np.ndarray:
    """(resamples, m) means over the queries of as many groups as there are, drawn anew."""
    drawn = generator.integers(len(sizes), size=(resamples, len(sizes)))
    totals = np.stack([column[drawn].sum(axis=1) for column in sums.T], axis=1)
    return totals / sizes[drawn].sum(axis=1)[:, None]
