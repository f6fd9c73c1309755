"""Where an epoch's time goes: features, clustering, association, steps, evaluation, saving.

    python -m benchmarks.epoch logs/sysu/pclhd/seed1        # of a run that was made before
    python -m benchmarks.epoch                              # of PCLHD on tiny rendered images, now
    python -m benchmarks.epoch --size full                  # the same at 288x144, official batches
    python -m benchmarks.epoch RUN --json epoch.json

Every run keeps this account itself, in the "saved" events of metrics.jsonl; this prints the mean
seconds per epoch and stage, and each part's share.
"""

import argparse
import json
import shlex
import tempfile
from collections import defaultdict
from pathlib import Path

from benchmarks.record import Record, add_arguments
from clustercontrast.commands.cli import prepare, train
from clustercontrast.rendering.layouts import SIZES, render_sysu

CLUSTERING = "--k1 8 --k2 3 --joint-k1 10 --joint-k2 4 --pretrained random"
SIZES_OF_RUN = {
    "tiny": (
        "--height 64 --width 32",
        "--depth 10 -b 16 --batch-visible 16 --num-instances 4 --eps 0.7",
    ),
    "full": ("--height 288 --width 144", "--eps 0.6"),  # the official network and batches
}
"""Name -> size of the images; other flags, with an eps at which random features make clusters."""
ITERATIONS = {"tiny": 10, "full": 20}


def account(run: Path) -> dict[str, dict[str, float]]:
    """Mean seconds of every part by stage."""
    events = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    stages = defaultdict(list)
    for event in events:
        if event["event"] == "saved":
            stages[event["stage"]].append(event["seconds"])
    return {
        stage: {part: sum(s.get(part, 0.0) for s in epochs) / len(epochs) for part in epochs[-1]}
        for stage, epochs in stages.items()
    }


def rendered(folder: Path, size: str) -> Path:
    """Few people, rendered and prepared at the images' size."""
    people = folder / "people"
    render_sysu(people, SIZES["tiny"], seed=0)
    prepare("sysu", ["--data-dir", str(people), *shlex.split(SIZES_OF_RUN[size][0])])
    return people


def words(people: Path, size: str, device: object, iterations: int) -> list[str]:
    """The command line of a PCLHD run of one epoch per stage."""
    flags = shlex.split(" ".join((*SIZES_OF_RUN[size], CLUSTERING)))
    places = ["--data-dir", str(people), "--logs-dir", str(people.parent / "logs")]
    length = ["--epochs", "1", "--iters", str(iterations), "--device", str(device)]
    return ["--method", "pclhd", *flags, *places, *length]


def new_run(folder: Path, size: str, device: object) -> Path:
    """Render, prepare and train an epoch per stage."""
    people = rendered(folder, size)
    train("sysu", words(people, size, device, ITERATIONS[size]))
    return folder / "logs/sysu/pclhd/seed1"


def main() -> None:
    """Print and keep the account of a run, one row per stage and part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--size", choices=SIZES_OF_RUN, default="tiny")
    add_arguments(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stages = account(args.run or new_run(Path(folder), args.size, args.device))
    record = Record(args.json, args.device)
    for stage, parts in stages.items():
        for part, seconds in parts.items():
            share = 100 * seconds / parts["total"]
            record.add({"stage": stage, "part": part, "seconds": seconds, "percent": share})


if __name__ == "__main__":
    main()
