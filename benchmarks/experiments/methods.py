"""Methods side by side on rendered identities, and a part of the visible images per epoch.

    python -m benchmarks.experiments.methods                   # what is missing, then the tables
    python -m benchmarks.experiments.methods --seeds 1 --rows pgm pgm-half
    python -m benchmarks.experiments.methods --only-tables --write docs/experiments.md

Whatever is finished stays so: the same command goes on where it was stopped, and several processes
with other rows or seeds can work in one folder.  Rendered identities say that the parts of a method
work together and what each does here; they say nothing about SYSU-MM01.

Rendered are identities in SYSU-MM01's layout and, for the warm start, others (as in the demo).
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.experiments.pages import Experiment, listed, mean
from benchmarks.experiments.recorded import differences
from benchmarks.experiments.training import rendered, train
from clustercontrast.files import read_events
from clustercontrast.settings.recipes import all_recipes

SEEDS = (1, 2, 3)
PEOPLE = 40  # training identities
SETS = {  # folder: flags of the renderer
    "people": f"--identities {PEOPLE} --seed 1",
    "others": "--identities 150 --seed 2",
}
SIZE = "--height 48 --width 24"
NETWORK = f"{SIZE} --depth 10 --no-non-local --test-batch 64 --erasing 0.2"
WARM = (
    f"--method supervised {NETWORK} --pretrained random --epochs 1 --iters 350 --lr 1e-3 "
    "--batch-size 16 --batch-visible 16 --num-instances 2 --selection-images 256 --draws 2"
)
CLUSTERING = "--k1 15 --k2 4 --eps 0.6"
SHARED = (
    f"{NETWORK} {CLUSTERING} --batch-size 32 --batch-visible 32 --num-instances 4 --lr 5e-4 "
    "--step-size 2 --iters 20 --eval-from 9 --eval-draws 10 --draws 1 --selection-images 256"
)
TWO_STAGES = f"{SHARED} --epochs 2 2"
JOINT = "--joint-k1 24 --joint-k2 10 --eps-joint 0.65"
THREE_STAGES = (
    f"{SHARED} {JOINT} --batch-size 32 32 24 --lr 5e-4 5e-4 0.02 --epochs 2 2 4 "
    "--iters 20 20 0 --warm-epochs 1"
)
METHODS = {
    "adca": TWO_STAGES,
    "pgm": f"{TWO_STAGES} --match-always",
    "pclhd": f"{TWO_STAGES} {JOINT} --ema-decay 0.9",
    "rpnr": f"{TWO_STAGES} --npc-members 10",
    "mmm": THREE_STAGES,
    "pca": f"{TWO_STAGES} {JOINT} --adversarial-from 1 0",
    "bmil": f"{TWO_STAGES} --joint-k1 24 --joint-k2 4 --eps-joint 0.65",
    "posed": TWO_STAGES,
    "gur": (
        f"{SHARED} --epochs 2 --eps-camera 0.55 --camera-iters 3 --unify-from 1 --smooth-from 1 "
        "--unify-neighbours 10 --joint-epochs 1"
    ),
}
ONE_STAGE = ("gur",)
HALVED = ("adca", "pgm", "pclhd", "rpnr", "mmm", "pca")
CONTROL_EPS = 0.75


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        method: that is trained.
        flags: besides those of every run of the method.
    """

    method: str
    flags: str = ""


ROWS = {
    **{method: Row(method) for method in METHODS},
    "bmil-posed": Row("bmil", "--joint-loss posed"),
    **{f"{method}-half": Row(method, "--visible-share 0.5") for method in HALVED},
    **{f"{method}-eps": Row(method, f"--eps-visible {CONTROL_EPS}") for method in HALVED},
}


def titled(name: str) -> str:
    """A row as the table calls it."""
    row = ROWS[name]
    return all_recipes()[row.method].title + (f" `{row.flags}`" if row.flags else "")


# --- work ---


