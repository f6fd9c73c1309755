"""Code blocks of the documentation that say they can be run, and a way to run them in a folder.

A block is runnable when the line above it is ``<!-- runnable: NAME -->``; NAME says which world of
files and runs it needs, which its test makes.  Trainings are given flags of a short one besides.
"""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from clustercontrast.__main__ import main
from clustercontrast.commands import cli, report

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"<!-- runnable: ([\w-]+) -->\n```(\w+)\n(.*?)```", re.DOTALL)
STARTS = (
    (["clustercontrast"], main),
    (["python", "-m", "clustercontrast"], main),
    (["python", "-m", "clustercontrast.report"], report.main),
)
"""Beginnings of this project's commands, and what they run."""
SCRIPT = re.compile(
    r"(?:python |bash |sh )(?:run_)?(prepare|train|test)_(sysu|regdb)\.(?:py|sh)(?: |$)"
)
ACTIONS = {"prepare": cli.prepare, "train": cli.train, "test": cli.test}

Shorten = Callable[[str, list[str]], Sequence[str]]
"""Dataset and words of a command -> flags that make it short."""


def blocks(page: Path, name: str) -> list[tuple[str, str]]:
    """Language and text of the runnable blocks of a page that need one world, in order."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(language, text) for world, language, text in found if world == name]


def run(language: str, text: str, folder: Path, shorten: Shorten = lambda *_: ()) -> str:
    """Run a block in a folder, as a reader would; what it prints.

    Programs and this project's commands run in this process, which has paid for its imports; other
    lines go to a shell.
    """
    printed = io.StringIO()
    with _inside(folder), contextlib.redirect_stdout(printed):
        if language == "python":
            exec(compile(text, "documentation", "exec"), {"__name__": "__main__"})
        else:
            for line in text.replace("\\\n", " ").splitlines():
                _run_line(line, shorten)
    return printed.getvalue()


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _run_line(line: str, shorten: Shorten) -> None:
    words = [own for word in shlex.split(line, comments=True) for own in _expanded(word)]
    script = SCRIPT.match(f"{' '.join(words)} ")
    if script:
        _run_script(*script.groups(), words[2:], shorten)
        return
    for start, command in STARTS:
        if words[: len(start)] == start:
            command(words[len(start) :])
            return
    if words:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            ["bash", "-euc", line], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        print(done.stdout)  # noqa: T201


def _expanded(word: str) -> list[str]:
    """A word as the shell hands it on: places for a pattern that some match."""
    return sorted(map(str, Path().glob(word))) or [word] if "*" in word else [word]


def _run_script(action: str, dataset: str, words: list[str], shorten: Shorten) -> None:
    """What a script in the root of the repository calls."""
    if action == "train" and words[:1] != ["--method"]:  # a shell script
        is_named = words and not words[0].startswith("-")
        words = ["--method", *(words if is_named else ["pclhd", *words])]
    ACTIONS[action](dataset, [*words, *shorten(dataset, words)])
