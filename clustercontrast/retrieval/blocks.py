"""Features of a list of images while they are being made, block by block.

Finished blocks can be kept on disk, so that interrupted work goes on.
"""

import contextlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from clustercontrast.files import UserError, atomic, read_json, write_json

DAMAGED = (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile)
"""What reading a damaged .npz raises."""

PLAN = "plan.json"
BLOCK = 256
"""Images of a block: 32 MB of pixels at 288x144."""


class Blocks:
    """Rows of features and what is wrong with images, filled block by block.

    Args:
        folder: where finished blocks are kept; blocks of another plan in it are thrown away.  None
            keeps nothing.
        plan: what the features depend on, as JSON keeps it.
        count: images, N.
        length: numbers of a feature, d.

    Attributes:
        rows: (N, d) float32; those of images that cannot be read are not set.
        reasons: why an image cannot be read; "" for all others.
    """

    def __init__(
        self, folder: Path | None, plan: Mapping[str, Any], count: int, length: int
    ) -> None:
        self.folder = folder
        self.rows = np.zeros((count, length), np.float32)
        self.reasons = [""] * count
        if folder is not None and _plan_in(folder) != json.loads(json.dumps(plan)):
            forget(folder)
            write_json(folder / PLAN, plan)

    @cached_property
    def missing(self) -> list[range]:
        """Blocks that are still to be made; what is kept of the others is read."""
        starts = range(0, len(self.reasons), BLOCK)
        blocks = [range(start, min(start + BLOCK, len(self.reasons))) for start in starts]
        return [block for block in blocks if not self._read(block)]

    def put(self, block: range, rows: np.ndarray, reasons: Sequence[str]) -> None:
        """Set a block, and keep it.

        Args:
            block: rows of the list of images.
            rows: (n, d) float32.
            reasons: n of them.
        """
        self._set(block, rows, reasons)
        if self.folder is not None:
            with atomic(self._file(block), "wb") as file:
                np.savez(file, rows=rows, reasons=np.array(reasons))

    def _read(self, block: range) -> bool:
        """Set a block that is kept, if it is."""
        if self.folder is None:
            return False
        try:
            with np.load(self._file(block), allow_pickle=False) as file:
                rows, reasons = file["rows"], file["reasons"].tolist()
        except DAMAGED:
            return False
        if rows.shape != (len(block), self.rows.shape[1]) or len(reasons) != len(block):
            return False
        self._set(block, rows, reasons)
        return True

    def _set(self, block: range, rows: np.ndarray, reasons: Sequence[str]) -> None:
        self.rows[block.start : block.stop] = rows
        self.reasons[block.start : block.stop] = reasons

    def _file(self, block: range) -> Path:
        return self.folder / f"{block.start:08d}.npz"


def forget(folder: Path) -> None:
    """Throw away the blocks that are kept in a folder, and nothing else that may lie there."""
    if not (folder / PLAN).exists():
        return
    for path in (*folder.glob("*.npz*"), folder / PLAN):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _plan_in(folder: Path) -> Any:
    with contextlib.suppress(UserError):
        return read_json(folder / PLAN)
    return None
