"""Weights as safetensors: a format that any program reads and that cannot run code.

Our files say in their header what the network is and what it was trained on.  The format has no
checksums of its own, so the header holds one of the tensors and of what is said of them.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from clustercontrast.files import UserError, atomic, fault, read_json

State = dict[str, torch.Tensor]
ENDING = ".safetensors"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
"""Files of an exported folder."""

FORMAT, VERSION, CHECKSUM = "clustercontrast", 1, "sha256"
SHAPE = {
    "format": str,
    "version": int,
    "architecture": {"kind": str},
    "input": {"height": int, "width": int},
    "stage": (str, type(None)),
    "epoch": (int, type(None)),
    "retrieval": (str, type(None)),
    "about": dict,
}
"""What has to be in the configuration of an exported model."""


def is_exported(path: Path) -> bool:
    """Whether a path is a folder of an exported model, its weights among what is there.

    Raises:
        UserError: it is one whose weights were not written.
    """
    if not (path / CONFIG).is_file():
        return False
    has_weights = (path / WEIGHTS).is_file()
    if not has_weights and any(path.glob("*.onnx")) and "graphs" in read_json(path / CONFIG):
        raise UserError(
            f"{path} holds graphs of ONNX alone, which this project does not load: export the "
            "model with --safetensors and give that folder"
        )
    return has_weights


def write_tensors(path: Path, state: State, config: Mapping[str, Any]) -> None:
    """Write a network with what is known of it.

    Args:
        path: of the file.
        state: tensors by name.
        config: see ``SHAPE``; any JSON besides.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    said = json.dumps(config, ensure_ascii=False)
    header = {"format": "pt", FORMAT: said, CHECKSUM: _digest(whole, said)}
    with atomic(path, "wb") as file:
        file.write(save(whole, header))


def read_tensors(path: Path, remedy: str) -> dict[str, Any]:
    """The content of a file of tensors.

    Args:
        path: of the file, or an exported folder.
        remedy: what to do about a damaged one, for the message.

    Returns:
        "weights" by name and, of a file of this project, "companions" (none), "about" and, where
        they are known, "retrieval", "stage" and "epoch", as in a checkpoint of it, and "config":
        all that its header says.

    Raises:
        UserError: it is missing, damaged or of a later version.
    """
    file = path / WEIGHTS if path.is_dir() else path
    try:
        with safe_open(file, framework="pt") as tensors:
            header = tensors.metadata() or {}
            state = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise UserError(f"{file} does not exist: give the path of a checkpoint") from error
    except (SafetensorError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{file} is damaged, or no safetensors ({reason}): {remedy}") from error
    if not {FORMAT, CHECKSUM} & header.keys():
        return {"weights": state}
    if header.get(CHECKSUM) != _digest(state, header.get(FORMAT, "")):
        raise UserError(f"{file} is damaged (its checksum does not fit): {remedy}")
    config = _configuration(file, header[FORMAT], remedy)
    known = ("retrieval", "stage", "epoch", "about")
    kept = {key: config[key] for key in known if config[key] is not None}
    return {"weights": state, "companions": {}, **kept, "config": config}


def _configuration(file: Path, text: str, remedy: str) -> dict[str, Any]:
    config = json.loads(text)
    if isinstance(config, dict) and config.get("version", VERSION) > VERSION:
        raise UserError(f"{file} was written by a later version: update clustercontrast")
    found = fault(config, SHAPE)
    if found:
        raise UserError(f"{file} is damaged ({found}): {remedy}")
    return config


def _digest(state: State, said: str) -> str:
    """SHA-256 of tensors, their names, kinds and shapes, and of what is said of them."""
    digest = hashlib.sha256(said.encode())
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
