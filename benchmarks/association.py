"""Seconds that every association takes at the cluster counts of a SYSU-MM01 training.

    python -m benchmarks.association                       # 745 visible, 430 infrared clusters
    python -m benchmarks.association --visible 898 --infrared 444 --json association.json

Clusters are synthetic: 30 visible and 28 infrared images each, around common identities, d = 2048.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from clustercontrast.association.choice import ASSOCIATIONS, Clusters, associate
from clustercontrast.clustering.centroids import centroids


def clusters(sizes: tuple[int, int], images: tuple[int, int], width: int = 2048) -> Clusters:
    """Noisy unit features around identities that both modalities share."""
    generator = torch.Generator().manual_seed(0)
    people = torch.randn(max(sizes), width, generator=generator)
    features, labels = [], []
    for count, each in zip(sizes, images, strict=True):
        y = torch.arange(count).repeat_interleave(each)
        f = people[y] + torch.randn(len(y), width, generator=generator)
        features.append(F.normalize(f))
        labels.append(y.numpy())
    means = tuple(centroids(f, y) for f, y in zip(features, labels, strict=True))
    return Clusters(tuple(features), tuple(labels), means)


def seconds(name: str, given: Clusters, repeats: int = 3) -> float:
    """The best of some runs."""
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        associate(name, given)
        found.append(time.perf_counter() - started)
    return float(np.min(found))


def main() -> None:
    """Print a line per association."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--visible", type=int, default=745)
    parser.add_argument("--infrared", type=int, default=430)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    given = clusters((args.visible, args.infrared), (30, 28))
    table = {name: seconds(name, given) for name in ASSOCIATIONS}
    for name, value in table.items():
        print(f"{name:10} {value:8.3f} s")
    if args.json:
        args.json.write_text(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
