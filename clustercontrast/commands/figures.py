"""Pictures of runs as papers show them: clusters, maps, scores against a flag, fakes."""

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from clustercontrast.commands import evaluating, reporting, results, runs
from clustercontrast.commands.testing import open_evaluation
from clustercontrast.commands.training import images_of
from clustercontrast.data.provenance import Provenance
from clustercontrast.evaluation.features import extract
from clustercontrast.files import UserError, say
from clustercontrast.generation import panels
from clustercontrast.methods import METHODS
from clustercontrast.report import charts, pictures
from clustercontrast.report.comparison import short_of
from clustercontrast.report.figures import read_epochs
from clustercontrast.report.published import configuration, reference, typed
from clustercontrast.report.references.rows import METRICS
from clustercontrast.report.spaces import People, draw_people, embed
from clustercontrast.report.tested import Tested, check_tested, gather
from clustercontrast.settings.options import Options
from clustercontrast.settings.recipes import all_recipes

# --- clusters over the epochs ---


def ari(args: Namespace) -> None:
    """Draw the ARI of several runs over their epochs.

    Args:
        args: ``runs`` (folders, of single trials where there are trials), ``out``.

    Raises:
        UserError: a run has no finished epoch, or none has an ARI.
    """
    folders = [runs.single(folder) for folder in args.runs]
    abouts = [runs.about(folder) for folder in folders]
    epochs = [read_epochs(folder / "metrics.jsonl") for folder in folders]
    labels = _labels(map(_name, abouts))
    notes = _notes(Provenance.of(about) for about in abouts)
    charts.save(charts.ari(dict(zip(labels, epochs, strict=True)), notes), args.out)
    say(f"wrote {args.out}")


def _name(about: Mapping[str, Any]) -> str:
    trial = f", trial {about['trial']}" if about["trial"] is not None else ""
    return f"{about['method']} {about['name']}{trial}"


