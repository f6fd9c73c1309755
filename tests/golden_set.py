"""Access to the golden vectors.

One set is one folder, named by GOLDEN_DIR (default: the copy here).
Nothing about sizes, seeds or salts stands in a test: all of it is read from the manifests.
"""

import functools
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

GOLDEN = Path(os.environ.get("GOLDEN_DIR", Path(__file__).parent / "golden"))


@functools.cache
def manifest(name: str = "manifest.json") -> dict:
    return json.loads((GOLDEN / name).read_text())


@functools.cache
def salt() -> int:
    return int(manifest()["salt"])


def entry(file: str) -> dict:
    """Manifest entry of one file, such as ``jaccard/plain.npz``."""
    return next(e for e in manifest()["entries"] if e["file"] == file)


def files(topic: str) -> list[str]:
    """Files of a topic, in the manifest's order."""
    return [e["file"] for e in manifest()["entries"] if e["topic"] == topic]


def salt_b() -> int:
    """Salt of the topics of ``manifest_b.json`` (rpnr, pca, sdcl, mmm, gur)."""
    return int(manifest("manifest_b.json")["salt"])


def entry_b(file: str) -> dict:
    """Entry of one of their files."""
    return next(e for e in manifest("manifest_b.json")["entries"] if e["file"] == file)


def files_b(topic: str) -> list[str]:
    """Files of one of these topics."""
    return [e["file"] for e in manifest("manifest_b.json")["entries"] if e["topic"] == topic]


def entry_c(file: str) -> dict:
    """Entry of a file of the topic bmil (``manifest_c.json``, of the same salt)."""
    return next(e for e in manifest("manifest_c.json")["entries"] if e["file"] == file)


def files_c(start: str) -> list[str]:
    """Files of that topic whose name begins so."""
    names = (e["file"] for e in manifest("manifest_c.json")["entries"])
    return [name for name in names if name.startswith(f"bmil/{start}")]


def load(file: str) -> dict[str, np.ndarray]:
    """All arrays of one ``.npz`` file."""
    with np.load(GOLDEN / file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def load_json(file: str) -> dict:
    return json.loads((GOLDEN / file).read_text())


@functools.cache
def fill() -> ModuleType:
    """The set's own rule that fills weights and inputs (``fill.py``).

    A checksum draws as many random numbers as the tensor has; those of a size are drawn once.
    """
    rule = _rule("fill")
    rule.probe = functools.cache(rule.probe)
    return rule


@functools.cache
def fill_b() -> ModuleType:
    """The further rules of ``fill_b.py``, which imports the set's ``fill``."""
    sys.modules["fill"] = fill()
    return _rule("fill_b")


def _rule(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"golden_{name}", GOLDEN / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
