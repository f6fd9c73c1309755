"""What a run keeps on disk, written so that a kill at any moment loses at most the open epoch.

``last.pth`` is the commit point: networks, optimisers, generators, epoch and the best so far, in
one atomic rename.  A new best model waits as ``best_<rule>.pth.next`` until ``last.pth`` names it;
``settle`` finishes or drops such a file after a kill between the two.
"""

import contextlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clustercontrast.engine.stage import Stage
from clustercontrast.files import UserError, atomic, fault
from clustercontrast.models.saved import read_saved

LAST = "last.pth"
MODEL = {"stage": str, "epoch": int, "retrieval": (str, type(None)), "about": dict}
BEST = MODEL | {"weights": dict, "companions": {...: dict}}
STATE = MODEL | {
    "networks": {...: dict},
    "optimisers": {...: dict},
    "generator": torch.Tensor,
    "best": {...: {"score": float, "epoch": int}},
    "numbers": dict,
}
"""What has to be in a model, in a best model and in a stage's state."""


def best_file(folder: Path, rule: str) -> Path:
    """Where the best model under ``rule`` lies."""
    return folder / f"best_{rule}.pth"


def commit(folder: Path, state: dict, models: dict[str, dict]) -> None:
    """Write an epoch's state and the models that became best in it, as one step.

    Args:
        folder: the stage's folder.
        state: content of ``last.pth``, with ``best`` naming every rule's epoch.
        models: content of ``best_<rule>.pth`` for the rules that improved.

    Raises:
        UserError: the disk is full; the state of the epoch before stays valid.
    """
    for rule, content in models.items():
        save(best_file(folder, rule).with_suffix(".pth.next"), content)
    save(folder / LAST, state)
    settle(folder, state)


def settle(folder: Path, state: dict) -> None:
    """Put waiting best models in place if ``state`` knows them, drop them if it does not."""
    for waiting in folder.glob("best_*.pth.next"):
        rule = re.fullmatch(r"best_(.*)\.pth\.next", waiting.name).group(1)
        known = state["best"].get(rule)
        if known is not None and best(waiting)["epoch"] == known["epoch"]:
            waiting.replace(best_file(folder, rule))
        else:
            waiting.unlink()


def save(path: Path, content: dict) -> None:
    """``torch.save``, atomically."""
    try:
        with atomic(path, "wb") as file:
            torch.save(content, file)
    except RuntimeError as error:  # torch reports a failed write as its own error
        if isinstance(error.__cause__ or error.__context__, OSError) or "write" in str(error):
            raise UserError(
                f"cannot write {path} (is the disk full?): free some space and run the same "
                "command again; everything saved before is intact"
            ) from error
        raise


def load(path: Path, checked: bool = True) -> dict:
    """Read a file of :func:`save`; tensors come to the CPU and nothing but data is unpickled.

    Args:
        path: the file.
        checked: read the tensors and compare checksums; else they stay on the disk until used.
    """
    return read_saved(path, "delete it", checked)


def last(folder: Path) -> dict | None:
    """The newest whole epoch of a stage, or None; finishes an interrupted commit.

    Raises:
        UserError: the file is damaged, or it is not a stage's state.
    """
    state = _state(folder)
    if state:
        settle(folder, state)
    return state


def best(path: Path) -> dict:
    """A saved model.

    Raises:
        UserError: the file is missing or damaged, or it is not a model.
    """
    return whole(path, load(path), BEST)


def whole(path: Path, content: Any, shape: dict) -> dict:
    """Content of a file, if it has a shape (:func:`clustercontrast.files.fault`).

    Raises:
        UserError: it has not.
    """
    found = fault(content, shape)
    if found:
        raise UserError(
            f"{path} is damaged or of an earlier version ({found}): put a copy back, or delete "
            f"{path.parent} to train that stage again"
        )
    return content


def record(folder: Path) -> dict | None:
    """What a stage's state says of itself, its tensors left on the disk; None without a state.

    Raises:
        UserError: the file is damaged, or it is not a stage's state.
    """
    state = _state(folder, checked=False)
    return state and {name: state[name] for name in ("stage", "epoch", "about", "numbers")}


def _state(folder: Path, checked: bool = True) -> dict | None:
    path = folder / LAST
    return whole(path, load(path, checked), STATE) if path.exists() else None


def capture(stage: Stage, epoch: int, generator: torch.Generator) -> dict[str, Any]:
    """Everything needed to go on after ``epoch``."""
    return {
        "stage": stage.name,
        "epoch": epoch,
        "retrieval": stage.retrieval,
        "networks": {name: n.state_dict() for name, n in stage.networks.items()},
        "optimisers": {name: o.optimiser.state_dict() for name, o in stage.optimisers.items()},
        "generator": generator.get_state(),
    }


def restore(stage: Stage, state: dict, generator: torch.Generator) -> None:
    """Put a captured state back.

    Raises:
        UserError: it is of other networks or optimisers.
    """
    try:
        for name, network in stage.networks.items():
            network.load_state_dict(state["networks"][name])
        for name, optimiser in stage.optimisers.items():
            optimiser.load(state["optimisers"][name])
        generator.set_state(state["generator"])
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{LAST} of stage {stage.name} does not fit the networks of this run ({reason}): put "
            "the right file back, or delete the stage's folder to train it again"
        ) from error


def save_labels(path: Path, labels: dict[str, np.ndarray]) -> None:
    """The pseudo labels of an epoch, one int32 array per image list, in path order."""
    with atomic(path, "wb") as file:
        np.savez_compressed(file, **{name: y.astype(np.int32) for name, y in labels.items()})


def remove(folder: Path) -> None:
    """Delete what :func:`commit` wrote."""
    for path in (*folder.glob("*.pth*"), *folder.glob("labels/*.npz*")):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
