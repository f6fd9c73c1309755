"""The configuration of a run's models, by which published figures are found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clustercontrast.engine.pipeline import last_epoch
from clustercontrast.engine.stage import HANDED_OVER, Stage
from clustercontrast.methods import METHODS
from clustercontrast.models import weights
from clustercontrast.settings.changes import stage_changes
from clustercontrast.settings.options import Options, defaults

MODELS = {"best_test": "test", "best_cycle": "cycle", "last": "last"}
"""Files of a run's models, and what --start-from calls them."""


def configuration(options: Options, digest: str = "") -> dict[str, dict[str, Any]]:
    """What a run says of its stages, for :mod:`clustercontrast.report.published`.

    Args:
        options: of the run.
        digest: of its images; without one, no file of weights counts as a model of its own.

    Returns:
        "changes": stage -> flags, as typed, that make its model another one than that of the
        method as it is, those of the stages it goes on from included; "ends": stage -> number of
        its last epoch.
    """
    stages = METHODS[options.method]
    changes: dict[str, list[str]] = {}
    for earlier, stage in zip([None, *stages], stages, strict=False):
        before = changes[earlier.name] if earlier else []
        if earlier and stage.starts_from:
            before = _start(options, digest, earlier, stage, before)
        changes[stage.name] = sorted({*before, *stage_changes(options, stage.name)})
    return {
        "changes": changes,
        "ends": {own.name: last_epoch(own, options) for own in stages if not own.reads},
    }


def _start(
    options: Options, digest: str, earlier: type[Stage], stage: type[Stage], before: Sequence[str]
) -> list[str]:
    """The changes that the weights bring which a stage starts from.

    Args:
        options: of the run.
        digest: of its images.
        earlier: the stage before.
        stage: the one that starts.
        before: changes of the earlier stage under these options.
    """
    usual = defaults(options.recipe, options.dataset, options.variant)[0]["start_from"]
    source = options.at(stage.name).start_from
    if earlier.starts_from and earlier.name in (options.stages or ()):
        source = usual  # what was named is where the earlier stage starts
    if source == "pretrained":
        before = []
    elif source not in HANDED_OVER:
        source, before = _model(Path(source), options, digest, earlier)
    return [*before, *([f"--start-from {source}"] if source != usual else [])]


def _model(
    path: Path, options: Options, digest: str, stage: type[Stage]
) -> tuple[str, Sequence[str]]:
    """What a file of weights is among a stage's models, and its changes.

    One of others is PATH, but for the first stage that a method's authors publish: it is known by
    the place that its official script reads it from.
    """
    about = weights.about(path) if path.is_file() else {}
    wanted = {
        "method": options.method,
        "dataset": options.dataset,
        "variant": options.variant,
        "trial": options.trial_number,
        "stage": stage.name,
    }
    if "method" not in about:
        published = Path(options.recipe.first_stages.get(options.dataset, "PATH"))
        is_published = path.parts[-len(published.parts) :] == published.parts
        return str(published) if is_published else "PATH", []
    own_images = about.get("images", {}).get("digest") == digest
    if not (wanted.items() <= about.items() and own_images and path.stem in MODELS):
        return "another run's model", []
    if MODELS[path.stem] == "last" and about["epoch"] < about["ends"][stage.name]:
        return "the model of an unfinished stage", []
    return MODELS[path.stem], about["changes"][stage.name]
