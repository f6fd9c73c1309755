"""Any number of runs in the layout of papers' tables, with published figures and the difference."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clustercontrast.evaluation.protocols import PROTOCOLS
from clustercontrast.files import UserError, read_json
from clustercontrast.report.published import Published, published
from clustercontrast.report.tables import (
    METRICS,
    RENDERED_NOTES,
    TITLES,
    TRIALS,
    Table,
    measured_cells,
    published_json,
    quoted_cells,
    source_notes,
    spread_notes,
)

PAPER_SELECTION = "test"
"""Papers report the model that is best on the test set: differences are taken from it."""

DIFFERENCE = "difference to the paper"
Results = list[dict[str, Any]]


@dataclass(frozen=True)
class Tested:
    """A run that has been tested.

    Attributes:
        about: method, dataset, variant, name, rendered, of its report.
        results: rows as :func:`clustercontrast.results.run_results` makes them, averaged over the
            trials where there are trials.
    """

    about: Mapping[str, Any]
    results: Results

    @property
    def dataset(self) -> str:
        """Name of the dataset: "sysu" or "regdb"."""
        return self.about["dataset"]

    def row(self, selection: str, mode: str) -> dict[str, Any] | None:
        """The result of one model in one mode."""
        wanted = {"selection": selection, "mode": mode}
        return next((r for r in self.results if wanted.items() <= r.items()), None)


def gather(folder: Path) -> Tested:
    """Read what the test of a run found.

    Args:
        folder: of a run, or of one of its trials; trials in it are averaged.

    Raises:
        UserError: no run, or not tested.
    """
    folder = Path(folder)
    reports = _trial_reports(folder) or [_report(folder)]
    about = dict(reports[0]["about"])
    if len(reports) == 1:
        return Tested(about, reports[0]["results"])
    return Tested(about, _mean([report["results"] for report in reports]))


def average(folder: Path) -> Results:
    """Results of a run's trials, averaged: mean and population deviation over the trials.

    Raises:
        UserError: no trial has been tested.
    """
    reports = _trial_reports(folder)
    if not reports:
        raise UserError(f"{folder} holds no tested trial: run python test_regdb.py {folder}")
    return _mean([report["results"] for report in reports])


def _trial_reports(folder: Path) -> list[dict]:
    """Reports of the tested trials in a run's folder, by trial."""
    names = (path.parent.name for path in folder.glob("trial*/report.json"))
    trials = sorted(int(name[5:]) for name in names if name[5:].isdecimal())
    return [_report(folder / f"trial{trial}") for trial in trials]


def _report(folder: Path) -> dict:
    path = folder / "report.json"
    if not path.exists():
        raise UserError(
            f"{folder} holds no report.json: give the folder of a run, and test it first with "
            f"python test_sysu.py or test_regdb.py {folder}"
        )
    report = read_json(path)
    keys = report.keys() if isinstance(report, dict) else set()
    if not {"about", "results"} <= keys:
        raise UserError(f"{path} is of another version or damaged: test the run again")
    return report


def _mean(reports: Sequence[Results]) -> Results:
    """Mean and deviation over trials of every row that all of them have."""
    rows = [{(r["selection"], r["mode"]): r for r in report} for report in reports]
    return [
        _over_trials([own[key] for own in rows])
        for key in rows[0]
        if all(key in own for own in rows)
    ]


def _over_trials(results: Results) -> dict[str, Any]:
    row = {key: results[0][key] for key in ("model", "selection", "mode", "searches")}
    row["trials"] = [trial for result in results for trial in result["trials"]]
    for metric in METRICS:
        values = [result[metric]["mean"] for result in results]
        row[metric] = {"mean": float(np.mean(values)), "std": float(np.std(values))}
    return row


# --- tables ---


def comparison_tables(folders: Sequence[Path], selections: Sequence[str]) -> list[Table]:
    """One table per dataset that occurs among the runs.

    Args:
        folders: of runs.
        selections: models shown: "last", "test", "cycle", or any other of a report.

    Raises:
        UserError: a folder holds no tested run.
    """
    runs = [gather(folder) for folder in folders]
    datasets = [name for name in TITLES if any(run.dataset == name for run in runs)]
    return [
        _table(name, [run for run in runs if run.dataset == name], selections) for name in datasets
    ]


