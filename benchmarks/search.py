"""Searches in a large gallery: seconds and memory, exact, through faiss, re-ranked.

    python -m benchmarks.search                                    # 1,000 in 100,000 x 2,048
    python -m benchmarks.search --gallery 20000 --rerank

Rows lie around centres as those of identities do.  What stands beside the exact search is one
product of all queries with all of the gallery, and a sort.  On the CPU.
"""

import argparse
import functools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import clustercontrast
from benchmarks.record import Record, add_arguments
from clustercontrast.retrieval.features import Features
from clustercontrast.retrieval.index import Index

MADE = {
    "digest": "",
    "height": 288,
    "width": 144,
    "flip": True,
    "precision": "fp32",
    "source": "",
    "about": {},
}
IMAGES = 20
"""Images of an identity in the gallery."""


def people(count: int, length: int, seed: int, centres: np.ndarray, spread: float) -> np.ndarray:
    """(count, length) float32 unit rows around centres."""
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((count, length), np.float32)
    rows *= spread / length**0.5
    rows += centres[generator.integers(len(centres), size=count)]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def features(rows: np.ndarray, modality: str) -> Features:
    """Rows as a model would have made them."""
    return Features(rows, tuple(f"{number}.jpg" for number in range(len(rows))), modality, MADE)


def measured(work: Callable[[], object]) -> tuple[float, float, object]:
    """Seconds, GiB that the process took beyond what it held before, and the result."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, started = resident("VmRSS"), time.perf_counter()
    found = work()
    return time.perf_counter() - started, (resident("VmHWM") - before) / 2**20, found


def resident(name: str) -> int:
    """KiB that Linux says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def plain(queries: np.ndarray, gallery: np.ndarray, top: int) -> np.ndarray:
    """All similarities at once, sorted."""
    scores = torch.from_numpy(queries) @ torch.from_numpy(gallery).T
    return scores.argsort(dim=1, descending=True, stable=True)[:, :top].numpy()


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """Share of the exact answers that are found."""
    return float(np.mean([len({*a} & {*b}) / len(b) for a, b in zip(found, exact, strict=True)]))


def main() -> None:
    """Print and keep one row per way to search."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--gallery", type=int, default=100_000)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument(
        "--spread", type=float, default=1.0, help="noise beside centres of length 1"
    )
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--kinds", nargs="*", default=["flat", "ivf", "hnsw"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rerank", action="store_true", help="also re-rank: all neighbours")
    add_arguments(parser)
    args = parser.parse_args()
    centres = np.random.default_rng(0).standard_normal(
        (max(1, args.gallery // IMAGES), args.length), np.float32
    )
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    rows = [
        people(count, args.length, seed, centres, args.spread)
        for count, seed in ((args.queries, 1), (args.gallery, 2))
    ]
    both = features(rows[0], "infrared"), features(rows[1], "visible")
    record = Record(args.json, torch.device("cpu"))
    record.add({"way": "the features themselves", "gib": rows[1].nbytes / 2**30})
    exact = clustercontrast.search(*both, args.top).rows
    for _ in range(args.repeats):
        seconds, gib, found = measured(lambda: plain(*rows, args.top))
        record.add({"way": "one product and a sort", "seconds": seconds, "gib": gib,
                    "recall": recall(found, exact)})  # fmt: skip
        seconds, gib, _ = measured(lambda: clustercontrast.search(*both, args.top))
        record.add({"way": "exact, by blocks", "seconds": seconds, "gib": gib, "recall": 1.0})
    for kind in args.kinds:
        built, gib, index = measured(functools.partial(Index.build, both[1], kind))
        row = {"way": f"index {kind}", "build_seconds": built, "build_gib": gib}
        for _ in range(args.repeats):
            work = functools.partial(clustercontrast.search, both[0], index, args.top)
            seconds, gib, found = measured(work)
            answers = recall(found.rows, exact)
            record.add(row | {"seconds": seconds, "gib": gib, "recall": answers,
                              "recall_said": index.recall})  # fmt: skip
    if args.rerank:
        seconds, gib, _ = measured(
            lambda: clustercontrast.search(*both, args.top, rerank="k-reciprocal")
        )
        record.add({"way": "exact and re-ranked", "seconds": seconds, "gib": gib})


if __name__ == "__main__":
    main()
