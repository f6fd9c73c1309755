"""What the tests of runs have found, read back from their folders; trials and seeds are averaged.

A run of several trials is the mean over them, a group of runs with several seeds the mean over
these.  The trials of a protocol are all there is: their deviation is that of a population.  Seeds
are a sample of all that there could be: theirs is the sample deviation, divided by n - 1.
"""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clustercontrast.data.provenance import RECORD, Provenance
from clustercontrast.evaluation.protocols import PROTOCOLS, RULES, Protocol, protocol_of
from clustercontrast.files import UserError, fault, read_json
from clustercontrast.report.published import References, configuration, references, typed
from clustercontrast.report.references.rows import METRICS
from clustercontrast.report.tables import UNTESTED, measured_cells

Results = list[dict[str, Any]]

WITH_TRIALS = "regdb"
"""The dataset whose figures are means over trials, each of which has a folder."""
TRIAL = re.compile(r"trial[0-9]+")
SEED = re.compile(r"(.+)/seed([0-9]+)")
"""Name of a run in a group, which has a folder of its own for every seed."""
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
        "images": RECORD,
    },
    "results": [
        {"model": str, "selection": str, "mode": str, "searches": int}
        | {metric: {"mean": NUMBER, "std": NUMBER} for metric in METRICS}
    ],
}
"""What has to be in a report.json."""
RERANKED = "reranked"
"""Where a report.json has re-ranked results, if there are any: what reads "results" finds none."""
RERANKING = {"reranking": {"k1": int, "k2": int, "weight": NUMBER}}
"""What a re-ranked result says besides."""


@dataclass(frozen=True)
class Tested:
    """A run that has been tested.

    Attributes:
        about: method, dataset, name, images, and what else its report says of it; the trial is
            None for a mean over trials, the seed for one over seeds, which "seeds" lists.
        results: rows of :func:`clustercontrast.commands.results.run_results`, averaged over
            the trials where there are trials, then over the seeds of a group; or its re-ranked
            rows, never both; none of a run whose images have no test identity.
    """

    about: Mapping[str, Any]
    results: Results

    @property
    def name(self) -> str:
        """What was tested: name and seeds, the trial if it is one alone, and the stage."""
        trial, seeds = self.about.get("trial"), ", ".join(map(str, self.seeds))
        name = self.about["name"] + (f" (seeds {seeds})" if seeds else "")
        return "/".join(filter(None, (name, trial and f"trial{trial}", self.about.get("stage"))))

    @property
    def images(self) -> Provenance:
        """Where its images come from."""
        return Provenance.of(self.about)

    @property
    def is_reranked(self) -> bool:
        """Whether these are its re-ranked results."""
        return any("reranking" in row for row in self.results)

    @property
    def beside(self) -> References:
        """Published figures that stand beside it; none beside re-ranked results."""
        if self.is_reranked:
            return References()
        return references(self.about, self.about["dataset"])

    @property
    def trials(self) -> list[int]:
        """Trials averaged over; none where a dataset has no trials."""
        return self.results[0].get("trials", []) if self.results else []

    @property
    def seeds(self) -> list[int]:
        """Seeds averaged over; none of a single run."""
        return self.about.get("seeds", [])

    @property
    def protocol(self) -> Protocol:
        """How its images were searched."""
        return protocol_of(self.about["dataset"], self.about.get("rules"))

    def row(self, selection: str, mode: str) -> dict[str, Any] | None:
        """The result of one model in one mode."""
        wanted = {"selection": selection, "mode": mode}
        return next((r for r in self.results if wanted.items() <= r.items()), None)

    def each(self, selection: str) -> dict[int, dict[str, dict[str, float]]]:
        """Scores of a model in every gallery draw, or of every trial: number -> mode -> metric.

        Raises:
            UserError: the report has means alone, or it is a mean over seeds.
        """
        if self.seeds:
            raise UserError(
                f"{self.about['method']} {self.name} is the mean of several models: give the "
                f"folder of one seed, such as {self.about['name']}/seed{self.seeds[0]}"
            )
        found: dict[int, dict[str, dict[str, float]]] = {}
        for mode in PROTOCOLS[self.about["dataset"]].modes:
            row = self.row(selection, mode) or {"each": ()}
            if "each" not in row:
                raise UserError(
                    f"the report of {self.about['method']} {self.name} has means alone, since it "
                    "is of an earlier version: test the run again"
                )
            numbers = row.get("trials", range(len(row["each"])))
            for number, scores in zip(numbers, row["each"], strict=True):
                found.setdefault(number, {})[mode] = scores
        return found

    def model_row(self, selection: str) -> tuple[str, ...] | None:
        """Name and cells of a model in every mode; None for a model that the run has not."""
        found = [self.row(selection, mode) for mode in PROTOCOLS[self.about["dataset"]].modes]
        models = [result["model"] for result in found if result]
        cells = [cell for result in found for cell in measured_cells(result or {})]
        return (models[0], *cells) if models else None


