"""Images per second and memory of a training step, beside those of a plain reference step.

    python -m benchmarks.step                                    # on a GPU: the official sizes
    python -m benchmarks.step --methods pclhd pgm --precisions fp32 bf16 --flags \
        --height 144 --width 72 -b 32 --batch-visible 32         # on two cores
    python -m benchmarks.step --channels-last on off --compile --recompute --json step.json

The stages are the real ones, rehearsed on random pixels: sampler, augmentation, forward, memories,
backward and optimiser; only features and clusters are planted.  The reference
(``benchmarks/reference_step.py``) is measured in the same run, once per stage.  A row that does not
fit is a row that says so.
"""

import argparse
from argparse import Namespace
from collections.abc import Iterator
from itertools import product
from statistics import median
from types import SimpleNamespace

import numpy as np
import torch

from benchmarks.record import Record, add_arguments, reset_peak
from benchmarks.reference_step import reference_of, with_contiguous_images
from clustercontrast.commands.cli import command
from clustercontrast.data.batches import Batch
from clustercontrast.data.images import ImageArray
from clustercontrast.data.samples import ImageList
from clustercontrast.engine import compiling
from clustercontrast.engine.run import choose_device
from clustercontrast.engine.stage import Stage
from clustercontrast.methods import METHODS
from clustercontrast.methods.rehearsal import Rehearsal, rehearse
from clustercontrast.settings.command_line import parse
from clustercontrast.settings.flags import count
from clustercontrast.settings.options import all_flags

IDENTITIES, PER_IDENTITY = 64, 20
GIB = 2**30
COMPARED = ("adca", "pgm", "pclhd")
"""Methods whose steps the reference can take."""


def random_images(modality: str, cameras: tuple[int, ...], height: int, width: int) -> ImageArray:
    """Noise in place of pictures: a step costs the same."""
    generator = np.random.default_rng(len(modality))
    number = IDENTITIES * PER_IDENTITY
    images = ImageList(
        modality=modality,
        paths=tuple(f"{modality}/{i:05d}.jpg" for i in range(number)),
        identities=np.arange(number) // PER_IDENTITY,
        cameras=generator.choice(cameras, number),
    )
    pixels = generator.integers(0, 256, (number, height, width, 3), dtype=np.uint8)
    return ImageArray(images, pixels)


def placed_images(args: Namespace, device: torch.device) -> SimpleNamespace:
    """Training images of both modalities where a run has them."""
    data = SimpleNamespace(
        visible=random_images("visible", (1, 2, 4, 5), args.height, args.width),
        infrared=random_images("infrared", (3, 6), args.height, args.width),
    )
    for array in (data.visible, data.infrared):
        array.place(device)
    return data


def contiguous(make: type[Stage]) -> type[Stage]:
    """A stage whose networks and batches keep torch's default layout."""

    def add(self: Stage, name: str, network: torch.nn.Module) -> torch.nn.Module:
        return make.add(self, name, network).to(memory_format=torch.contiguous_format)

    def batches(self: Stage) -> Iterator[Batch]:
        return map(with_contiguous_images, make.batches(self))

    return type(make.__name__, (make,), {"add": add, "batches": batches})


