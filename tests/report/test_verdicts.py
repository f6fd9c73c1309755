"""What a difference is worth: which spread decides, by hand."""

import pytest

from clustercontrast.report.published import PUBLISHED, published
from clustercontrast.report.references.commands import ADCA, PCA, PCLHD, PGM, SDCL
from clustercontrast.report.references.rows import MODES
from clustercontrast.report.references.spreads import DOCUMENTED
from clustercontrast.report.verdicts import Width, spread_notes_of, spreads, verdict, widths

DRAWS = Width(0.5, "gallery draws", "10 gallery draws of this run")
TRAININGS = Width(2.0, "repeated trainings", "somebody")


@pytest.mark.parametrize(
    ("difference", "known", "mark", "text"),
    [
        (
            0.5,
            [DRAWS],
            "≈",
            "within the spread of gallery draws (±0.50, 10 gallery draws of this run)",
        ),
        (-0.5, [TRAININGS, DRAWS], "≈", "within the spread of gallery draws"),
        (
            0.51,
            [TRAININGS, DRAWS],
            "≈",
            "within the spread of repeated trainings (±2.00, somebody)",
        ),
        (
            -2.01,
            [TRAININGS, DRAWS],
            "≠",
            "outside the spread of repeated trainings (±2.00, somebody)",
        ),
        (
            9.0,
            [DRAWS],
            "≠",
            "outside the spread of gallery draws (±0.50, 10 gallery draws of this run); no "
            "documented spread of repeated trainings",
        ),
        (0.0, [], "?", "no documented spread"),
    ],
)
def test_the_narrowest_spread_that_holds_it_decides_or_the_widest(difference, known, mark, text):
    found = verdict(difference, known)
    assert found.mark == mark
    assert found.text.startswith(text)
    assert ("; no documented" in found.text) == ("; no documented" in text)


def result(**more):
    return {"mode": "all", "rank1": {"mean": 50.0, "std": 0.7}, **more}


def points(row, made, metric="rank1"):
    return [(width.of, width.points) for width in widths(row, made, metric)]


def test_draws_and_trials_of_the_run_count_where_there_are_several():
    (row,) = published("sysu", PCLHD)
    assert points(row, result(searches=10)) == [("gallery draws", 0.7)]
    assert points(row, result(searches=1)) == []
    assert points(row, result(searches=1, trials=[4])) == []
    (own,) = widths(row, result(searches=1, trials=[1, 2, 5]), "rank1")
    assert (own.of, own.source) == ("trials", "3 trials of this run")


def test_published_trainings_of_one_configuration_are_a_spread():
    """PGM, all-search, Rank-1: 57.3 in the paper, 56.3 retrained, 56.29 in the log."""
    row = published("sysu", PGM)[0]
    assert points(row, result(searches=1)) == [
        ("repeated trainings", 2.0),
        ("repeated trainings", pytest.approx(1.01)),
    ]
    (last,) = (own for own in published("sysu", PGM) if own.selection == "last")
    assert points(last, result(searches=1)) == [("repeated trainings", 2.0)]
    again = published("llcm", ADCA)[0]  # 42.5 and 40.3
    made = result(searches=1) | {"mode": "visible_to_infrared"}
    assert points(again, made) == [("repeated trainings", pytest.approx(2.2))]


def test_a_trial_alone_is_no_other_training_of_the_mean():
    row = published("regdb", PGM)[0]
    made = result(searches=1, trials=[5]) | {"mode": "visible_to_infrared"}
    assert points(row, made) == []


def test_documented_spreads_are_of_published_rows_and_figures():
    for spread in DOCUMENTED:
        rows = [own for own in PUBLISHED if spread in spreads(own)]
        assert rows
        assert spread.points.keys() <= set(MODES[spread.dataset])
        for mode, own in spread.points.items():
            assert all(any(name in row.scores.get(mode, {}) for row in rows) for name in own)
            assert all(0 < value < 5 for value in own.values())


def test_deviations_of_ten_published_trials():
    """Sample deviation of PCA's ten README rows, visible to infrared, Rank-1."""
    rank1 = [88.83, 86.41, 84.76, 85.92, 85.29, 87.09, 85.05, 86.12, 86.31, 88.54]
    mean = sum(rank1) / 10
    deviation = (sum((value - mean) ** 2 for value in rank1) / 9) ** 0.5
    (row,) = published("regdb", PCA)
    assert row.scores["visible_to_infrared"]["rank1"] == pytest.approx(mean, abs=0.005)
    made = result(searches=1) | {"mode": "visible_to_infrared"}
    assert points(row, made) == [("trials", pytest.approx(deviation, abs=0.005))]


def test_notes_name_every_spread_once_and_where_there_is_none():
    modes = {"all": "All search", "indoor": "Indoor search"}
    sdcl, pclhd = published("sysu", SDCL)[0], published("sysu", PCLHD)[0]
    legend, *notes = spread_notes_of([sdcl, sdcl, pclhd], modes)
    assert legend.startswith("≈: within the spread of gallery draws")
    assert notes == [
        "repeated trainings of SDCL: All search mAP ±2.15; Indoor search mAP ±3.19 (range of three "
        "trainings by others: mAP 61.26 to 63.41, indoor 73.39 to 76.58)",
        "repeated trainings of PCLHD: no documented spread",
    ]
    assert spread_notes_of([], modes) == []