def gather(folder: Path) -> Tested:
    """Read what the test of a run found.

    Args:
        folder: of a run, of one of its trials, or of a group of runs; trials in it are averaged,
            then seeds.

    Raises:
        UserError: no run, not tested, or its trials or seeds are not to be averaged.
    """
    return _gathered(Path(folder), lambda report: report["results"])


def gather_reranked(folder: Path) -> Tested | None:
    """Read the re-ranked results of a run, which its test has made if it was asked to.

    Args:
        folder: see :func:`gather`.

    Returns:
        None if there are none, or not with the same parameters in all trials and seeds.

    Raises:
        UserError: see :func:`gather`.
    """
    found = _gathered(Path(folder), reranked_rows)
    return found if found.results else None


def reranked_runs(folders: Sequence[Path]) -> list[Tested]:
    """The re-ranked results of those of several runs that are tested on anybody.

    Raises:
        UserError: one of these has none, or see :func:`gather`.
    """
    tested = [folder for folder in folders if gather(folder).results]
    found = {folder: gather_reranked(folder) for folder in tested}
    missing = [str(folder) for folder, run in found.items() if run is None]
    if missing:
        raise UserError(
            f"no re-ranked results, or not with the same parameters in all trials: "
            f"{', '.join(missing)}; test with --rerank first, or leave these runs out"
        )
    return list(found.values())


def reranked_rows(report: Mapping[str, Any]) -> Results:
    """Re-ranked results of a report; none if its test was not asked for them."""
    return report[RERANKED]["results"] if RERANKED in report else []


def check_tested(run: Tested) -> None:
    """Refuse a run whose images have no test identity.

    Raises:
        UserError: it has no results.
    """
    if not run.results:
        raise UserError(f"{run.about['method']} {run.name}: {UNTESTED}; leave it out")


Rows = Callable[[Mapping[str, Any]], Results]
"""Takes the rows out of a report that are wanted."""


def _gathered(folder: Path, rows: Rows) -> Tested:
    """A run, or the mean of the runs of a group if it has more than one."""
    runs = {seed: _gathered_run(place, rows) for seed, place in _seed_folders(folder).items()}
    if len(runs) > 1:
        return _over_seeds(folder, runs)
    return next(iter(runs.values()), None) or _gathered_run(folder, rows)


def _gathered_run(folder: Path, rows: Rows) -> Tested:
    """Rows of one report, or the mean of those of several trials."""
    reports = _trial_reports(folder) or [read_report(folder)]
    about = reports[0]["about"]
    if len(reports) == 1:
        return Tested(about, rows(reports[0]))
    return Tested(about | {"trial": None}, _over_trials(folder, reports, rows))


def average(folder: Path) -> Results:
    """Results of a run's trials, averaged: mean and population deviation over the trials.

    Raises:
        UserError: no trial has been tested, or the trials are not to be averaged.
    """
    reports = _trial_reports(folder)
    if not reports:
        raise UserError(f"{folder} has no tested trial: run python test_regdb.py {folder}")
    return _over_trials(folder, reports, lambda report: report["results"])


def _over_trials(folder: Path, reports: Sequence[Mapping[str, Any]], rows: Rows) -> Results:
    """Mean and deviation over trials of every row that all of them have."""
    _check_alike(folder, "trials", [_facts(report["about"]) for report in reports])
    return [
        _head(own) | {"trials": [trial for row in own for trial in row["trials"]]} | _means(own, 0)
        for own in _shared([rows(report) for report in reports])
    ]


def _over_seeds(folder: Path, runs: Mapping[int, Tested]) -> Tested:
    """Mean and sample deviation over the runs of a group of every row that all of them have."""
    one, *_ = tested = list(runs.values())
    _check_alike(folder, "seeds", [_facts(run.about) | _searched(run) for run in tested])
    trials = {"trials": one.trials} if one.trials else {}
    rows = [
        _head(own) | trials | {"seeds": list(runs)} | _means(own, 1)
        for own in _shared([run.results for run in tested])
    ]
    name = SEED.fullmatch(one.about["name"])[1]
    return Tested(one.about | {"name": name, "seed": None, "seeds": list(runs)}, rows)


def _shared(rows: Sequence[Results]) -> list[Results]:
    """Rows of one model and mode, of all that are averaged, where all have them."""
    named = [{_name_of(row): row for row in own} for own in rows]
    return [[own[key] for own in named] for key in named[0] if all(key in own for own in named)]


def _name_of(row: Mapping[str, Any]) -> tuple:
    """What rows have in common that are averaged: model, mode, parameters of the re-ranking."""
    return (row["selection"], row["mode"], *row.get("reranking", {}).values())


def _head(rows: Results) -> dict[str, Any]:
    """What rows that are averaged say alike."""
    kept = ("model", "selection", "mode", "searches", "reranking")
    return {key: rows[0][key] for key in kept if key in rows[0]}


