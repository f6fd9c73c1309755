"""Reports of runs: the tables of every tested model, their files, the page of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from clustercontrast.commands import runs
from clustercontrast.commands.evaluating import Evaluation
from clustercontrast.commands.results import (
    MODELS,
    Measured,
    is_of_another_trial,
    run_results,
    tested_network,
)
from clustercontrast.data.augment import normalise
from clustercontrast.data.provenance import Provenance
from clustercontrast.engine import checkpoint
from clustercontrast.evaluation.protocols import Rules, protocol_of
from clustercontrast.evaluation.scoring import features_of
from clustercontrast.files import UserError, atomic, read_json, say, write_json
from clustercontrast.models.activation import activation_maps
from clustercontrast.processes import ranks
from clustercontrast.report.activations import Heat
from clustercontrast.report.beside import figures_beside
from clustercontrast.report.figures import curves, read_epochs
from clustercontrast.report.forms import Table
from clustercontrast.report.page import Content, Model, write_page
from clustercontrast.report.tables import results_table, untested_table
from clustercontrast.report.tested import (
    RERANKED,
    average,
    gather,
    gather_reranked,
    read_report,
    reranked_rows,
)

MAYBE_SEEN = (
    "other images of the dataset that the model was trained on: whether they show training "
    "identities is not known, no figure is to be trusted before that is checked"
)
NO_RERANKED = (
    "no mean of re-ranked results: not all {0} have them with the same parameters; test all {0} "
    "with --rerank"
)
LAST_LINE = {
    "chance": "chance",
    "untrained": "random weights",
    "start": "warm start",
    "last": "trained",
}
"""Models that the last line of a test names, by selection."""
REPORT = "report"
"""Name of the files of a run's report, without their endings."""


def report_folder(folder: Path, stage: str) -> Path:
    """Where a stage's report goes: that of the last trained stage is the run's."""
    return folder if stage == runs.last_stage(folder) else folder / stage


def is_own(run: Mapping[str, Any], evaluation: Evaluation) -> bool:
    """Whether the images searched are the run's own test images, under the run's own rules."""
    own = run["images"]["digest"], run["trial"], run.get("rules")
    return own == (evaluation.provenance.digest, evaluation.trial, evaluation.rules)


def report(folder: Path, stage: str, evaluation: Evaluation) -> None:
    """Test every model of a run's stage, print and write the table, draw the curves.

    On other images than the run's own, or under other rules, the table has files of its own,
    which name them.
    """
    measured = run_results(folder, stage, evaluation)
    ranks.first(lambda: _report(folder, stage, evaluation, measured))


def _report(folder: Path, stage: str, evaluation: Evaluation, measured: Measured) -> None:
    run = runs.about(folder)
    trial = "" if run["trial"] is None else f", trial {run['trial']}"
    title = f"{run['method']} {run['name']}{trial}, stage {stage}"
    said = run | {"stage": stage, "epoch": checkpoint.record(folder / stage)["epoch"]}
    place = report_folder(folder, stage)
    if not is_own(run, evaluation):
        _report_elsewhere(measured, place, said, title, evaluation)
        return
    _write(tables_of(measured, said, evaluation.provenance, title), place / REPORT, said)
    _draw_curves(folder, place)
    say(last_line(measured.results, run))


def tables_of(
    measured: Measured, about: Mapping[str, Any], images: Provenance, title: str
) -> list[Table]:
    """The table of the results, and that of the re-ranked ones, if there are any."""
    parts = filter(None, (measured.results, measured.reranked))
    return [results_table(rows, about, images, title) for rows in parts]


def report_untested(folder: Path, stage: str) -> None:
    """Say in the place of a run's report that its images have no test identity."""
    run = runs.about(folder)
    said = run | {"stage": stage, "epoch": checkpoint.record(folder / stage)["epoch"]}
    place = report_folder(folder, stage)
    title = f"{run['method']} {run['name']}, stage {stage}"
    _write([untested_table(Provenance.of(run), title)], place / REPORT, said)
    _draw_curves(folder, place)


def _draw_curves(folder: Path, place: Path) -> None:
    """The curves of a run, its best epochs marked, published ones beside them."""
    config = runs.config(folder)
    select, beside = config["values"].get("select"), partial(figures_beside, config["about"])
    curves(folder / "metrics.jsonl", place / "curves.png", select, beside)


