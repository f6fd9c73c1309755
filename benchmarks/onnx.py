"""Features by onnxruntime against torch: the same network, images, batches and threads.

    python -m benchmarks.onnx                                  # ResNet-50 at 288x144
    python -m benchmarks.onnx --depth 10 --size 64 32 --images 64

Both extract the flip-averaged features of the same 8-bit images, in turn.  CPU seconds of this
process are counted, and the ratio is taken within each turn, so that other programs count little.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from benchmarks.extraction import noise
from benchmarks.record import Record, add_arguments
from clustercontrast.data.augment import MEAN, STD
from clustercontrast.data.images import ImageArray
from clustercontrast.evaluation.features import extract
from clustercontrast.models.onnx_graph import INPUT, FeatureGraph, write_graph
from clustercontrast.models.two_stream_resnet import TwoStreamResNet


def session_of(network: TwoStreamResNet, size: tuple[int, int]) -> onnxruntime.InferenceSession:
    """The network's graph for infrared images, in a runtime with as many threads as torch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    graph = FeatureGraph(network, "infrared", MEAN, STD).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "infrared.onnx"
        write_graph(graph, size, path, {})
        return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def by_runtime(session: onnxruntime.InferenceSession, images: ImageArray, batch: int) -> np.ndarray:
    """(N, d) features by onnxruntime."""
    parts = [images.pixels[i : i + batch] for i in range(0, len(images), batch)]
    return np.concatenate([session.run(None, {INPUT: part})[0] for part in parts])


def by_torch(network: TwoStreamResNet, images: ImageArray, batch: int) -> np.ndarray:
    """(N, d) features by torch."""
    with torch.no_grad():
        return extract(network, images, batch, unit=True).numpy()


def timed(call: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """CPU seconds of a call, and what it returns."""
    started = time.process_time()
    found = call()
    return time.process_time() - started, found


def measure(
    network: TwoStreamResNet,
    session: onnxruntime.InferenceSession,
    images: ImageArray,
    batch: int,
    turns: int,
) -> dict:
    """One row: medians over the turns, after one to warm up."""
    seconds = []
    for _ in range(turns + 1):
        theirs, found = timed(lambda: by_runtime(session, images, batch))
        ours, expected = timed(lambda: by_torch(network, images, batch))
        seconds.append((theirs, ours))
    ratios = [ours / theirs for theirs, ours in seconds[1:]]
    theirs, ours = (statistics.median(own) for own in zip(*seconds[1:], strict=True))
    return {
        "batch": batch,
        "images": len(images),
        "threads": torch.get_num_threads(),
        "torch_images_per_cpu_second": len(images) / ours,
        "onnx_images_per_cpu_second": len(images) / theirs,
        "ratio": statistics.median(ratios),
        "lowest_ratio": min(ratios),
        "highest_ratio": max(ratios),
        "difference": float(np.abs(found - expected).max()),
    }


def main() -> None:
    """Print and keep one row per batch."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--size", type=int, nargs=2, default=[288, 144], help="height, width")
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--turns", type=int, default=5)
    add_arguments(parser)
    args = parser.parse_args()
    torch.manual_seed(0)
    network = TwoStreamResNet(args.depth).eval()
    session, images = session_of(network, tuple(args.size)), noise(args.images, args.size)
    record = Record(args.json, torch.device("cpu"))
    for batch in args.batches:
        record.add(measure(network, session, images, batch, args.turns))


if __name__ == "__main__":
    main()
