"""Curves of a run: what is read from the log, which numbers end up in which plot."""

import itertools
import json
import warnings

import numpy as np
import pytest
from PIL import Image

from clustercontrast.files import UserError
from clustercontrast.report.figures import (
    PANELS,
    best_epochs,
    curves,
    draw,
    draw_narrow,
    panels_for,
    read_epochs,
)


def epoch(stage, number, **more):
    return {"event": "epoch", "stage": stage, "epoch": number, **more}


RUN = [
    {"event": "start", "epoch": 0},
    epoch("intra", 0, loss={"visible": 5.0, "total": 9.0}),
    {"event": "step", "loss": 3.0},
    epoch("intra", 1, loss={"visible": 4.0, "total": 7.0}, scores={"rank1": 30.0, "cycle": 0.4}),
    epoch(
        "progressive",
        0,
        loss={"visible": 3.0, "cross": 2.0, "total": 5.0},
        clusters={
            "visible": {"clusters": 8, "outliers": 0.25, "ari": -0.1, "nmi": 0.5, "ari_clean": 0.9},
            "match_accuracy": 0.75,
        },
        scores={"rank1": 40.0, "cycle": None},
        seconds={"train": 3.0},
    ),
]


def write(path, records):
    path.write_text("\n".join(map(json.dumps, records)) + "\n")
    return path


def plotted(figure):
    """{panel title: {legend: known (epoch, height) points}}"""
    return {
        axes.get_title(loc="left"): {
            line.get_label(): [tuple(p) for p in line.get_xydata() if np.isfinite(p[1])]
            for line in axes.lines
            if not line.get_label().startswith("_")
        }
        for axes in figure.axes
    }


def test_every_number_is_in_its_plot(tmp_path):
    shown = plotted(draw(read_epochs(write(tmp_path / "metrics.jsonl", RUN))))
    assert shown == {
        "loss terms": {
            "visible": [(0, 5), (1, 4), (2, 3)],
            "total": [(0, 9), (1, 7), (2, 5)],
            "cross": [(2, 2)],
        },
        "retrieval": {"Rank-1": [(1, 30), (2, 40)], "cycle consistency": [(1, 40)]},
        "clusters": {"visible": [(2, 8)]},
        "outliers": {"visible": [(2, 25)]},
        "clusters and identities: ARI, matching": {
            "visible": [(2, -0.1)],
            "matched to the same identity": [(2, 0.75)],
        },
        "clusters and identities: NMI": {"visible": [(2, 0.5)]},
    }


def test_one_panel_alone_shows_what_it_shows_among_the_others():
    epochs = [record for record in RUN if record["event"] == "epoch"]
    everything = plotted(draw(epochs))
    for panel in PANELS:
        alone = draw(epochs, [panel], columns=1, size=(5, 3))
        assert plotted(alone) == {panel.title: everything[panel.title]}
        assert alone.get_size_inches().tolist() == [5, 3]


def test_no_point_lies_outside_its_plot():
    for axes in draw([r for r in RUN if r["event"] == "epoch"]).axes:
        low, high = axes.get_ylim()
        for line in axes.lines:
            heights = line.get_ydata()
            assert all(low <= height <= high for height in heights if np.isfinite(height))


def test_stages_are_named_parted_and_not_joined():
    figure = draw([r for r in RUN if r["event"] == "epoch"])
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["intra", "progressive"]
    assert [text.get_position()[0] for text in axes.texts] == [0.5, 2]
    (border,) = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert set(border.get_xdata()) == {1.5}
    total = next(line for line in axes.lines if line.get_label() == "total")
    gap = np.flatnonzero(np.isnan(total.get_ydata()))
    assert 9 in total.get_ydata()[: gap[-1]]
    assert 5 in total.get_ydata()[gap[-1] :]


def test_an_epoch_without_value_is_bridged():
    records = [epoch("intra", n, loss={"total": 1.0} if n != 1 else {}) for n in range(3)]
    (line,) = draw(records).axes[0].lines
    heights = line.get_ydata()[1:]
    assert np.isfinite(heights).all()
    np.testing.assert_array_equal(line.get_xdata()[1:], [0, 2])


def test_epochs_have_the_numbers_of_the_log():
    """Two stages from 0, and one that goes on counting, as SDCL's does."""
    for first, numbers in ((0, [0, 5, 10, 15, 20]), (30, [30, 35, 40, 45, 50])):
        records = [epoch("intra", n, loss={"total": 1.0}) for n in range(30)]
        records += [epoch("agreed", first + n, loss={"total": 1.0}) for n in range(21)]
        axes = draw(records).axes[0]
        shown = [int(label.get_text()) for label in axes.get_xticklabels()]
        assert shown == [0, 5, 10, 15, 20, 25, *numbers]
        assert axes.get_xticks().tolist() == list(range(0, 51, 5))
        assert axes.get_xlabel() == "epoch of the stage"


