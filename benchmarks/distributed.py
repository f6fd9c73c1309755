"""What a training step costs each of several processes: computed, and gloo measured beside it.

    python -m benchmarks.distributed
    python -m benchmarks.distributed --measured 2 4 --rounds 10

Computed for a step of two views of 128 visible images and 128 infrared ones of 288x144 pixels
through a ResNet-50 with non-local blocks: operations as torch counts them, and the bytes that a
ring exchanges, 2 (N - 1) / N of the gradients and (N - 1) / N of the features.  Measured on this
machine: seconds that the same exchange takes through gloo on the loopback interface, without the
step itself.
"""

import argparse
import multiprocessing
import os
import socket
import statistics
import time

import torch

from benchmarks.record import Record, add_arguments
from benchmarks.roofline import META, count
from clustercontrast.models.two_stream_resnet import TwoStreamResNet
from clustercontrast.processes import ranks

PROCESSES = (1, 2, 4, 8, 64)
VISIBLE, INFRARED, CLUSTERS, WIDTH = 256, 128, 500, 2048
IMAGES = VISIBLE + INFRARED
FLOAT = 4  # bytes
MIB = 2**20


def parameters() -> int:
    """Trained numbers of the network."""
    network = TwoStreamResNet(50).to(META)
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def computed(processes: int, step: int, numbers: int) -> dict:
    """Of one process and step.

    Args:
        processes: N, each with its BatchNorm groups.
        step: operations of the whole network on the whole batch, forward and backward.
        numbers: trained numbers of the network.
    """
    others = (processes - 1) / processes
    return {
        "processes": processes,
        "images": IMAGES / processes,
        "network_gflop": step / processes / 1e9,
        # Scores against a memory, their gradient, on every process.
        "loss_gflop": 2 * 2 * IMAGES * CLUSTERS * WIDTH / 1e9,
        "features_mib": others * IMAGES * WIDTH * FLOAT / MIB,
        "gradients_mib": 2 * others * numbers * FLOAT / MIB,
    }


def measured(processes: int, numbers: int, rounds: int) -> float:
    """Median seconds of one step's exchange between processes of this machine."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    arguments = processes, numbers, rounds, port, queue
    started = [context.Process(target=_exchange, args=(n, *arguments)) for n in range(processes)]
    for process in started:
        process.start()
    seconds = queue.get()
    for process in started:
        process.join()
    return seconds


def _exchange(
    number: int, processes: int, numbers: int, rounds: int, port: int, queue: object
) -> None:
    os.environ |= {
        "RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    torch.set_num_threads(1)
    ranks.join(torch.device("cpu"))
    features, gradients = torch.ones(IMAGES // processes, WIDTH), [torch.ones(numbers)]
    seconds = []
    for _ in range(rounds + 1):  # the first one connects
        ranks.everyones(None)
        started = time.perf_counter()
        ranks.joined(features)
        ranks.average(gradients)
        seconds.append(time.perf_counter() - started)
    if number == 0:
        queue.put(statistics.median(seconds[1:]))
    ranks.leave()


def main() -> None:
    """Print and keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_arguments(parser)
    parser.add_argument("--measured", nargs="*", type=int, default=[2, 4], help="processes")
    parser.add_argument("--rounds", type=int, default=5, help="exchanges of each")
    args = parser.parse_args()
    record = Record(args.json, META)
    step, numbers = count(VISIBLE, INFRARED, trained=True), parameters()
    for processes in PROCESSES:
        row = computed(processes, step, numbers)
        if processes in args.measured:
            row["gloo_seconds"] = measured(processes, numbers, args.rounds)
        record.add(row)


if __name__ == "__main__":
    main()
