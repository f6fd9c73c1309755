"""Whether a difference to a published figure is more than figures differ anyway."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clustercontrast.report.published import published
from clustercontrast.report.references.rows import METRICS, QUOTATIONS, Published
from clustercontrast.report.references.spreads import DOCUMENTED, TRAININGS, Spread, of_rows

NONE = "no documented spread"
RANGE = "range of the published trainings"


@dataclass(frozen=True)
class Width:
    """A spread of one figure.

    Attributes:
        low: lowest figure within it, in percent.
        high: highest one.
        of: what varies.
        source: who says so.
    """

    low: float
    high: float
    of: str
    source: str

    def __str__(self) -> str:
        return f"the spread of {self.of} ({self.low:.2f} to {self.high:.2f}, {self.source})"


@dataclass(frozen=True)
class Verdict:
    """What a difference is worth.

    Attributes:
        mark: "≈" within a spread, "≠" outside all, "?" where none is known.
        text: the spread that decides, with its source.
    """

    mark: str
    text: str


def verdict(ours: float, widths: Sequence[Width]) -> Verdict:
    """Judge a figure by the narrowest spread that holds it, or by the widest.

    Args:
        ours: in percent.
        widths: all that is known of the spread around the published figure.
    """
    if not widths:
        return Verdict("?", NONE)
    ordered = sorted(widths, key=lambda width: width.high - width.low)
    holding = [width for width in ordered if width.low - 1e-9 <= ours <= width.high + 1e-9]
    if holding:
        return Verdict("≈", f"within {holding[0]}")
    known = any(width.of == TRAININGS for width in widths)
    missing = "" if known else f"; {NONE} of {TRAININGS}"
    return Verdict("≠", f"outside {ordered[-1]}{missing}")


def widths(row: Published, result: Mapping[str, Any], metric: str) -> list[Width]:
    """What is known of the spread of a result, and of the published figure beside it.

    Args:
        row: the published figures.
        result: ours, in one mode: its deviation over draws, trials or seeds counts where there are
            some.
        metric: a key of ``METRICS``, published in this mode.
    """
    mode, std = result["mode"], result[metric]["std"]
    quoted = row.scores[mode][metric]
    number, of, counted = _counted(result)
    own = Width(quoted - std, quoted + std, of, f"{number} {counted} of this run")
    documented = [
        Width(*spread.bounds(mode, metric, quoted), spread.of, spread.source)
        for spread in spreads(row)
        if metric in spread.points.get(mode, {})
    ]
    return [own, *documented] if number > 1 else documented


def _counted(result: Mapping[str, Any]) -> tuple[int, str, str]:
    """What the deviation of a result is over: how many, what varies, and what they are called."""
    if "seeds" in result:
        return len(result["seeds"]), TRAININGS, "seeds"
    if "trials" in result:
        return len(result["trials"]), "trials", "trials"
    return result.get("searches", 1), "gallery draws", "gallery draws"


def spreads(row: Published) -> list[Spread]:
    """Documented spreads of a published row: stated, of its draws or trials, of its retrainings."""
    methods = {run.method for run in row.runs}
    stated = [own for own in DOCUMENTED if own.dataset == row.dataset and own.method in methods]
    counted = [of_rows(row)] if row.each else []
    return [*stated, *counted, *_retrained(row)]


def _retrained(row: Published) -> Iterator[Spread]:
    """The range of several published trainings of one configuration."""
    for run in row.runs[:1]:
        alike = [
            other
            for other in published(row.dataset, run)
            if (other.selection, other.trials) == (row.selection, row.trials)
            and other.kind not in QUOTATIONS
        ]
        points = {mode: dict(_ranges(alike, mode)) for mode in row.scores}
        if any(points.values()):
            yield Spread(run.method, row.dataset, TRAININGS, RANGE, points)


def _ranges(rows: Sequence[Published], mode: str) -> Iterator[tuple[str, tuple[float, float]]]:
    for metric in METRICS:
        values = [row.scores[mode][metric] for row in rows if metric in row.scores.get(mode, {})]
        if len(values) > 1:
            yield metric, (min(values), max(values))


# --- words ---


def spread_notes_of(rows: Sequence[Published], modes: Mapping[str, str]) -> list[str]:
    """What the marks of differences to published rows mean.

    Args:
        rows: those that something is compared with.
        modes: headings of the dataset's search modes.
    """
    if not rows:
        return []
    notes = [
        "≈: within the spread of gallery draws, trials or seeds (± in the row above) or of "
        f"repeated trainings; ≠: outside both; ?: {NONE}"
    ]
    for row in rows:
        known = spreads(row)
        notes += [f"{spread.of} of {row.method}: {_listed(spread, modes)}" for spread in known]
        if not any(spread.of == TRAININGS for spread in known):
            notes.append(f"{TRAININGS} of {row.method}: {NONE}")
    return list(dict.fromkeys(notes))


def _listed(spread: Spread, modes: Mapping[str, str]) -> str:
    parts = [
        f"{heading} " + ", ".join(f"{METRICS[name]} {_span(own)}" for name, own in points.items())
        for mode, heading in modes.items()
        if (points := spread.points.get(mode))
    ]
    return f"{'; '.join(parts)} ({spread.source})"


def _span(points: float | tuple[float, float]) -> str:
    """Points to either side, or lowest and highest figure."""
    if isinstance(points, tuple):
        return f"{points[0]:.2f} to {points[1]:.2f}"
    return f"±{points:.2f}"
