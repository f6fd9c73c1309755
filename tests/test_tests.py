"""What tests may touch of the package, public names only, and that no method is left out."""

import ast
import functools
import re
from pathlib import Path

import method_runs
import pytest

from clustercontrast.methods import METHODS

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "tests").rglob("*.py"))
OF_TORCH = {"simulated/device.py", "simulated/rules.py"}  # a device is made of torch's own names
PRIVATE = re.compile(r"_[A-Za-z]\w*")
PATCHING = {"setattr", "delattr", "getattr", "hasattr"}


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def own_classes(path: Path) -> set[str]:
    """Private names that classes of a file give themselves: ``self._stage`` is theirs."""
    return {
        node.name
        for made in ast.walk(tree(path))
        if isinstance(made, ast.ClassDef)
        for node in made.body
        if isinstance(node, ast.FunctionDef)
    }


def private_names(path: Path) -> list[str]:
    """Private names of other modules and objects that a file reads, sets or exchanges."""
    found, own = [], own_classes(path)
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute):
            is_own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            names = [] if is_own and node.attr in own else [node.attr]
        elif isinstance(node, ast.Call) and called(node) in PATCHING:
            texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            names = [part for text in texts if isinstance(text, str) for part in text.split(".")]
        else:
            continue
        found += [f"line {node.lineno}: {name}" for name in names if PRIVATE.fullmatch(name)]
    return found


def called(node: ast.Call) -> str:
    """Last part of the name of what is called."""
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "tests")))
def test_private_names_stay_where_they_are(path):
    is_of_torch = path.relative_to(ROOT / "tests").as_posix() in OF_TORCH
    assert is_of_torch or private_names(path) == []


@pytest.mark.parametrize(
    "line",
    [
        "from clustercontrast.engine.run import _split",
        "run._means = None",
        "parser._actions",
        "patch.setattr(images, '_replace', None)",
        "patch.setattr('clustercontrast.commands.training._scores', None)",
    ],
)
def test_a_private_name_is_seen(line, tmp_path):
    path = tmp_path / "test_some.py"
    path.write_text(line)
    assert len(private_names(path)) == 1


def test_every_method_has_flags_for_a_short_training():
    assert method_runs.FLAGS.keys() | method_runs.FROM_A_SOURCE == METHODS.keys()
