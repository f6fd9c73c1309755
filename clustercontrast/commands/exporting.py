"""The command that writes a model for the official programs."""

from pathlib import Path

from clustercontrast.commands import results, runs
from clustercontrast.engine import checkpoint
from clustercontrast.files import UserError, say
from clustercontrast.models import weights
from clustercontrast.models.official import official_checkpoint


def export(target: Path, selection: str | None, file: Path) -> None:
    """Write a model as an official checkpoint.

    Args:
        target: folder of a run or of one of its trials, or file of a checkpoint.
        selection: which model of a run: "last" (also None), "test" or "cycle".
        file: to write.

    Raises:
        UserError: there is no such model, the official programs have no such network, the file is
            there already, or a selection beside a checkpoint.
    """
    if file.exists():
        raise UserError(f"{file} is there already: give a name that is free")
    if selection and target.is_file():
        raise UserError(
            f"--model chooses among the models of a run, and {target} is one: leave it out"
        )
    model = _of_file(target) if target.is_file() else _of_run(target, selection or "last")
    state = weights.network_for(model["weights"]).state_dict()  # with the counters of old files
    content = official_checkpoint(state, model["companions"], model["epoch"], model["about"])
    checkpoint.save(file, content)
    say(f"wrote {file}: epoch {model['epoch']} of {target}, for the official programs")


def _of_file(path: Path) -> dict:
    """Weights, companions and epoch of a checkpoint, and what it says of itself."""
    about = weights.about(path)
    epoch = about.get("epoch", weights.read_checkpoint(path).get("epoch"))
    return {
        "weights": weights.read(path),
        "companions": weights.networks(path),
        "epoch": epoch if isinstance(epoch, int) else -1,
        "about": about,
    }


def _of_run(folder: Path, selection: str) -> dict:
    """The same of a model of a run."""
    stage = runs.last_stage(runs.single(folder))
    model = results.model_of(folder, stage, selection)
    if model is None:
        raise UserError(f"{folder / stage} has no model '{selection}': give another --model")
    said = {key: model[key] for key in ("stage", "epoch")}
    return model | {"about": model["about"] | said}
