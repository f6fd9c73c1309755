"""Nearest neighbours of all training images on the device, against those of the CPU.

    python -m benchmarks.neighbours                            # one modality, and both: 2,048 wide
    python -m benchmarks.neighbours --sizes 500 --dim 64

The search that every re-clustering begins with; the CPU's is the same function on the CPU.
"""

import argparse
import time

import torch

from benchmarks.clustering import JOINT_ROWS, VISIBLE_ROWS, synthetic_features
from benchmarks.record import Record, add_arguments, peak_gib, reset_peak
from clustercontrast.clustering.neighbours import nearest


def measure(rows: int, dim: int, device: torch.device) -> dict:
    """Seconds on the device and on the CPU, and the share of equal lists of neighbours."""
    k = 40 if rows == JOINT_ROWS else 30
    features, *_ = synthetic_features(rows, dim, (0.4, 0.8), seed=0)
    there = features.to(device)
    nearest(there[:100], k)  # the first product loads libraries
    reset_peak(device)
    found, seconds = _timed(there, k)
    row = {"rows": rows, "dim": dim, "k": k, "seconds": seconds, "peak_gib": peak_gib(device)}
    expected, cpu = (found, seconds) if device.type == "cpu" else _timed(features, k)
    return row | {"cpu_seconds": cpu, "equal": float((found == expected).all(axis=1).mean())}


def _timed(features: torch.Tensor, k: int) -> tuple:
    started = time.perf_counter()
    found = nearest(features, k)  # on the CPU at the end, hence waited for
    return found, time.perf_counter() - started


def main() -> None:
    """Print and keep one row per size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[VISIBLE_ROWS, JOINT_ROWS])
    parser.add_argument("--dim", type=int, default=2048, help="feature width")
    add_arguments(parser)
    args = parser.parse_args()
    record = Record(args.json, args.device)
    for rows in args.sizes:
        record.add(measure(rows, args.dim, args.device))


if __name__ == "__main__":
    main()
