"""Any number of runs in the layout of papers' tables, with published figures and the difference."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clustercontrast.data.provenance import TITLES
from clustercontrast.evaluation.protocols import PROTOCOLS
from clustercontrast.report import placing
from clustercontrast.report.forms import Place, Table
from clustercontrast.report.published import LABELS, competitors, reference
from clustercontrast.report.references.rows import METRICS, Published
from clustercontrast.report.tables import (
    TRIALS,
    UNTESTED,
    published_json,
    quoted_cells,
    reranking_notes,
    source_notes,
    spread_notes,
)
from clustercontrast.report.tested import Tested, gather, reranked_runs
from clustercontrast.report.verdicts import Verdict, spread_notes_of, verdict, widths
from clustercontrast.settings.recipes import all_recipes

PAPER_SELECTION = "test"
"""Papers report the model that is best on the test set."""

DIFFERENCE = "difference to"
Line = tuple[tuple[str, ...], Place]
"""Cells of a row, and its place."""

MARKS = "†‡§"
"""Before the runs on images that are not official: one for every kind of such images."""


def comparison_tables(
    folders: Sequence[Path],
    selections: Sequence[str],
    with_competitors: bool = False,
    rerank: bool = False,
) -> list[Table]:
    """One table per dataset that occurs among the runs, per rules that it was searched under.

    Re-ranked results have tables of their own.

    Args:
        folders: of runs.
        selections: models shown: "last", "test", "cycle", or any other of a report.
        with_competitors: show other published methods above, by supervision as papers do.
        rerank: show re-ranked results, in tables of their own below the others.

    Raises:
        UserError: a folder has no tested run, or not the re-ranked results asked for.
    """
    tables = _tables([gather(folder) for folder in folders], selections, with_competitors)
    return tables + (_tables(reranked_runs(folders), selections) if rerank else [])


def _tables(
    runs: Sequence[Tested], selections: Sequence[str], with_competitors: bool = False
) -> list[Table]:
    keys = [(dataset, note) for dataset in TITLES for note in _rules(dataset, runs)]
    parts = {key: [r for r in runs if (r.about["dataset"], r.protocol.note) == key] for key in keys}
    return [_table(key[0], own, selections, with_competitors) for key, own in parts.items()]


def _rules(dataset: str, runs: Sequence[Tested]) -> list[str]:
    """The rules under which runs on a dataset are tested: figures of each have their own table."""
    return list(dict.fromkeys(r.protocol.note for r in runs if r.about["dataset"] == dataset))


def _rules_notes(runs: Sequence[Tested]) -> list[str]:
    """What must be read with figures of a dataset whose search has rules."""
    return list(
        dict.fromkeys(run.protocol.note for run in runs if run.results and run.protocol.note)
    )


def _table(
    dataset: str, runs: Sequence[Tested], selections: Sequence[str], with_competitors: bool
) -> Table:
    """Methods in the order of the runs, each below the published figures that belong to its runs.

    Figures of the method as it is stand there where no run has any of its own.
    """
    modes = PROTOCOLS[dataset].modes
    methods = dict.fromkeys(run.about["method"] for run in runs)
    sections = [[run for run in runs if run.about["method"] == method] for method in methods]
    quoted = list(dict.fromkeys(entry for own in sections for entry in _quoted(own)))
    marks = _marks(runs)
    others = competitors(dataset, modes, quoted) if with_competitors else []
    sources = list(dict.fromkeys(entry.source for entry in others))
    numbers = [len(quoted) + 1 + sources.index(entry.source) for entry in others]
    lines = list(map(_other_line, others, numbers))
    for own in sections:
        lines += [_quoted_line(entry, quoted.index(entry) + 1) for entry in _quoted(own)]
        for run in own:
            lines += _run_lines(run, selections, quoted, marks)
    rows, places = zip(*lines, strict=True) if lines else ((), ())
    shown = [r for run in runs for r in run.results if r["selection"] in selections]
    compared = [
        entry
        for run in runs
        for entry in _compared(run, quoted).values()
        if entry.selection in selections
    ]
    return Table(
        title="Comparison, re-ranked" if runs[0].is_reranked else "Comparison",
        dataset=_title(runs),
        header=("method", "run", "model", *METRICS.values(), *METRICS.values()),
        rows=rows,
        notes=(
            *_image_notes(runs, marks),
            *reranking_notes(shown),
            *_rules_notes(runs),
            *spread_notes(shown),
            *_model_notes(shown),
            *(note for run in runs for note in _gaps(run, selections)),
            *spread_notes_of(compared, modes),
            *source_notes(quoted),
            *_notes_of_others(sources, len(quoted) + 1),
        ),
        content={
            "runs": [_json(run, quoted) for run in runs],
            "published": published_json(quoted),
            "competitors": published_json(others, numbers),
        },
        words=3,
        groups=tuple(modes.values()),
        places=places if with_competitors else _without_sections(places),
        short=("method", "result"),
    )


def _without_sections(places: Sequence[Place]) -> tuple[Place, ...]:
    return tuple(replace(own, section="") for own in places)


def _quoted(runs: Sequence[Tested]) -> list[Published]:
    """Published figures above the runs of one method."""
    own = dict.fromkeys(entry for run in runs for entry in run.beside.own)
    return list(own or dict.fromkeys(entry for run in runs for entry in run.beside.rows))


def _marks(runs: Sequence[Tested]) -> dict[str, str]:
    """What must be read with some runs' figures, each with the mark that leads to it."""
    notes = dict.fromkeys(note for run in runs for note in run.images.notes())
    return dict(zip(notes, MARKS, strict=False))


