"""The command that takes a model elsewhere: to the official programs."""

from pathlib import Path

from clustercontrast.commands.loading import saved
from clustercontrast.engine import checkpoint
from clustercontrast.files import UserError, say
from clustercontrast.models import weights
from clustercontrast.models.official import official_checkpoint


def export(target: Path, which: str | None, file: Path) -> None:
    """Write a model as an official checkpoint.

    Args:
        target: folder of a run or of one of its trials, or file of a checkpoint.
        which: model of a run: "last" (also None), "test" or "cycle".
        file: to write.

    Raises:
        UserError: there is no such model, the official programs have no such network, or the file
            is there already.
    """
    if file.exists():
        raise UserError(f"{file} is there already: give a name that is free")
    model = saved(target, which)
    state = weights.network_for(model["weights"]).state_dict()  # with the counters of old files
    content = official_checkpoint(state, model["companions"], model["epoch"], model["about"])
    checkpoint.save(file, content)
    say(f"wrote {file}: epoch {model['epoch']} of {target}, for the official programs")
