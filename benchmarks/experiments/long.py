"""How far label-free training closes the gap to labels, on rendered identities.

    python -m benchmarks.experiments.long                        # what is missing, then the table
    python -m benchmarks.experiments.long --methods united supervised --seeds 1
    python -m benchmarks.experiments.long --only-tables --write docs/experiments.md

One warm start on other identities, then each method on the same identities, with as many iterations
on batches of the same size; ``supervised`` is told the identities and is the ceiling.  The share of
the gap is (mAP - warm start) / (ceiling - warm start), every term of the same seed.  Finished runs
are lines of ``long.csv`` beside this file and are not run again.  No figure is a benchmark result.
"""

import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.experiments.pages import listed, mean, parser_of, put_into
from benchmarks.experiments.recorded import Records, values_of
from benchmarks.experiments.training import named, rendered, tested, train
from clustercontrast.files import atomic, read_events
from clustercontrast.report.charts import STYLES
from clustercontrast.report.pictures import calm
from clustercontrast.settings.recipes import all_recipes

SEEDS = (1, 2, 3)
PEOPLE = 100
SIZE = "--height 64 --width 32"
NETWORK = f"{SIZE} --depth 10 --no-non-local --test-batch 64 --erasing 0.2 --selection-images 256"
WARM = (
    f"--method supervised {NETWORK} --pretrained random --epochs 1 --iters 350 --lr 1e-3 "
    "--batch-size 16 --batch-visible 16 --num-instances 2 --draws 2"
)
FIRST, SECOND, ITERS = 2, 10, 60
BATCHES = "--batch-size 32 --batch-visible 32 --num-instances 4 --eval-draws 10 --eval-step 1"
SHARED = f"{NETWORK} {BATCHES} --lr 5e-4 --step-size 6 --iters {ITERS}"
CLUSTERS = "--k1 15 --k2 4 --eps 0.6"
TWO_STAGES = f"{SHARED} {CLUSTERS} --epochs {FIRST} {SECOND}"
JOINT = "--joint-k1 24 --joint-k2 4 --eps-joint 0.55"
METHODS = {
    "pgm": f"{TWO_STAGES} --match-always --eps-visible 0.72 --eval-from 0",
    "pclhd": f"{TWO_STAGES} {JOINT} --joint-k2 10 --eps-visible 0.72 --ema-decay 0.9",
    "bmil": f"{TWO_STAGES} {JOINT}",
    "united": f"{TWO_STAGES} {JOINT}",
    "supervised": f"{SHARED} --epochs {FIRST + SECOND}",
}
FIGURES = ("mAP", "start", "chance", "untrained", "curve", "minutes", "date")
RECORDS = Records(Path(__file__).with_suffix(".csv"), FIGURES)


def flags_of(method: str) -> str:
    """What a method is trained with, besides where it lies, its first weights and its seed."""
    return f"--method {method} {METHODS[method]}"


def setting_of(method: str) -> str:
    """All that a method's figures depend on but the seed."""
    return f"{flags_of(method)} ; {PEOPLE} identities ; {WARM}"


def run(folder: Path, warm: Path, method: str, seed: int) -> None:
    """Train a method with a seed, and record it."""
    started = time.monotonic()
    flags = f"{flags_of(method)} --pretrained {warm} --seed {seed}"
    place = train(folder, named(f"{method}-{seed}", flags), "people", flags)
    models = {name: own["mAP"]["mean"] for name, own in tested(place).items()}
    epochs = [e for e in read_events(place / "metrics.jsonl") if e["event"] == "epoch"]
    found = {name: models[name] for name in ("start", "chance", "untrained")}
    found |= {
        "mAP": models["last"],
        "curve": " ".join(f"{e['scores']['mAP']:.2f}" for e in epochs),
        "minutes": (time.monotonic() - started) / 60,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }
    RECORDS.add(method, seed, setting_of(method), found)


def runs_of(method: str) -> dict[int, dict[str, str]]:
    """Recorded runs of a method by seed."""
    return RECORDS.of(method, setting_of(method))


# --- table and picture ---


