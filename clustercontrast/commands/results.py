"""Tests of saved models: every model of a run is searched for test identities."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from clustercontrast.commands import runs
from clustercontrast.commands.evaluating import Evaluation
from clustercontrast.engine import checkpoint
from clustercontrast.engine.run import saved_model
from clustercontrast.evaluation.metrics import Retrieval
from clustercontrast.evaluation.protocols import percents, summarise
from clustercontrast.evaluation.scoring import chance, features_of, score_all
from clustercontrast.files import UserError
from clustercontrast.models import weights
from clustercontrast.processes import ranks

MODELS = {  # the three results of a run, and what they are measured against
    "chance": "chance (random features)",
    "untrained": "untrained (random weights)",
    "start": "initial weights (--pretrained)",
    "last": "last epoch",
    "test": "best on the test set",
    "cycle": "best by cycle consistency (no test labels)",
}
Found = dict[str, list[Retrieval]]


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
    last = ranks.first(lambda: model_of(folder, stage, "last"))
    found = {
        "chance": (chance(evaluation.images, evaluation.searches), {}),
        "untrained": retrieve_with(weights.untrained(last["weights"]), evaluation),
    }
    tested: dict[tuple, tuple[Found, Found]] = {}
    for selection in ("start", "last", "test", "cycle"):
        if selection == "last":
            model = last
        else:
            model = ranks.first(functools.partial(model_of, folder, stage, selection))
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
