"""Builds the stand-in CUDA runtime with g++, or says why this machine cannot."""

import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent / "runtime"
LIBRARY = "libcuda.so.1"
"""The name that torch's libraries ask for, so that they find the stand-in loaded already."""


@functools.cache
def missing() -> str | None:
    """What the simulated device needs and this machine lacks, in a word; None for nothing."""
    if shutil.which("g++") is None:
        return "g++"
    if not _headers():
        return "headers"
    import torch

    is_known = int((torch.version.cuda or "0").split(".")[0]) >= 13  # torch for 12 asks for more
    return None if is_known else "CUDA 13"


@functools.cache
def runtime() -> Path:
    """The stand-in runtime, built once per user and state of its sources.

    Raises:
        RuntimeError: something is missing here.
        subprocess.CalledProcessError: g++ refuses the sources.
    """
    if missing():
        raise RuntimeError(f"the simulated device cannot be built here: no {missing()}")
    sources = sorted(path for path in SOURCES.rglob("*") if path.is_file())
    digest = hashlib.sha256(b"".join(map(Path.read_bytes, sources))).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"simulated-cuda-{os.getuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    library = folder / LIBRARY
    if not library.exists():
        _build(library)
    return library


def _build(library: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=library.parent, delete=False) as made:
        includes = [f"-I{SOURCES}", f"-I{_headers()}"]
        flags = ["-O1", "-shared", "-fPIC", f"-Wl,-soname,{LIBRARY}", *includes]
        subprocess.run(["g++", *flags, "-o", made.name, SOURCES / "cuda.cpp"], check=True)
    Path(made.name).replace(library)  # several processes may build at the same time


def _headers() -> Path | None:
    """The folder of NVIDIA's headers that come with torch's wheels."""
    found = importlib.util.find_spec("nvidia")
    roots = map(Path, found.submodule_search_locations if found else ())
    files = (file for root in roots for file in sorted(root.glob("*/include/driver_types.h")))
    return next((file.parent for file in files), None)
