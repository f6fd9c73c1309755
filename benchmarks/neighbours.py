"""Nearest neighbours of all training images on the device, against those of the CPU.

    python -m benchmarks.neighbours                            # one modality, and both: 2,048 wide
    python -m benchmarks.neighbours --sizes 500 --dim 64
    python -m benchmarks.neighbours --device cpu --sizes 22258 --whole

The search that every re-clustering begins with; the CPU's is the same function on the CPU.  Beside
it, with --whole, a search on the CPU that computes all of X Xᵀ, queries by queries.
"""

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmarks.clustering import JOINT_ROWS, VISIBLE_ROWS, synthetic_features
from benchmarks.record import Record, add_arguments, peak_gib, reset_peak
from clustercontrast.clustering.best_lists import largest
from clustercontrast.clustering.neighbours import nearest


def measure(rows: int, dim: int, device: torch.device) -> dict:
    """Seconds on the device and on the CPU, and the share of equal lists of neighbours."""
    k = 40 if rows == JOINT_ROWS else 30
    features, *_ = synthetic_features(rows, dim, (0.4, 0.8), seed=0)
    there = features.to(device)
    nearest(there[:100], k)  # the first product loads libraries
    reset_peak(device)
    found, seconds, _ = _timed(there, k)
    row = {"rows": rows, "dim": dim, "k": k, "seconds": seconds, "peak_gib": peak_gib(device)}
    expected, cpu = (found, seconds) if device.type == "cpu" else _timed(features, k)[:2]
    return row | {"cpu_seconds": cpu, "equal": float((found == expected).all(axis=1).mean())}


def compare(rows: int, dim: int, repeats: int) -> Iterator[dict]:
    """Seconds and CPU seconds of both searches on the CPU, in turn, and whether lists are equal."""
    features, *_ = synthetic_features(rows, dim, (0.4, 0.8), seed=0)
    nearest(features[:100], 30)
    for _ in range(repeats):
        found, seconds, busy = _timed(features, 30)
        expected, whole, whole_busy = _timed(features, 30, search_whole)
        row = {"rows": rows, "dim": dim, "k": 30, "seconds": seconds, "CPU seconds": busy}
        row |= {"whole seconds": whole, "whole CPU seconds": whole_busy}
        row |= {"ratio": whole / seconds, "CPU ratio": whole_busy / busy}
        yield row | {"equal": float((found == expected).all(axis=1).mean())}


def search_whole(features: torch.Tensor, k: int) -> np.ndarray:
    """Neighbours by the whole of X Xᵀ, 128 MiB of it at a time, each with a topk."""
    half_squares = torch.linalg.vector_norm(features, dim=1).square() / 2
    blocks = features.split(max(1, 2**25 // len(features)))
    return torch.cat([largest((b @ features.T).sub_(half_squares), k) for b in blocks]).numpy()


def _timed(features: torch.Tensor, k: int, search: Callable = nearest) -> tuple:
    started, busy = time.perf_counter(), time.process_time()
    found = search(features, k)  # on the CPU at the end, hence waited for
    return found, time.perf_counter() - started, time.process_time() - busy


def main() -> None:
    """Print and keep one row per size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[VISIBLE_ROWS, JOINT_ROWS])
    parser.add_argument("--dim", type=int, default=2048, help="feature width")
    parser.add_argument("--whole", type=int, metavar="TIMES", nargs="?", const=3, default=0,
                        help="compare with a search by all of X Xᵀ, so often")  # fmt: skip
    add_arguments(parser)
    args = parser.parse_args()
    record = Record(args.json, args.device)
    for rows in args.sizes:
        if args.whole:
            for row in compare(rows, args.dim, args.whole):
                record.add(row)
        else:
            record.add(measure(rows, args.dim, args.device))


if __name__ == "__main__":
    main()
