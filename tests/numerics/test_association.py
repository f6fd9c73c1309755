"""Matching of clusters against the official maps, and totality for any counts."""

import golden_set
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from clustercontrast.association.graph_matching import graph_matching
from clustercontrast.association.instance_votes import aggregate, instance_votes

MATCHING = golden_set.load("matching/matching.npz")
SCRIPTS = ("PCLHD_sysu", "PCLHD_regdb", "PGM_sysu", "PGM_regdb")
CASES = sorted({name.split("/")[0] for name in MATCHING})


def well_defined(script: str, rgb: int, ir: int) -> tuple[bool, bool]:
    """Whether the official visible and infrared maps are what their authors meant.

    Beyond a ratio of two (PCLHD on SYSU-MM01: three) the official code mis-indexes rows; PCLHD on
    SYSU-MM01 overwrites the infrared map from a ratio of two on; only PGM on RegDB handles more
    infrared than visible clusters (PGM-4).
    """
    if rgb < ir:
        return (script == "PGM_regdb" and ir <= 2 * rgb,) * 2
    limit = 3 if script == "PCLHD_sysu" else 2
    return rgb <= limit * ir, rgb < 2 * ir or (rgb == 2 * ir and script != "PCLHD_sysu")


@pytest.mark.parametrize("case", CASES)
def test_maps_equal_the_official_ones_where_those_are_well_defined(case):
    centers = [torch.from_numpy(MATCHING[f"{case}/centers_{m}"]) for m in ("rgb", "ir")]
    to_infrared, to_visible = graph_matching(*centers)
    for script in SCRIPTS:
        r2i, i2r = well_defined(script, *map(len, centers))
        if r2i:
            np.testing.assert_array_equal(to_infrared, MATCHING[f"{case}/{script}/r2i"])
        if i2r:
            np.testing.assert_array_equal(to_visible, MATCHING[f"{case}/{script}/i2r"])


@pytest.mark.parametrize("case", CASES)
def test_infrared_partners_are_rewritten_as_pclhd_does_on_sysu(case):
    """Its maps from a ratio of two to three; the total ones everywhere else (PGM-4)."""
    centers = [torch.from_numpy(MATCHING[f"{case}/centers_{m}"]) for m in ("rgb", "ir")]
    rgb, ir = map(len, centers)
    rewritten = 2 * ir <= rgb <= 3 * ir
    maps = graph_matching(*centers, "upstream")
    expected = graph_matching(*centers)
    if rewritten:
        expected = [MATCHING[f"{case}/PCLHD_sysu/{name}"] for name in ("r2i", "i2r")]
    for own, other in zip(maps, expected, strict=True):
        np.testing.assert_array_equal(own, other)
    assert rewritten == (case in ("more_rgb_exact2x", "more_rgb_2to3x"))


def test_rewritten_partners_are_worse_ones():
    """73 visible and 31 infrared clusters: no infrared cluster keeps its best partner."""
    generator = torch.Generator().manual_seed(0)
    visible, infrared = (
        torch.nn.functional.normalize(torch.randn(n, 16, generator=generator)) for n in (73, 31)
    )
    kept, rewritten = (
        graph_matching(visible, infrared, rounds)[1] for rounds in ("total", "upstream")
    )
    assert not (kept == rewritten).any()
    cosines = [(visible[own] * infrared).sum(1).mean() for own in (kept, rewritten)]
    assert cosines[0] > cosines[1] + 0.1


def test_some_official_map_is_compared_for_every_script():
    compared = {
        script
        for script in SCRIPTS
        for case in CASES
        if any(well_defined(script, *(len(MATCHING[f"{case}/centers_{m}"]) for m in ("rgb", "ir"))))
    }
    assert compared == set(SCRIPTS)


