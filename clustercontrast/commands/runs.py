"""Folders of runs: what their config.json says, their seeds and trials, the stages trained.

The runs of one command that differ in their seed alone lie in the folder of their group, each of
them as if it were by itself: logs/<dataset>/<method>/<name>/seed<N>/.
"""

from pathlib import Path

from clustercontrast.data.provenance import RECORD
from clustercontrast.engine import checkpoint
from clustercontrast.evaluation.protocols import PROTOCOLS
from clustercontrast.files import UserError, read_json
from clustercontrast.methods import METHODS
from clustercontrast.models.tensor_files import is_exported

CONFIG = {
    "about": {
        "method": str,
        "dataset": frozenset(PROTOCOLS),
        "variant": str,
        "name": str,
        "trial": (int, type(None)),
        "images": RECORD | {"dataset": frozenset(PROTOCOLS)},
    },
    "numbers": dict,
    "values": {"data_dir": str, "height": int, "width": int},
}
"""What has to be in the config.json of a run."""


def config(folder: Path) -> dict:
    """The config.json of a run, or of one trial of it.

    Raises:
        UserError: it is missing or damaged, or that of an exported model.
    """
    if is_exported(folder):
        raise UserError(f"{folder} is an exported model and no run: give the folder of a run")
    remedy = "put a copy of it back, or train the run anew with --overwrite"
    _check_run(folder)
    found = read_json(folder / "config.json", CONFIG, remedy)
    if found["about"]["method"] not in METHODS:
        raise UserError(f"{folder / 'config.json'} names no method of this version: {remedy}")
    return found


def _check_run(folder: Path) -> None:
    """Refuse a folder that nothing of a run lies in.

    Raises:
        UserError: it names one below it, if there is any.
    """
    if (folder / "config.json").exists() or any(folder.glob(f"*/{checkpoint.LAST}")):
        return
    below = sorted(path.parent for path in folder.glob("*/config.json"))
    raise UserError(
        f"{folder} is no folder of a run: give one, such as "
        f"{below[0] if below else Path('logs/sysu/pclhd/seed1')}"
    )


def about(folder: Path) -> dict:
    """What a run's config.json says about it: method, dataset, variant, trial, images."""
    return config(folder)["about"]


def trial_folder(folder: Path, trial: int) -> Path:
    """Folder of one trial of a run."""
    return folder / f"trial{trial}"


def trials_of(folder: Path) -> list[int]:
    """Trials that lie in a run's folder, ascending."""
    numbers = (path.parent.name.removeprefix("trial") for path in folder.glob("trial*/config.json"))
    return sorted(int(number) for number in numbers if number.isdecimal())


def seed_folder(folder: Path, seed: int) -> Path:
    """Folder of one run of a group."""
    return folder / f"seed{seed}"


def seeds_of(folder: Path) -> list[int]:
    """Seeds whose runs lie in the folder of a group, ascending; none in that of one run.

    A folder of several runs that were begun by themselves is no group.

    Raises:
        UserError: the config.json of one of them is damaged.
    """
    found = set()
    for path in (*folder.glob("seed*/config.json"), *folder.glob("seed*/trial*/config.json")):
        place = path.relative_to(folder).parts[0]
        number = place.removeprefix("seed")
        name = read_json(path, {"about": {"name": str}})["about"]["name"]
        if number.isdecimal() and name.endswith(f"/{place}"):
            found.add(int(number))
    return sorted(found)


def seed_folders(folder: Path) -> list[Path]:
    """The folders of the runs of a group, or that of a run itself."""
    return [seed_folder(folder, seed) for seed in seeds_of(folder)] or [folder]


def models_of(folder: Path) -> list[Path]:
    """The folders of all single models of a run or a group: of every seed, of every trial."""
    return [
        own
        for run in seed_folders(folder)
        for own in [trial_folder(run, trial) for trial in trials_of(run)] or [run]
    ]


def one_seed(folder: Path) -> Path:
    """The folder of a run that is no group.

    Raises:
        UserError: it is that of a group.
    """
    seeds = seeds_of(folder)
    if seeds:
        raise UserError(
            f"{folder} holds runs of several seeds, each with a model of its own: give one, such "
            f"as {seed_folder(folder, seeds[0])}"
        )
    return folder


def single(folder: Path) -> Path:
    """The folder of a run that is one model, or of one trial.

    Raises:
        UserError: it holds trials, or seeds.
    """
    trials = trials_of(one_seed(folder))
    if trials:
        raise UserError(
            f"{folder} holds trials, each with a model of its own: give one, such as "
            f"{trial_folder(folder, trials[0])}"
        )
    return folder


def last_stage(folder: Path) -> str:
    """The last stage of a run that has a finished epoch.

    Raises:
        UserError: there is none.
    """
    stages = METHODS[about(folder)["method"]]
    trained = [s.name for s in stages if (folder / s.name / checkpoint.LAST).exists()]
    if not trained:
        raise UserError(f"{folder} holds no trained stage: run the training command again")
    return trained[-1]
