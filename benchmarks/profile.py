"""Where the time of five training steps goes, operation by operation.

    python -m benchmarks.profile                          # PCLHD's last stage, official batches
    python -m benchmarks.profile --json profile.json --trace trace.json

A real run on tiny rendered images, of which the profiler sees five iterations after some to warm
up; the rows are the operations that take most of the device's time (on a CPU: of the CPU's).
"""

import argparse
import tempfile
from pathlib import Path

from torch.profiler import ProfilerActivity, profile, schedule

from benchmarks.epoch import SIZES_OF_RUN, rendered, words
from benchmarks.record import Record, add_arguments
from clustercontrast.commands.cli import train
from clustercontrast.engine.run import Run

WARM_UP, STEPS, SHOWN = 4, 5, 25


class Ticking:
    """Tells a profiler of every iteration of a stage."""

    def __init__(self, profiler: profile, stage: str) -> None:
        self.profiler, self.stage, self.tick = profiler, stage, Run.tick

    def __enter__(self) -> None:
        tick, profiler, name = self.tick, self.profiler, self.stage

        def counted(run, stage, *rest):
            tick(run, stage, *rest)
            if stage.name == name:
                profiler.step()

        Run.tick = counted

    def __exit__(self, *_) -> None:
        Run.tick = self.tick


def rows(profiler: profile, is_gpu: bool) -> list[dict]:
    """The operations that took longest, milliseconds per step."""
    found = [
        {
            "operation": event.key,
            "calls": event.count / STEPS,
            "device_ms": event.self_device_time_total / 1000 / STEPS,
            "cpu_ms": event.self_cpu_time_total / 1000 / STEPS,
        }
        for event in profiler.key_averages()
    ]
    return sorted(found, key=lambda row: -row["device_ms" if is_gpu else "cpu_ms"])[:SHOWN]


def main() -> None:
    """Train, profile, print and keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=SIZES_OF_RUN, default="full")
    parser.add_argument("--trace", type=Path, help="for chrome://tracing")
    add_arguments(parser)
    args = parser.parse_args()
    is_gpu = args.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_gpu else [])]
    plan = schedule(wait=0, warmup=WARM_UP, active=STEPS, repeat=1)
    with tempfile.TemporaryDirectory() as folder:
        people = rendered(Path(folder), args.size)
        command = words(people, args.size, args.device, iterations=WARM_UP + STEPS)
        profiler = profile(activities=activities, schedule=plan)
        with profiler, Ticking(profiler, "progressive"):
            train("sysu", command)
    if args.trace:
        profiler.export_chrome_trace(str(args.trace))
    record = Record(args.json, args.device)
    for row in rows(profiler, is_gpu):
        record.add(row)


if __name__ == "__main__":
    main()
