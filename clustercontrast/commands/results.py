"""Tests of saved models: every model of a run is searched for test identities, and reported."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from clustercontrast.commands import runs
from clustercontrast.data.augment import normalise
from clustercontrast.data.images import ImageArray, Prepared
from clustercontrast.data.provenance import Provenance
from clustercontrast.data.samples import number_of_people
from clustercontrast.engine import checkpoint
from clustercontrast.engine.run import saved_model
from clustercontrast.evaluation.metrics import Retrieval
from clustercontrast.evaluation.protocols import (
    Rules,
    Search,
    percents,
    protocol_of,
    summarise,
)
from clustercontrast.evaluation.reranking import Parameters
from clustercontrast.evaluation.scoring import chance, features_of, score_all
from clustercontrast.files import UserError, atomic, say, write_json
from clustercontrast.methods import METHODS
from clustercontrast.models import weights
from clustercontrast.models.activation import activation_maps
from clustercontrast.report.activations import Heat
from clustercontrast.report.figures import curves, read_epochs
from clustercontrast.report.page import Content, Model, write_page
from clustercontrast.report.tables import Table, results_table, untested_table
from clustercontrast.report.tested import (
    RERANKED,
    average,
    gather,
    gather_reranked,
    read_report,
    reranked_rows,
)

MODELS = {  # the three results of a run, and what they are measured against
    "chance": "chance (random features)",
    "untrained": "untrained (random weights)",
    "start": "initial weights (--pretrained)",
    "last": "last epoch",
    "test": "best on the test set",
    "cycle": "best by cycle consistency (no test labels)",
}
MAYBE_SEEN = (
    "other images of the dataset that the model was trained on: whether they show training "
    "identities is not known, no figure is to be trusted before that is checked"
)
REPORT = "report"
"""Name of the files of a run's report, without their endings."""
Found = dict[str, list[Retrieval]]


@dataclass(frozen=True)
class Evaluation:
    """The test identities of a dataset, or of one of its trials, and how they are searched.

    Attributes:
        dataset: a key of ``PROTOCOLS``.
        trial: of RegDB; None elsewhere.
        provenance: of the dataset's images.
        images: test images by modality.
        searches: searches by mode.
        rules: how a custom dataset is searched; None elsewhere.
        device: where features are extracted.
        batch_size: images per forward.
        allow_leak: accept models of another trial.
        reranking: how every search is re-ranked, besides the plain one; None for not at all.
    """

    dataset: str
    trial: int | None
    provenance: Provenance
    images: Mapping[str, ImageArray]
    searches: Mapping[str, Sequence[Search]]
    rules: Mapping[str, Any] | None
    device: torch.device
    batch_size: int
    allow_leak: bool
    reranking: Parameters | None = None

    @classmethod
    def of(
        cls,
        prepared: Prepared,
        parts: Mapping[str, ImageArray],
        args: Namespace,
        device: torch.device,
    ) -> "Evaluation":
        """The evaluation that the flags of training or testing ask for, in every mode.

        With ``swapped`` the protocol's variants are searched, too.

        Args:
            prepared: the dataset's images.
            parts: of the dataset or of one trial of it, as the network is shown them.
            args: ``trial_number``, ``test_batch`` and, where they apply, ``draws``, ``swapped``,
                ``allow_leak``, the rules of a custom dataset, ``rerank`` with ``rerank_k1``,
                ``rerank_k2``, ``rerank_weight``.
            device: where features are extracted.

        Raises:
            UserError: there is nobody to search for.
        """
        dataset, rules = prepared.dataset, rules_of(args)
        protocol = protocol_of(dataset, rules)
        images = searched_images(parts)
        if not has_people(images):
            raise UserError(
                f"the images in {prepared.folder} have no test identity, there is nobody to search "
                "for: add test images of known identity to the dataset and prepare it again, or "
                "give others"
            )
        lists = images["visible"].index, images["infrared"].index
        draws = min(getattr(args, "draws", None) or protocol.draws, protocol.draws)
        modes = protocol.headings if getattr(args, "swapped", False) else protocol.modes
        return cls(
            dataset,
            args.trial_number,
            prepared.provenance,
            images,
            protocol.searches(*lists, list(modes), draws),
            rules,
            device,
            args.test_batch,
            getattr(args, "allow_leak", False),
            reranking_of(args),
        )


def reranking_of(args: Namespace) -> Parameters | None:
    """What the flags of a test ask for; training has none of them."""
    if not getattr(args, "rerank", False):
        return None
    return Parameters(args.rerank_k1, args.rerank_k2, args.rerank_weight)


def shown_parts(
    prepared: Prepared, trial: int | None, about: Mapping[str, Any]
) -> dict[str, ImageArray]:
    """A dataset's parts as a run's network is shown them.

    Args:
        prepared: the dataset's images.
        trial: which of its trials; None where there are none.
        about: what the run or the model says of itself.
    """
    parts = prepared.parts(trial)
    stages = METHODS.get(about.get("method"))
    return stages[-1].tested_parts(parts, about) if stages else parts


