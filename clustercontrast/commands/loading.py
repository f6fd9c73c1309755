"""A saved model found: in the folder of a run, in one that was exported, or in a file."""

from pathlib import Path
from typing import Any

from clustercontrast.commands import results, runs
from clustercontrast.files import UserError
from clustercontrast.models import weights
from clustercontrast.models.tensor_files import is_exported


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
            f"--model chooses among the models of a run, and {target} is one: leave it out"
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
