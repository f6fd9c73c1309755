"""Seconds and memory of re-clustering: neighbour search, Jaccard distance, DBSCAN.

    python -m benchmarks.clustering --sizes 5000 22258 34167 100000
    python -m benchmarks.clustering --sizes 34167 --dim 768 --json clustering.json
    python -m benchmarks.clustering --sizes 10000 100000 1000000 --dim 256 --planted 0.6 \
        --searches torch ivf --dense-up-to 0 --plot docs/images/clustering-growth.png

Every size runs in a fresh process, so its peak memory is its own (imports of torch included).  The
features are synthetic, identities seen by a few cameras with some stray images.  34,167 is joint
clustering on SYSU-MM01: 22,258 visible and 11,909 infrared rows, balanced, k1 = 40, k2 = 32; every
other size is one modality, k1 = 30, k2 = 6.  Up to --dense-up-to rows the labels are compared with
the plain dense NumPy version, which is written below.
"""

import argparse
import functools
import json
import multiprocessing
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.cluster import DBSCAN
from sklearn.metrics import adjusted_rand_score

from benchmarks.planted import planted
from clustercontrast.clustering.dbscan import dbscan
from clustercontrast.clustering.jaccard import from_ranking
from clustercontrast.clustering.neighbours import Search, nearest

JOINT_ROWS, VISIBLE_ROWS = 34167, 22258
LATENT = 64  # real features vary along few directions only
IMAGES_PER_IDENTITY = 50  # of one modality
CAMERAS = 4  # per modality
STRAY, STRAY_SPREAD = 0.15, 2.5  # share of images far from all identities, and how far
COMMON = 1.5  # what all images share; the spread of the identities is 1