def measured(make: type[Stage], args: Namespace, device: torch.device, steps: int) -> dict:
    """Seconds and memory of a stage's step, or what kept it from being taken."""
    data = placed_images(args, device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    reset_peak(device)
    try:
        found = rehearse(make, args, data, device, steps, warm_up=2)
    except torch.OutOfMemoryError:
        return {"residence": data.visible.residence, "error": "out of memory"}
    return {"residence": data.visible.residence} | _figures(found, device)


def _figures(found: Rehearsal, device: torch.device) -> dict:
    row = {
        "seconds": round(found.step_seconds, 4),
        "cpu_seconds": round(median(found.cpu_seconds), 4),
        "images": found.images,
        "images_per_second": round(found.images / found.step_seconds, 2),
    }
    if device.type != "cuda":
        return row
    reserved = torch.cuda.max_memory_reserved(device)
    return row | {
        "allocated_gib": round(found.peak / GIB, 2),
        "reserved_gib": round(reserved / GIB, 2),
    }


def compared(row: dict, reference: dict | None, device: torch.device) -> dict:
    """A row beside its reference: the ratio is that of CPU seconds on a CPU, else of seconds."""
    if reference is None or "error" in row or "error" in reference:
        return row
    unit = "seconds" if device.type == "cuda" else "cpu_seconds"
    return row | {
        "reference_images_per_second": reference["images_per_second"],
        "ratio": round(reference[unit] / row[unit], 3),
    }


def rows(o: Namespace, device: torch.device) -> Iterator[dict]:
    """A row per method, stage and combination."""
    for method in o.methods:
        for number, make in enumerate(METHODS[method]):
            if o.stages and make.name not in o.stages:
                continue
            plain = None
            if method in COMPARED and not o.no_reference:
                args = flags(method, number, [*o.flags, "--precision", "fp32"])
                plain = measured(reference_of(make), args, device, o.steps)
                yield _about(method, args) | {"reference": True} | plain
            for choice in product(o.precisions, o.channels_last, *_switches(o)):
                yield compared(_row(method, number, choice, o, device), plain, device)


def _switches(o: Namespace) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """With and without recomputation and compilation, as asked for."""
    return tuple((False, True) if asked else (False,) for asked in (o.recompute, o.compile))


def _row(method: str, number: int, choice: tuple, o: Namespace, device: torch.device) -> dict:
    precision, layout, recomputed, compiled = choice
    words = ["--precision", precision]
    words += ["--checkpoint-groups" if recomputed else "--no-checkpoint-groups"]
    words += ["--compile"] if compiled else []
    args, make = flags(method, number, [*o.flags, *words]), METHODS[method][number]
    about = _about(method, args) | {"channels_last": layout == "on"}
    reason = compiling.reason_against(device) if compiled else None
    if reason:
        return about | {"error": f"not compiled: {reason}"}
    make = make if layout == "on" else contiguous(make)
    return about | measured(make, args, device, o.steps)


def _about(method: str, args: Namespace) -> dict:
    return {
        "method": method,
        "stage": args.stage,
        "precision": args.precision,
        "bn_groups": args.bn_groups,
        "recomputed": bool(args.checkpoint_groups),
        "compiled": args.compile,
    }


def flags(method: str, number: int, words: list[str]) -> Namespace:
    """Values of a stage, which starts from random weights."""
    fixed = ["--method", method, "--pretrained", "random", "--test-batch", "16"]
    fixed += ["--start-from", "pretrained"] if len(METHODS[method]) > 1 else []
    name = METHODS[method][number].name
    args = parse("sysu", [*fixed, *words]).at(name)
    args.stage = name
    return args


def main() -> None:
    """Print the rows one by one; keep them as JSON on request, after every row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    alone = [name for name, stages in METHODS.items() if not any(s.reads for s in stages)]
    parser.add_argument("--methods", nargs="+", choices=alone, default=["pclhd", "pgm", "sdcl"])
    stages = sorted({make.name for name in alone for make in METHODS[name]})
    parser.add_argument("--stages", nargs="+", choices=stages, help="those alone")
    precisions = all_flags()["precision"].choices
    parser.add_argument(
        "--precisions", nargs="+", choices=precisions, default=["fp32", "tf32", "bf16"]
    )
    parser.add_argument("--channels-last", nargs="+", choices=("on", "off"), default=["on"])
    parser.add_argument("--recompute", action="store_true", help="also with --checkpoint-groups")
    parser.add_argument("--compile", action="store_true", help="also with --compile")
    parser.add_argument("--no-reference", action="store_true", help="without the plain step")
    parser.add_argument("--steps", type=count, default=5)
    add_arguments(parser)
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="training flags")
    o = parser.parse_args()

    record = Record(o.json, choose_device(str(o.device)))
    for row in rows(o, o.device):
        record.add(row)


if __name__ == "__main__":
    command(main)
