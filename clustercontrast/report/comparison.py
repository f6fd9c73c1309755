"""Any number of runs in the layout of papers' tables, with published figures and the difference."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clustercontrast.data.provenance import TITLES, Provenance
from clustercontrast.evaluation.protocols import PROTOCOLS
from clustercontrast.files import UserError, fault, read_json
from clustercontrast.report.published import References, configuration, references, typed
from clustercontrast.report.references.rows import METRICS, Published
from clustercontrast.report.tables import (
    TRIALS,
    Table,
    measured_cells,
    published_json,
    quoted_cells,
    source_notes,
    spread_notes,
)
from clustercontrast.report.verdicts import Verdict, spread_notes_of, verdict, widths

PAPER_SELECTION = "test"
"""Papers report the model that is best on the test set."""

DIFFERENCE = "difference to"
MARKS = "†‡§"
"""Before the runs on images that are not official: one for every kind of such images."""
Results = list[dict[str, Any]]

WITH_TRIALS = "regdb"
"""The dataset whose figures are means over trials, each of which has a folder."""
TRIAL = re.compile(r"trial[0-9]+")
NUMBER = (int, float)
REPORT = {
    "about": {
        "method": str,
        "dataset": str,
        "variant": str,
        "name": str,
        "trial": (int, type(None)),
        "stage": str,
        "epoch": int,
        "changes": {...: [str]},
        "ends": {...: int},
        "images": {
            "dataset": str,
            "digest": str,
            "complete": bool,
            "rendered": bool,
            "leak": bool,
        },
    },
    "results": [
        {"model": str, "selection": str, "mode": str, "searches": int}
        | {metric: {"mean": NUMBER, "std": NUMBER} for metric in METRICS}
    ],
}
"""What has to be in a report.json."""


@dataclass(frozen=True)
class Tested:
    """A run that has been tested.

    Attributes:
        about: method, dataset, name, images, and what else its report says of it; the trial is
            None for a mean over trials.
        results: rows of :func:`clustercontrast.commands.results.run_results`, averaged over
            the trials where there are trials.
    """

    about: Mapping[str, Any]
    results: Results

    @property
    def name(self) -> str:
        """What was tested: name of the run, its trial if it is one alone, and the stage."""
        trial = self.about.get("trial")
        parts = (self.about["name"], trial and f"trial{trial}", self.about.get("stage"))
        return "/".join(filter(None, parts))

    @property
    def images(self) -> Provenance:
        """Where its images come from."""
        return Provenance.of(self.about)

    @property
    def beside(self) -> References:
        """Published figures that stand beside it."""
        return references(self.about, self.about["dataset"])

    @property
    def trials(self) -> list[int]:
        """Trials averaged over; none where a dataset has no trials."""
        return self.results[0].get("trials", [])

    def row(self, selection: str, mode: str) -> dict[str, Any] | None:
        """The result of one model in one mode."""
        wanted = {"selection": selection, "mode": mode}
        return next((r for r in self.results if wanted.items() <= r.items()), None)

    def model_row(self, selection: str) -> tuple[str, ...] | None:
        """Name and cells of a model in every mode; None for a model that the run has not."""
        found = [self.row(selection, mode) for mode in PROTOCOLS[self.about["dataset"]].modes]
        models = [result["model"] for result in found if result]
        cells = [cell for result in found for cell in measured_cells(result or {})]
        return (models[0], *cells) if models else None


def gather(folder: Path) -> Tested:
    """Read what the test of a run found.

    Args:
        folder: of a run, or of one of its trials; trials in it are averaged.

    Raises:
        UserError: no run, not tested, or its trials are not to be averaged.
    """
    folder = Path(folder)
    reports = _trial_reports(folder)
    if len(reports) < 2:
        only = reports[0] if reports else read_report(folder)
        return Tested(only["about"], only["results"])
    return Tested(reports[0]["about"] | {"trial": None}, _mean(folder, reports))


def average(folder: Path) -> Results:
    """Results of a run's trials, averaged: mean and population deviation over the trials.

    Raises:
        UserError: no trial has been tested, or the trials are not to be averaged.
    """
    reports = _trial_reports(folder)
    if not reports:
        raise UserError(f"{folder} has no tested trial: run python test_regdb.py {folder}")
    return _mean(folder, reports)


def _mean(folder: Path, reports: Sequence[Mapping[str, Any]]) -> Results:
    """Mean and deviation over trials of every row that all of them have."""
    _check_alike(folder, reports)
    rows = [{(r["selection"], r["mode"]): r for r in report["results"]} for report in reports]
    shared = [key for key in rows[0] if all(key in own for own in rows)]
    return [_over_trials([own[key] for own in rows]) for key in shared]


def _over_trials(results: Results) -> dict[str, Any]:
    row = {key: results[0][key] for key in ("model", "selection", "mode", "searches")}
    row["trials"] = [trial for result in results for trial in result["trials"]]
    for metric in METRICS:
        values = [result[metric]["mean"] for result in results]
        row[metric] = {"mean": float(np.mean(values)), "std": float(np.std(values))}
    return row


def _check_alike(folder: Path, reports: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a mean over trials of different stages, epochs, methods, flags or images."""
    facts = [_facts(report["about"]) for report in reports]
    for key in facts[0]:
        found = {str(own[key]) for own in facts}
        if len(found) > 1:
            raise UserError(
                f"the trials in {folder} differ in their {key} ({'; '.join(sorted(found))}): train "
                "and test them alike before they are averaged, or give folders of single trials"
            )


