"""Seconds of the bipartite pseudo labels of CMAM: k-means of both modalities, then matching.

    python -m benchmarks.kmeans                       # 22,258 and 11,909 x 4,096, k = 400
    python -m benchmarks.kmeans --noise 3 --compare   # harder rows, and scikit-learn's k-means

Sizes are those of SYSU-MM01.  Rows are synthetic: identities that both modalities share, two unit
halves as of two models side by side, noise along few directions.  From a noise of 3 on the clusters
run into one another.
"""

import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans as Reference

from clustercontrast.association.graph_matching import maximum_matching, shared_labels
from clustercontrast.clustering.kmeans import kmeans

LATENT = 256  # real features vary along few directions only


def concatenated(
    people: torch.Tensor, rows: int, noise: float, generator: torch.Generator
) -> torch.Tensor:
    """Rows (N, 2 d) of identities (2, k, d): two unit halves with noise of the given share."""
    labels = torch.randint(people.shape[1], (rows,), generator=generator)
    halves = []
    for of_model in people:
        directions = torch.randn(LATENT, people.shape[2], generator=generator) / LATENT**0.5
        spread = torch.randn(rows, LATENT, generator=generator) @ directions
        halves.append(F.normalize(of_model[labels] + noise * spread))
    return torch.cat(halves, dim=1)


def timed(function, *arguments):
    """Result and seconds."""
    started = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - started


def matching(visible, infrared, k):
    """Labels of both modalities as stage 3 forms them."""
    _, to_visible = maximum_matching(visible.centres, infrared.centres)
    return shared_labels(visible.labels, infrared.labels, to_visible, k)


def reference(features: torch.Tensor, args: argparse.Namespace) -> dict:
    """scikit-learn's k-means under the same settings."""
    model = Reference(args.k, n_init=1, max_iter=100, tol=1e-4, random_state=args.seed)
    found, seconds = timed(model.fit, features.numpy())
    return {"seconds": seconds, "iterations": found.n_iter_, "inertia": float(found.inertia_)}


def measure(args: argparse.Namespace) -> dict[str, dict]:
    """Figures of every step by name."""
    generator = torch.Generator().manual_seed(args.seed)
    people = torch.randn(2, args.k, args.dim // 2, generator=generator)
    results, clusterings = {}, []
    for name, rows in zip(("visible", "infrared"), args.rows, strict=True):
        features = concatenated(people, rows, args.noise, generator)
        draws = torch.Generator().manual_seed(args.seed)
        found, seconds = timed(kmeans, features, args.k, draws)
        clusterings.append(found)
        figures = {"iterations": found.iterations, "inertia": found.inertia}
        results[name] = {"seconds": seconds, **figures}
        if args.compare:
            results[f"{name}, scikit-learn"] = reference(features, args)
    _, seconds = timed(matching, *clusterings, args.k)
    results["matching"] = {"seconds": seconds}
    own = ("visible", "infrared", "matching")
    results["together"] = {"seconds": sum(results[name]["seconds"] for name in own)}
    return results


def parse() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs=2, default=(22258, 11909))
    parser.add_argument("--dim", type=int, default=4096, help="width of both halves together")
    parser.add_argument("--k", type=int, default=400)
    parser.add_argument("--noise", type=float, default=1.0, help="the spread of an identity is 1")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compare", action="store_true", help="also run scikit-learn's k-means")
    parser.add_argument("--json", type=Path, help="also write the results here")
    return parser.parse_args()


def main() -> None:
    """Print a line per step."""
    args = parse()
    torch.set_num_threads(args.threads)
    results = measure(args)
    for name, figures in results.items():
        line = f"{name:24} {figures['seconds']:8.2f} s"
        if "inertia" in figures:
            line += f"  {figures['iterations']:3} iterations  inertia {figures['inertia']:.1f}"
        print(line)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