def _table(dataset: str, runs: Sequence[Tested], selections: Sequence[str]) -> Table:
    methods = list(dict.fromkeys(run.about["method"] for run in runs))
    real = [run for run in runs if not run.about["rendered"]]
    quoted = [entry for method in methods for entry in published(dataset, method)] if real else []
    modes = PROTOCOLS[dataset].modes
    rows, content = [], []
    for method in methods:
        own = [run for run in runs if run.about["method"] == method]
        entries = [entry for entry in quoted if entry in published(dataset, method)]
        rows += [_quoted_row(entry, modes) for entry in entries]
        for run in own:
            rows += list(_run_rows(run, selections, modes, entries))
            content.append({"about": dict(run.about), "results": run.results})
    shown = [r for run in runs for r in run.results if r["selection"] in selections]
    rendered = [] if len(real) == len(runs) else [f"† {RENDERED_NOTES[dataset]}"]
    return Table(
        title="Comparison",
        dataset=TITLES[dataset] if real else f"rendered {TITLES[dataset]} layout",
        header=("method", "run", "model", *METRICS.values(), *METRICS.values()),
        rows=tuple(rows),
        notes=(*rendered, *spread_notes(shown), *_missing(runs), *source_notes(quoted)),
        content={"runs": content, "published": published_json(quoted)},
        words=3,
        groups=tuple(modes.values()),
    )


def _quoted_row(entry: Published, modes: Mapping[str, str]) -> tuple[str, ...]:
    cells = [cell for mode in modes for cell in quoted_cells(entry, mode)]
    return (entry.method, entry.kind, "", *cells)


def _run_rows(
    run: Tested, selections: Sequence[str], modes: Mapping[str, str], entries: Sequence[Published]
) -> Iterator[tuple[str, ...]]:
    """Rows of a run's models, each paper's difference below the model chosen as papers choose."""
    mark = "† " if run.about["rendered"] else ""
    names = mark + run.about["method"], run.about["name"]
    for selection in selections:
        found = {mode: run.row(selection, mode) for mode in modes}
        if not any(found.values()):
            continue
        model = next(result["model"] for result in found.values() if result)
        cells = [cell for result in found.values() for cell in measured_cells(result or {})]
        yield (*names, model, *cells)
        if selection == PAPER_SELECTION and not run.about["rendered"]:
            papers = [entry for entry in entries if entry.kind == "paper"]
            yield from ((*names, DIFFERENCE, *_difference(found, paper)) for paper in papers)


def _difference(found: Mapping[str, Any], paper: Published) -> list[str]:
    """Ours minus the paper's, signed."""
    return [
        f"{found[mode][metric]['mean'] - paper.scores[mode][metric]:+.2f}"
        if found[mode] and metric in paper.scores.get(mode, {})
        else ""
        for mode in found
        for metric in METRICS
    ]


def _missing(runs: Sequence[Tested]) -> list[str]:
    """Trials that a run has not been tested on."""
    notes = []
    for run in runs:
        trials = run.results[0].get("trials", [])
        missing = sorted(set(range(1, TRIALS + 1)) - set(trials))
        if 1 < len(trials) < TRIALS:
            listed = ", ".join(map(str, missing))
            notes.append(f"{run.about['method']} {run.about['name']}: without the trials {listed}")
    return notes


# --- grids ---


def grid_table(dataset: str, title: str, cells: Mapping[Path, Mapping[str, str]]) -> Table:
    """Finished cells of a grid, last epoch and best on test, side by side.

    Args:
        dataset: "sysu" or "regdb".
        title: of the table.
        cells: folder of a run -> flag -> value.
    """
    flags = list(dict.fromkeys(flag for cell in cells.values() for flag in cell))
    runs = {folder: gather(folder) for folder in cells}
    modes, chosen = PROTOCOLS[dataset].modes, ("last", PAPER_SELECTION)
    rows, shown = [], []
    for folder, run in runs.items():
        for selection in chosen:
            found = [run.row(selection, mode) for mode in modes]
            values = [cells[folder].get(flag, "") for flag in flags]
            numbers = [cell for result in found for cell in measured_cells(result)]
            rows.append((*values, found[0]["model"], *numbers))
            shown += found
    rendered = any(run.about["rendered"] for run in runs.values())
    return Table(
        title=title,
        dataset=f"rendered {TITLES[dataset]} layout" if rendered else TITLES[dataset],
        header=(*flags, "model", *METRICS.values(), *METRICS.values()),
        rows=tuple(rows),
        notes=(*([RENDERED_NOTES[dataset]] if rendered else []), *spread_notes(shown)),
        content={
            "cells": [
                {"run": folder.name, "flags": dict(cells[folder]), "results": run.results}
                for folder, run in runs.items()
            ]
        },
        words=len(flags) + 1,
        groups=tuple(modes.values()),
    )
