"""Results as data: CSV files of one dataset each, a row per model and search of every run.

What makes a run another one is its method, its name and its trial: recorded again, its rows replace
the old ones.  Rows have a fixed order, and the same run gives the same bytes.
"""

import csv
import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clustercontrast.evaluation.protocols import PROTOCOLS
from clustercontrast.files import UserError, atomic
from clustercontrast.report.references.rows import METRICS, Configuration
from clustercontrast.report.tables import TRIALS
from clustercontrast.settings.recipes import all_recipes

MODELS = ("last", "test", "cycle")
"""Models of a run that are recorded."""
DEVIATION = "_std"
COLUMNS = (
    "method", "dataset", "variant", "changes", "name", "seed", "trial", "stage", "epoch", "model",
    "mode", "draws", *METRICS, *(f"{metric}{DEVIATION}" for metric in METRICS), "command",
    "commit", "digest", "hardware", "hours", "versions",
)  # fmt: skip
BETWEEN = "; "
"""Between several values of one cell."""

Row = dict[str, str]


def rows_of(report: Mapping[str, Any], config: Mapping[str, Any], seconds: float) -> list[Row]:
    """The rows of one run, or of one trial of it.

    Args:
        report: its report.json.
        config: its config.json.
        seconds: of its training.
    """
    about, versions = report["about"], config["versions"]
    trial = about["trial"]
    common = {
        **{key: about[key] for key in ("method", "dataset", "variant", "name", "stage", "epoch")},
        "changes": BETWEEN.join(about["changes"][about["stage"]]),
        "seed": config["values"]["seed"],
        "trial": "" if trial is None else trial,
        "command": config["command"],
        "commit": BETWEEN.join(config["commits"]),
        "digest": about["images"]["digest"],
        "hardware": BETWEEN.join(config["hardware"]),
        "hours": f"{seconds / 3600:.2f}",
        "versions": BETWEEN.join(f"{n} {v}" for n, v in versions.items() if v and n != "git"),
    }
    results = [row for row in report["results"] if row["selection"] in MODELS]
    found = [common | _figures(row) for row in results]
    return [{column: str(row[column]) for column in COLUMNS} for row in found]


