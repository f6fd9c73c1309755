"""A saved model found: in the folder of a run, or in the file of a checkpoint."""

from pathlib import Path
from typing import Any

from clustercontrast.commands import results, runs
from clustercontrast.files import UserError
from clustercontrast.models import weights


def saved(target: Path, which: str | None = None) -> dict[str, Any]:
    """A saved model.

    Args:
        target: folder of a run or of one of its trials, or file of a checkpoint, ours or official.
        which: model of a run: "last" (also None), "test" or "cycle".

    Returns:
        "weights" (under our names), "companions" (further networks saved with it), "epoch" (from
        0; -1 where it is not known) and "about": what the model says of itself, its stage and epoch
        too; empty for a foreign file.

    Raises:
        UserError: there is no such model, or ``which`` was given beside a file.
    """
    if target.is_file() and which:
        raise UserError(
            f"--model chooses among the models of a run, and {target} is one: leave it out"
        )
    return _of_file(target) if target.is_file() else _of_run(target, which or "last")


def _of_file(path: Path) -> dict[str, Any]:
    about = weights.about(path)
    epoch = about.get("epoch", weights.read_checkpoint(path).get("epoch"))
    return {
        "weights": weights.read(path),
        "companions": weights.networks(path),
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
