"""Results of runs recorded as data, and the pages that show them made anew."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clustercontrast.commands import runs
from clustercontrast.commands.circumstances import DIRTY, INSTALLED
from clustercontrast.data.provenance import Provenance
from clustercontrast.evaluation.protocols import protocol_of
from clustercontrast.files import UserError, atomic, check_shape, read_events, say
from clustercontrast.report.generated import pages
from clustercontrast.report.records import Row, file_of, joined, rows_of, write
from clustercontrast.report.tables import UNTESTED
from clustercontrast.report.tested import read_report
from clustercontrast.settings.recipes import all_recipes

RECORDED = {
    "command": str,
    "commits": [str],
    "hardware": [str],
    "values": {"seed": int},
    "versions": {...: (str, type(None))},
}
"""What has to be in a config.json besides."""


def write_results(args: Namespace) -> None:
    """Record runs, and make the tables of the pages beside the records anew.

    Args:
        args: ``runs`` (folders of tested runs; with none the pages alone are made), ``out``
            (folder of the records).

    Raises:
        UserError: a run is none that may stand among results; nothing is written then.
    """
    models = [folder for run in args.runs for folder in runs.models_of(run)]
    found: dict[str, list[Row]] = {}
    for folder in dict.fromkeys(models):
        rows = _rows(folder)
        found.setdefault(rows[0]["dataset"], []).extend(rows)
    every = {dataset: joined(args.out, dataset, rows) for dataset, rows in found.items()}
    for dataset, (rows, replaced) in every.items():
        write(file_of(args.out, dataset), rows)
        say(f"recorded in {file_of(args.out, dataset)}: {_counted(found[dataset])}")
        if replaced:
            say(f"in place of other figures under the same name: {', '.join(replaced)}")
    for page, text in pages(args.out.absolute().parent, args.out, names()).items():
        if text != page.read_text("utf-8"):
            with atomic(page) as file:
                file.write(text)
            say(f"its tables made anew: {page}")


def names() -> dict[str, tuple[str, str]]:
    """Title of every method, where and when it was published."""
    recipes = all_recipes().items()
    return {name: (own.title, own.paper.rpartition(", ")[2]) for name, own in recipes}


def _counted(rows: Sequence[Row]) -> str:
    """Which runs were recorded, in words."""
    trial = lambda row: f" trial {row['trial']}" if row["trial"] else ""  # noqa: E731
    return ", ".join(dict.fromkeys(f"{row['method']} {row['name']}{trial(row)}" for row in rows))


def _rows(folder: Path) -> list[Row]:
    """The rows of one model's folder.

    Raises:
        UserError: it may not stand among results; says why, and what to do.
    """
    report, config = read_report(folder), runs.config(folder)
    check_shape(folder / "config.json", config, RECORDED, "train the run anew with this version")
    reason = _images(config["about"]) or _code(config["commits"]) or _test(report)
    if reason:
        raise UserError(f"{folder} is not recorded: {reason}")
    events = read_events(folder / "metrics.jsonl")
    seconds = [event["seconds"]["total"] for event in events if event["event"] == "saved"]
    return rows_of(report, config, sum(seconds))


def _images(about: Mapping[str, Any]) -> str:
    """Why figures on such images are no results."""
    every = {key: own for key, own in about.items() if key in ("images", "source_images")}
    marks = [Provenance.of({"images": own}) for own in every.values()]
    if any(own.rendered for own in marks):
        return "it is of rendered identities, which are no results on a dataset; leave it out"
    if any(own.leak for own in marks):
        return "its training has seen test identities (--allow-leak); train it without"
    if not all(own.complete for own in marks):
        return "its images are incomplete (--allow-incomplete); prepare all of them and train anew"
    return ""


def _code(commits: Sequence[str]) -> str:
    """Why nobody could train it again with the code that is named."""
    if any(own.endswith(DIRTY) for own in commits):
        return (
            "it was trained with changes of the code that are in no commit; commit them, and train "
            "it anew from there"
        )
    if INSTALLED in commits or not commits:
        return (
            "it was trained with an installed package, whose commit is not known; train it anew in "
            "a clone"
        )
    return ""


def _test(report: Mapping[str, Any]) -> str:
    """Why its figures are not those of a paper's protocol."""
    about, results = report["about"], report["results"]
    if not results:
        return f"{UNTESTED}; leave it out"
    stage, epoch = about["stage"], about["epoch"]
    end = about["ends"].get(stage, epoch)
    if epoch < end:
        return f"stage {stage} stands at epoch {epoch} of {end}; train it to the end"
    draws, usual = results[0]["searches"], protocol_of(about["dataset"], about.get("rules")).draws
    if draws < usual:
        return f"it was tested on {draws} of {usual} gallery draws; test it again with all"
    return ""
