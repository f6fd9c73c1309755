"""The command that takes a model elsewhere: as safetensors, as graphs of ONNX, as an official file.

A folder is written whole or not at all, and nothing is written over.
"""

import json
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn
from tqdm import tqdm

import clustercontrast
from clustercontrast.commands import reporting, results, runs, validating
from clustercontrast.commands.loading import is_one_model, saved
from clustercontrast.data.augment import MEAN, STD
from clustercontrast.data.provenance import Provenance
from clustercontrast.data.samples import MODALITIES
from clustercontrast.engine import checkpoint
from clustercontrast.files import (
    UserError,
    atomic,
    atomic_folder,
    check_shape,
    read_json,
    say,
    write_json,
)
from clustercontrast.models import onnx_graph, weights
from clustercontrast.models.official import official_checkpoint
from clustercontrast.models.tensor_files import (
    CONFIG,
    FORMAT,
    VERSION,
    WEIGHTS,
    is_exported,
    write_tensors,
)
from clustercontrast.report.forms import Table
from clustercontrast.report.model_card import Origin, model_card
from clustercontrast.report.tables import results_table, untested_table
from clustercontrast.report.tested import REPORT, read_report
from clustercontrast.settings.recipes import all_recipes
from clustercontrast.settings.recipes.common import shared_defaults

GRAPHS = {modality: f"{modality}.onnx" for modality in MODALITIES}
CARD = "README.md"
OF_A_RUN = {"run": {"selection": str, "command": str, "initial": str}, "report": REPORT}
"""What config.json says of a run, as far as it is known."""
ANEW = "export the model from its run again"


def export(target: Path, args: Namespace) -> None:
    """Write a model in every form that was asked for.

    Args:
        target: folder of a run or of one of its trials, exported folder, or file of a checkpoint.
        args: ``model`` of a run: "last" (also None), "test" or "cycle"; where to write: ``onnx``,
            ``safetensors``, ``official``, None for what is not wanted; ``height`` and ``width`` of
            images, for a model that does not say them.

    Raises:
        UserError: there is no such model, a place is taken, a graph computes something else, or the
            official programs have no such network.
    """
    model = saved(target, args.model)
    network = weights.network_for(model["weights"]).eval()
    official = _official(model, network) if args.official else {}  # before anything is written
    folders = _folders(args)
    if folders:
        config = configuration(model, network, args)
        run = run_of(target, model, args.model or "last")
        for folder, forms in folders.items():
            _write_folder(folder, forms, network, config, run)
            say(f"wrote {folder}: {_described(model)} of {target}")
    if args.official:
        checkpoint.save(args.official, official)
        say(f"wrote {args.official}: {_described(model)} of {target}, for the official programs")


class Form(NamedTuple):
    """A way to write a network into a folder.

    Attributes:
        said: of its files in config.json.
        write: into a place, a network, with its configuration; yields lines for the user.
    """

    said: Mapping[str, Any]
    write: Callable[[Path, nn.Module, Mapping[str, Any]], Iterator[str]]


def _folders(args: Namespace) -> dict[Path, list[Form]]:
    """What is written into which folder; both forms may share one."""
    graphs, tensors = {"graphs": {"opset": onnx_graph.OPSET, **GRAPHS}}, {"weights": WEIGHTS}
    found: dict[Path, list[Form]] = {}
    for folder, form in (
        (args.onnx, Form(graphs, _write_graphs)),
        (args.safetensors, Form(tensors, _write_weights)),
    ):
        if folder:
            found.setdefault(folder, []).append(form)
    return found


def _write_folder(
    folder: Path,
    forms: Sequence[Form],
    network: nn.Module,
    config: Mapping[str, Any],
    run: Mapping[str, Any],
) -> None:
    """A folder with a network in its forms, config.json and the card."""
    whole = {**config, **run}
    with atomic_folder(folder) as place:
        for form in forms:
            whole |= form.said
            for line in form.write(place, network, config):
                say(line)
        write_json(place / CONFIG, whole)
        with atomic(place / CARD) as file:
            file.write(model_card(whole, origin_of(whole)))


def _described(model: Mapping[str, Any]) -> str:
    return f"epoch {model['epoch']}" if model["epoch"] >= 0 else "the network"


# --- what is said of a model ---


