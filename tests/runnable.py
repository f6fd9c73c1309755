"""Code blocks of the documentation that say they can be run, and a shell to run them in.

A block is runnable when the line above it is ``<!-- runnable: NAME -->``; NAME says which world of
files and runs it needs, which its test makes.
"""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"<!-- runnable: ([\w-]+) -->\n```(\w+)\n(.*?)```", re.DOTALL)


def blocks(page: Path, name: str) -> list[tuple[str, str]]:
    """Language and text of the runnable blocks of a page that need one world, in order."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(language, text) for world, language, text in found if world == name]


def run(language: str, text: str, folder: Path, timeout: float = 300) -> str:
    """Run a block in a folder, as a user would; what it prints.

    The command ``clustercontrast`` is this checkout's, installed or not.
    """
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PATH": f"{_command(folder)}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}"
        f"{os.environ['PATH']}",
    }
    words = ["bash", "-euc", text] if language == "bash" else [sys.executable, "-c", text]
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _command(folder: Path) -> Path:
    """A folder with the console command, as an installation writes it."""
    place = folder.parent / f"{folder.name}-bin"
    place.mkdir(exist_ok=True)
    script = place / "clustercontrast"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m clustercontrast "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return place
