"""Features of a folder of images against a plain torchvision loop with the same network.

    python -m benchmarks.features                  # ResNet-50 at 288x144, 128 images, on the CPU
    python -m benchmarks.features --depth 10 --size 64 32 --images 64 --repeats 1

The loop is what one would write by hand: a DataLoader over the files, Resize, ToTensor, Normalize,
a forward of the images and one of their mirror images.  The two take turns; the ratio counts.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.record import Record, add_arguments
from clustercontrast.data.augment import MEAN, STD
from clustercontrast.models.two_stream_resnet import TwoStreamResNet
from clustercontrast.retrieval.model import Model

FILE = (256, 128)
"""Height and width of the files."""


class Files(Dataset):
    """Images of a folder, as a tutorial reads them."""

    def __init__(self, folder: Path, size: tuple[int, int]) -> None:
        self.paths = sorted(folder.iterdir())
        resize = transforms.Resize(size, transforms.InterpolationMode.LANCZOS)
        to_tensor = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        self.transform = transforms.Compose([resize, *to_tensor])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        return self.transform(Image.open(self.paths[row]).convert("RGB"))


@torch.no_grad()
def plain(network: nn.Module, folder: Path, size: tuple[int, int], args: argparse.Namespace):
    """(N, d) unit rows by the loop."""
    loader = DataLoader(Files(folder, size), args.batch, num_workers=args.workers)
    parts = []
    for batch in loader:
        images = batch.to(args.device)
        mean = network.embed(images, "infrared") + network.embed(images.flip(-1), "infrared")
        parts.append((mean / mean.norm(dim=1, keepdim=True)).cpu())
    return torch.cat(parts).numpy()


def write(folder: Path, count: int) -> None:
    """JPEG files of smooth noise, which cost what photographs cost."""
    generator = np.random.default_rng(0)
    for number in range(count):
        small = generator.integers(0, 256, (32, 16, 3), dtype=np.uint8)
        Image.fromarray(small).resize(FILE[::-1], Image.Resampling.BICUBIC).save(
            folder / f"{number:05d}.jpg", quality=90
        )


def seconds_of(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Seconds, and the rows."""
    started = time.perf_counter()
    rows = work()
    return time.perf_counter() - started, rows


def main() -> None:
    """Print and keep one row per turn and way."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--size", type=int, nargs=2, default=[288, 144], help="height, width")
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=0, help="processes of the loop's loader")
    parser.add_argument("--repeats", type=int, default=3)
    add_arguments(parser)
    args = parser.parse_args()
    network = TwoStreamResNet(args.depth).to(args.device).eval()
    model = Model(network, *args.size, {}, "benchmark", args.device)
    record = Record(args.json, args.device)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(folder, args.images)
        model.features(sorted(folder.iterdir())[:4], "infrared")  # to warm up
        for _ in range(args.repeats):
            loop, expected = seconds_of(lambda: plain(network, folder, tuple(args.size), args))
            own, found = seconds_of(
                lambda: (
                    model.features(folder, "infrared", batch_size=args.batch, progress=False).rows
                )
            )
            record.add(
                {
                    "loop_per_second": args.images / loop,
                    "features_per_second": args.images / own,
                    "ratio": loop / own,
                    "largest_difference": float(np.abs(found - expected).max()),
                }
            )


if __name__ == "__main__":
    main()