def _facts(about: Mapping[str, Any]) -> dict[str, Any]:
    """What trials must have in common to be averaged."""
    images, run = Provenance.of(about), configuration(about)
    said = (images.title, images.digest and f"digest {images.digest}", *images.notes())
    return {
        **{key: about.get(key) for key in ("stage", "epoch", "method", "variant")},
        "flags": " ".join(typed(run.flags)) if run else "",
        "images": ", ".join(filter(None, said)),
    }


# --- reading reports ---


def _trial_reports(folder: Path) -> list[dict]:
    """Reports of the tested trials in a run's folder, by trial."""
    places = [path.parent for path in folder.glob("trial*/report.json")]
    reports = [read_report(place) for place in places if TRIAL.fullmatch(place.name)]
    tested = [own for own in reports if own["about"]["dataset"] == WITH_TRIALS]
    return sorted(tested, key=lambda own: own["about"]["trial"])


def read_report(folder: Path) -> dict:
    """The report.json of a run, or of one trial of it.

    Raises:
        UserError: it is missing or damaged, or that of another trial.
    """
    path = folder / "report.json"
    if not path.exists():
        raise _no_report(folder)
    report = read_json(path)
    found = _fault(report)
    if found:
        raise UserError(f"{path} is of another version or damaged: test the run again ({found})")
    _check_place(folder, report["about"])
    return report


def _check_place(folder: Path, about: Mapping[str, Any]) -> None:
    """Refuse a trial that was copied over another: it would count twice."""
    is_trial = TRIAL.fullmatch(folder.name) and about["dataset"] == WITH_TRIALS
    if is_trial and folder.name != f"trial{about['trial']}":
        raise UserError(
            f"{folder} holds the report of trial {about['trial']}: delete the folder, or move it "
            "to where it belongs"
        )


def _no_report(folder: Path) -> UserError:
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        return UserError(f"{folder} {found}: give folders of runs, such as logs/sysu/*/*/")
    if not [*folder.glob("config.json"), *folder.glob("trial*/config.json")]:
        return UserError(f"{folder} is not a run's folder: give logs/<dataset>/<method>/<name>/")
    return UserError(
        f"{folder} has no report.json: run python test_sysu.py (or test_regdb.py), or python -m "
        f"clustercontrast test --dataset DATASET, with {folder} first"
    )


def _fault(report: Mapping[str, Any]) -> str | None:
    """What keeps a report from having all that tables read, with figures that can be; else None."""
    found = fault(report, REPORT)
    if found:
        return found
    about, results = report["about"], report["results"]
    dataset, searched = about["dataset"], about["images"]["dataset"]
    if dataset not in PROTOCOLS or dataset != searched:
        return f"about.dataset is {dataset!r}, that of its images {searched!r}"
    if not results:
        return "it has no results"
    return next(filter(None, (_row_fault(row, about) for row in results)), None)


def _row_fault(row: Mapping[str, Any], about: Mapping[str, Any]) -> str | None:
    """What a row of results lacks, or says that cannot be."""
    if row["mode"] not in PROTOCOLS[about["dataset"]].headings:
        return f"mode is {row['mode']!r}"
    if row["searches"] < 1:
        return f"searches is {row['searches']}"
    found = _trials_fault(row, about["trial"]) if about["dataset"] == WITH_TRIALS else None
    if found:
        return found
    for name, part in itertools.product(METRICS, ("mean", "std")):
        # A mean of floats may lie beyond its ends by a rounding.
        if not 0 <= round(row[name][part], 6) <= 100:
            return f"{name}.{part} is {row[name][part]}, expected 0 to 100"
    return None


def _trials_fault(row: Mapping[str, Any], trial: int | None) -> str | None:
    """Whether a row is of other trials than its report, which is of one or a mean."""
    found = fault(row, {"trials": [int]})
    trials = [] if found else row["trials"]
    is_alike = trials == [trial] if trial is not None else len(trials) == len({*trials}) > 0
    return found or (None if is_alike else f"trials is {trials}, about.trial {trial}")


