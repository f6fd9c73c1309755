"""Floating-point operations of networks and steps, counted, and the time that they need at least.

    python -m benchmarks.roofline

Counted by torch on tensors without values, two operations per multiplication and addition; an H100
(SXM, dense products) does 67 TFLOP/s in float32, 495 in TF32 and 989 in bfloat16 by its data sheet.
"""

import argparse

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.record import Record, add_arguments
from clustercontrast.models.two_stream_resnet import TwoStreamResNet
from clustercontrast.settings.command_line import parse

H100 = {"fp32": 67e12, "tf32": 495e12, "bf16": 989e12}
"""Operations per second."""
META = torch.device("meta")


def count(visible: int, infrared: int, trained: bool) -> int:
    """Of one pass of ResNet-50 with non-local blocks over so many 288x144 images.

    Args:
        visible: images.
        infrared: images.
        trained: with the backward pass.
    """
    network = TwoStreamResNet(50).to(META)
    images = (torch.empty(number, 3, 288, 144, device=META) for number in (visible, infrared))
    counter = FlopCounterMode(display=False)
    with counter, torch.set_grad_enabled(trained):
        features = torch.cat(network(*images))
        if trained:
            features.sum().backward()
    return counter.get_total_flops()


def pclhd_iteration() -> int:
    """Of PCLHD's second stage: a step, the momentum encoder, the joint step."""
    args = parse("sysu", ["--method", "pclhd"]).at("progressive")
    sizes = 2 * args.batch_visible, args.batch_size
    return 2 * count(*sizes, trained=True) + count(*sizes, trained=False)


def rows() -> list[dict]:
    """What is counted, with the seconds that an H100 needs at least."""
    counts = {
        "forward, per image": count(4, 4, trained=False) / 8,
        "forward and backward, per image": count(4, 4, trained=True) / 8,
        "iteration of PCLHD's second stage": pclhd_iteration(),
    }
    return [
        {"what": what, "gflop": flop / 1e9}
        | {f"h100_{name}_ms": 1000 * flop / speed for name, speed in H100.items()}
        for what, flop in counts.items()
    ]


def main() -> None:
    """Print and keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_arguments(parser)
    args = parser.parse_args()
    record = Record(args.json, META)
    for row in rows():
        record.add(row)


if __name__ == "__main__":
    main()