def synthetic_features(
    rows: int, dim: int, spread: tuple[float, float], seed: int
) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Unit rows (N, d), identities (N,) and which rows are infrared (N,).

    Rows are grouped by identity, as files on disk are.

    ``spread``: of the cameras and of the images around an identity.
    """
    generator = np.random.default_rng(seed)
    is_infrared = np.arange(rows) >= (VISIBLE_ROWS if rows == JOINT_ROWS else rows)
    identities = max(1, (~is_infrared).sum() // IMAGES_PER_IDENTITY)
    identity = np.empty(rows, dtype=np.int64)
    for part in (~is_infrared, is_infrared):
        identity[part] = np.sort(generator.integers(identities, size=part.sum()))
    camera = CAMERAS * is_infrared + generator.integers(CAMERAS, size=rows)
    latent = _latent(generator, identity, camera, spread)
    features = latent @ generator.standard_normal((LATENT, dim), dtype=np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return torch.from_numpy(features), identity, is_infrared


def _latent(generator, identity, camera, spread):
    def normal(*shape):
        return generator.standard_normal((*shape, LATENT), dtype=np.float32)

    identities = identity.max() + 1
    person, view = normal(identities), normal(identities, 2 * CAMERAS)
    is_stray = generator.random(len(identity)) < STRAY
    image_spread = np.where(is_stray, STRAY_SPREAD, spread[1]).astype(np.float32)[:, None]
    seen = person[identity] + spread[0] * view[identity, camera]
    return COMMON * normal() + seen + image_spread * normal(len(identity))


def dense_labels(features, k1, k2, eps, is_infrared):
    """Pseudo labels with N x N arrays and loops; slow and plain."""
    size = len(features)
    products = features @ features.T
    squares = (features**2).sum(axis=1)
    ranking = np.argsort(squares - 2 * products, axis=1)[:, :k1]
    full, half = (_reciprocal_sets(ranking, k) for k in (k1, round(k1 / 2)))
    encoding = np.zeros((size, size), dtype=np.float32)
    for i in range(size):
        accepted = [half[c] for c in full[i] if 3 * len(half[c] & full[i]) > 2 * len(half[c])]
        members = sorted(full[i].union(*accepted))
        weights = np.exp(2 * products[i, members] - 2)
        encoding[i, members] = weights / weights.sum()
    if k2 > 1:
        encoding = np.stack([_expanded(encoding, row[:k2], is_infrared) for row in ranking])
    distances = np.empty((size, size), dtype=np.float32)
    for i, row in enumerate(encoding):
        support = np.flatnonzero(row)
        overlap = np.minimum(row[support], encoding[:, support]).sum(axis=1)
        distances[i] = np.maximum(0, 1 - overlap / (2 - overlap))
    return DBSCAN(eps=eps, min_samples=4, metric="precomputed").fit_predict(distances)


def _reciprocal_sets(ranking, k):
    near = [set(row[: k + 1].tolist()) for row in ranking]
    return [{j for j in row if i in near[j]} for i, row in enumerate(near)]


def _expanded(encoding, rows, is_infrared):
    parts = [rows[is_infrared[rows] == modality] for modality in (False, True)]
    return np.mean([encoding[part].mean(axis=0) for part in parts if len(part)], axis=0)


class Clock:
    """Wall-clock and CPU seconds of named steps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, name, function, *arguments):
        """Result of the function; its wall-clock and CPU seconds are noted under the name."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = function(*arguments)
        self.seconds[name] = time.perf_counter() - wall
        self.seconds[f"{name} CPU"] = time.process_time() - cpu
        return result


def measure(rows: int, search: str, options: argparse.Namespace) -> tuple[dict, np.ndarray]:
    """One case, run in a process of its own: what is measured, and the labels."""
    k1, k2 = (40, 32) if rows == JOINT_ROWS else (30, 6)
    _compile_kernels()
    features, identities, is_infrared = made(rows, options)
    balance = is_infrared if rows == JOINT_ROWS else None
    clock = Clock()
    found = functools.partial(nearest, features, k1, Search(search, print))
    ranking = clock.time("neighbours", found)
    distances = clock.time("jaccard", from_ranking, features, ranking, k2, options.eps, balance)
    labels = clock.time("dbscan", dbscan, distances, options.eps)
    after = sum(clock.seconds[name] for name in ("jaccard", "dbscan"))
    result = {"rows": rows, "dim": options.dim, "search": search, "k1": k1, "k2": k2}
    result |= clock.seconds | {"after, us per row": 1e6 * after / rows}
    result["peak GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    result["clusters"] = int(labels.max() + 1)
    result["outliers %"] = 100 * float((labels < 0).mean())
    result["ARI planted"] = agreement(labels, identities)
    if rows <= options.dense_up_to:
        arguments = (features.numpy(), k1, k2, options.eps, is_infrared)
        reference = clock.time("dense", dense_labels, *arguments)
        result["dense"] = clock.seconds["dense"]
        result["same labels"] = bool((reference == labels).all())
    return result, labels


def made(rows: int, options: argparse.Namespace) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Features (N, d), identities (N,) and which rows are infrared (N,)."""
    if options.planted is None:
        return synthetic_features(rows, options.dim, options.spread, options.seed)
    dtype = torch.float16 if options.half else torch.float32
    features, identities = planted(rows, options.dim, options.planted, options.seed, dtype)
    return features, identities, np.zeros(rows, dtype=bool)


def agreement(labels: np.ndarray, others: np.ndarray) -> float:
    """Adjusted Rand index of two labellings (N,); every outlier is a cluster of its own."""
    return float(adjusted_rand_score(_outliers_apart(others), _outliers_apart(labels)))


def _outliers_apart(labels):
    outliers = labels < 0
    return np.where(outliers, labels.max() + np.cumsum(outliers), labels)


def _compile_kernels():
    features, *_ = synthetic_features(100, 8, (0.4, 0.8), 0)
    from_ranking(features, nearest(features, 8), 3)