def configuration(model: Mapping[str, Any], network: nn.Module, args: Namespace) -> dict[str, Any]:
    """The content of config.json: all that another program must know, and what the model says.

    Args:
        model: see :func:`clustercontrast.commands.loading.saved`.
        network: that it holds.
        args: ``height`` and ``width``, for a model that does not say them.

    Raises:
        UserError: it says others.
    """
    about = dict(model["about"])
    stage, epoch = about.pop("stage", None), about.pop("epoch", None)
    size = {name: _pixels(name, about, args) for name in ("height", "width")}
    is_known = all(name in about or getattr(args, name) for name in size)
    return {
        "format": FORMAT,
        "version": VERSION,
        "clustercontrast": clustercontrast.__version__,
        "architecture": weights.described(model["weights"]),
        "input": size | {
            "size_is_known": is_known,
            "channels": "RGB",
            "resampling": "lanczos",
            "mean": list(MEAN),
            "std": list(STD),
        },
        "modalities": {name: _stem(network, name) for name in MODALITIES},
        "features": {
            "length": network.width,
            "flip_averaged": getattr(network, "flip_averaged", True),
        },
        "stage": stage,
        "epoch": epoch,
        "retrieval": model["retrieval"],
        "about": about | (size if is_known else {}),
    }  # fmt: skip


def _pixels(name: str, about: Mapping[str, Any], args: Namespace) -> int:
    given, known = getattr(args, name), about.get(name)
    if given and known and given != known:
        raise UserError(f"the model was trained on images of {name} {known}: leave --{name} out")
    return known or given or shared_defaults()[name]


def _stem(network: nn.Module, modality: str) -> str:
    """The part of a network that images of a modality enter by."""
    own = f"{modality}_stem"
    return own if hasattr(network, own) else "stem"


def run_of(target: Path, model: Mapping[str, Any], which: str) -> dict[str, Any]:
    """What config.json says of the run that a model is of.

    It is not in the file of the weights, since it names places of one machine.

    Args:
        target: where the model was found; an exported folder says what it was exported with.
        model: it.
        which: model of a run.

    Returns:
        "run" and "report" (see ``OF_A_RUN``), as far as they are known.

    Raises:
        UserError: the config.json of an exported folder is damaged.
    """
    if is_exported(target):
        said = read_json(target / CONFIG)
        known = {key: said[key] for key in OF_A_RUN if key in said}
        check_shape(target / CONFIG, known, {key: OF_A_RUN[key] for key in known}, ANEW)
        return known
    if is_one_model(target):
        return {}
    config = runs.config(target)
    run = {
        "selection": results.MODELS[which],
        "command": config.get("command", ""),
        "initial": config["values"].get("pretrained") or "",
    }
    return {"run": run} | _report(target, model)


def _report(folder: Path, model: Mapping[str, Any]) -> dict[str, Any]:
    """A run's report without its single draws, if it is of the models that lie there."""
    if not (folder / f"{reporting.REPORT}.json").exists():
        return {}
    report = read_report(folder)
    about = report["about"]
    if (about["stage"], about["epoch"]) != (model["stage"], model["reached"]):
        return {}
    rows = [{key: own for key, own in row.items() if key != "each"} for row in report["results"]]
    return {"report": {"about": about, "results": rows}}


def origin_of(config: Mapping[str, Any]) -> Origin:
    """What the card says of a model beside what this says of itself.

    Args:
        config: all of config.json.
    """
    recipe = all_recipes().get(config["about"].get("method"))
    known = {"title": recipe.title, "paper": recipe.paper} if recipe else {}
    run = {key: own for key, own in config.get("run", {}).items() if key in OF_A_RUN["run"]}
    table = _table(config["report"]) if "report" in config else None
    return Origin(**known, **run, results=table)


def _table(report: Mapping[str, Any]) -> Table:
    rows, about = report["results"], report["about"]
    images = Provenance.of(about)
    return results_table(rows, about, images) if rows else untested_table(images, "Results")


# --- what is written ---


def _write_weights(place: Path, network: nn.Module, config: Mapping[str, Any]) -> Iterator[str]:
    write_tensors(place / WEIGHTS, network.state_dict(), config)
    yield f"{WEIGHTS}: {len(network.state_dict())} tensors"


def _write_graphs(place: Path, network: nn.Module, config: Mapping[str, Any]) -> Iterator[str]:
    """A graph per modality, compared with the network before it counts as written."""
    yield f"writing {' and '.join(GRAPHS.values())}, and comparing them with torch"
    size = config["input"]["height"], config["input"]["width"]
    people = validating.rendered_people(*size)
    expected = validating.expected_features(network, people)
    said = {name: json.dumps(value) for name, value in config["input"].items()}
    paths = {modality: place / name for modality, name in GRAPHS.items()}
    for modality, path in tqdm(paths.items(), "graphs", leave=False, disable=None):
        graph = onnx_graph.FeatureGraph(network, modality, MEAN, STD).eval()
        onnx_graph.write_graph(graph, size, path, said | {"modality": modality})
    worst = validating.compare(paths, people, expected)
    yield (
        f"compared on {len(people['visible'])} rendered images each: features differ by at most "
        f"{worst:.1e} (allowed {validating.DIFFERENCE:.0e}), rankings are the same"
    )


def _official(model: Mapping[str, Any], network: nn.Module) -> dict:
    """The content of an official file."""
    state = network.state_dict()  # with the counters of old files
    return official_checkpoint(state, model["companions"], model["epoch"], model["about"])
