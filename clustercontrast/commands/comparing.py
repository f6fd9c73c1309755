"""Runs on the same test images compared, query by query, in one page."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from clustercontrast.commands import reporting, results, runs
from clustercontrast.commands.evaluating import Evaluation
from clustercontrast.commands.testing import open_evaluation
from clustercontrast.data.images import ImageArray
from clustercontrast.data.provenance import TITLES
from clustercontrast.evaluation.protocols import Rules, Search, protocol_of
from clustercontrast.evaluation.scoring import features_of
from clustercontrast.files import UserError, say
from clustercontrast.report.compare_page import Content, Run, write_comparison
from clustercontrast.report.figures import read_epochs
from clustercontrast.report.tested import read_report

LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
BLOCK = 64
"""Images whose pixels are compared at a time."""


def compare(args: Namespace) -> None:
    """Write the page that compares runs with the first of them.

    Args:
        args: ``runs`` (folders of one model each, of single trials or seeds, the baseline first),
            ``model`` (of each), ``draw`` (number of the gallery draw), ``seed`` (of the bootstrap),
            ``out``, and the flags of the evaluation.

    Raises:
        UserError: there is nothing to compare, the runs have other test images than each other, or
            a run is not tested or lacks the model.
    """
    if not 2 <= len(args.runs) <= len(LABELS):
        raise UserError(
            f"runs given: {len(args.runs)}; give the baseline and 1 to {len(LABELS) - 1} more"
        )
    folders = [runs.single(folder) for folder in args.runs]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("a run is given twice: give each once, the baseline first")
    for folder in folders:
        reporting.check_shown(folder)
    _check_tasks(folders)
    opened = [open_evaluation(runs.about(own)["dataset"], args, own) for own in folders]
    _check_images(folders, opened)
    first = opened[0]
    searches = {mode: _search(own, args.draw) for mode, own in first.searches.items()}
    protocol = protocol_of(first.dataset, first.rules)
    notes = [note for own in opened for note in own.provenance.notes()]
    content = Content(
        dataset=first.provenance.title + (f", trial {first.trial}" if first.trial else ""),
        warnings=list(dict.fromkeys(notes)),
        runs=[
            _run(label, folder, args.model, evaluation, searches)
            for label, folder, evaluation in zip(LABELS, folders, opened, strict=False)
        ],
        headings={mode: protocol.headings[mode] for mode in searches},
        searches=searches,
        draw=f"draw {args.draw}" if protocol.draws > 1 else "one search",
        seed=args.seed,
    )
    write_comparison(content, args.out)
    say(f"wrote {args.out}")


def _check_tasks(folders: Sequence[Path]) -> None:
    """Refuse runs of several datasets, trials or rules.

    Raises:
        UserError: names what differs.
    """
    baseline = _task(folders[0])
    for folder in folders[1:]:
        own = _task(folder)
        for key, one in baseline.items():
            if one != own[key]:
                raise UserError(
                    f"{folders[0]} and {folder} differ in their {key} ({one}; {own[key]}): models "
                    "are compared on the same searches alone, give runs that share them"
                )


def _task(folder: Path) -> dict[str, object]:
    """What the searches of a run depend on besides its images, in words."""
    about = runs.about(folder)
    rules = Rules(**about["rules"]).name if about.get("rules") else "the dataset's own"
    return {
        "dataset": TITLES[about["dataset"]],
        "trial": about["trial"],
        "search rules": rules,
    }


def _check_images(folders: Sequence[Path], opened: Sequence[Evaluation]) -> None:
    """Refuse images that are not the runs' own, and runs with other test images than the first.

    Raises:
        UserError: names the run.
    """
    for folder, evaluation in zip(folders, opened, strict=True):
        if not reporting.is_own(runs.about(folder), evaluation):
            raise UserError(
                f"the images given are not those that {folder} was trained on: correct --data-dir, "
                "or leave it out"
            )
        if not are_alike(opened[0], evaluation):
            raise UserError(
                f"{folders[0]} and {folder} have other test images than each other: models are "
                "compared on the same queries alone, give runs of one set of images"
            )


def are_alike(one: Evaluation, other: Evaluation) -> bool:
    """Whether two evaluations are of the same test images.

    Training images may be others. Images of another height or width are taken for the same ones
    where paths, identities, cameras and tracks are.
    """
    if one.provenance.digest == other.provenance.digest:
        return True
    parts = [(own, other.images[name]) for name, own in one.images.items()]
    return all(a.index.is_like(b.index) for a, b in parts) and all(map(_same_pixels, parts))


def _same_pixels(pair: tuple[ImageArray, ImageArray]) -> bool:
    """Whether two arrays show the same; images of another size are not looked at."""
    one, other = (array.pixels for array in pair)
    if one.shape[1:3] != other.shape[1:3]:
        return True
    blocks = (slice(i, i + BLOCK) for i in range(0, len(one), BLOCK))
    return all(np.array_equal(one[block], other[block]) for block in blocks)


def _search(searches: Sequence[Search], draw: int) -> Search:
    """The search of a gallery draw.

    Raises:
        UserError: there is no such draw.
    """
    if draw >= len(searches):
        there = f"draws are 0 to {len(searches) - 1}" if len(searches) > 1 else "nothing is drawn"
        raise UserError(f"--draw {draw}: {there} in the searches of these runs: leave it out")
    return searches[draw]


def _run(
    label: str,
    folder: Path,
    selection: str,
    evaluation: Evaluation,
    searches: Mapping[str, Search],
) -> Run:
    """A run, and what its model makes of the test images.

    Raises:
        UserError: it has no such model, or its report does not know it.
    """
    config, model = runs.config(folder), results.MODELS[selection]
    network = results.tested_network(folder, runs.last_stage(folder), selection, evaluation)
    one_each = {mode: [own] for mode, own in searches.items()}
    with torch.no_grad():
        features = features_of(network, evaluation.images, one_each, evaluation.batch_size)
    rows = read_report(folder)["results"]
    found = {row["mode"]: row for row in rows if row["selection"] == selection}
    if found.keys() < searches.keys():
        raise UserError(f"the report of {folder} lacks the model '{model}': test the run again")
    return Run(
        label,
        f"{config['about']['method']} {config['about']['name']}",
        model,
        config,
        read_epochs(folder / "metrics.jsonl"),
        found,
        evaluation.images,
        features,
    )