def _marked(run: Tested, cells: Sequence[str], marks: Mapping[str, str]) -> tuple[str, ...]:
    """Cells of a run's row, the first one behind the marks of its images."""
    own = "".join(marks[note] for note in run.images.notes())
    return (f"{own} {cells[0]}".strip(), *cells[1:])


def _title(runs: Sequence[Tested]) -> str:
    """The dataset, its rendered layout, or both: all that some run is on."""
    images = sorted((run.images for run in runs), key=lambda own: own.rendered)
    return " and ".join(dict.fromkeys(own.title for own in images))


def _image_notes(runs: Sequence[Tested], marks: Mapping[str, str]) -> Iterator[str]:
    """What the marks mean, and which runs are not on the same images."""
    yield from (f"{mark} {note}" for note, mark in marks.items())
    names: dict[str, list[str]] = {}
    for run in runs:
        names.setdefault(run.images.digest, []).append(f"{run.about['method']} {run.name}")
    if len(names) > 1:
        parts = (f"{', '.join(own)} (digest {digest[:6]})" for digest, own in names.items())
        yield f"runs on different images: {'; '.join(parts)}"


def _quoted_row(entry: Published, number: int) -> tuple[str, ...]:
    """A published result, with the number of the note that names its source."""
    modes = PROTOCOLS[entry.dataset].modes
    cells = [cell for mode in modes for cell in quoted_cells(entry, mode)]
    return (entry.method, f"{entry.label} [{number}]", entry.model, *cells)


def _quoted_line(entry: Published, number: int) -> Line:
    row = _quoted_row(entry, number)
    says = [entry.row, f"{placing.short_kind(entry)} [{number}]", entry.model]
    return row, placing.of_published(entry, says)


def _other_line(entry: Published, number: int) -> Line:
    """A competitor, with its supervision and the number of the note that names its source."""
    _, _, _, *cells = _quoted_row(entry, number)
    says = ", ".join(filter(None, (entry.row, entry.venue or entry.kind))) + f" [{number}]"
    row = (f"{LABELS[entry.labels]}: {entry.method}", says, "", *cells)
    words = [
        entry.row,
        f"{placing.short_venue(entry.venue) or placing.short_kind(entry)} [{number}]",
    ]
    return row, placing.of_published(entry, words)


