"""Features that are done, kept on disk block by block until all are, so that work can go on."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clustercontrast.files import UserError, atomic, read_json, write_json

PLAN = "plan.json"


class Blocks:
    """Finished blocks of one list of images and one model; none without a folder.

    Args:
        folder: where they lie; blocks of another plan in it are thrown away.
        plan: what the features depend on, as JSON keeps it.
    """

    def __init__(self, folder: Path | None, plan: Mapping[str, Any]) -> None:
        self.folder = folder
        if folder is None:
            return
        known = None
        with contextlib.suppress(UserError):
            known = read_json(folder / PLAN)
        if known != json.loads(json.dumps(plan)):
            self.remove()
            write_json(folder / PLAN, plan)

    def get(self, block: range) -> tuple[np.ndarray, list[str]] | None:
        """Rows (n, d) and reasons of a block, see :meth:`put`; None if it is not done."""
        if self.folder is None:
            return None
        try:
            with np.load(self._file(block), allow_pickle=False) as file:
                return file["rows"], file["reasons"].tolist()
        except (OSError, ValueError, KeyError, EOFError):
            return None

    def put(self, block: range, rows: np.ndarray, reasons: Sequence[str]) -> None:
        """Keep a block.

        Args:
            block: rows of the list of images.
            rows: (n, d) float32 features, NaN for images that could not be read.
            reasons: why they could not be; "" for those that could.
        """
        if self.folder is not None:
            with atomic(self._file(block), "wb") as file:
                np.savez(file, rows=rows, reasons=np.array(reasons))

    def remove(self) -> None:
        """Throw the blocks away, and nothing else that may lie in the folder."""
        if self.folder is None or not (self.folder / PLAN).exists():
            return
        for path in (*self.folder.glob("*.npz*"), self.folder / PLAN):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _file(self, block: range) -> Path:
        return self.folder / f"{block.start:08d}.npz"