def measure_afresh(rows: int, search: str, options: argparse.Namespace) -> tuple[dict, np.ndarray]:
    """``measure`` in a new process, whose peak memory starts from zero."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (rows, search, options))


def measure_size(rows: int, options: argparse.Namespace) -> Iterator[dict]:
    """Every search at one size; later ones are compared with the labels of the first."""
    first = None
    for search in options.searches:
        if search == "torch" and rows > options.exact_up_to:
            continue
        result, labels = measure_afresh(rows, search, options)
        first = (search, labels) if first is None else first
        if first[0] != search:
            result[f"ARI {first[0]}"] = agreement(labels, first[1])
        yield result


def plot(results: list[dict], path: Path) -> None:
    """Seconds of every step, and peak memory, against the number of images."""
    figure, (times, memory) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for search in dict.fromkeys(result["search"] for result in results):
        own = [result for result in results if result["search"] == search]
        rows = [result["rows"] for result in own]
        times.plot(rows, [result["neighbours"] for result in own], "o-", label=f"search, {search}")
        memory.plot(rows, [result["peak GB"] for result in own], "o-", label=search)
    last = {result["rows"]: result for result in results}  # of every size, the last search
    for step in ("jaccard", "dbscan"):
        seconds = [result[step] for result in last.values()]
        times.plot([*last], seconds, "s--", label=step)
    for axes, title in ((times, "seconds"), (memory, "peak memory, GB")):
        axes.set(xscale="log", yscale="log", xlabel="images", title=title)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=100)


def table(results: list[dict]) -> str:
    """Results as fixed-width text, one line per size; a dash where a column does not apply."""
    names = list(dict.fromkeys(name for result in results for name in result))
    lines = [names] + [[_text(result.get(name, "-")) for name in names] for result in results]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ([*map(str.rjust, line, widths)] for line in lines)
    return "\n".join("  ".join(line) for line in padded)


def _text(value):
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def parse() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[5000, 22258, 34167, 100000])
    parser.add_argument("--dim", type=int, default=2048, help="feature width")
    parser.add_argument("--eps", type=float, default=0.6, help="DBSCAN radius, also the cutoff")
    parser.add_argument(
        "--spread",
        type=float,
        nargs=2,
        default=(0.4, 0.8),
        metavar=("CAMERA", "IMAGE"),
        help="of the synthetic features; 0.4 0.8: trained network, 0.8 1.2: ImageNet weights",
    )
    parser.add_argument(
        "--planted",
        type=float,
        metavar="SPREAD",
        help="plain clusters in place of cameras and stray images: benchmarks/planted.py",
    )
    parser.add_argument("--half", action="store_true", help="planted features are float16")
    parser.add_argument(
        "--searches",
        nargs="+",
        choices=("torch", "faiss", "ivf", "hnsw"),
        default=["torch"],
        help="each in turn; the labels of later ones are compared with those of the first",
    )
    parser.add_argument("--exact-up-to", type=int, default=100_000, help="rows of torch's search")
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic features")
    parser.add_argument("--dense-up-to", type=int, default=5000, help="0: no dense reference")
    parser.add_argument("--json", type=Path, help="also write the results here, each at once; "
                        "what it holds of other sizes stays, and is plotted, too")  # fmt: skip
    parser.add_argument("--plot", type=Path, help="PNG of time and memory against the size")
    return parser.parse_args()


def main() -> None:
    """Measure every size with every search, print the table."""
    options = parse()
    results = earlier(options)
    for rows in options.sizes:
        for result in measure_size(rows, options):
            results.append(result)
            print(table([result]), flush=True)
            if options.json:
                options.json.write_text(json.dumps(results, indent=1))
    print(table(results))
    if options.plot:
        plot(sorted(results, key=lambda result: result["rows"]), options.plot)


def earlier(options: argparse.Namespace) -> list[dict]:
    """Results of other sizes that the file holds already."""
    if not (options.json and options.json.exists()):
        return []
    kept = json.loads(options.json.read_text())
    return [result for result in kept if result["rows"] not in options.sizes]


if __name__ == "__main__":
    main()