def shares(method: str) -> list[float]:
    """Percent of the gap that every seed closes for which the ceiling is known."""
    own, ceilings = runs_of(method), runs_of("supervised")
    found = []
    for seed in own.keys() & ceilings.keys():
        last, start = float(own[seed]["mAP"]), float(own[seed]["start"])
        found.append(100 * (last - start) / (float(ceilings[seed]["mAP"]) - start))
    return found


def table() -> str:
    """A row per method."""
    lines = [
        f"| trained from the warm start | mAP, seeds {listed(SEEDS, 'd')} | mean "
        "| share of the gap, % | mean |",
        "|---|---|---|---|---|",
    ]
    for method in METHODS:
        values = values_of(runs_of(method), "mAP")
        if not values:
            lines.append(f"| {title_of(method)} | not run | | | |")
            continue
        closed = shares(method) if method != "supervised" else []
        cells = [listed(values), mean(values), listed(closed, ".0f"), mean(closed, ".0f")]
        lines.append(" | ".join((f"| {title_of(method)}", *cells)) + " |")
    return "\n".join(lines)


def levels() -> str:
    """What is there before training; two figures where the warm start was trained twice."""
    runs = list(itertools.chain(*(runs_of(method).values() for method in METHODS)))
    names = {"chance": "chance", "untrained": "random weights", "start": "warm start"}
    found = []
    for name, title in names.items():
        values = sorted({f"{float(run[name]):.2f}" for run in runs})
        if values:
            found.append(f"{title} {' and '.join(values)}")
    return ", ".join(found)


def title_of(method: str) -> str:
    """A method as table and picture call it."""
    return "with labels" if method == "supervised" else all_recipes()[method].title


def picture(file: Path) -> None:
    """Curves of mAP over the iterations: the mean of the seeds, and the range between them."""
    figure = Figure(figsize=(8, 4.5), dpi=110, layout="constrained")
    axes = figure.subplots()
    for method, style in zip(METHODS, STYLES, strict=False):
        runs = runs_of(method)
        if runs:
            _draw(axes, method, runs, style)
    axes.axvline(FIRST * ITERS, color="0.7", linewidth=1, zorder=0)
    axes.annotate(
        "stage 2", (FIRST * ITERS, axes.get_ylim()[0]), (4, 4), textcoords="offset points"
    )
    axes.set_xlabel("iterations since the warm start")
    axes.set_ylabel("all-search mAP, % (rendered identities)")
    axes.legend(frameon=False)
    calm(axes)
    with atomic(file, "wb") as out:
        figure.savefig(out, format="png")


def _draw(axes, method: str, runs: Mapping[int, Mapping[str, str]], style: Mapping) -> None:
    curves = [[float(run["start"]), *map(float, run["curve"].split())] for run in runs.values()]
    columns = list(zip(*curves, strict=True))
    done = [epoch * ITERS for epoch in range(len(columns))]
    seeds = f"{len(curves)} seed{'s' if len(curves) > 1 else ''}"
    label = f"{title_of(method)} ({seeds})"
    axes.plot(done, [statistics.mean(own) for own in columns], label=label, **style)
    low, high = map(min, columns), map(max, columns)
    axes.fill_between(done, list(low), list(high), color=style["color"], alpha=0.12, linewidth=0)


def main() -> None:
    """Train what is missing, print the table."""
    parser = parser_of(__doc__.partition("\n")[0], "data/experiments-long", SEEDS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--picture", type=Path, metavar="PNG", help="draw the curves")
    o = parser.parse_args()
    if not o.only_tables:
        work(o.folder.resolve(), o.methods, o.seeds)
    found = {"shares": table(), "levels": levels()}
    print("\n\n".join(found.values()))
    if o.picture:
        picture(o.picture)
    if o.write:
        put_into(o.write, "long", found)


def work(folder: Path, methods: Sequence[str], seeds: Sequence[int]) -> None:
    """Train what is not recorded."""
    rendered(folder, "others", "--identities 150 --seed 2", SIZE)
    rendered(folder, "people", f"--identities {PEOPLE} --seed 1", SIZE)
    warm = train(folder, named("warm", WARM), "others", WARM) / "supervised" / "last.pth"
    for seed, method in itertools.product(seeds, methods):
        if seed not in runs_of(method):
            run(folder, warm, method, seed)


if __name__ == "__main__":
    main()