def _model_notes(shown: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which model the rows are of, where it is one for all: papers have no column for it."""
    models = {row["model"] for row in shown}
    return [f"of every run the model: {models.pop()}"] if len(models) == 1 else []


def _notes_of_others(sources: Sequence[str], first: int) -> Iterator[str]:
    """Where the figures of competitors stand, a number for each source."""
    if sources:
        yield (
            "SVI, SSVI, USVI: trained with all, some or no identity labels; these rows are quoted "
            "and not tested here, and no difference to them is shown"
        )
    yield from (f"[{number}] {source}" for number, source in enumerate(sources, start=first))


def _run_lines(
    run: Tested,
    selections: Sequence[str],
    quoted: Sequence[Published],
    marks: Mapping[str, str],
) -> Iterator[Line]:
    """Rows of a run's models, below each its differences to figures of models chosen alike."""
    title = all_recipes()[run.about["method"]].title
    names = _marked(run, (title, run.name), marks)
    for selection in selections:
        model, *cells = run.model_row(selection) or [""]
        if not cells:
            continue
        says = placing.short_name(run) + (f", {model}" if len(selections) > 1 else "")
        yield (*names, model, *cells), placing.of_model(run, selection, (names[0], says))
        for number, entry in _compared(run, quoted).items():
            if entry.selection == selection:
                short = "" if entry.trials else short_of(run)
                label = f"{DIFFERENCE} {entry.kind} [{number}]{short}"
                row = (*names, label, *_difference_cells(run, entry))
                minus = f"minus [{number}]{short.rpartition(' ')[0]}"
                yield row, placing.of_difference(run, ("", minus))


def _compared(run: Tested, quoted: Sequence[Published]) -> dict[int, Published]:
    """The published row of every kind of model that a run is compared with, by number."""
    selections = dict.fromkeys(entry.selection for entry in run.beside.own)
    found = [reference(run.beside.own, selection, run.trials) for selection in selections]
    return {quoted.index(entry) + 1: entry for entry in found if entry}


def differences(run: Tested, entry: Published) -> dict[str, dict[str, float]]:
    """Ours minus the published figures, for the model that is selected as theirs was.

    Returns:
        mode -> metric -> points of percent, for everything that was published.
    """
    return {
        mode: {metric: ours[metric]["mean"] - value for metric, value in scores.items()}
        for mode, scores in entry.scores.items()
        if (ours := run.row(entry.selection, mode))
    }


def verdicts(run: Tested, entry: Published) -> dict[str, dict[str, Verdict]]:
    """What each of the :func:`differences` is worth."""
    return {
        mode: {
            metric: verdict(ours[metric]["mean"], widths(entry, ours, metric)) for metric in scores
        }
        for mode, scores in entry.scores.items()
        if (ours := run.row(entry.selection, mode))
    }


def short_of(run: Tested) -> str:
    """How many trials or gallery draws a run has, where papers average over more; else nothing."""
    trials, draws, usual = len(run.trials), run.results[0]["searches"], run.protocol.draws
    if 0 < trials < TRIALS:
        return f", {trials} of {TRIALS} trials"
    return f", {draws} of {usual} draws" if draws < usual else ""


def _difference_cells(run: Tested, entry: Published) -> list[str]:
    found, judged = differences(run, entry), verdicts(run, entry)
    return [
        # No -0.00.
        f"{round(found[mode][metric], 2) + 0.0:+.2f} {judged[mode][metric].mark}"
        if metric in found.get(mode, {})
        else ""
        for mode in PROTOCOLS[entry.dataset].modes
        for metric in METRICS
    ]


def _gaps(run: Tested, selections: Sequence[str]) -> Iterator[str]:
    """Trials, models and published figures that a run does not have."""
    missing = sorted(set(range(1, TRIALS + 1)) - set(run.trials))
    name = f"{run.about['method']} {run.name}"
    if not run.results:
        yield f"{name}: {UNTESTED}"
        return
    if run.trials and missing:
        yield f"{name}: without the trials {', '.join(map(str, missing))}"
    lacking = [selection for selection in selections if run.model_row(selection) is None]
    if lacking:
        yield f"{name}: has no model {' or '.join(lacking)}"
    if run.beside.note:
        yield f"{name}: {run.beside.note}"


def _json(run: Tested, quoted: Sequence[Published]) -> dict[str, Any]:
    """A run's numbers, and its differences by the number of the published figures."""
    compared = [
        {
            "number": number,
            "selection": entry.selection,
            "scores": differences(run, entry),
            "verdicts": {
                mode: {metric: own.text for metric, own in found.items()}
                for mode, found in verdicts(run, entry).items()
            },
        }
        for number, entry in _compared(run, quoted).items()
    ]
    return {
        "about": dict(run.about),
        "results": run.results,
        "differences": compared,
        "note": run.beside.note,
    }


# --- grids ---


def grid_table(dataset: str, title: str, cells: Mapping[Path, Mapping[str, str]]) -> Table:
    """Finished cells of a grid, last epoch and best on test, below what was published of each.

    Args:
        dataset: a key of ``PROTOCOLS``.
        title: of the table.
        cells: folder of a run -> flag -> value, of all flags of the grid.
    """
    flags = list(dict.fromkeys(flag for cell in cells.values() for flag in cell))
    runs = {folder: gather(folder) for folder in cells}
    tested = list(runs.values())
    marks = _marks(tested)
    chosen = ("last", PAPER_SELECTION)
    quoted = list(dict.fromkeys(entry for run in tested for entry in run.beside.own))
    lines: list[Line] = []
    for folder, run in runs.items():
        values = [cells[folder][flag] for flag in flags]
        lines += _cell_lines(run, values, chosen, quoted, marks)
    rows, places = zip(*lines, strict=True) if lines else ((), ())
    shown = [r for run in tested for r in run.results if r["selection"] in chosen]
    return Table(
        title=title,
        dataset=_title(tested),
        header=(*flags, "model", *METRICS.values(), *METRICS.values()),
        rows=rows,
        notes=(
            *_image_notes(tested, marks),
            *_rules_notes(tested),
            *spread_notes(shown),
            *_seeds_notes(tested),
            *dict.fromkeys(UNTESTED for run in tested if not run.results),
            *source_notes(quoted),
        ),
        content={
            "published": published_json(quoted),
            "cells": [
                {
                    "run": folder.name,
                    "flags": dict(cells[folder]),
                    "results": run.results,
                    "published": [quoted.index(entry) + 1 for entry in run.beside.own],
                }
                for folder, run in runs.items()
            ],
        },
        words=len(flags) + 1,
        groups=tuple(PROTOCOLS[dataset].modes.values()),
        places=_without_sections(places),
    )


def _seeds_notes(runs: Sequence[Tested]) -> list[str]:
    """Which cells have which seeds, where these differ: some may have failed."""
    if len({tuple(run.seeds) for run in runs}) == 1:
        return []
    named = ((run.about["name"], ", ".join(map(str, run.seeds))) for run in runs)
    return [f"{name}: " + (f"seeds {seeds}" if seeds else "one seed") for name, seeds in named]


def _cell_lines(
    run: Tested,
    values: Sequence[str],
    selections: Sequence[str],
    quoted: Sequence[Published],
    marks: Mapping[str, str],
) -> Iterator[Line]:
    """What was published of a cell's flags, the cell's models, below each its difference to it."""
    for entry in run.beside.own:
        method, label, model, *cells = _quoted_row(entry, quoted.index(entry) + 1)
        label = ", ".join(filter(None, (method, label, model)))
        yield (*values, label, *cells), replace(placing.of_published(entry, ()), words=())
    for selection in selections:
        row = run.model_row(selection)
        if row:
            yield _marked(run, (*values, *row), marks), placing.of_model(run, selection)
        for number, entry in _compared(run, quoted).items():
            if row and entry.selection == selection:
                label = f"{DIFFERENCE} {entry.kind} [{number}]"
                yield (*values, label, *_difference_cells(run, entry)), placing.of_difference(run)