def train_row(folder: Path, warm: Path, name: str, seed: int) -> Path:
    """One row with one seed."""
    row = ROWS[name]
    flags = f"--method {row.method} {METHODS[row.method]} {row.flags}"
    return train(folder, f"{name}-{seed}", "people", f"{flags} --pretrained {warm} --seed {seed}")


# --- tables ---


def epochs(folder: Path, name: str, seed: int) -> list[dict]:
    """The last epoch of every stage of a run; empty if it is not finished."""
    place = folder / "logs" / "sysu" / ROWS[name].method / f"{name}-{seed}"
    if not (place / "report.json").exists():
        return []
    lines = [e for e in read_events(place / "metrics.jsonl") if e["event"] == "epoch"]
    return list({line["stage"]: line for line in lines}.values())


def over_seeds(folder: Path, name: str, value: Callable[[list[dict]], float]) -> dict[int, float]:
    """A number of every seed's run that is finished."""
    found = {seed: epochs(folder, name, seed) for seed in SEEDS}
    return {seed: value(last) for seed, last in found.items() if last}


def last_map(stages: list[dict]) -> float:
    """Percent of mAP after the last stage."""
    return stages[-1]["scores"]["mAP"]


def first_map(stages: list[dict]) -> float:
    """Percent of mAP after the first stage."""
    return stages[0]["scores"]["mAP"]


def visible(stages: list[dict]) -> dict[str, float]:
    """What the last stage that clusters says of its visible clusters."""
    clustered = [s["clusters"]["visible"] for s in stages if s["stage"] != "final"]
    return clustered[-1]


def methods(folder: Path) -> str:
    """What the later stages add to the first."""
    lines = [
        f"| method | stage 1, seeds {listed(SEEDS, 'd')} | mean | last stage | mean | gain |",
        "|---|---|---|---|---|---|",
    ]
    for name in (*METHODS, "bmil-posed"):
        before, after = (over_seeds(folder, name, value) for value in (first_map, last_map))
        if ROWS[name].method in ONE_STAGE:
            before = {}
        gains = differences(after, before).values()
        cells = [listed(before.values()), mean(before.values())]
        cells += [listed(after.values()), mean(after.values()), mean(gains, "+.2f")]
        lines.append(" | ".join((f"| {titled(name)}", *cells)) + " |")
    return "\n".join(lines)


def shares(folder: Path) -> str:
    """A part of the visible images per epoch, and a larger radius in its place."""
    lines = [
        f"| row | mAP, seeds {listed(SEEDS, 'd')} | mean | minus all images | visible clusters per "
        "identity | ARI of visible clusters |",
        "|---|---|---|---|---|---|",
    ]
    for method, kind in itertools.product(HALVED, ("", "-half", "-eps")):
        own, whole = (over_seeds(folder, name, last_map) for name in (method + kind, method))
        gains = differences(own, whole if kind else {}).values()
        clusters = over_seeds(folder, method + kind, lambda s: visible(s)["clusters"] / PEOPLE)
        ari = over_seeds(folder, method + kind, lambda s: visible(s)["ari"])
        cells = [listed(own.values()) or "not run", mean(own.values()), mean(gains, "+.2f")]
        cells += [mean(clusters.values()), mean(ari.values())]
        lines.append(" | ".join((f"| {titled(method + kind)}", *cells)) + " |")
    return "\n".join(lines)


def begin(folder: Path) -> Path:
    """Both sets, and the network that every row starts from."""
    for name, flags in SETS.items():
        rendered(folder, name, flags, SIZE)
    return train(folder, "warm", "others", WARM) / "supervised" / "last.pth"


EXPERIMENT = Experiment(
    "methods",
    "Methods side by side on rendered identities, and a part of the visible images per epoch.",
    "data/experiments-methods",
    list(ROWS),
    SEEDS,
    begin,
    train_row,
    {"stages": methods, "shares": shares},
)


if __name__ == "__main__":
    EXPERIMENT.run()
