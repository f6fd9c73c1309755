"""Seconds and memory of SDCL's labels by ranking agreement, at the size of SYSU-MM01.

    python -m benchmarks.ranking_agreement        # 22,258 visible, 11,909 infrared, d = 768
    python -m benchmarks.ranking_agreement --visible 5000 --infrared 3000 --json agreement.json

Features are synthetic: noisy copies of identities that both modalities share.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import torch

from clustercontrast.association.ranking_agreement import Halves, associate, smooth

PEOPLE = 395


def images(count: int, width: int, people: Halves, generator: torch.Generator):
    """Deep and shallow features of a modality, (count, width) each, and their identities."""
    y = torch.randint(len(people[0]), (count,), generator=generator)
    halves = (p[y] + 2 * torch.randn(count, width, generator=generator) for p in people)
    return tuple(halves), y.numpy()


def peak() -> float:
    """Greatest memory of the process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Print seconds of both steps, memory above the features and how often the labels are right."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--visible", type=int, default=22258)
    parser.add_argument("--infrared", type=int, default=11909)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    people = tuple(torch.randn(PEOPLE, args.width, generator=generator) for _ in "ds")
    visible, true_v = images(args.visible, args.width, people, generator)
    infrared, true_r = images(args.infrared, args.width, people, generator)
    before, started, cpu = peak(), time.perf_counter(), time.process_time()
    labels = associate(visible, infrared, true_r, candidates=20)
    half = time.perf_counter()
    labels = smooth(visible, labels, neighbours=5)
    found = {
        "associate": half - started,
        "smooth": time.perf_counter() - half,
        "cpu": time.process_time() - cpu,
        "memory_gb": peak() - before,
        "right": float((labels == true_v).mean()),
    }
    for name, value in found.items():
        print(f"{name:10} {value:8.3f}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
