"""The commands that test saved models: a run, one checkpoint, and the page of a run."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clustercontrast.commands import evaluating, reporting, results, runs
from clustercontrast.commands.evaluating import Evaluation
from clustercontrast.commands.loading import is_one_model
from clustercontrast.commands.locating import has_images, located, say_place
from clustercontrast.data.images import open_sized
from clustercontrast.data.places import table_and_folder
from clustercontrast.engine.run import choose_device
from clustercontrast.evaluation.protocols import protocol_of
from clustercontrast.files import UserError, say
from clustercontrast.models import weights
from clustercontrast.settings.recipes.common import DATASETS, shared_defaults


def test(target: Path, dataset: str, args: Namespace) -> None:
    """Test a run's models, or one checkpoint.

    Args:
        target: folder of a run, exported folder, or file of a checkpoint.
        dataset: a key of ``DATASETS``.
        args: flags of the test command.

    Raises:
        UserError: there is no trained model, or it belongs to another trial.
    """
    if is_one_model(target):
        _test_file(target, dataset, args)
        return
    are_own = [_test_run(folder, dataset, args) for folder in runs.seed_folders(target)]
    if runs.seeds_of(target) and all(are_own):
        reporting.report_seeds(target, args.rerank)


def _test_run(run: Path, dataset: str, args: Namespace) -> bool:
    """Test a run of one seed; whether the images were its own, so that its report is new."""
    trials, are_own = runs.trials_of(run), []
    for folder in _folders(run, trials, args):
        evaluation = open_evaluation(dataset, args, folder)
        reporting.report(folder, args.stage or runs.last_stage(folder), evaluation)
        are_own.append(reporting.is_own(runs.about(folder), evaluation))
    if trials and all(are_own):
        reporting.report_trials(run, args.rerank)
    return all(are_own)


def write_pages(run: Path, selection: str, activations: bool, args: Namespace) -> None:
    """Write report.html into the folder of a run, or of each of its trials and seeds.

    Args:
        run: its folder.
        selection: model "after" training: "last", "test" or "cycle".
        activations: show its activation maps.
        args: flags of the evaluation.

    Raises:
        UserError: a folder has no test identities to show, or see :func:`reporting.html`.
    """
    for folder in runs.models_of(run):
        dataset = runs.about(folder)["dataset"]
        reporting.check_shown(folder)
        evaluation = open_evaluation(dataset, args, folder)
        say(f"wrote {reporting.html(folder, selection, evaluation, activations)}")


def _folders(run: Path, trials: Sequence[int], args: Namespace) -> list[Path]:
    """The run's folder, or those of the trials that were asked for."""
    asked = getattr(args, "trial", None) or []
    if not trials and len(asked) > 1:
        raise UserError(f"{run} holds one model: give it one --trial to be tested on")
    missing = sorted(set(asked) - set(trials))
    if trials and missing:
        raise UserError(f"{run} has no model of trial {missing[0]}: train it with --trial first")
    return [runs.trial_folder(run, trial) for trial in asked or trials] if trials else [run]


def open_evaluation(
    dataset: str,
    args: Namespace,
    folder: Path | None = None,
    about: Mapping[str, Any] | None = None,
) -> Evaluation:
    """The test identities that flags ask for, and else the config of a run's folder.

    Args:
        dataset: a key of ``DATASETS``.
        args: flags of the evaluation, and those of the dataset: ``draws``, ``trial`` and
            ``allow_leak``, ``manifest``, its rules.
        folder: of the run, or of one trial of it; None for a bare checkpoint.
        about: what a bare checkpoint says of itself.
    """
    config = runs.config(folder) if folder else {"values": about or {}, "about": about or {}}
    said, usual, own = config["values"], shared_defaults(dataset), Namespace(**vars(args))
    values = said if config["about"].get("dataset") == dataset else {}  # places of its own images
    for name, known in (
        ("cache_dir", {} if args.data_dir or getattr(args, "manifest", None) else values),
        ("cache_root", values),
        ("data_dir", values),
        ("height", said),  # of what the network was trained on
        ("width", said),
    ):
        if getattr(args, name) is None:
            setattr(own, name, known.get(name, usual[name]))
    for name in DATASETS[dataset].rules:
        asked = getattr(args, name, None)
        setattr(own, name, values.get(name, usual[name]) if asked is None else asked)
    _check_draws(dataset, own)
    if "manifest" in DATASETS[dataset].flags:
        _locate_table(own, args, values or usual)
    elif not (args.data_dir or own.cache_dir):
        own.data_dir, wanted = located(dataset, own.data_dir, has_images(own)), own.data_dir
        say_place(wanted, own.data_dir)
    asked = getattr(args, "trial", None) or []
    own.trial_number = asked[0] if len(asked) == 1 else values.get("trial")
    prepared = open_sized(own, dataset)
    shown = evaluating.shown_parts(prepared, own.trial_number, config["about"])
    device = choose_device(args.device)
    for array in evaluating.searched_images(shown).values():
        array.place(device)
    return Evaluation.of(prepared, shown, own, device)


def _locate_table(own: Namespace, args: Namespace, usual: Mapping[str, Any]) -> None:
    """Complete the table of a dataset and its folder: as given, or as in ``usual``."""
    given = getattr(args, "manifest", None), args.data_dir
    places = table_and_folder(*given, (usual["manifest"], usual["data_dir"]))
    own.manifest, own.data_dir = places


def _check_draws(dataset: str, args: Namespace) -> None:
    """Refuse draws where nothing is drawn.

    Raises:
        UserError: the rules of the search have galleries of all items.
    """
    protocol = protocol_of(dataset, evaluating.rules_of(args))
    if getattr(args, "draws", None) and protocol.draws == 1:
        raise UserError(
            f"--draws {args.draws}: these galleries are not drawn: leave it out, or add "
            "--gallery-shots single"
        )


def _test_file(file: Path, dataset: str, args: Namespace) -> None:
    """Test one checkpoint: print its tables, write nothing."""
    about = weights.about(file)
    if "trial" in args and args.trial is None:
        if "trial" not in about:
            raise UserError(f"{file} does not say which trial it was trained on: add --trial N")
        args.trial = [about["trial"]]
    evaluation = open_evaluation(dataset, args, about=about)
    results.check_model(about, evaluation, file)
    found = results.retrieve_with(weights.read(file), evaluation)
    measured = results.describe(file.name, found, evaluation)
    images = reporting.searched(about, evaluation)
    said = reporting.under(about, evaluation)
    for table in reporting.tables_of(measured, said, images, str(file)):
        say(table.text())