def _report_elsewhere(
    measured: Measured,
    place: Path,
    run: Mapping[str, Any],
    title: str,
    evaluation: Evaluation,
) -> None:
    """The report of a run on images that are not its own, beside the run's report."""
    images = searched(run, evaluation)
    trained = Provenance.of(run).title
    is_same = images.digest == run["images"]["digest"]
    on = f"other images of {trained}" if images.title == trained else images.title
    if is_same and evaluation.rules != run.get("rules"):
        on = f"{trained} under other rules"
    trial = "" if evaluation.trial is None else f"-trial{evaluation.trial}"
    # Without its changes, a run is no published configuration: published figures are of one set.
    said = {key: own for key, own in under(run, evaluation).items() if key != "changes"}
    named = Measured(_named(measured.results, trained), _named(measured.reranked, trained))
    is_unsure = images.dataset == run["dataset"] and not images.leak
    notes = [MAYBE_SEEN] if is_unsure and not (is_same and evaluation.rules) else []
    tables = [
        replace(table, dataset=f"tested on {on}", notes=(*notes, *table.notes))
        for table in tables_of(named, said, images, f"{title}, trained on {trained}")
    ]
    name = f"tested-on-{images.dataset}-{images.digest[:6]}{trial}{_slug(run, evaluation)}"
    tested = {"tested_on": images.json() | {"trial": evaluation.trial}}
    _write(tables, place / name, under(run, evaluation) | tested)
    say(f"the run's own report in {place} is left as it was")


def _named(rows: Sequence[dict], trained: str) -> list[dict]:
    """Rows whose models say on which test set they were best."""
    of = f"the test set of {trained}"
    return [row | {"model": row["model"].replace("the test set", of)} for row in rows]


def under(about: Mapping[str, Any], evaluation: Evaluation) -> dict[str, Any]:
    """What a run or a model says of itself, with the rules that it is tested under."""
    rules = {"rules": evaluation.rules} if evaluation.rules else {}
    return {key: own for key, own in about.items() if key != "rules"} | rules


def _slug(run: Mapping[str, Any], evaluation: Evaluation) -> str:
    """What tells the file of a test under other rules than the run's from others."""
    is_other = evaluation.rules and evaluation.rules != run.get("rules")
    return f"-{Rules(**evaluation.rules).name}" if is_other else ""


def searched(run: Mapping[str, Any], evaluation: Evaluation) -> Provenance:
    """What must be known of the images searched, given what a model says of itself."""
    leak = is_of_another_trial(run, evaluation.dataset, evaluation.trial)
    return evaluation.provenance.marked(leak=leak)


def report_trials(folder: Path, rerank: bool = False) -> None:
    """Average the reports of a run's trials, write and print the table.

    Args:
        folder: of the run.
        rerank: re-ranked results were asked for: say so if the trials have none in common.

    Raises:
        UserError: no trial has been tested.
    """
    run, found, reranked = gather(folder).about, average(folder), gather_reranked(folder)
    title = f"{run['method']} {run['name']}, {len(found[0]['trials'])} trials"
    measured = Measured(found, reranked.results if reranked else [])
    tables = tables_of(measured, run, Provenance.of(run), title)
    _write(tables, folder / REPORT, run | {"trial": None})
    if rerank and not reranked:
        say(NO_RERANKED.format("trials"))
    say(last_line(found, run))


def report_seeds(folder: Path, rerank: bool = False) -> None:
    """Average the reports of the runs of a group over their seeds, write and print the table.

    Args:
        folder: of the group.
        rerank: re-ranked results were asked for: say so if the seeds have none in common.

    Raises:
        UserError: no seed has been tested, or they are not to be averaged.
    """
    found, reranked = gather(folder), gather_reranked(folder)
    run, images = found.about, found.images
    seeds = ", ".join(map(str, found.seeds or [run["seed"]]))
    title = f"{run['method']} {folder.name}, seeds {seeds}, stage {run['stage']}"
    if not found.results:
        _write([untested_table(images, title)], folder / REPORT, run)
        return
    measured = Measured(found.results, reranked.results if reranked else [])
    _write(tables_of(measured, run, images, title), folder / REPORT, run)
    if rerank and not reranked:
        say(NO_RERANKED.format("seeds"))
    say(last_line(found.results, run))


def check_shown(folder: Path) -> None:
    """Refuse the page of a run on images without a test identity, or of one trained on since.

    Raises:
        UserError: it would show nobody, the run is not tested, or it is trained further than that.
    """
    tested = read_report(folder)
    if not tested["results"]:
        raise UserError(
            f"{folder} has no page: a page shows test identities, and the images of this run have "
            "none; curves.png shows its training"
        )
    stage = runs.last_stage(folder)
    now = (stage, checkpoint.record(folder / stage)["epoch"])
    then = (tested["about"]["stage"], tested["about"]["epoch"])
    if now != then:
        raise UserError(
            f"{folder} was tested at {then[0]} epoch {then[1]} and stands at {now[0]} epoch "
            f"{now[1]}: train it to its end by the same command, or test it again"
        )