# --- tables ---


def comparison_tables(folders: Sequence[Path], selections: Sequence[str]) -> list[Table]:
    """One table per dataset that occurs among the runs.

    Args:
        folders: of runs.
        selections: models shown: "last", "test", "cycle", or any other of a report.

    Raises:
        UserError: a folder has no tested run.
    """
    runs = [gather(folder) for folder in folders]
    parts = {dataset: [r for r in runs if r.about["dataset"] == dataset] for dataset in TITLES}
    return [_table(dataset, own, selections) for dataset, own in parts.items() if own]


def _table(dataset: str, runs: Sequence[Tested], selections: Sequence[str]) -> Table:
    """Methods in the order of the runs, each below the published figures that belong to its runs.

    Figures of the method as it is stand there where no run has any of its own.
    """
    methods = dict.fromkeys(run.about["method"] for run in runs)
    sections = [[run for run in runs if run.about["method"] == method] for method in methods]
    quoted = list(dict.fromkeys(entry for own in sections for entry in _quoted(own)))
    marks = _marks(runs)
    rows = []
    for own in sections:
        rows += [_quoted_row(entry, quoted.index(entry) + 1) for entry in _quoted(own)]
        for run in own:
            rows += _run_rows(run, selections, quoted, marks)
    shown = [r for run in runs for r in run.results if r["selection"] in selections]
    compared = [
        entry
        for run in runs
        for entry in _compared(run, quoted).values()
        if entry.selection in selections
    ]
    return Table(
        title="Comparison",
        dataset=_title(runs),
        header=("method", "run", "model", *METRICS.values(), *METRICS.values()),
        rows=tuple(rows),
        notes=(
            *_image_notes(runs, marks),
            *spread_notes(shown),
            *(note for run in runs for note in _gaps(run, selections)),
            *spread_notes_of(compared, PROTOCOLS[dataset].modes),
            *source_notes(quoted),
        ),
        content={
            "runs": [_json(run, quoted) for run in runs],
            "published": published_json(quoted),
        },
        words=3,
        groups=tuple(PROTOCOLS[dataset].modes.values()),
    )


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


def _run_rows(
    run: Tested,
    selections: Sequence[str],
    quoted: Sequence[Published],
    marks: Mapping[str, str],
) -> Iterator[tuple[str, ...]]:
    """Rows of a run's models, below each its differences to figures of models chosen alike."""
    names = _marked(run, (run.about["method"], run.name), marks)
    for selection in selections:
        cells = run.model_row(selection)
        if cells:
            yield (*names, *cells)
        for number, entry in _compared(run, quoted).items():
            if cells and entry.selection == selection:
                short = "" if entry.trials else _short_of(run)
                label = f"{DIFFERENCE} {entry.kind} [{number}]{short}"
                yield (*names, label, *_difference_cells(run, entry))


def _compared(run: Tested, quoted: Sequence[Published]) -> dict[int, Published]:
    """Published figures of a run's own configuration and trials, by number."""
    return {
        quoted.index(entry) + 1: entry
        for entry in run.beside.own
        if not entry.trials or list(entry.trials) == run.trials
    }


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


def _short_of(run: Tested) -> str:
    """How many trials or gallery draws a run has, where papers average over more."""
    trials, draws = len(run.trials), run.results[0]["searches"]
    usual = PROTOCOLS[run.about["dataset"]].draws
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
    """Finished cells of a grid, last epoch and best on test, side by side.

    Args:
        dataset: a key of ``PROTOCOLS``.
        title: of the table.
        cells: folder of a run -> flag -> value.
    """
    flags = list(dict.fromkeys(flag for cell in cells.values() for flag in cell))
    runs = {folder: gather(folder) for folder in cells}
    tested = list(runs.values())
    marks = _marks(tested)
    chosen = ("last", PAPER_SELECTION)
    rows = [
        _marked(run, [*(cells[folder].get(flag, "") for flag in flags), *row], marks)
        for folder, run in runs.items()
        for selection in chosen
        if (row := run.model_row(selection))
    ]
    shown = [r for run in tested for r in run.results if r["selection"] in chosen]
    return Table(
        title=title,
        dataset=_title(tested),
        header=(*flags, "model", *METRICS.values(), *METRICS.values()),
        rows=tuple(rows),
        notes=(*_image_notes(tested, marks), *spread_notes(shown)),
        content={
            "cells": [
                {"run": folder.name, "flags": dict(cells[folder]), "results": run.results}
                for folder, run in runs.items()
            ]
        },
        words=len(flags) + 1,
        groups=tuple(PROTOCOLS[dataset].modes.values()),
    )
