"""Several runs in one plot: which numbers end up where."""

import numpy as np
import pytest
from PIL import Image

from clustercontrast.files import UserError
from clustercontrast.report.charts import Scores, against, ari, measures_of, save, together

NOTE = "rendered identities: not a SYSU-MM01 result"


def epoch(stage, **aris):
    return {"stage": stage, "epoch": 0, "clusters": {key: {"ari": v} for key, v in aris.items()}}


MATCHED = [
    epoch("first", visible=0.1, infrared=0.2),
    epoch("second", visible=0.3, infrared=0.4, joint=0.5, joint_clusters=0.9),
]
CLUSTERED = [epoch("first", visible=0.6, infrared=0.7, joint_clusters=0.8)]


def known(axes):
    """{legend: points that are there}"""
    return {
        line.get_label(): [tuple(p) for p in line.get_xydata() if np.isfinite(p[1])]
        for line in axes.lines
    }


def test_every_run_has_a_curve_in_every_plot_of_ari():
    """ALL is of matched clusters, or, where nothing is matched, of clusters of both modalities."""
    figure = ari({"pgm": MATCHED, "pca": CLUSTERED})
    assert {axes.get_title(loc="left"): known(axes) for axes in figure.axes} == {
        "RGB": {"pgm": [(0, 0.1), (1, 0.3)], "pca": [(0, 0.6)]},
        "IR": {"pgm": [(0, 0.2), (1, 0.4)], "pca": [(0, 0.7)]},
        "ALL": {"pgm": [(1, 0.5)], "pca": [(0, 0.8)]},
    }
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["pgm", "pca"]


def test_stages_are_not_joined_and_curves_differ():
    figure = ari({f"run {i}": MATCHED for i in range(21)})
    lines = figure.axes[0].lines
    assert np.isnan(lines[0].get_ydata()).sum() == 2  # before either stage
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 21


def test_runs_on_people_without_identities_are_one_line():
    with pytest.raises(UserError, match="no epoch has an ARI"):
        ari({"sysu02": [epoch("first", visible=None)]})


def test_scores_against_a_flag_go_through_the_means_of_its_values():
    """Two runs at 400: 50 and 54; published figures stand apart."""
    curve = Scores("a", [(600, 40.0), (400, 50.0), (400, 54.0)], [(400, 58.2)])
    (axes,) = against([curve], "--clusters", "mAP").axes
    line, points, published = axes.lines
    assert [tuple(p) for p in line.get_xydata()] == [(400, 52), (600, 40)]
    assert sorted(map(tuple, points.get_xydata())) == [(400, 50), (400, 54), (600, 40)]
    assert [tuple(p) for p in published.get_xydata()] == [(400, 58.2)]
    assert published.get_label() == "a, published"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("--clusters", "mAP, %")
    assert axes.get_xticks().tolist() == [400, 600]


def test_what_must_be_read_with_a_picture_stands_on_it(tmp_path):
    for figure in (
        ari({"a": MATCHED}, [NOTE]),
        against([Scores("a", [(1, 2.0)])], "--k1", "mAP", [NOTE]),
    ):
        assert figure.get_suptitle() == NOTE
        save(figure, tmp_path / "new" / "picture.png")
        with Image.open(tmp_path / "new" / "picture.png") as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 400


def test_ties_of_the_modalities_are_compared_where_a_run_has_them():
    clusters = {"association_rate": 0.5, "teacher": {"right": 0.45}, "modality_gap": 0.25}
    runs = {"A": [{"stage": "united", "clusters": clusters}], "B": CLUSTERED}
    measures = {measure.title: measure for measure in measures_of(runs.values())}
    (of_both, right, gap) = (name for name in measures if "ARI" not in name)
    assert (of_both, right, gap) == (
        "mixed clusters",
        "teacher: right person in the other modality",
        "joint clusters: the modalities apart",
    )
    for name, height in ((of_both, 50), (right, 45), (gap, 0.25)):
        (axes,) = together(runs, measures[name]).axes
        assert known(axes) == {"A": [(0, height)], "B": []}


def test_runs_over_one_another_in_a_measure_of_each_epoch():
    runs = {
        "A": [epoch("first", visible=0.1), epoch("first", visible=0.3)],
        "B": [*CLUSTERED, {"stage": "second", "scores": {"cycle": 0.5}}],
    }
    measures = {measure.title: measure for measure in measures_of(runs.values())}
    assert list(measures) == [
        "cycle consistency", "ARI of visible clusters", "ARI of infrared clusters",
        "ARI of clusters of both",
    ]  # fmt: skip
    for is_narrow in (False, True):
        (axes,) = together(runs, measures["ARI of visible clusters"], is_narrow).axes
        assert known(axes) == {"A": [(0, 0.1), (1, 0.3)], "B": [(0, 0.6)]}
        (axes,) = together(runs, measures["cycle consistency"], is_narrow).axes
        assert known(axes) == {"A": [], "B": [(1, 50)]}
        low, high = axes.get_ylim()
        assert low <= 0 < 50 < high
        assert axes.get_xlim() == (-0.5, 1.5)  # from the first epoch to the last
