"""What a run was trained with besides its flags: versions, commits of the code, hardware."""

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import clustercontrast

DIRTY = "-dirty"
"""Behind a commit: files of the package differed from it."""
INSTALLED = "installed"
"""In place of a commit: the package was no checkout."""
PACKAGE = Path(clustercontrast.__file__).parent


def versions() -> dict[str, str | None]:
    """Versions of the package and of what it computes with, and the commit of a checkout."""
    return {
        "clustercontrast": clustercontrast.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "git": _git("rev-parse", "HEAD"),
    }


def commit() -> str:
    """The commit of the code, marked where the package has changes that are not in it."""
    found = _git("rev-parse", "HEAD")
    if found is None:
        return INSTALLED
    return found + (DIRTY if _git("status", "--porcelain", "--", str(PACKAGE)) else "")


def hardware(device: torch.device, processes: int) -> str:
    """What computes, in words.

    Args:
        device: of this process.
        processes: that train together, each on a device like it.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"CPU, {os.cpu_count()} cores, {platform.machine()}"
    return name if processes == 1 else f"{processes} x {name}"


def added(before: Sequence[str], now: str) -> list[str]:
    """What a run was trained with so far, in order, and now."""
    return list(dict.fromkeys([*before, now]))


def _git(*words: str) -> str | None:
    """What git says of the checkout that the code is in; None where there is none, or nothing."""
    # An installation may lie in the checkout of another project.
    if not (PACKAGE.parent / ".git").exists() or shutil.which("git") is None:
        return None
    command = ["git", "-C", str(PACKAGE), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
