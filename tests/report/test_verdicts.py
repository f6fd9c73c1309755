"""What a difference is worth: which spread decides, by hand."""

import itertools

import pytest

from clustercontrast.report.published import PUBLISHED, published
from clustercontrast.report.references.commands import ADCA, PCA, PCLHD, PGM, RPNR, SDCL
from clustercontrast.report.references.rows import MODES
from clustercontrast.report.references.spreads import DOCUMENTED
from clustercontrast.report.verdicts import Width, spread_notes_of, spreads, verdict, widths

DRAWS = Width(49.5, 50.5, "gallery draws", "10 gallery draws of this run")
TRAININGS = Width(48.0, 52.0, "repeated trainings", "somebody")
RANGE = Width(50.0, 54.3, "repeated trainings", "all")


@pytest.mark.parametrize(
    ("ours", "known", "mark", "text"),
    [
        (
            50.5,
            [DRAWS],
            "≈",
            "within the spread of gallery draws (49.50 to 50.50, 10 gallery draws of this run)",
        ),
        (49.5, [TRAININGS, DRAWS], "≈", "within the spread of gallery draws"),
        (
            50.51,
            [TRAININGS, DRAWS],
            "≈",
            "within the spread of repeated trainings (48.00 to 52.00, somebody)",
        ),
        (
            47.99,
            [TRAININGS, DRAWS],
            "≠",
            "outside the spread of repeated trainings (48.00 to 52.00, somebody)",
        ),
        (54.3, [RANGE], "≈", "within the spread of repeated trainings (50.00 to 54.30, all)"),
        (54.31, [RANGE], "≠", "outside the spread of repeated trainings"),
        (49.99, [RANGE], "≠", "outside the spread of repeated trainings"),
        (
            59.0,
            [DRAWS],
            "≠",
            "outside the spread of gallery draws (49.50 to 50.50, 10 gallery draws of this run); "
            "no documented spread of repeated trainings",
        ),
        (50.0, [], "?", "no documented spread"),
    ],
)
def test_the_narrowest_spread_that_holds_it_decides_or_the_widest(ours, known, mark, text):
    found = verdict(ours, known)
    assert found.mark == mark
    assert found.text.startswith(text)
    assert ("; no documented" in found.text) == ("; no documented" in text)


def result(**more):
    return {"mode": "all", "rank1": {"mean": 50.0, "std": 0.7}, **more}


def bounds(row, made, metric="rank1"):
    known = widths(row, made, metric)
    return [(own.of, pytest.approx(own.low), pytest.approx(own.high)) for own in known]


def test_draws_and_trials_of_the_run_count_where_there_are_several():
    (row,) = published("sysu", PCLHD)
    assert bounds(row, result(searches=10)) == [("gallery draws", 63.7, 65.1)]  # 64.4
    assert bounds(row, result(searches=1)) == []
    assert bounds(row, result(searches=1, trials=[4])) == []
    (own,) = widths(row, result(searches=1, trials=[1, 2, 5]), "rank1")
    assert (own.of, own.source) == ("trials", "3 trials of this run")


def test_published_trainings_of_one_configuration_are_a_spread():
    """PGM, all-search, Rank-1: 57.3 in the paper, 56.3 retrained, 56.29 in the log."""
    row = published("sysu", PGM)[0]
    assert bounds(row, result(searches=1)) == [
        ("repeated trainings", 55.3, 59.3),
        ("repeated trainings", 56.29, 57.3),
    ]
    (last,) = (own for own in published("sysu", PGM) if own.selection == "last")  # 56.09
    assert bounds(last, result(searches=1)) == [("repeated trainings", 54.09, 58.09)]


@pytest.mark.parametrize(
    ("ours", "marks"),
    [(52.0, "≠≠≠"), (54.2, "≈≠≠"), (56.2, "≈≈≈"), (60.5, "≈≈≈"), (62.5, "≠≈≠"), (62.51, "≠≠≠")],
)
def test_within_a_range_is_between_its_ends(ours, marks):
    """PGM, indoor, Rank-1: paper 56.2, retrained 60.5, log 57.99; each ±2 by its author."""
    rows = [own for own in published("sysu", PGM) if own.selection == "test"]
    assert [own.scores["indoor"]["rank1"] for own in rows] == [56.2, 60.5, 57.99]
    made = result(searches=1) | {"mode": "indoor"}
    assert "".join(verdict(ours, widths(own, made, "rank1")).mark for own in rows) == marks