def html(folder: Path, selection: str, evaluation: Evaluation, activations: bool = False) -> Path:
    """Write the page of a run's last stage, before and after training.

    Args:
        folder: of the run, or of one trial of it.
        selection: model "after": "last", "test" or "cycle".
        evaluation: the test identities, with one search per mode at least.
        activations: show activation maps of the model "after".

    Returns:
        The page's place.

    Raises:
        UserError: the run has not been trained and tested to its end.
    """
    tested, stage = read_report(folder), runs.last_stage(folder)
    run = tested["about"]
    if not is_own(run, evaluation):
        raise UserError(
            f"the images given are not those that {folder} was trained on, and its page shows "
            "these: correct --data-dir"
        )
    title = f"{run['method']} {run['name']}, stage {stage}"
    measured = Measured(tested["results"], reranked_rows(tested))
    table, *others = tables_of(measured, run, evaluation.provenance, title)
    protocol = protocol_of(evaluation.dataset, evaluation.rules)
    before = tested_network(folder, stage, "start", evaluation)
    after = tested_network(folder, stage, selection, evaluation)
    content = Content(
        title=title,
        table=table,
        reranked=others[0] if others else None,
        warnings=evaluation.provenance.notes(),
        epochs=read_epochs(folder / "metrics.jsonl"),
        config=runs.config(folder),
        images=evaluation.images,
        headings={mode: protocol.headings[mode] for mode in evaluation.searches},
        searches={mode: own[0] for mode, own in evaluation.searches.items()},
        before=_model(before, "start", evaluation),
        after=_model(after, selection, evaluation),
        heat=_heat(after, evaluation) if activations else None,
    )
    write_page(content, folder / "report.html")
    return folder / "report.html"


def _model(network: nn.Module, selection: str, evaluation: Evaluation) -> Model:
    """A saved model's features of the test identities."""
    first = {mode: own[:1] for mode, own in evaluation.searches.items()}
    with torch.no_grad():
        features = features_of(network, evaluation.images, first, evaluation.batch_size)
    return Model(MODELS[selection], features)


def _heat(network: nn.Module, evaluation: Evaluation) -> Heat:
    """A model's activation maps of test images."""

    def heat(modality: str, rows: np.ndarray, towards: np.ndarray) -> np.ndarray:
        pixels = evaluation.images[modality].gather(torch.from_numpy(rows))
        features = torch.from_numpy(towards)
        return activation_maps(network, normalise(pixels), modality, features).numpy()

    return heat


def _write(tables: Sequence[Table], place: Path, about: dict) -> None:
    """A report's tables in their forms, on the console and on disk.

    They are printed first: a disk that cannot be written loses no result.

    Args:
        tables: of the results, and of the re-ranked ones if there are any.
        place: the files' common name.
        about: what was tested.
    """
    text = "\n".join(table.text() for table in tables)
    markdown = "\n".join(table.markdown() for table in tables)
    say(text)
    for suffix, content in ((".txt", text), (".md", markdown)):
        with atomic(place.with_name(place.name + suffix)) as file:
            file.write(content)
    plain, *others = (table.json() for table in tables)
    reranked = {RERANKED: others[0]} if others else {}
    had_reranked = _has_reranked(place)
    write_json(place.with_name(place.name + ".json"), {"about": about, **plain, **reranked})
    if had_reranked and not reranked:
        say(f"the re-ranked table of an earlier test is no longer in {place.name}.txt: test with "
            "--rerank to have it again")  # fmt: skip
    say(f"written to {place.parent}: {place.name}.txt, {place.name}.md, {place.name}.json")


def _has_reranked(place: Path) -> bool:
    """Whether an earlier report of this name has re-ranked results."""
    try:
        return RERANKED in read_json(place.with_name(place.name + ".json"))
    except UserError:  # there is none, or it is damaged
        return False


def last_line(found: Sequence[Mapping[str, Any]], run: Mapping[str, Any]) -> str:
    """The run's result beside what it is measured against; a warm start only if there was one."""
    mode = protocol_of(run["dataset"], run.get("rules")).selection
    shown = {r["selection"]: r["mAP"]["mean"] for r in found if r["mode"] == mode}
    if any("--pretrained random" in own for own in run.get("changes", {}).values()):
        shown.pop("start", None)
    values = (f"{word} {shown[name]:.2f}" for name, word in LAST_LINE.items() if name in shown)
    return f"cross-modality mAP: {', '.join(values)} (percent)"
