"""The run that is tested where none is named: the newest finished one of the default method."""

from collections.abc import Iterable
from pathlib import Path

from clustercontrast.data.places import command_of
from clustercontrast.files import UserError, read_json
from clustercontrast.settings.recipes import all_recipes
from clustercontrast.settings.recipes.common import DEFAULT_METHOD, shared_defaults

CONFIG = {"about": {"method": frozenset(all_recipes())}, "values": {"stages": (list, type(None))}}
REPORT = {"about": {"stage": str, "epoch": int, "ends": {...: int}}}


def newest_run(dataset: str, method: str = DEFAULT_METHOD) -> Path:
    """The folder of the run of a method whose training ended last.

    Args:
        dataset: a key of ``DATASETS``.
        method: its name.

    Raises:
        UserError: no run of the method is finished.
    """
    runs = Path(shared_defaults()["logs_dir"]) / dataset
    found = _newest(runs.glob(f"{method}/*"))
    if found is None:
        test, other = command_of("test", dataset), _newest(runs.glob("*/*"))
        named = f"{test} {other or runs / 'METHOD' / 'NAME'}"
        raise UserError(
            f"no finished run of {method} in {runs / method}: train one with "
            f"{command_of('train', dataset)}, or name a run, as in {named}"
        )
    return found


def _newest(folders: Iterable[Path]) -> Path | None:
    finished = [folder for folder in folders if is_finished(folder)]
    return max(finished, key=_end_of_training, default=None)


def is_finished(folder: Path) -> bool:
    """Whether a run, every trial or seed of it, was tested after the last epoch of its last stage.

    It is read from config.json and report.json alone.  A folder whose files are missing or damaged
    is not that of a finished run.
    """
    places = ("trial*", "seed*", "seed*/trial*")
    models = [path.parent for own in places for path in folder.glob(f"{own}/config.json")]
    return (folder / "report.json").exists() and all(map(_has_ended, models or [folder]))


def _has_ended(folder: Path) -> bool:
    try:
        config = read_json(folder / "config.json", CONFIG)
        tested = read_json(folder / "report.json", REPORT)["about"]
    except UserError:
        return False
    stage, asked = tested["stage"], config["values"]["stages"]
    stages = [
        own for own in all_recipes()[config["about"]["method"]].stages if not asked or own in asked
    ]
    is_last = stages[-1:] == [stage] and tested["epoch"] == tested["ends"].get(stage)
    return is_last and (folder / stage / "last.pth").exists()


def _end_of_training(folder: Path) -> float:
    """When the last state was saved; a later test changes nothing of it."""
    return max(path.stat().st_mtime for path in folder.rglob("last.pth"))