def _means(rows: Results, taken: int) -> dict[str, Any]:
    """Mean and deviation of every metric, and the metrics one by one.

    Args:
        rows: of one model and mode.
        taken: degrees of freedom that the deviation leaves out: 0 of a population, 1 of a sample.
    """
    values = {metric: [row[metric]["mean"] for row in rows] for metric in METRICS}
    means = {
        metric: {"mean": float(np.mean(own)), "std": float(np.std(own, ddof=taken))}
        for metric, own in values.items()
    }
    return means | {"each": [{metric: row[metric]["mean"] for metric in METRICS} for row in rows]}


def _check_alike(folder: Path, of: str, facts: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a mean over "trials" or "seeds" that differ in what they must have in common."""
    for key in facts[0]:
        found = {str(own[key]) for own in facts}
        if len(found) > 1:
            raise UserError(
                f"the {of} in {folder} differ in their {key} ({'; '.join(sorted(found))}): train "
                f"and test them alike before they are averaged, or give folders of single {of}"
            )


def _facts(about: Mapping[str, Any]) -> dict[str, Any]:
    """What trials, or seeds, must have in common to be averaged."""
    images, run = Provenance.of(about), configuration(about)
    said = (images.title, images.digest and f"digest {images.digest}", *images.notes())
    return {
        **{key: about.get(key) for key in ("stage", "epoch", "method", "variant")},
        "flags": " ".join(typed(run.flags)) if run else "",
        "images": ", ".join(filter(None, said)),
    }


def _searched(run: Tested) -> dict[str, str]:
    """What seeds must have in common besides: trials, draws of the gallery, rules of the search."""
    draws = sorted({row["searches"] for row in run.results})
    counted = {"trials": run.trials, "gallery draws": draws}
    listed = {key: ", ".join(map(str, own)) or "none" for key, own in counted.items()}
    return listed | {"rules": run.protocol.note}


# --- reading reports ---


def _seed_folders(folder: Path) -> dict[int, Path]:
    """Folders of the tested runs of a group, by seed; none where a run is by itself.

    Raises:
        UserError: a run is not in the folder of its own seed.
    """
    places = {path.parent for path in folder.glob("seed*/report.json")}
    places |= {path.parents[1] for path in folder.glob("seed*/trial*/report.json")}
    found = {}
    for place in sorted(places):
        report, *_ = _trial_reports(place) or [read_report(place)]
        named = SEED.fullmatch(report["about"]["name"])
        if named and place.name != f"seed{named[2]}":
            raise UserError(
                f"{place} holds the report of seed {named[2]}: delete the folder, or move it to "
                "where it belongs"
            )
        if named:
            found[int(named[2])] = place
    return dict(sorted(found.items()))


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
    places = ("", "trial*/", "seed*/", "seed*/trial*/")
    if not any([*folder.glob(f"{place}config.json")] for place in places):
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
    if not results and "untested" not in report:
        return "it has no results"
    if PROTOCOLS[dataset].note and (found := fault(about, {"rules": RULES}, "about")):
        return found
    found = next(filter(None, (_row_fault(row, about) for row in results)), None)
    return found or (_reranked_fault(report) if RERANKED in report else None)


def _reranked_fault(report: Mapping[str, Any]) -> str | None:
    """What re-ranked results lack, or say that cannot be."""
    row = REPORT["results"][0] | RERANKING
    found = fault(report[RERANKED], {"results": [row]}, RERANKED)
    if found:
        return found
    faults = (_row_fault(own, report["about"]) for own in reranked_rows(report))
    return next(filter(None, faults), None)


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
    return _each_fault(row) if "each" in row else None


def _each_fault(row: Mapping[str, Any]) -> str | None:
    """Whether the draws, or trials, of a row are others than those that its means are over."""
    found = fault(row, {"each": [dict.fromkeys(METRICS, NUMBER)]})
    if found:
        return found
    number = len(row["trials"]) if "trials" in row else row["searches"]
    if len(row["each"]) != number:
        return f"each has {len(row['each'])} rows, expected {number}"
    for name in METRICS:
        values = [own[name] for own in row["each"]]
        if not all(0 <= round(value, 6) <= 100 for value in values):
            return f"each has {name} beyond 0 to 100"
        mean = float(np.mean(values))
        if not abs(mean - row[name]["mean"]) < 1e-6:
            return f"each gives {mean} as the mean of {name}, {name}.mean is {row[name]['mean']}"
    return None


def _trials_fault(row: Mapping[str, Any], trial: int | None) -> str | None:
    """Whether a row is of other trials than its report, which is of one or a mean."""
    found = fault(row, {"trials": [int]})
    trials = [] if found else row["trials"]
    is_alike = trials == [trial] if trial is not None else len(trials) == len({*trials}) > 0
    return found or (None if is_alike else f"trials is {trials}, about.trial {trial}")