def test_a_matching_by_hand():
    """Infrared (1,0) and (0,1); visible 0 and 1 lie near (1,0), visible 2 near (0,1).

    Cosines to infrared 0: .99, 1, .1.  Round 1 takes visible 1-infrared 0 and visible 2-infrared 1;
    visible 0 then joins infrared 0, which keeps visible 1 as its own partner.
    """
    visible = torch.tensor([[0.99, 0.141], [1.0, 0.0], [0.1, 0.995]])
    to_infrared, to_visible = graph_matching(visible, torch.eye(2))
    assert to_infrared.tolist() == [0, 0, 1]
    assert to_visible.tolist() == [1, 2]


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 10**6))
def test_maps_are_total_and_mutual_on_the_smaller_side(rgb, ir, seed):
    generator = torch.Generator().manual_seed(seed)
    visible, infrared = (torch.randn(n, 5, generator=generator) for n in (rgb, ir))
    to_infrared, to_visible = graph_matching(visible, infrared)
    assert to_infrared.shape == (rgb,)
    assert to_visible.shape == (ir,)
    if not rgb or not ir:
        assert (to_infrared == -1).all()
        assert (to_visible == -1).all()
        return
    for here, there, size in ((to_infrared, to_visible, ir), (to_visible, to_infrared, rgb)):
        assert ((here >= 0) & (here < size)).all()
        if len(here) <= size:  # the smaller side: one to one, and known to its partners
            assert len(here.unique()) == len(here)
            assert torch.equal(there[here], torch.arange(len(here)))
    uses = to_infrared.bincount(minlength=ir) if rgb >= ir else to_visible.bincount(minlength=rgb)
    assert uses.max() - uses.min() <= 1  # every round spreads over the whole smaller side


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 10**6))
def test_round_one_is_the_cheapest_assignment(rgb, ir, seed):
    generator = torch.Generator().manual_seed(seed)
    visible, infrared = (
        torch.nn.functional.normalize(torch.randn(n, 4, generator=generator)) for n in (rgb, ir)
    )
    cost = np.exp(-(visible @ infrared.T).double().numpy())
    rows, columns = linear_sum_assignment(cost)
    to_infrared, to_visible = graph_matching(visible, infrared)
    if rgb >= ir:
        chosen = cost[to_visible, np.arange(ir)].sum()
    else:
        chosen = cost[np.arange(rgb), to_infrared].sum()
    assert chosen == pytest.approx(cost[rows, columns].sum())


def slow_pairs(visible, infrared, labels_v, labels_r, threshold):
    """Votes pair by pair; most votes first, then the most similar pair, then the lowest labels."""
    votes = {}
    for f, a in zip(visible.tolist(), labels_v.tolist(), strict=True):
        for g, b in zip(infrared.tolist(), labels_r.tolist(), strict=True):
            similarity = sum(x * y for x, y in zip(f, g, strict=True))
            if similarity >= threshold and a >= 0 and b >= 0:
                votes.setdefault((a, b), []).append(similarity)
    pairs = []
    for a, b in sorted(votes, key=lambda pair: (-len(votes[pair]), -max(votes[pair]), pair)):
        if all(a != taken and b != other for taken, other in pairs):
            pairs.append([a, b])
    return pairs


class TestInstanceVotes:
    vectors = golden_set.load("matching/cma.npz")

    def pairs(self):
        v = self.vectors
        features = [torch.from_numpy(v[f"features_{m}"]) for m in ("rgb", "ir")]
        labels = [v[f"labels_{m}"] for m in ("rgb", "ir")]
        return instance_votes(*features, *labels, float(v["threshold"]))

    def test_pairs_and_rows_equal_the_official_ones(self):
        v = self.vectors
        np.testing.assert_array_equal(self.pairs(), v["accepted_pairs_in_order"])
        before = [torch.from_numpy(v[f"memory_{m}_before"]) for m in ("rgb", "ir")]
        rows = aggregate(*before, self.pairs(), float(v["lam"]))
        np.testing.assert_allclose(rows, v["memory_rgb_after"], atol=1e-6)
        np.testing.assert_allclose(before[1], v["memory_ir_after"], atol=1e-6)

    def test_greedy_order_by_hand(self):
        """Counts {(0,0): 5, (0,1): 4, (1,1): 4, (1,0): 6} accept (1,0), then (0,1)."""
        counts = {(0, 0): 5, (0, 1): 4, (1, 1): 4, (1, 0): 6}
        visible, infrared, labels_v, labels_r = [], [], [], []
        for number, ((a, b), count) in enumerate(counts.items()):
            axis = torch.eye(len(counts))[number]
            visible += [axis] * count
            labels_v += [a] * count
            infrared.append(axis)
            labels_r.append(b)
        pairs = instance_votes(
            torch.stack(visible), torch.stack(infrared), np.array(labels_v), np.array(labels_r), 0.5
        )
        assert pairs.tolist() == [[1, 0], [0, 1]]

    @given(st.integers(0, 10**6), st.integers(0, 30), st.integers(0, 30), st.integers(1, 8))
    def test_pairs_equal_those_of_plain_loops(self, seed, visible, infrared, block):
        """Small whole numbers, hence many ties in votes and similarities; some are outliers."""
        draw = np.random.default_rng(seed)
        features = [draw.integers(-2, 3, (n, 3)) for n in (visible, infrared)]
        labels = [draw.integers(-1, 5, n) for n in (visible, infrared)]
        given = [torch.from_numpy(f).float() for f in features]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("clustercontrast.association.instance_votes.BLOCK", block)
            pairs = instance_votes(*given, *labels, 2.0)
        assert pairs.tolist() == slow_pairs(*features, *labels, 2)

    def test_no_similar_pair_gives_no_match(self):
        rows = torch.eye(4)
        pairs = instance_votes(rows[:2], rows[2:], np.array([0, 1]), np.array([0, 1]), 0.5)
        assert pairs.shape == (0, 2)
        torch.testing.assert_close(aggregate(rows[:2], rows[2:], pairs, 0.1), rows[:2])