def searched_images(parts: Mapping[str, ImageArray]) -> dict[str, ImageArray]:
    """Test images of a dataset's parts, by modality."""
    return {"visible": parts["test_visible"], "infrared": parts["test_infrared"]}


def rules_of(args: Any) -> dict[str, Any] | None:
    """The rules of the search among the values of flags, as JSON keeps them; None on most datasets.

    Args:
        args: of training, of one of its stages, or of a test.
    """
    if not hasattr(args, "queries"):
        return None
    return asdict(Rules(args.queries, args.gallery_shots, args.skip_own_camera))


def has_people(images: Mapping[str, ImageArray]) -> bool:
    """Whether any test image shows a known identity, so that there is something to test."""
    return number_of_people(*(array.index for array in images.values())) > 0


# --- the models of a run ---


@dataclass(frozen=True)
class Measured:
    """Rows of results, of one model and one mode each.

    Attributes:
        results: "selection" (a key of ``MODELS``, where the model is one of a run), "model" (its
            text), "mode", "searches" (their number), "trials" (where there are trials), mean and
            std of every metric in percent, and "each": the metrics of every draw in the order of
            the draws, or of every trial.
        reranked: the same of every network after re-ranking; "model" says so, and "reranking"
            holds the parameters.  Empty if that was not asked for.
    """

    results: list[dict]
    reranked: list[dict]


def run_results(folder: Path, stage: str, evaluation: Evaluation) -> Measured:
    """Test every model of a run's stage, beside chance, random weights and the initial weights.

    Args:
        folder: of the run (of one trial, where there are trials).
        stage: its name.
        evaluation: whom to search, and how.

    Raises:
        UserError: the stage is not trained, or a model belongs to another trial.
    """
    last = model_of(folder, stage, "last")
    found = {
        "chance": (chance(evaluation.images, evaluation.searches), {}),
        "untrained": retrieve_with(weights.untrained(last["weights"]), evaluation),
    }
    tested: dict[tuple, tuple[Found, Found]] = {}
    for selection in ("start", "last", "test", "cycle"):
        model = last if selection == "last" else model_of(folder, stage, selection)
        if model is None:
            continue
        check_model(model["about"], evaluation, folder)
        key = model["stage"], model["epoch"]
        if key not in tested:
            tested[key] = retrieve_with(model["weights"], evaluation)
        found[selection] = tested[key]
    described = [
        describe(MODELS[selection], own, evaluation, selection) for selection, own in found.items()
    ]
    return Measured(
        [row for own in described for row in own.results],
        [row for own in described for row in own.reranked],
    )


def model_of(folder: Path, stage: str, selection: str) -> dict | None:
    """A saved model of a run; the initial weights lie with its first stage, if they were kept.

    Raises:
        UserError: the stage is not trained, or the file is of another run or stage.
    """
    place = folder / stage
    if selection == "start":
        place = next((file.parent for file in folder.glob("*/start.pth")), None)
    # There is no best model without scores: by cycle without labels, by test without identities.
    is_best = selection in ("test", "cycle")
    if place is None or (is_best and not checkpoint.best_file(place, selection).exists()):
        return None
    model = saved_model(place, selection)
    said, own = (_identity(found) for found in (model["about"], runs.about(folder)))
    if model["stage"] != place.name or said != own:
        raise UserError(
            f"{place} holds a model ({MODELS[selection]}) of another run or stage: put the run's "
            "own file back"
        )
    return model


def _identity(about: Mapping[str, Any]) -> tuple:
    """What the models of a run have in common with its config.json."""
    keys = ("method", "dataset", "variant", "trial")
    return (*(about.get(key) for key in keys), about.get("images", {}).get("digest"))


def retrieve_with(state: weights.State, evaluation: Evaluation) -> tuple[Found, Found]:
    """Searches with saved weights, plain and re-ranked; the latter is empty unless asked for."""
    images, searches = evaluation.images, evaluation.searches
    network = frozen_network(state, evaluation.device)
    with torch.no_grad():
        features = features_of(network, images, searches, evaluation.batch_size)
    reranked = _reranked(features, evaluation) if evaluation.reranking else {}
    return score_all(images, features, searches), reranked


