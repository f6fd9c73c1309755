"""Curves of a run over its epochs, drawn from ``metrics.jsonl``.

A line of the file with ``"event": "epoch"`` describes one epoch; everything it may hold is optional
(common keys: "loss", "clusters", "scores"), and other events are ignored. Scores are in percent but
for "cycle"; shares, ARI and NMI lie in [0, 1].
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from clustercontrast.files import UserError, atomic, read_events
from clustercontrast.report.pictures import COLUMN, LEGEND


@dataclass(frozen=True)
class Panel:
    """One plot of the figure.

    Attributes:
        title: what is shown.
        unit: label of the vertical axis.
        curves: patterns of the dotted keys drawn here.
        without: patterns of keys among them that another panel draws.
        percent: patterns of the keys among them that are shares, drawn as percent.
        top: fixed upper end of the vertical axis, None = by the data.
    """

    title: str
    unit: str
    curves: tuple[str, ...]
    without: tuple[str, ...] = ()
    percent: tuple[str, ...] = ()
    top: float | None = None


IDENTIFICATION = ("loss.identity_*", "loss.triplet_*")
RELATIONS = ("loss.similarity_*", "loss.probability_*")
PANELS = (
    Panel("loss terms", "mean of the epoch", ("loss.*",), (*IDENTIFICATION, *RELATIONS)),
    Panel("retrieval", "%", ("scores.*",), percent=("scores.cycle",), top=100),
    Panel("clusters", "number", ("clusters.*.clusters",)),
    Panel("outliers", "% of the images", ("clusters.*.outliers",), percent=("*",)),
    Panel(
        "clusters and identities: ARI, matching",
        "",
        ("clusters.*.ari", "clusters.match_accuracy*"),
        top=1,
    ),
    Panel("clusters and identities: NMI", "", ("clusters.*.nmi",), top=1),
)

MUTUAL = (
    Panel("identification by view", "mean of the epoch", IDENTIFICATION),
    Panel("preserved relations", "mean of the epoch", RELATIONS),
)
"""Panels of methods whose networks teach each other (CMAM-UDA), behind the first two."""

TIES = (
    Panel(
        "ties of the modalities",
        "%",
        ("clusters.association_rate", "clusters.association.*"),
        percent=("*",),
        top=100,
    ),
    Panel(
        "mass of the teacher",
        "%",
        ("clusters.teacher.*",),
        ("clusters.teacher.entropy_*",),
        percent=("*",),
        top=100,
    ),
    Panel("entropy of the teacher", "nats", ("clusters.teacher.entropy_*",)),
    Panel("joint clusters: the modalities apart", "cosine distance", ("clusters.modality_gap",)),
)
"""Panels of joint clusters and of teachers over both modalities (united, PoSeD, BMIL, PCA, GUR),
behind the others; a run has those that it has something to show in."""

COLOURS = {
    "visible": "#d55e00",
    "infrared": "#0072b2",
    "joint": "#009e73",
    "total": "#222222",
    "rank1": "#222222",
    "mAP": "#cc79a7",
    "mINP": "#e69f00",
    "cycle": "#56b4e9",
}
"""Colours of known curves, the same in every panel (Okabe and Ito's, for all readers)."""

LINES = {"joint": (0, (2, 3))}
"""Curves that often cover another one, in a style that lets it show; the others are solid."""

COMPANIONS = (
    (r"(.*)_shallow$", r"\1", ":", "dotted: shallow"),  # SDCL
    (r"triplet_(.*)", r"identity_\1", "--", "dashed: triplet"),  # CMAM-UDA
    (r"probability_(.*)", r"similarity_\1", "--", "dashed: probability"),
)
"""Curves in the colour of another one: pattern, the other's name, line style, words for it."""

OTHER_COLOURS = ("#cc79a7", "#56b4e9", "#e69f00", "#999999", "#882255", "#44aa99")

MARKS = (
    ("*", {"markersize": 10, "color": "#222222", "markeredgecolor": "white"}),
    (
        "D",
        {"markersize": 6.5, "color": "none", "markeredgecolor": "#0072b2", "markeredgewidth": 1.6},
    ),
)
"""Of the best epochs by the test set, and by cycle consistency, around the former if it is one."""

NAMES = {
    "rank1": "Rank-1",
    "cycle": "cycle consistency",
    "match_accuracy": "matched to the same identity",
    "association_rate": "mixed clusters",
    "association.matched": "true pairs matched",
    "association.united": "matched or taught",
    "association.overlap": "overlap of the two",
    "teacher.positives": "own cluster",
    "teacher.right": "right, other modality",
    "teacher.right_mixed": "right, mixed clusters",
    "teacher.right_single": "right, single clusters",
    "teacher.entropy_own": "own modality",
    "teacher.entropy_other": "other modality",
    "modality_gap": "visible from infrared mean",
}
"""Legends of curves whose key does not read well."""


PUBLISHED = "dashed: published log"
TICKS = 12
"""Numbers below a plot, at most, of all stages."""

Records = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Best:
    """The best epochs under one rule.

    Attributes:
        words: the rule.
        key: of the score that it goes by.
        marker: that shows these epochs.
        style: of the marker.
        epochs: positions among all epochs, one per stage that has the score.
    """

    words: str
    key: str
    marker: str
    style: Mapping[str, Any]
    epochs: Sequence[int]


def curves(
    metrics_jsonl: Path,
    png: Path,
    select: str | None = None,
    beside: Callable[[Records], Sequence[Mapping[str, float]]] = lambda _: (),
) -> None:
    """Draw loss terms, clusters, their quality and the retrieval scores of a run.

    Args:
        metrics_jsonl: log of the run.
        png: picture to write; it is replaced only when the new one is complete.
        select: score of the test set that chose a model, whose best epochs are marked.
        beside: records of the epochs -> published figures of each, under dotted keys.

    Raises:
        UserError: the log is missing, damaged or has no finished epoch; the picture cannot be
            written.
    """
    epochs = read_epochs(metrics_jsonl)
    best = best_epochs(epochs, select)
    figure = draw(epochs, panels_for(epochs), best=best, published=beside(epochs))
    with atomic(png, "wb") as file:
        figure.savefig(file, format="png")


def read_epochs(metrics_jsonl: Path) -> list[dict[str, Any]]:
    """Epoch records of a log in the order of training, the last one of an epoch run twice.

    Raises:
        UserError: the log is missing, damaged or has no finished epoch.
    """
    records = [r for r in read_events(metrics_jsonl) if r["event"] == "epoch"]
    epochs = {(record["stage"], record["epoch"]): record for record in records}
    if not epochs:
        raise UserError(f"{metrics_jsonl} has no finished epoch yet: nothing can be drawn")
    return list(epochs.values())


def panels_for(epochs: Sequence[Mapping[str, Any]]) -> tuple[Panel, ...]:
    """The panels that a run has something to show in, or that every run has."""
    values = [dict(flattened(record)) for record in epochs]
    extra = MUTUAL if any(_keys(panel, values) for panel in MUTUAL) else ()
    ties = (panel for panel in TIES if _keys(panel, values))
    return (*PANELS[:2], *extra, *PANELS[2:], *ties)


def best_epochs(epochs: Sequence[Mapping[str, Any]], select: str | None) -> list[Best]:
    """The first best epoch of every stage by the test set, and by cycle consistency.

    Args:
        epochs: records of ``read_epochs``.
        select: score of the test set that chose a model; None for none.
    """
    rules = {"best on the test set": select, "best by cycle consistency": "cycle"}
    return [
        Best(words, f"scores.{key}", *mark, _highest(epochs, f"scores.{key}"))
        for (words, key), mark in zip(rules.items(), MARKS, strict=True)
        if key
    ]


def _highest(epochs: Sequence[Mapping[str, Any]], key: str) -> list[int]:
    """Position of the first epoch of the highest score in every stage that has it."""
    heights = [dict(flattened(record)).get(key, -np.inf) for record in epochs]
    starts = stage_starts(epochs)
    found = [
        start + int(np.argmax(heights[start:end]))
        for start, end in zip(starts, [*starts[1:], len(epochs)], strict=True)
    ]
    return [epoch for epoch in found if heights[epoch] > -np.inf]


def draw(
    epochs: Sequence[Mapping[str, Any]],
    panels: Sequence[Panel] = PANELS,
    columns: int = 2,
    size: tuple[float, float] = (6.5, 3.7),
    best: Sequence[Best] = (),
    published: Sequence[Mapping[str, float]] = (),
) -> Figure:
    """One plot per panel, row by row, stages side by side in each.

    Args:
        epochs: records of ``read_epochs``, at least one.
        panels: what to plot.
        columns: plots beside one another.
        size: width and height of a plot, inches.
        best: of ``best_epochs``: marked on the curve of the score, in other plots below the curves.
        published: figures of others beside each epoch's own, under dotted keys; none by default.
    """
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    values = [dict(flattened(record)) for record in epochs]
    stages = [record["stage"] for record in epochs]
    starts = stage_starts(epochs)
    plots = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in plots[len(panels) :]:
        axes.remove()
    for panel, axes in zip(panels, plots, strict=False):
        companions = _draw_panel(axes, panel, values, starts, published)
        if axes.lines:
            _mark_best(axes, panel, values, best)
        _decorate(axes, panel, len(values), companions)
        _mark_stages(axes, stages, starts)
        _number_epochs(axes, epochs, starts)
    return figure


def draw_narrow(
    epochs: Sequence[Mapping[str, Any]],
    panel: Panel,
    best: Sequence[Best] = (),
    published: Sequence[Mapping[str, float]] = (),
) -> Figure:
    """One plot for a narrow window, its legend below."""
    figure = draw(epochs, [panel], 1, (COLUMN, 2.7), best, published)
    figure.get_layout_engine().set(w_pad=0.05, h_pad=0.03)
    figure.suptitle(panel.title, x=0.02, ha="left", fontweight="bold", fontsize="medium")
    (axes,) = figure.axes
    axes.set_title("", loc="left")
    if legend := axes.get_legend():
        handles, labels = axes.get_legend_handles_labels()
        words, lines = legend.get_title().get_text(), -(-len(labels) // 2)
        legend.remove()
        figure.set_size_inches(COLUMN, 2.7 + LEGEND * (lines + bool(words)))
        figure.legend(
            handles,
            labels,
            title=words or None,
            loc="outside lower center",
            ncols=2,
            frameon=False,
            fontsize="small",
            title_fontsize="small",
            columnspacing=1.0,
            handlelength=1.5,
        )
    return figure


def stage_starts(epochs: Sequence[Mapping[str, Any]]) -> list[int]:
    """Positions of the first epochs of the stages."""
    stages = [record["stage"] for record in epochs]
    return [i for i, stage in enumerate(stages) if i == 0 or stage != stages[i - 1]]


def flattened(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Numbers of a nested record under dotted keys, such as ``clusters.visible.ari``."""
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{key}.")
        elif isinstance(value, int | float):
            yield prefix + key, float(value)


def _draw_panel(
    axes: Axes,
    panel: Panel,
    values: Sequence[Mapping[str, float]],
    starts: Sequence[int],
    published: Sequence[Mapping[str, float]],
) -> str:
    """Draw all curves of one panel, each below the published one; words for styles of lines."""
    spare, colours = itertools.cycle(OTHER_COLOURS), dict(COLOURS)
    keys = _keys(panel, values)
    names, companions = [_curve_name(key) for key in keys], {}
    for key, name in zip(keys, names, strict=True):
        of, style, words = _companion(name, names)
        companions |= {words: None} if words else {}
        if of not in colours:
            colours[of] = next(spare)
        scale = 100 if _fits(key, panel.percent) else 1
        epochs, heights = curve([value.get(key, np.nan) for value in values], starts)
        axes.plot(
            epochs,
            scale * heights,
            color=colours[of],
            label=None if words else NAMES.get(name, name.replace("_", " ").replace(".", ", ")),
            linestyle=style,
            linewidth=1.6,
            marker="o",
            markersize=2.5,
        )
        others = [value.get(key, np.nan) for value in published]
        if np.isfinite(others).any():
            companions[PUBLISHED] = None
            epochs, heights = curve(others, starts)
            axes.plot(epochs, scale * heights, "--", color=colours[of], linewidth=1.4)
    return ", ".join(companions)


def _mark_best(
    axes: Axes, panel: Panel, values: Sequence[Mapping[str, float]], best: Sequence[Best]
) -> None:
    """Markers at the best epochs: on the curve of their score, else on the axis of the epochs."""
    for own in (rule for rule in best if rule.epochs):  # an empty curve would break the layout
        is_here = _fits(own.key, panel.curves)
        scale = 100 if _fits(own.key, panel.percent) else 1
        axes.plot(
            list(own.epochs),
            [scale * values[epoch][own.key] if is_here else 0 for epoch in own.epochs],
            transform=axes.transData if is_here else axes.get_xaxis_transform(),
            label=own.words if is_here else None,
            marker=own.marker,
            linestyle="",
            clip_on=False,
            zorder=4,
            **own.style,
        )


def _companion(name: str, names: Sequence[str]) -> tuple[str, str, str]:
    """Curve whose colour a curve has, its line style, and words for a style that is not its own."""
    for pattern, other, style, words in COMPANIONS:
        found = re.match(pattern, name)
        if found and found.expand(other) in names:
            return found.expand(other), style, words
    return name, LINES.get(name, "-"), ""


def curve(heights: Sequence[float], starts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Points of a curve: epochs without a value are bridged, stages are not joined (NaN).

    Args:
        heights: of every epoch, NaN for none.
        starts: positions of the first epochs of the stages.

    Returns:
        Positions of the epochs, counted from 0 over all stages, and heights.
    """
    known = np.insert(np.isfinite(heights), starts, True)
    epochs = np.insert(np.arange(0.0, len(heights)), starts, np.nan)
    return epochs[known], np.insert(heights, starts, np.nan)[known]


def _keys(panel: Panel, values: Sequence[Mapping[str, float]]) -> list[str]:
    """Keys of the panel that occur in any epoch, in the order of their first appearance."""
    seen = dict.fromkeys(key for value in values for key in value)
    return [key for key in seen if _fits(key, panel.curves) and not _fits(key, panel.without)]


def _fits(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _curve_name(key: str) -> str:
    """``clusters.visible.ari`` is the curve "visible", ``loss.total`` the curve "total"."""
    parts = key.split(".")[1:]
    measured = len(parts) > 1 and parts[-1] in ("clusters", "outliers", "ari", "nmi")
    return ".".join(parts[:-1] if measured else parts)


def _decorate(axes: Axes, panel: Panel, epochs: int, companions: str) -> None:
    """Title, axes, grid and legend of one panel."""
    axes.set_title(panel.title, loc="left", fontweight="bold", pad=20)
    axes.set_xlabel("epoch of the stage")
    axes.set_ylabel(panel.unit)
    axes.set_xlim(-0.5, epochs - 0.5)
    axes.set_ylim(min(0, axes.dataLim.y0), panel.top)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.grid(alpha=0.25)
        axes.legend(
            frameon=False, fontsize="small", title=companions or None, title_fontsize="small"
        )
    else:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color="0.5")


def _mark_stages(axes: Axes, stages: Sequence[str], starts: Sequence[int]) -> None:
    """A vertical line between stages and the name of each above its epochs."""
    for start, end in zip(starts, [*starts[1:], len(stages)], strict=True):
        if start:
            axes.axvline(start - 0.5, color="0.4", linestyle=":", linewidth=1)
        axes.text(
            (start + end - 1) / 2,
            1.01,
            stages[start],
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize="small",
            color="0.35",
        )


ROOM = 25
"""Numbers of epochs that have room below a plot."""


def _number_epochs(axes: Axes, epochs: Records, starts: Sequence[int]) -> None:
    """Numbers of epochs as the log has them, stage by stage."""
    places: dict[int, int] = {}
    for start, end in zip(starts, [*starts[1:], len(epochs)], strict=True):
        numbers = {epochs[place]["epoch"]: place for place in range(start, end)}
        locator = MaxNLocator(max(1, TICKS * (end - start) // len(epochs)), integer=True)
        ticks = locator.tick_values(min(numbers), max(numbers)) if end - start > 1 else numbers
        room = len(epochs) / ROOM if end < len(epochs) else 0  # before the next stage's first one
        places |= {
            numbers[tick]: int(tick)
            for tick in ticks
            if tick in numbers and (tick == min(numbers) or end - numbers[tick] > room)
        }
    axes.set_xticks(list(places), list(map(str, places.values())))