def test_published_figures_are_dashed_in_the_colour_of_the_own_curve():
    records = [epoch("intra", n, loss={"total": 2.0}) for n in range(3)]
    axes = draw(records, published=[{"loss.total": 9.0}, {}, {"loss.total": 7.0}]).axes[0]
    own, others = axes.lines
    assert (others.get_linestyle(), others.get_color()) == ("--", own.get_color())
    assert [tuple(p) for p in others.get_xydata() if np.isfinite(p[1])] == [(0, 9), (2, 7)]
    assert axes.get_legend().get_title().get_text() == "dashed: published log"
    assert axes.get_ylim()[1] >= 9
    assert not draw(records, published=[{}, {}, {}]).axes[0].get_legend().get_title().get_text()


def test_the_first_best_epoch_of_every_stage_is_marked():
    """On the curve of its score, elsewhere on the axis of the epochs; nothing without scores."""
    scores = [(30.0, 0.4), (50.0, 0.2), (50.0, None), (40.0, 0.1), (None, 0.3)]
    epochs = [
        epoch(
            "intra" if n < 3 else "progressive",
            n,
            loss={"total": 1.0},
            scores={"mAP": a, "cycle": c},
        )
        for n, (a, c) in enumerate(scores)
    ]
    best = best_epochs(epochs, "mAP")
    assert [own.epochs for own in best] == [[1, 3], [0, 4]]
    assert [own.epochs for own in best_epochs(epochs, None)] == [[0, 4]]
    figure = draw(epochs, PANELS, best=best)
    shown = plotted(figure)["retrieval"]
    assert shown["best on the test set"] == [(1, 50), (3, 40)]
    assert shown["best by cycle consistency"] == [(0, 40), (4, pytest.approx(30))]
    losses = {line.get_marker(): line for line in figure.axes[0].lines}
    for marker, own in (("*", [1, 3]), ("D", [0, 4])):
        assert list(losses[marker].get_xdata()) == own
        assert losses[marker].get_transform() == figure.axes[0].get_xaxis_transform()
    untested = [epoch("intra", 0, loss={"total": 1.0})]
    silent = draw(untested, PANELS, best=best_epochs(untested, "mAP"))
    assert plotted(silent)["retrieval"] == {}


def test_a_narrow_plot_shows_the_same_above_its_legend():
    epochs = [record for record in RUN if record["event"] == "epoch"]
    everything, best = plotted(draw(epochs)), best_epochs(epochs, "rank1")
    for panel in PANELS:
        figure = draw_narrow(epochs, panel, best)
        assert figure.get_suptitle() == panel.title
        (shown,) = plotted(figure).values()
        assert shown.items() >= everything[panel.title].items()
        (axes,), (legend,) = figure.axes, figure.legends
        assert [text.get_text() for text in legend.get_texts()] == list(shown)
        figure.draw_without_rendering()
        below, plot = legend.get_window_extent(), axes.get_tightbbox()
        assert below.y0 >= 0
        assert below.y1 <= plot.y0 + 1
        assert max(below.x1, plot.x1) <= figure.bbox.x1


def test_panels_without_data_say_so():
    figure = draw([epoch("intra", 0, loss={"total": 1.0})])
    silent = [axes for axes in figure.axes if "not recorded" in [t.get_text() for t in axes.texts]]
    assert len(silent) == len(PANELS) - 1


def test_a_modality_keeps_its_colour_in_every_plot():
    both = {m: {"clusters": 1, "outliers": 0, "ari": 0, "nmi": 0} for m in ("infrared", "visible")}
    figure = draw([epoch("intra", 0, loss={"visible": 1.0, "infrared": 2.0}, clusters=both)])
    for modality in both:
        colours = [
            line.get_color()
            for axes in figure.axes
            for line in axes.lines
            if line.get_label() == modality
        ]
        assert len(colours) == 5
        assert len(set(colours)) == 1


