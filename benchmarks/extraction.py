"""Feature extraction: images per second of a forward without gradients, flip-averaged.

    python -m benchmarks.extraction                            # on a GPU: the official size
    python -m benchmarks.extraction --images 64 --depth 10 --size 64 32

Every image passes twice, as it is and mirrored.  Random pixels cost what pictures cost.
"""

import argparse
import time
from itertools import product

import numpy as np
import torch

from benchmarks.record import Record, add_arguments, peak_gib, reset_peak
from clustercontrast.data.images import ImageArray
from clustercontrast.data.samples import ImageList
from clustercontrast.engine.precision import autocast
from clustercontrast.evaluation.features import extract
from clustercontrast.models.two_stream_resnet import TwoStreamResNet


def noise(count: int, size: list[int]) -> ImageArray:
    """Infrared images of random pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8)
    numbers = np.arange(count)
    paths = tuple(f"{i:05d}.jpg" for i in numbers)
    return ImageArray(ImageList("infrared", paths, numbers, np.full(count, 3)), pixels)


def measure(
    network: TwoStreamResNet, images: ImageArray, batch: int, precision: str, device: torch.device
) -> dict:
    """One row: images per second after a batch to warm up."""
    some = torch.arange(min(batch, len(images)))
    with torch.no_grad(), autocast(device, precision):
        extract(network, images, batch, some)
        reset_peak(device)
        started = time.perf_counter()
        extract(network, images, batch)  # on the CPU at the end, hence waited for
        seconds = time.perf_counter() - started
    return {
        "precision": precision,
        "batch": batch,
        "images": len(images),
        "images_per_second": len(images) / seconds,
        "peak_gib": peak_gib(device),
    }


def main() -> None:
    """Print and keep one row per precision and batch."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--size", type=int, nargs=2, default=[288, 144], help="height, width")
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "tf32", "bf16"])
    add_arguments(parser)
    args = parser.parse_args()
    network = TwoStreamResNet(args.depth).to(args.device).eval()
    images = noise(args.images, args.size)
    images.place(args.device)
    record = Record(args.json, args.device)
    for precision, batch in product(args.precisions, args.batches):
        record.add(measure(network, images, batch, precision, args.device))


if __name__ == "__main__":
    main()
