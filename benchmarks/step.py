"""Images per second and peak memory of a training step, per method, precision and BatchNorm groups.

    python -m benchmarks.step                                    # on a GPU: the official sizes
    python -m benchmarks.step --methods pclhd --flags --depth 18 --height 96 --width 48 -b 32
    python -m benchmarks.step --json step.json

The stages are the real ones on random pixels: sampler, augmentation, forward, memories, backward
and optimiser; only the features that the labels come from are synthetic.  Times include everything
between two batches.
"""

import argparse
import json
import resource
import tempfile
import time
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from clustercontrast.data import pseudo_labels
from clustercontrast.data.images import ImageArray
from clustercontrast.data.samples import ImageList
from clustercontrast.engine.loop import resumed_under, take_step
from clustercontrast.engine.run import Run
from clustercontrast.methods import METHODS, mmm
from clustercontrast.settings.command_line import parse

IDENTITIES, PER_IDENTITY = 64, 20


def random_images(modality: str, cameras: tuple[int, ...], height: int, width: int) -> ImageArray:
    """Noise in place of pictures: a step costs the same."""
    generator = np.random.default_rng(len(modality))
    count = IDENTITIES * PER_IDENTITY
    images = ImageList(
        modality=modality,
        paths=tuple(f"{modality}/{i:05d}.jpg" for i in range(count)),
        identities=np.arange(count) // PER_IDENTITY,
        cameras=generator.choice(cameras, count),
    )
    pixels = generator.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return ImageArray(images, pixels)


def synthetic_features(data: SimpleNamespace, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features in which every identity is one tight cluster, the same in both modalities."""
    generator = torch.Generator().manual_seed(0)
    people = torch.randn(IDENTITIES, width, generator=generator)
    noisy = [
        people[torch.from_numpy(images.index.identities)]
        + 0.3 * torch.randn(len(images), width, generator=generator)
        for images in (data.visible, data.infrared)
    ]
    return tuple(0.98 * torch.nn.functional.normalize(f) for f in noisy)


def leave_labels(folder: Path, data: SimpleNamespace) -> None:
    """The file that MMM's last stage reads."""
    lists = data.visible.index, data.infrared.index
    labels = tuple(images.identities for images in lists)
    path = folder / mmm.Joint.name / pseudo_labels.FILE
    pseudo_labels.save(path, lists, labels, synthetic_features(data, width=64))


def time_stage(method: str, number: int, argv: list[str], device: torch.device, steps: int) -> dict:
    """Seconds per step and peak memory of one stage."""
    fixed = ["--method", method, "--pretrained", "random"]
    fixed += ["--start-from", "pretrained"] if len(METHODS[method]) > 1 else []
    options = parse("sysu", [*fixed, "--iters", str(steps + 2), *argv])
    make = METHODS[method][number]
    args = options.at(make.name)
    data = SimpleNamespace(
        visible=random_images("visible", (1, 2, 4, 5), args.height, args.width),
        infrared=random_images("infrared", (3, 6), args.height, args.width),
    )
    for array in (data.visible, data.infrared):
        array.place(device)
    with tempfile.TemporaryDirectory() as folder:
        leave_labels(Path(folder), data)
        run = Run(Path(folder), device, args.precision)
        stage = make(args, data, run)
        stage.setup()
        features = synthetic_features(data, stage.encoder.width)
        stage.extract = lambda network: features  # noqa: ARG005
        seconds, images = _run_steps(stage, run, device)
    return {
        "method": method,
        "stage": make.name,
        "precision": args.precision,
        "bn_groups": args.bn_groups,
        "recomputed": args.checkpoint_groups,
        "seconds": round(seconds, 4),
        "images_per_second": round(images / seconds, 1),
        "peak_gb": round(_peak(device), 2),
    }


def _run_steps(stage, run, device) -> tuple[float, int]:
    """Median seconds of a step after two to warm up, and images per step."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for network in stage.networks.values():
        network.train()
    times, images = [], 0
    started = time.perf_counter()
    for batch in next(stage.refresh(0)):
        moved = batch.to(device)
        for name, terms in resumed_under(run.autocast, stage.iteration(moved, 0)):
            take_step(stage.optimisers[name], terms)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
        started, images = time.perf_counter(), batch.number_of_images
    return float(np.median(times[2:])), images


def _peak(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Print a table of all combinations; keep it as JSON on request."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    alone = [name for name, stages in METHODS.items() if not any(s.reads for s in stages)]
    parser.add_argument("--methods", nargs="+", choices=alone, default=["adca", "pgm", "pclhd"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--bn-groups", nargs="+", default=["1", "2", "4"])
    parser.add_argument("--recompute", action="store_true", help="also with --checkpoint-groups")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="training flags")
    args = parser.parse_args()

    rows = []
    recompute = ([], ["--checkpoint-groups"]) if args.recompute else ([],)
    for method, precision, groups, extra in product(
        args.methods, args.precisions, args.bn_groups, recompute
    ):
        argv = ["--precision", precision, "--bn-groups", groups, *extra, *args.flags]
        for number in range(len(METHODS[method])):
            row = time_stage(method, number, argv, torch.device(args.device), args.steps)
            rows.append(row)
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    if args.json:
        machine = torch.cuda.get_device_name() if args.device.startswith("cuda") else "cpu"
        args.json.write_text(json.dumps({"machine": machine, "steps": rows}, indent=2))


if __name__ == "__main__":
    main()