def test_a_score_that_no_epoch_has_leaves_the_layout_as_it_is(tmp_path):
    """Cycle consistency is missing here; an empty curve at the corner made all plots collapse."""
    log = write(tmp_path / "m.jsonl", [epoch("intra", n, scores={"mAP": n}) for n in range(3)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curves(log, tmp_path / "curves.png", "mAP")


def test_numbers_of_two_stages_do_not_touch():
    """The last number of a stage of fifty epochs would stand beside the next one's 0."""
    epochs = [epoch(stage, n, loss={"total": 1.0}) for stage in ("a", "b") for n in range(50)]
    axes = draw(epochs).axes[0]
    places = [int(place) for place in axes.get_xticks()]
    assert 50 in places
    assert min(b - a for a, b in itertools.pairwise(places)) >= 4


def test_repeated_epochs_and_a_cut_last_line(tmp_path):
    """A run killed while writing and resumed from the epoch before."""
    path = write(tmp_path / "metrics.jsonl", [*RUN, epoch("intra", 1, loss={"total": 6.5})])
    with path.open("a") as file:
        file.write('{"event": "epo')
    epochs = read_epochs(path)
    assert [(e["stage"], e["epoch"]) for e in epochs] == [
        ("intra", 0),
        ("intra", 1),
        ("progressive", 0),
    ]
    assert epochs[1]["loss"] == {"total": 6.5}


def test_png_is_written_whole(tmp_path):
    log, png = write(tmp_path / "metrics.jsonl", RUN), tmp_path / "figures" / "curves.png"
    curves(log, png)
    with Image.open(png) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert min(picture.size) > 800
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 20
    assert [path.name for path in png.parent.iterdir()] == ["curves.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        ("", "no finished epoch"),
        ('{"event": "start"}\n', "no finished epoch"),
        ('{"event"\n{"event": "start"}\n', "line 1 is damaged"),
    ],
)
def test_bad_logs(tmp_path, content, message):
    path = tmp_path / "metrics.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message):
        curves(path, tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_a_shallow_curve_is_its_deep_one_dotted():
    loss = {"visible_shallow": 1.0, "visible": 2.0, "a_in_b": 3.0, "a_in_b_shallow": 4.0}
    record = {"event": "epoch", "stage": "intra", "epoch": 0, "loss": loss}
    (axes,) = draw([record], [PANELS[0]], 1).axes
    lines = {line.get_ydata()[-1]: line for line in axes.lines}
    for deep, shallow in ((2.0, 1.0), (3.0, 4.0)):
        assert lines[deep].get_color() == lines[shallow].get_color()
        assert (lines[deep].get_linestyle(), lines[shallow].get_linestyle()) == ("-", ":")
    assert lines[2.0].get_color() != lines[3.0].get_color()
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["visible", "a in b"]
    assert legend.get_title().get_text() == "dotted: shallow"


def test_terms_of_mutual_learning_have_panels_of_their_own():
    loss = {
        "identity_joint_visible": 1.0,
        "triplet_joint_visible": 2.0,
        "identity_gray_fake": 3.0,
        "probability_to_gray": 4.0,
        "pair_cosine": 0.5,
        "total": 9.0,
    }
    record = {"event": "epoch", "stage": "pretrain", "epoch": 0, "loss": loss}
    panels = panels_for([record])
    assert len(panels) == len(PANELS) + 2
    shown = {axes.get_title(loc="left"): axes for axes in draw([record], panels).axes}
    labels = [t.get_text() for t in shown["loss terms"].get_legend().get_texts()]
    assert labels == ["pair cosine", "total"]
    own = shown["identification by view"]
    lines = {line.get_ydata()[-1]: line for line in own.lines}
    assert lines[1.0].get_color() == lines[2.0].get_color() != lines[3.0].get_color()
    assert [lines[n].get_linestyle() for n in (1.0, 2.0, 3.0)] == ["-", "--", "-"]
    assert own.get_legend().get_title().get_text() == "dashed: triplet"
    relations = shown["preserved relations"]  # without similarities it stands on its own
    assert [t.get_text() for t in relations.get_legend().get_texts()] == ["probability to gray"]
    assert relations.lines[0].get_linestyle() == "-"
    plain = {"event": "epoch", "stage": "intra", "epoch": 0, "loss": {"total": 1.0}}
    assert panels_for([plain]) == PANELS


def test_ties_of_the_modalities_have_panels_where_a_run_has_them():
    """Shares as percent; what a run does not know has no panel, and rows need not be full."""
    clusters = {
        "association_rate": 0.6,
        "association": {"matched": 0.5, "united": 0.7, "overlap": 0.25},
        "teacher": {
            "entropy_own": 0.2, "entropy_other": 1.5, "positives": 0.55,
            "right": 0.45, "right_mixed": 0.5, "right_single": 0.3,
        },
        "modality_gap": 0.12,
    }  # fmt: skip
    panels = panels_for([epoch("united", 0, clusters=clusters)])
    assert panels[: len(PANELS)] == PANELS
    found = plotted(draw([epoch("united", 0, clusters=clusters)], panels))
    assert list(found.items())[len(PANELS) :] == [
        ("ties of the modalities", {
            "mixed clusters": [(0, 60)],
            "true pairs matched": [(0, 50)],
            "matched or taught": [(0, 70)],
            "overlap of the two": [(0, 25)],
        }),
        ("mass of the teacher", {
            "own cluster": [(0, pytest.approx(55))],
            "right, other modality": [(0, 45)],
            "right, mixed clusters": [(0, 50)],
            "right, single clusters": [(0, 30)],
        }),
        ("entropy of the teacher", {"own modality": [(0, 0.2)], "other modality": [(0, 1.5)]}),
        ("joint clusters: the modalities apart", {"visible from infrared mean": [(0, 0.12)]}),
    ]  # fmt: skip
    only_rate = [epoch("invariance", 0, clusters={"association_rate": 0.6})]
    panels = panels_for(only_rate)
    assert [panel.title for panel in panels[len(PANELS) :]] == ["ties of the modalities"]
    assert len(draw(only_rate, panels).axes) == len(panels)