def test_a_stated_range_of_trainings_holds_the_published_one_too():
    """SDCL, all-search, mAP: others 61.26 to 63.41; its logs 63.63 (best) and 63.10 (last)."""
    made = result(searches=1) | {"mAP": {"mean": 50.0, "std": 0.1}}
    assert {own.selection: bounds(own, made, "mAP") for own in published("sysu", SDCL)} == {
        "test": [("repeated trainings", 61.26, 63.63)],
        "last": [("repeated trainings", 61.26, 63.41)],
    }


def test_quotations_of_a_method_are_no_trainings():
    """ADCA on LLCM: 42.5 and 40.3, quoted by two papers."""
    made = result(searches=1) | {"mode": "visible_to_infrared"}
    assert [bounds(own, made) for own in published("llcm", ADCA)] == [[], []]


def test_a_trial_alone_is_no_other_training_of_the_mean():
    row = published("regdb", PGM)[0]
    made = result(searches=1, trials=[5]) | {"mode": "visible_to_infrared"}
    assert bounds(row, made) == []


def test_documented_spreads_are_of_published_rows_and_figures():
    for spread in DOCUMENTED:
        rows = [own for own in PUBLISHED if spread in spreads(own)]
        assert rows
        assert spread.points.keys() <= set(MODES[spread.dataset])
        for mode, own in spread.points.items():
            assert all(any(name in row.scores.get(mode, {}) for row in rows) for name in own)
            for name, row in itertools.product(own, rows):
                if name in row.scores.get(mode, {}):
                    low, high = spread.bounds(mode, name, row.scores[mode][name])
                    assert 0 < high - low < 5


def test_deviations_of_ten_published_trials():
    """Population deviation of PCA's ten README rows, visible to infrared, Rank-1."""
    rank1 = [88.83, 86.41, 84.76, 85.92, 85.29, 87.09, 85.05, 86.12, 86.31, 88.54]
    mean = sum(rank1) / 10
    deviation = (sum((value - mean) ** 2 for value in rank1) / 10) ** 0.5
    (row,) = published("regdb", PCA)
    assert row.scores["visible_to_infrared"]["rank1"] == pytest.approx(mean, abs=0.005)
    made = result(searches=1) | {"mode": "visible_to_infrared"}
    (own,) = widths(row, made, "rank1")
    assert own.of == "trials"
    assert own.source == (
        "population deviation of 10 trials, computed from the upstream README's rows"
    )
    assert (own.high - own.low) / 2 == pytest.approx(deviation)


def test_deviation_of_ten_published_draws():
    """RPNR's README, indoor search, mAP of draw 0 to 9."""
    values = [74.19, 70.76, 71.40, 74.23, 74.81, 71.85, 74.25, 73.17, 71.47, 73.94]
    mean = sum(values) / 10
    deviation = (sum((value - mean) ** 2 for value in values) / 10) ** 0.5
    (row,) = published("sysu", RPNR)
    made = {"mode": "indoor", "searches": 1, "mAP": {"mean": 73.0, "std": 0.0}}
    (own,) = widths(row, made, "mAP")
    assert own.of == "gallery draws"
    assert (own.low, own.high) == pytest.approx((73.01 - deviation, 73.01 + deviation))


def test_notes_name_every_spread_once_and_where_there_is_none():
    modes = {"all": "All search", "indoor": "Indoor search"}
    sdcl, pclhd = published("sysu", SDCL)[0], published("sysu", PCLHD)[0]
    legend, *notes = spread_notes_of([sdcl, sdcl, pclhd], modes)
    assert legend.startswith("≈: within the spread of gallery draws")
    assert notes == [
        "repeated trainings of SDCL: All search mAP 61.26 to 63.41; Indoor search mAP 73.39 to "
        "76.58 (three trainings by others)",
        "repeated trainings of PCLHD: no documented spread",
    ]
    assert spread_notes_of([], modes) == []
