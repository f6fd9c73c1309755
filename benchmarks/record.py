"""What a benchmark measures, printed and written row by row: what is interrupted has been kept."""

import argparse
import datetime
import json
import os
import platform
from pathlib import Path

import torch


class Record:
    """Rows of one benchmark in a JSON file: ``{"machine", "date", "rows": [...]}``.

    Args:
        path: the file, rewritten after every row; None writes nothing.
        device: that is measured.
    """

    def __init__(self, path: Path | None, device: torch.device) -> None:
        self.path, self.rows = path, []
        self.head = {"machine": machine(device), "date": datetime.date.today().isoformat()}

    def add(self, row: dict) -> None:
        """Print a row and keep it."""
        self.rows.append(row)
        print("  ".join(f"{name} {_text(value)}" for name, value in row.items()), flush=True)
        if self.path:
            self.path.write_text(json.dumps(self.head | {"rows": self.rows}, indent=1) + "\n")


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def machine(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{os.cpu_count()} cores, {platform.machine()}, no GPU"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--device`` and ``--json``."""
    here = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", type=torch.device, default=torch.device(here))
    parser.add_argument("--json", type=Path, help="also write the rows here, each at once")


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    """Let :func:`peak_gib` begin anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_gib(device: torch.device) -> float | None:
    """Most that tensors held on the device since :func:`reset_peak`; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
