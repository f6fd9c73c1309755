"""A saved model found, in a run's folder, in an exported one or in a file, and made ready."""

from pathlib import Path
from typing import Any

import numpy as np

from clustercontrast.commands import cli, results, runs
from clustercontrast.engine.run import choose_device
from clustercontrast.files import UserError
from clustercontrast.models import weights
from clustercontrast.models.tensor_files import is_exported
from clustercontrast.retrieval.model import Model, check_count
from clustercontrast.settings.recipes.common import shared_defaults


def load(
    path_or_run: str | Path,
    which: str = "last",
    device: str = "auto",
    precision: str = "fp32",
    height: int | None = None,
    width: int | None = None,
) -> Model:
    """Load a trained model to use it.

    Args:
        path_or_run: folder of a run or of one of its trials; a checkpoint of this project or of an
            official program; a folder or file that ``export --safetensors`` has written.
        which: model of a run: "last" epoch, best on the "test" set, or best by "cycle" consistency,
            which needs no labels.
        device: "auto" (the first GPU, if there is one), "cpu", "cuda" or "cuda:N".
        precision: "fp32", as in tests; "tf32" or "bf16", faster on a GPU.
        height: of the images, pixels; by default what the model was trained on, or 288 where it
            does not say.
        width: likewise, or 144.

    Raises:
        UserError: there is no such model, or it cannot be used here.

    >>> import clustercontrast
    >>> model = clustercontrast.load("logs/sysu/pclhd/seed1")
    >>> model.size, model.length
    ((32, 16), 512)
    >>> model.stems
    {'visible': 'visible_stem', 'infrared': 'infrared_stem'}
    >>> model.about["method"], model.provenance.title
    ('pclhd', 'rendered SYSU-MM01 layout')
    """
    if not isinstance(path_or_run, str | Path):
        raise UserError(
            f"a model cannot be loaded from a {type(path_or_run).__name__}: give a path"
        )
    target = Path(path_or_run)
    cli.existing(target, "a run's folder or a checkpoint")
    for name, value in (("height", height), ("width", width)):
        check_count(name, 1 if value is None else value)
    _check_word("which", which, cli.MODELS)
    _check_word("precision", precision, cli.PRECISIONS)
    place = choose_device(str(device))
    model = saved(target, None if which == "last" else which)
    about, usual = model["about"], shared_defaults()
    loaded = Model(
        results.frozen_network(model["weights"], place),
        about.get("height", usual["height"]) if height is None else height,
        about.get("width", usual["width"]) if width is None else width,
        about,
        str(path_or_run),
        place,
        precision,
    )
    _check_size(loaded)
    return loaded


def _check_size(model: Model) -> None:
    """Refuse a size that a network cannot read: a transformer has positions for one alone."""
    try:
        model.embed(np.zeros((1, *model.size, 3), np.uint8), "infrared")
    except ValueError as error:
        raise UserError(
            f"{model.source} does not read images of {model.height}x{model.width} pixels: give "
            f"the size that it was trained on as height and width ({error})"
        ) from error


def _check_word(name: str, word: str, words: tuple[str, ...]) -> None:
    if word not in words:
        raise UserError(f"{name} is '{word}': choose from {', '.join(words)}")


def is_one_model(target: Path) -> bool:
    """Whether a path is a single model, a file or an exported folder, and not a run."""
    return target.is_file() or is_exported(target)


def saved(target: Path, which: str | None = None) -> dict[str, Any]:
    """A saved model.

    Args:
        target: folder of a run or of one of its trials, exported folder, or file of a checkpoint,
            ours or official.
        which: model of a run: "last" (also None), "test" or "cycle".

    Returns:
        "weights" (under our names), "companions" (further networks saved with it), "retrieval" (its
        name among them; None where it has none), "epoch" (from 0; -1 where it is not known) and
        "about": what the model says of itself, its stage and epoch too; empty for a foreign file.

    Raises:
        UserError: there is no such model, or ``which`` was given beside a single one.
    """
    if is_one_model(target) and which:
        raise UserError(
            f"{target} is one model, and '{which}' (--model) chooses among those of a run: leave "
            "it out"
        )
    return _of_file(target) if is_one_model(target) else _of_run(target, which or "last")


def _of_file(path: Path) -> dict[str, Any]:
    about, content = weights.about(path), weights.read_checkpoint(path)
    epoch = about.get("epoch", content.get("epoch"))
    return {
        "weights": weights.read(path),
        "companions": weights.networks(path),
        "retrieval": content.get("retrieval"),
        "epoch": epoch if isinstance(epoch, int) else -1,
        "about": about,
    }


def _of_run(folder: Path, which: str) -> dict[str, Any]:
    stage = runs.last_stage(runs.single(folder))
    model = results.model_of(folder, stage, which)
    if model is None:
        raise UserError(f"{folder / stage} has no model '{which}': give another --model")
    said = {key: model[key] for key in ("stage", "epoch")}
    return model | {"about": model["about"] | said}
