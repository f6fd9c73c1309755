"""Several runs in one plot: their clusters over the epochs, a score against a flag's value."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from clustercontrast.files import UserError, atomic
from clustercontrast.report.figures import curve, flattened, stage_starts
from clustercontrast.report.pictures import COLUMN, LEGEND, calm, noted

ARI = {
    "RGB": ("clusters.visible.ari",),
    "IR": ("clusters.infrared.ari",),
    "ALL": ("clusters.joint.ari", "clusters.joint_clusters.ari"),
}
"""Plots of PCLHD's Fig. 2c, and the keys of an epoch's record that hold their values: the first
that is there.  ALL grades both modalities together: matched clusters, or clusters of both."""


@dataclass(frozen=True)
class Measure:
    """A number of every epoch that runs are compared in.

    Attributes:
        title: what is shown.
        unit: label of the vertical axis.
        keys: of an epoch's record that hold it: the first that is there.
        scale: factor from the record to the unit.
    """

    title: str
    unit: str
    keys: tuple[str, ...]
    scale: float = 1.0


MEASURES = (
    Measure("mAP", "%", ("scores.mAP",)),
    Measure("Rank-1", "%", ("scores.rank1",)),
    Measure("cycle consistency", "%", ("scores.cycle",), 100),
    Measure("total loss", "mean of the epoch", ("loss.total",)),
    Measure("visible clusters", "number", ("clusters.visible.clusters",)),
    Measure("infrared clusters", "number", ("clusters.infrared.clusters",)),
    Measure("visible outliers", "% of the images", ("clusters.visible.outliers",), 100),
    Measure("infrared outliers", "% of the images", ("clusters.infrared.outliers",), 100),
    Measure("ARI of visible clusters", "", ARI["RGB"]),
    Measure("ARI of infrared clusters", "", ARI["IR"]),
    Measure("ARI of clusters of both", "", ARI["ALL"]),
    Measure("mixed clusters", "%", ("clusters.association_rate",), 100),
    Measure("true pairs matched", "%", ("clusters.association.matched",), 100),
    Measure("true pairs matched or taught", "%", ("clusters.association.united",), 100),
    Measure("overlap of pairs matched and taught", "%", ("clusters.association.overlap",), 100),
    Measure("teacher: mass on the own cluster", "%", ("clusters.teacher.positives",), 100),
    Measure("teacher: right person in the other modality", "%", ("clusters.teacher.right",), 100),
    Measure("teacher: the same, mixed clusters", "%", ("clusters.teacher.right_mixed",), 100),
    Measure("teacher: the same, single clusters", "%", ("clusters.teacher.right_single",), 100),
    Measure("teacher: entropy, own modality", "nats", ("clusters.teacher.entropy_own",)),
    Measure("teacher: entropy, other modality", "nats", ("clusters.teacher.entropy_other",)),
    Measure("joint clusters: the modalities apart", "cosine distance", ("clusters.modality_gap",)),
)

DPI = 130
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#222222")
LINES = ("-", "--", ":")
STYLES = tuple({"color": own, "linestyle": line} for line in LINES for own in COLOURS)
"""Of the curves of several runs (Okabe and Ito's colours, for all readers)."""


def ari(runs: Mapping[str, Sequence[Mapping[str, Any]]], notes: Sequence[str] = ()) -> Figure:
    """Adjusted Rand index of the clusters over the epochs, as in PCLHD's Fig. 2c.

    Args:
        runs: label -> records of :func:`clustercontrast.report.figures.read_epochs`.
        notes: what must be read with the plots.

    Raises:
        UserError: no epoch has an ARI.
    """
    figure = noted(Figure(figsize=(13, 4.2), dpi=DPI, layout="constrained"), notes)
    plots = figure.subplots(1, len(ARI), sharex=True, sharey=True)
    for axes, (name, keys) in zip(plots, ARI.items(), strict=True):
        for (label, epochs), style in zip(runs.items(), itertools.cycle(STYLES), strict=False):
            points = curve(_heights(epochs, keys), stage_starts(epochs))
            axes.plot(*points, label=label, marker="o", markersize=2.5, **style)
        axes.set_title(name, loc="left", fontweight="bold")
        axes.set_xlabel("epoch, counted from 0 over all stages")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        calm(axes)
    if not any(np.isfinite(line.get_ydata()).any() for axes in plots for line in axes.lines):
        raise UserError("no epoch has an ARI: the training images of these runs have no identities")
    plots[0].set_ylabel("ARI")
    plots[0].set_ylim(min(0, *(axes.dataLim.y0 for axes in plots)))
    handles, labels = plots[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def measures_of(runs: Iterable[Sequence[Mapping[str, Any]]]) -> list[Measure]:
    """The measures that any epoch of any run has.

    Args:
        runs: records of :func:`clustercontrast.report.figures.read_epochs` of every run.
    """
    seen = {key for epochs in runs for record in epochs for key, _ in flattened(record)}
    return [measure for measure in MEASURES if seen.intersection(measure.keys)]


def together(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], measure: Measure, is_narrow: bool = False
) -> Figure:
    """One measure of several runs over the epochs.

    Args:
        runs: label -> records of :func:`clustercontrast.report.figures.read_epochs`.
        measure: what is drawn.
        is_narrow: for narrow windows.
    """
    width, height = (COLUMN, 2.4) if is_narrow else (5.4, 3.0)
    figure = Figure(figsize=(width, height + LEGEND * len(runs)), layout="constrained")
    axes = figure.subplots()
    for (label, epochs), style in zip(runs.items(), itertools.cycle(STYLES), strict=False):
        heights = [measure.scale * height for height in _heights(epochs, measure.keys)]
        points = curve(heights, stage_starts(epochs))
        axes.plot(*points, label=label, marker="o", markersize=4, **style)
    axes.set_title(measure.title, loc="left", fontweight="bold", fontsize="medium")
    axes.set_xlabel("epoch, counted from 0 over all stages")
    axes.set_ylabel(measure.unit)
    low, high = min(0, axes.dataLim.y0), axes.dataLim.y1
    axes.set_ylim(low, high + 0.06 * (high - low) if high > low else None)
    axes.set_xlim(-0.5, max(map(len, runs.values())) - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    calm(axes)
    figure.legend(loc="outside lower left", fontsize="small", frameon=False)
    return figure


def _heights(epochs: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[float]:
    """A measure of every epoch under the first of its keys that is there, NaN for none."""
    known = map(dict, map(flattened, epochs))
    return [next((own[key] for key in keys if key in own), np.nan) for own in known]


@dataclass(frozen=True)
class Scores:
    """A score of runs that differ in one flag.

    Attributes:
        label: of the curve.
        ours: pairs of the flag's value and the score in percent, one per run.
        published: such pairs of figures that belong to some of these runs.
    """

    label: str
    ours: Sequence[tuple[float, float]]
    published: Sequence[tuple[float, float]] = ()


def against(curves: Sequence[Scores], flag: str, metric: str, notes: Sequence[str] = ()) -> Figure:
    """A score against the value of a flag, as in CMAM-UDA's Fig. 5 and PCLHD's Fig. 2a and 2b.

    A curve goes through the mean of the runs of a value, every run being a point; published
    figures are hollow squares.

    Args:
        curves: one per dataset and method.
        flag: as it is typed.
        metric: its name.
        notes: what must be read with the plot.
    """
    figure = noted(Figure(figsize=(7.5, 5), dpi=DPI, layout="constrained"), notes)
    axes = figure.subplots()
    for own, style in zip(curves, itertools.cycle(STYLES), strict=False):
        values = sorted({value for value, _ in own.ours})
        means = [np.mean([y for x, y in own.ours if x == value]) for value in values]
        axes.plot(values, means, label=own.label, **style)
        axes.plot(*zip(*own.ours, strict=True), "o", color=style["color"], markersize=5)
        if own.published:
            squares = {"color": style["color"], "markerfacecolor": "none", "markersize": 8}
            label = f"{own.label}, published"
            axes.plot(*zip(*own.published, strict=True), "s", label=label, **squares)
    axes.set_xlabel(flag)
    axes.set_ylabel(f"{metric}, %")
    calm(axes)
    axes.set_xticks(sorted({value for own in curves for value, _ in own.ours}))
    axes.set_ylim(0, max(axes.dataLim.y1 * 1.08, 1))
    figure.legend(loc="outside lower center", ncols=1, frameon=False)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    with atomic(path, "wb") as file:
        figure.savefig(file, format="png")