def _reranked(features: Mapping[str, np.ndarray], evaluation: Evaluation) -> Found:
    """The same searches, re-ranked one by one."""
    total = sum(map(len, evaluation.searches.values()))
    with tqdm(total=total, desc="re-ranking", unit="search", leave=False, disable=None) as bar:

        def similarity(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
            found = evaluation.reranking.similarity(queries, gallery)
            bar.update()
            return found

        return score_all(evaluation.images, features, evaluation.searches, similarity)


def frozen_network(state: weights.State, device: torch.device) -> nn.Module:
    """The network of saved weights in eval mode, to be used in full float32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return weights.network_for(state).to(device).eval()


def describe(
    model: str,
    found: tuple[Found, Found],
    evaluation: Evaluation,
    selection: str | None = None,
) -> Measured:
    """Results of one model in every mode, from those of :func:`retrieve_with`."""
    plain, reranked = found
    named = {"model": model} | ({"selection": selection} if selection else {})
    rows = _rows(named, plain, evaluation)
    if not reranked:
        return Measured(rows, [])
    parameters = evaluation.reranking
    labelled = {"model": f"{model}, {parameters.label}", "reranking": asdict(parameters)}
    return Measured(rows, _rows(named | labelled, reranked, evaluation))


def _rows(named: Mapping[str, Any], found: Found, evaluation: Evaluation) -> list[dict]:
    """One row per mode."""
    trials = {} if evaluation.trial is None else {"trials": [evaluation.trial]}
    return [
        {**named, "mode": mode, "searches": len(retrievals), **trials}
        | summarise(retrievals)
        | {"each": _each(retrievals, evaluation.trial)}
        for mode, retrievals in found.items()
    ]


def _each(retrievals: Sequence[Retrieval], trial: int | None) -> list[dict[str, float]]:
    """Scores of every gallery draw; those of the trial where there are trials."""
    if trial is None:
        return [percents(one) for one in retrievals]
    return [{name: own["mean"] for name, own in summarise(retrievals).items()}]


def check_model(about: Mapping[str, Any], evaluation: Evaluation, place: object) -> None:
    """Refuse to test a model on identities it has seen in training, but for ``--allow-leak``."""
    if not evaluation.allow_leak and evaluation.trial is not None:
        check_trial(about, evaluation.dataset, evaluation.trial, place)


def check_trial(about: Mapping[str, Any], dataset: str, trial: int, place: object) -> None:
    """Refuse a model of another trial.

    Args:
        about: what the model says of itself.
        dataset: it is to be used on.
        trial: it is to be used on.
        place: where it lies, for the message.

    Raises:
        UserError: training identities of its trial are test identities of this one.
    """
    if is_of_another_trial(about, dataset, trial):
        raise UserError(
            f"{place} was trained on trial {about['trial']}, whose training identities are among "
            f"the test identities of trial {trial}: use the model of that trial, or pass "
            "--allow-leak and trust no figure"
        )


def is_of_another_trial(about: Mapping[str, Any], dataset: str, trial: int | None) -> bool:
    """Whether a model was trained on another trial of a dataset, on its test identities."""
    return about.get("dataset") == dataset and about.get("trial") not in (None, trial)


# --- reports ---


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
    run = runs.about(folder)
    measured = run_results(folder, stage, evaluation)
    trial = "" if run["trial"] is None else f", trial {run['trial']}"
    title = f"{run['method']} {run['name']}{trial}, stage {stage}"
    said = run | {"stage": stage, "epoch": checkpoint.record(folder / stage)["epoch"]}
    place = report_folder(folder, stage)
    if not is_own(run, evaluation):
        _report_elsewhere(measured, place, said, title, evaluation)
        return
    _write(tables_of(measured, said, evaluation.provenance, title), place / REPORT, said)
    curves(folder / "metrics.jsonl", place / "curves.png")
    _say_last_line(measured.results, run)


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
    curves(folder / "metrics.jsonl", place / "curves.png")


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
        say("no mean of re-ranked results: not all trials have them with the same parameters; test "
            "all trials with --rerank")  # fmt: skip
    _say_last_line(found, run)


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


def tested_network(folder: Path, stage: str, selection: str, evaluation: Evaluation) -> nn.Module:
    """The network of a saved model, in eval mode.

    Args:
        folder: of the run, or of one trial of it.
        stage: of the run.
        selection: a key of ``MODELS`` that is saved: "start", "last", "test" or "cycle".
        evaluation: what it is to be tested on.

    Raises:
        UserError: the run has no such model, or it was trained on the test identities.
    """
    model = model_of(folder, stage, selection)
    if model is None:
        raise UserError(
            f"{folder} has no model '{MODELS[selection]}': choose another --model, or train it anew"
        )
    check_model(model["about"], evaluation, folder)
    return frozen_network(model["weights"], evaluation.device)


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
    write_json(place.with_name(place.name + ".json"), {"about": about, **plain, **reranked})
    say(f"written to {place.parent}: {place.name}.txt, {place.name}.md, {place.name}.json")


def _say_last_line(found: Sequence[Mapping[str, Any]], run: Mapping[str, Any]) -> None:
    mode = protocol_of(run["dataset"], run.get("rules")).selection
    shown = {r["selection"]: r["mAP"]["mean"] for r in found if r["mode"] == mode}
    say(
        f"cross-modality mAP: chance {shown['chance']:.2f}, untrained {shown['untrained']:.2f}, "
        f"trained {shown['last']:.2f} (percent)"
    )
