"""Where an epoch's time goes: features, clustering, association, steps, evaluation, saving.

    python -m benchmarks.epoch logs/sysu/pclhd/seed1        # of a run that was made before
    python -m benchmarks.epoch                              # of PCLHD on tiny rendered images, now
    python -m benchmarks.epoch RUN --json epoch.json

Every run keeps this account itself, in the "saved" events of metrics.jsonl; this prints the mean
seconds per epoch and stage, and each part's share.
"""

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path

from clustercontrast.commands.cli import prepare, train
from clustercontrast.rendering.layouts import SIZES, render_sysu

SMALL = "--height 64 --width 32"
FLAGS = (
    f"--method pclhd {SMALL} --depth 10 --pretrained random --epochs 2 --iters 10 -b 16 "
    "--batch-visible 16 --num-instances 4 --k1 8 --k2 3 --joint-k1 10 --joint-k2 4 --eps 0.7"
)


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


def tiny_run(folder: Path) -> Path:
    """Render, prepare and train a few iterations."""
    render_sysu(folder / "tiny", SIZES["tiny"], seed=0)
    prepare("sysu", f"--data-dir {folder}/tiny {SMALL}".split())
    train("sysu", f"{FLAGS} --data-dir {folder}/tiny --logs-dir {folder}/logs".split())
    return folder / "logs/sysu/pclhd/seed1"


def main() -> None:
    """Print the account of a run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stages = account(args.run or tiny_run(Path(folder)))
    for stage, parts in stages.items():
        print(f"{stage}: {parts['total']:.1f} s per epoch")
        for part, seconds in parts.items():
            if part != "total":
                print(f"  {part:12} {seconds:8.2f} s  {100 * seconds / parts['total']:5.1f} %")
    if args.json:
        args.json.write_text(json.dumps(stages, indent=2))


if __name__ == "__main__":
    main()