def _figures(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row of a report has measured; a single search has no deviation."""
    means = {metric: f"{row[metric]['mean']:.4f}" for metric in METRICS}
    stds = {
        f"{metric}{DEVIATION}": f"{row[metric]['std']:.4f}" if row["searches"] > 1 else ""
        for metric in METRICS
    }
    return {
        "model": row["selection"],
        "mode": row["mode"],
        "draws": row["searches"],
        **means,
        **stds,
    }


def _run_of(row: Row) -> tuple[str, str, str]:
    """What tells a run from others."""
    return row["method"], row["name"], row["trial"]


def _place(row: Row) -> tuple:
    """What rows are ordered by; numbers in names count as numbers."""
    modes = list(PROTOCOLS[row["dataset"]].headings)
    parts = itertools.groupby(row["name"], str.isdecimal)
    words = [(int("".join(own)), "") if number else (-1, "".join(own)) for number, own in parts]
    trial, model = int(row["trial"] or 0), MODELS.index(row["model"])
    return row["method"], words, trial, model, modes.index(row["mode"])


# --- files ---


def file_of(folder: Path, dataset: str) -> Path:
    """Where the results on a dataset are recorded."""
    return folder / f"{dataset}.csv"


def recorded(folder: Path, dataset: str) -> list[Row]:
    """All rows on a dataset; none where nothing is recorded.

    Raises:
        UserError: the file is damaged, or has other columns.
    """
    path = file_of(folder, dataset)
    if not path.exists():
        return []
    remedy = "put the file of the repository back, and record the runs again"
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns, rows = reader.fieldnames, list(reader)
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({error}): {remedy}") from error
    if tuple(columns or ()) != COLUMNS:
        raise UserError(f"{path} has other columns than this version writes: {remedy}")
    for number, row in enumerate(rows, start=2):
        found = _fault(row, dataset)
        if found:
            raise UserError(f"{path}, line {number} is damaged ({found}): {remedy}")
    twice = _twice((*_run_of(row), row["model"], row["mode"]) for row in rows)
    if twice:
        raise UserError(f"{path} is damaged ({' '.join(twice)} stands there twice): {remedy}")
    return rows


def _twice(keys: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The first key that occurs again; empty if all are different."""
    seen: set[tuple[str, ...]] = set()
    return next((key for key in keys if key in seen or seen.add(key)), ())


def _check_once(path: Path, rows: Sequence[Row]) -> None:
    """Refuse two runs of one name, and two of one seed: a mean over seeds counts each once.

    Raises:
        UserError: names them.
    """
    twice = _twice((*_run_of(row), row["model"], row["mode"]) for row in rows)
    if twice:
        raise UserError(
            f"two of the runs given are called {twice[0]} {twice[1]}: record one of them, or train "
            "the other with a --name of its own"
        )
    for own in trained(rows):
        again = sorted({seed for seed in own.seeds if own.seeds.count(seed) > 1})
        if again:
            raise UserError(
                f"{own.run.method} with seed {again[0]} would stand in {path} twice, under two "
                "names, and count twice in the mean over seeds: leave one out, or delete the rows "
                "of the one recorded before"
            )


def _fault(row: Mapping[str, str | None], dataset: str) -> str | None:
    """What cannot be in a row."""
    if None in row or None in row.values():
        return "it has not a value for every column"
    if row["dataset"] != dataset:
        return f"dataset is {row['dataset']!r}"
    if row["method"] not in all_recipes():
        return f"method is {row['method']!r}"
    if row["model"] not in MODELS or row["mode"] not in PROTOCOLS[dataset].headings:
        return f"model is {row['model']!r}, mode {row['mode']!r}"
    if not (row["seed"].isdecimal() and (row["trial"] or "0").isdecimal()):
        return f"seed is {row['seed']!r}, trial {row['trial']!r}"
    try:
        wrong = [name for name in METRICS if not 0 <= float(row[name]) <= 100]
    except ValueError as error:
        return str(error)
    return f"{wrong[0]} is {row[wrong[0]]}" if wrong else None


def joined(folder: Path, dataset: str, rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """The rows of runs on a dataset, in place of those of the same runs, among all others.

    Returns:
        All rows in their order; names of runs that were recorded before as something else.

    Raises:
        UserError: the file that is there is damaged, or a run, or a seed, would count twice.
    """
    new, before = {_run_of(row) for row in rows}, recorded(folder, dataset)
    kept = [row for row in before if _run_of(row) not in new]
    _check_once(file_of(folder, dataset), [*kept, *rows])
    others = [row for row in before if _run_of(row) in new and row not in rows]
    return sorted([*kept, *rows], key=_place), list(dict.fromkeys(row["name"] for row in others))


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write a file of results.

    Raises:
        UserError: it cannot be written.
    """
    content = io.StringIO()
    writer = csv.DictWriter(content, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic(path) as file:
        file.write(content.getvalue())


# --- what is recorded of a configuration ---


@dataclass(frozen=True)
class Trained:
    """The recorded runs of one configuration on the same images and trials.

    Attributes:
        run: the configuration.
        digest: of the images.
        seeds: of the runs, ascending.
        trials: that each of them is a mean over; none where a dataset has no trials.
        values: model, mode and metric -> percent of every run.
    """

    run: Configuration
    digest: str
    seeds: tuple[int, ...]
    trials: tuple[int, ...]
    values: Mapping[tuple[str, str, str], Sequence[float]]

    @property
    def source(self) -> str:
        """Whose figures these are, in words."""
        trials, seeds = len(self.trials), ", ".join(map(str, self.seeds))
        several = f"seeds {seeds}" if len(self.seeds) > 1 else ""
        few = f"{trials} of {TRIALS} trials" if 0 < trials < TRIALS else ""
        return ", ".join(filter(None, ("this repository", several, few)))

    def cell(self, model: str, mode: str) -> str:
        """Rank-1 / mAP, with the sample deviation over the seeds if there are several."""
        found = [self.values.get((model, mode, metric)) for metric in ("rank1", "mAP")]
        return " / ".join(map(_shown, found)) if all(found) else "–"


def _shown(values: Sequence[float]) -> str:
    deviation = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{deviation}"


def trained(rows: Iterable[Row]) -> list[Trained]:
    """What is recorded, a configuration at a time, in the order of the rows.

    Runs on other images, or over other trials, are kept apart.
    """
    runs: dict[tuple, list[Row]] = {}
    for row in rows:
        flags = tuple(filter(None, row["changes"].split(BETWEEN)))
        own = Configuration(row["method"], row["stage"], row["variant"], flags)
        runs.setdefault((own, row["digest"], row["name"]), []).append(row)
    alike: dict[tuple, list[list[Row]]] = {}
    for (own, digest, _), found in runs.items():
        numbers = tuple(sorted({int(row["trial"]) for row in found if row["trial"]}))
        alike.setdefault((own, digest, numbers), []).append(found)
    return [
        Trained(run, digest, _seeds(found), numbers, _values(found, max(1, len(numbers))))
        for (run, digest, numbers), found in alike.items()
    ]


def _seeds(runs: Iterable[list[Row]]) -> tuple[int, ...]:
    return tuple(sorted(int(rows[0]["seed"]) for rows in runs))


def _values(runs: Sequence[list[Row]], trials: int) -> dict[tuple[str, str, str], list[float]]:
    """Model, mode and metric -> mean over the trials of every run.

    A model that some run, or some trial of it, lacks is left out.

    Args:
        runs: rows of each.
        trials: of each, 1 where there are none.
    """
    named: list[dict[tuple[str, str], list[Row]]] = []
    for rows in runs:
        named.append({})
        for row in rows:
            named[-1].setdefault((row["model"], row["mode"]), []).append(row)
    keys = [key for key in named[0] if all(len(own.get(key, ())) == trials for own in named)]
    return {
        (*key, metric): [float(np.mean([float(row[metric]) for row in own[key]])) for own in named]
        for key in keys
        for metric in METRICS
    }