def _labels(names: Iterable[str]) -> list[str]:
    """Names of runs, told apart by a number where they are the same."""
    names = list(names)
    return [
        f"{name} ({names[: i + 1].count(name)})" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def _notes(images: Iterable[Provenance]) -> list[str]:
    """What must be read with figures of such images."""
    return list(dict.fromkeys(note for own in images for note in own.notes()))


# --- maps of identities ---


def maps(args: Namespace) -> None:
    """Draw the t-SNE map of ten random test identities for the models of several runs.

    Args:
        args: ``runs`` (folders, the baseline first), ``model``, ``seed``, ``out``, and the flags
            of the evaluation.

    Raises:
        UserError: the runs have other test images, or lack the model.
    """
    folders = [runs.single(folder) for folder in args.runs]
    abouts = [runs.about(folder) for folder in folders]
    opened = [
        open_evaluation(about["dataset"], args, folder)
        for about, folder in zip(abouts, folders, strict=True)
    ]
    _check_same_people(opened)
    people = draw_people({name: own.index for name, own in opened[0].images.items()}, args.seed)
    names = [f"{label}: {results.MODELS[args.model]}" for label in _labels(map(_name, abouts))]
    positions = {
        name: embed(_features(folder, args.model, evaluation, people), args.seed)
        for name, folder, evaluation in zip(names, folders, opened, strict=True)
    }
    notes = _notes(map(reporting.searched, abouts, opened))
    charts.save(pictures.maps(people, positions, notes), args.out)
    say(f"wrote {args.out}")


def _check_same_people(evaluations: Sequence[evaluating.Evaluation]) -> None:
    if len({(own.provenance.digest, own.trial) for own in evaluations}) > 1:
        raise UserError(
            "these runs have other test images than each other: a map compares models on the same "
            "images; give runs of one dataset, and of one trial of it"
        )


def _features(
    folder: Path, selection: str, evaluation: evaluating.Evaluation, people: People
) -> dict[str, Any]:
    """Features (n, d) of the people's images by modality."""
    network = results.tested_network(folder, runs.last_stage(folder), selection, evaluation)
    with torch.no_grad():
        return {
            name: extract(
                network,
                evaluation.images[name],
                evaluation.batch_size,
                torch.from_numpy(rows),
                unit=True,
            ).numpy()
            for name, rows in people.rows.items()
        }


# --- scores against a flag ---


def against(args: Namespace) -> None:
    """Draw a score of several runs against the value of a flag.

    Runs of a curve have everything else in common: dataset, method, variant and other flags.

    Args:
        args: ``flag``, ``runs`` (tested ones), ``metric``, ``model``, ``out``.

    Raises:
        UserError: a run is not tested, lacks the model, or its flag has no number.
    """
    flag = args.flag.lstrip("-").replace("_", "-")
    found: dict[tuple[str, ...], tuple[list, list]] = {}
    tested = [(folder, gather(folder)) for folder in args.runs]
    for folder, run in tested:
        check_tested(run)
        mode = run.protocol.selection
        row = run.row(args.model, mode)
        if row is None:
            raise UserError(f"{folder} has no model '{args.model}': choose another --model")
        x = _value(folder, run, flag)
        ours, published = found.setdefault(_curve(run, mode, flag), ([], []))
        ours.append((x, row[args.metric]["mean"]))
        entry = reference(run.beside.own, args.model, run.trials)
        if entry and args.metric in entry.scores.get(mode, {}):
            published.append((x, entry.scores[mode][args.metric]))
    shared = set.intersection(*map(set, found))
    curves = [
        charts.Scores(", ".join([*name[:3], *(w for w in name[3:] if w not in shared)]), *points)
        for name, points in found.items()
    ]
    notes = _notes(run.images for _, run in tested)
    model = results.MODELS[args.model]
    figure = charts.against(curves, f"--{flag}", f"{METRICS[args.metric]}, {model}", notes)
    charts.save(figure, args.out)
    say(f"wrote {args.out}")


def _curve(run: Tested, mode: str, flag: str) -> tuple[str, ...]:
    """What the runs of a curve have in common: all but the flag."""
    heading = run.protocol.modes[mode].lower()
    own, usual = configuration(run.about), all_recipes()[run.about["method"]].variants[0]
    variant = [] if own.variant == usual else [f"--variant {own.variant}"]
    others = [words for words in typed(own.flags) if words.split()[0] not in _spellings(flag)]
    return (
        run.about["method"], run.images.title, f"{heading}{short_of(run)}", *variant, *others
    )  # fmt: skip


def _spellings(flag: str) -> tuple[str, str]:
    return f"--{flag}", f"--no-{flag}"


def _value(folder: Path, run: Tested, flag: str) -> float:
    """What a run's tested stage read of a flag."""
    config = runs.config(runs.models_of(folder)[0])
    value = config["values"].get(flag.replace("-", "_"))
    if isinstance(value, Mapping):
        value = value.get(run.about["stage"])
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(
            f"{folder}: --{flag} is {value!r} in its stage {run.about['stage']}: give a flag that "
            "has a number there"
        )
    return value


# --- images drawn in several numbers of steps ---


def steps(args: Namespace) -> None:
    """Draw the same images at several numbers of sampling steps, in one sheet.

    Args:
        args: ``run``, ``steps``, ``images`` (how many), ``device``, ``out``.

    Raises:
        UserError: the run's method draws no images, or its generator is not trained.
    """
    folder = runs.single(args.run)
    config = runs.config(folder)
    about = config["about"]
    stages = METHODS[about["method"]]
    drawing = [stage for stage in stages if stage.draws]
    if not drawing:
        raise UserError(f"{folder}: {about['method']} draws no images")
    recipe = all_recipes()[about["method"]]
    values = config["values"] | {"device": args.device}
    options = Options(recipe, about["dataset"], values, config["origins"])
    picture = drawing[0].sheet(images_of(options, stages), args.steps, args.images)
    panels.save(picture, args.out)
    say(f"wrote {args.out}")
