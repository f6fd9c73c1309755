"""Files that torch has saved: whole, and data alone.

A pickle may run code.  What is loaded are tensors, plain values and the classes named here, which
hold data and do nothing; a file with any other is refused by the name of the class.
"""

import functools
import importlib
import re
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import torch

from clustercontrast.files import UserError

# Module -> classes, beside those that torch loads of its own accord.
INERT = {
    "argparse": ("Namespace",),
    "builtins": ("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int",
                 "list", "range", "set", "slice", "str", "tuple"),
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "numpy": ("dtype", "ndarray"),
    "torch.torch_version": ("TorchVersion",),
    "types": ("SimpleNamespace",),
}  # fmt: skip
# Paths of any system are read as paths that touch no disk; Python 3.13 names another module.
PATHS = {"Path": PurePosixPath, "PosixPath": PurePosixPath, "WindowsPath": PureWindowsPath,
         "PurePath": PurePosixPath, "PurePosixPath": PurePosixPath,
         "PureWindowsPath": PureWindowsPath}  # fmt: skip
# torch's unpickler fills plain containers only.
FILLED_AS = {"defaultdict": lambda *_: {}, "deque": lambda *_: []}
REFUSED = re.compile(r"(?:GLOBAL |<class '|<function )([\w.]+)")


def read_saved(path: Path, remedy: str, checked: bool = True) -> Any:
    """What ``torch.save`` has written to a file, in any of its formats; tensors come to the CPU.

    Args:
        path: the file.
        remedy: what to do about a damaged one, for the message.
        checked: read all of it and compare checksums; else tensors stay on the disk until they are
            used.

    Raises:
        UserError: it is missing or damaged, a single bit of a zip included, or holds a class that
            is not known to be inert.
    """
    try:
        if checked and zipfile.is_zipfile(path):
            _verify(path)
        with torch.serialization.safe_globals(list(_allowed())):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=not checked)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: give the path of a checkpoint") from error
    except Exception as error:  # torch's unpickler fails on foreign bytes with any exception
        found = REFUSED.search(str(error))
        if found:
            raise UserError(
                f"{path} holds more than weights: {found[1]}, which is not loaded, since it may "
                "run code; with the program that wrote the file, save the weights alone: "
                "torch.save(network.state_dict(), PATH)"
            ) from error
        reason = str(error) if isinstance(error, zipfile.BadZipFile) else type(error).__name__
        raise UserError(f"{path} is damaged, or no checkpoint ({reason}): {remedy}") from error


def _verify(path: Path) -> None:
    """Compare every record of a zip with its checksum, which torch does not.

    Raises:
        zipfile.BadZipFile: one does not fit.
    """
    with zipfile.ZipFile(path) as file:
        broken = file.testzip()
    if broken:
        raise zipfile.BadZipFile(f"the checksum of {broken} does not fit")


@functools.cache
def _allowed() -> tuple:
    """The inert classes, with the names that pickles have for them."""
    named = [
        (getattr(importlib.import_module(module), name), f"{module}.{name}")
        for module, names in INERT.items()
        for name in names
    ]
    filled = [(make, f"collections.{name}") for name, make in FILLED_AS.items()]
    paths = [
        (own, f"{module}.{name}")
        for module in ("pathlib", "pathlib._local")
        for name, own in PATHS.items()
    ]
    makers = {"scalar": np.float64(0), "_reconstruct": np.zeros(0)}
    arrays = [
        (made.__reduce__()[0], f"{module}.multiarray.{name}")
        for module in ("numpy.core", "numpy._core")  # before and since NumPy 2
        for name, made in makers.items()
    ]
    dtypes = {type(np.dtype(code)) for code in np.typecodes["All"]}
    return (*named, *filled, *paths, *arrays, *dtypes)
