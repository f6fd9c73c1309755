"""Device and versions: what every other figure has to be read with.

python -m benchmarks.machine --json machine.json
"""

import argparse
import platform
import subprocess

import numpy as np
import torch

from benchmarks.record import Record, add_arguments


def facts(device: torch.device) -> dict[str, str]:
    """What is known of the device and of what runs on it."""
    found = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "CUDA": torch.version.cuda or "none",
        "numpy": np.__version__,
        "CPU threads": str(torch.get_num_threads()),
    }
    if device.type != "cuda":
        return found
    properties = torch.cuda.get_device_properties(device)
    return found | {
        "device": properties.name,
        "memory, GiB": f"{properties.total_memory / 2**30:.1f}",
        "compute capability": f"{properties.major}.{properties.minor}",
        "cuDNN": str(torch.backends.cudnn.version()),
        "driver": _driver(),
    }


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def main() -> None:
    """Print and keep one row per fact."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_arguments(parser)
    args = parser.parse_args()
    record = Record(args.json, args.device)
    for name, value in facts(args.device).items():
        record.add({"what": name, "value": value})


if __name__ == "__main__":
    main()
