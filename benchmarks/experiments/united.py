"""What every part of ``united`` does on rendered identities: E1 to E8, three seeds each.

    python -m benchmarks.experiments.united --experiments E2 E4     # what is missing, then tables
    python -m benchmarks.experiments.united --only-tables --write docs/experiments.md

A seed has identities of its own, rendered with that seed, and all begin with one warm start on
other identities.  A cell is a set of flags, and stands in every experiment that asks for it.
Finished runs are lines of ``united.csv`` beside this file, and are not run again; the same command
goes on where it was stopped, and several processes may share the work (``--seeds``).  Rendered
identities say what a part does *there*, and nothing about SYSU-MM01.
"""

import itertools
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_array

from benchmarks.experiments.pages import listed, mean, parser_of, put_into
from benchmarks.experiments.recorded import Records, effect, pooled, values_of
from benchmarks.experiments.training import named, rendered, tested, train
from clustercontrast.clustering.dbscan import dbscan
from clustercontrast.clustering.jaccard import balanced_jaccard, jaccard, modality_jaccard
from clustercontrast.data.images import open_prepared
from clustercontrast.engine.run import saved_model
from clustercontrast.evaluation.diagnostics import clustering_quality
from clustercontrast.evaluation.features import extract
from clustercontrast.files import read_events
from clustercontrast.methods.clustering_stage import mixed_clusters
from clustercontrast.models import weights
from clustercontrast.settings.recipes import all_recipes

SEEDS = (1, 2, 3)
PEOPLE = 60  # training identities
SIZE = "--height 64 --width 32"
NETWORK = f"{SIZE} --depth 10 --no-non-local --test-batch 64 --erasing 0.2"
WARM = (
    f"--method supervised {NETWORK} --pretrained random --epochs 1 --iters 350 --lr 1e-3 "
    "--batch-size 16 --batch-visible 16 --num-instances 2 --selection-images 256 --draws 2"
)
SHARED = (
    f"{NETWORK} --batch-size 32 --batch-visible 32 --num-instances 4 --lr 5e-4 --step-size 2 "
    "--epochs 2 4 --iters 40 --eval-from 99 --draws 10 --selection-images 256 "
    "--k1 15 --k2 4 --eps 0.6"
)
JOINT_K1, JOINT_K2, EPS_JOINT = 24, 4, 0.55
JOINT = f"--joint-k1 {JOINT_K1} --eps-joint {EPS_JOINT}"
OF_STAGE_1 = ("--visible-share", "--joint-half", "--eps-visible")  # the second goes with the first
BY_CAMERA = "--joint-distance camera"
METHODS = {
    "united": f"{JOINT} --eval-draws 1",
    "pgm": "--match-always",
    "pclhd": f"{JOINT} --joint-k2 10 --ema-decay 0.9",
}


@dataclass(frozen=True)
class Cell:
    """A point of a grid.

    Attributes:
        title: as the table calls it.
        flags: besides those of every run of the method; what comes later wins.
        method: that is trained.
    """

    title: str
    flags: str = ""
    method: str = "united"

    @property
    def name(self) -> str:
        """Of the run, and of the cell in the table of runs: the same flags have the same name."""
        return "_".join([self.method, *self.flags.replace("--", "").split()])

    @property
    def first(self) -> "Cell":
        """What its first stage depends on."""
        words = self.flags.split()
        pairs = zip(words[::2], words[1::2], strict=True)
        own = [" ".join(pair) for pair in pairs if pair[0] in OF_STAGE_1]
        return Cell(self.title, " ".join(own), self.method)

    @property
    def every_flag(self) -> str:
        """What it is trained with, besides where it lies, its first weights and its seed."""
        own = METHODS[self.method]
        if self.method == "united" and BY_CAMERA not in self.flags:
            own += f" --joint-k2 {JOINT_K2}"
        return f"--method {self.method} {SHARED} {own} {self.flags}".strip()

    @property
    def setting(self) -> str:
        """All that its figures depend on but the seed."""
        return f"{self.every_flag} ; {PEOPLE} identities ; {WARM}"


@dataclass(frozen=True)
class Question:
    """An experiment.

    Attributes:
        title: what is asked.
        cells: rows of its table; effects are against the first, or the first of their method.
    """

    title: str
    cells: tuple[Cell, ...]


def shares() -> Iterable[Cell]:
    """E1: parts of the visible images, and a larger radius in their place."""
    for method, share, eps in itertools.product(
        ("united", "pgm", "pclhd"), (1, 0.75, 0.5, 0.33), (0.6, 0.72)
    ):
        is_default = share == (0.5 if method == "united" else 1)
        flags = [] if is_default else [f"--visible-share {share}"]
        if share == 0.75 and method != "pgm":
            flags.append("--joint-half all")  # no second part is left
        if eps != 0.6:
            flags.append(f"--eps-visible {eps}")
        title = f"{all_recipes()[method].title}, share {share}, ε {eps}"
        yield Cell(title, " ".join(flags), method)


def grid() -> Iterable[Cell]:
    """E6: share x distance x distillation, each as it is by default or off."""
    switches = (
        ("share 1", "--visible-share 1"),
        ("plain distance", "--joint-distance plain"),
        ("no distillation", "--distil none"),
    )
    for off in itertools.product((False, True), repeat=3):
        chosen = [switch for switch, is_off in zip(switches, off, strict=True) if is_off]
        title = ", ".join(own[0] for own in chosen) or "united"
        yield Cell(title, " ".join(own[1] for own in chosen))


DEFAULT = Cell("united")
QUESTIONS = {
    "E1": Question(
        "does a part of the images repair over-splitting, and does a radius?", (*shares(),)
    ),
    "E2": Question(
        "distance of the joint clustering, trained",
        (
            DEFAULT,
            Cell("balanced", "--joint-distance balanced"),
            Cell("plain", "--joint-distance plain"),
        ),
    ),
    "E3": Question(
        "proxies of either modality, or one row pair",
        (DEFAULT, Cell("one row pair", "--joint-memory hybrid")),
    ),
    "E4": Question(
        "self-distillation",
        (
            DEFAULT,
            Cell("none", "--distil none"),
            Cell("separate", "--distil separate"),
            Cell("fusion 0", "--fusion 0"),
            Cell("fusion 1", "--fusion 1"),
            Cell("γ 0.025", "--teacher-temp 0.025"),
            Cell("γ 0.1", "--teacher-temp 0.1"),
        ),
    ),
    "E5": Question(
        "distillation without the contrast of proxies",
        (DEFAULT, Cell("w_p 0", "--joint-weight 0"), Cell("none", "--distil none")),
    ),
    "E6": Question("share, distance and distillation together", (*grid(),)),
    "E7": Question(
        "cameras (of the camera-aware kind)",
        (
            DEFAULT,
            Cell("proxies by camera", "--proxies camera"),
            Cell("distance by camera", BY_CAMERA),
            Cell("both", f"--proxies camera {BY_CAMERA}"),
        ),
    ),
    "E8": Question(
        "a momentum teacher: better targets, or averaged weights",
        (
            DEFAULT,
            Cell("teaches, is tested", "--teacher ema --ema-decay 0.9"),
            Cell(
                "teaches, the encoder is tested",
                "--teacher ema --ema-decay 0.9 --retrieval encoder",
            ),
            Cell("nobody's feature teaches", "--fusion 0"),
            Cell(
                "nobody's feature teaches, averaged weights are tested",
                "--fusion 0 --teacher ema --ema-decay 0.9 --cluster-with online",
            ),
        ),
    ),
}
FIGURES = (
    "mAP", "rank1", "start", "chance", "stage1", "clusters_per_person", "ari_visible",
    "ari_infrared", "ari_joint", "mixed", "gap_first", "gap_last", "positives", "right",
    "right_single", "minutes", "date",
)  # fmt: skip
RECORDS = Records(Path(__file__).with_suffix(".csv"), FIGURES)
FROZEN = Records(
    Path(__file__).with_name("united-frozen.csv"), ("clusters", "outliers", "ari", "mixed")
)
DISTANCES, RADII = ("modality", "balanced", "plain"), (0.45, 0.5, 0.55, 0.6, 0.65)
UNSAMPLED = Cell("all images", "--visible-share 1")
FROZEN_FLAGS = f"{UNSAMPLED.first.setting} ; --joint-k1 {JOINT_K1} --joint-k2 {JOINT_K2}"


# --- work ---


def begin(folder: Path, seeds: Sequence[int]) -> Path:
    """The sets, and the network that every run starts from."""
    rendered(folder, "others", "--identities 150 --seed 9", SIZE)
    for seed in seeds:
        rendered(folder, f"people-{seed}", f"--identities {PEOPLE} --seed {seed}", SIZE)
    return train(folder, named("warm", WARM), "others", WARM) / "supervised" / "last.pth"


def first_stage(folder: Path, warm: Path, cell: Cell, seed: int) -> Path:
    """Stage 1 of a cell, which cells that agree in its flags share."""
    flags = f"{cell.first.every_flag} --stages intra --pretrained {warm} --seed {seed}"
    name = named(f"intra_{cell.first.name}-{seed}", flags)
    return train(folder, name, f"people-{seed}", flags)


def run_cell(folder: Path, warm: Path, cell: Cell, seed: int) -> None:
    """Train a cell with a seed, and record it."""
    started, before = time.monotonic(), first_stage(folder, warm, cell, seed)
    flags = f"{cell.every_flag} --stage1 {before}/intra/last.pth --seed {seed}"
    name = named(f"{cell.name}-{seed}", flags)
    place = train(folder, name, f"people-{seed}", flags)
    minutes = (time.monotonic() - started) / 60
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    found = figures(before, place) | {"minutes": minutes, "date": today}
    RECORDS.add(cell.name, seed, cell.setting, found)


def figures(before: Path, place: Path) -> dict[str, float]:
    """What a finished run, and its first stage, say of retrieval and of the last clusters."""
    first, own = tested(before), tested(place)["last"]
    epochs = [e for e in read_events(place / "metrics.jsonl") if e["event"] == "epoch"]
    clusters = epochs[-1]["clusters"]
    joint = clusters.get("joint_clusters") or clusters.get("joint") or {}
    teacher = clusters.get("teacher", {})
    found = {
        "mAP": own["mAP"]["mean"],
        "rank1": own["rank1"]["mean"],
        "start": first["start"]["mAP"]["mean"],
        "chance": first["chance"]["mAP"]["mean"],
        "stage1": first["last"]["mAP"]["mean"],
        "clusters_per_person": clusters["visible"]["clusters"] / PEOPLE,
        "ari_visible": clusters["visible"]["ari"],
        "ari_infrared": clusters["infrared"]["ari"],
        "ari_joint": joint.get("ari"),
        "mixed": clusters.get("association_rate"),
        "gap_first": epochs[0]["clusters"].get("modality_gap"),
        "gap_last": clusters.get("modality_gap"),
        **{name: teacher.get(name) for name in ("positives", "right", "right_single")},
    }
    return {name: value for name, value in found.items() if value is not None}


# --- E2, without training ---


def joint_distances(name: str, features: Sequence[torch.Tensor]) -> csr_array:
    """Distances of both modalities clustered together."""
    if name == "plain":
        return jaccard(torch.cat(tuple(features)), JOINT_K1, JOINT_K2)
    make = {"modality": modality_jaccard, "balanced": balanced_jaccard}[name]
    return make(*features, JOINT_K1, JOINT_K2)


def cluster_frozen(folder: Path, warm: Path, seed: int) -> None:
    """A joint clustering per distance and radius, of features after stage 1, of all images."""
    place = first_stage(folder, warm, UNSAMPLED, seed)
    network = weights.network_for(saved_model(place / "intra", "last")["weights"]).eval()
    parts = open_prepared(folder / f"people-{seed}-64x32", "sysu").parts()
    images = parts["train_visible"], parts["train_infrared"]
    with torch.no_grad():
        features = [extract(network, own, 64) for own in images]
    people, split = np.concatenate([own.index.identities for own in images]), len(features[0])
    for name in DISTANCES:
        distances = joint_distances(name, features)
        for eps in RADII:
            y = dbscan(distances, eps, 4)
            quality = clustering_quality(y, people)
            found = {key: float(quality[key]) for key in ("clusters", "outliers", "ari")}
            found["mixed"] = len(mixed_clusters(y, split)) / max(1, quality["clusters"])
            FROZEN.add(f"{name} {eps}", seed, FROZEN_FLAGS, found)


# --- tables ---


def gains(runs: Mapping[int, Mapping[str, str]]) -> dict[int, float]:
    """Seed -> all-search mAP above the warm start's on the same people."""
    return {seed: float(run["mAP"]) - float(run["start"]) for seed, run in runs.items()}


def table_of(question: Question) -> str:
    """A row per cell; effects against the first cell of the same method."""
    lines = [
        "| cell | mAP above the warm start | mean | minus the first, by seed | mean (pooled sd) "
        "| visible clusters a person | ARI visible, infrared, joint | joint clusters of both "
        "| gap of modalities | right |",
        "|---" * 10 + "|",
    ]
    first: dict[str, dict[int, float]] = {}
    for cell in question.cells:
        runs = RECORDS.of(cell.name, cell.setting)
        if not runs:
            lines.append(f"| {cell.title} | not run | | | | | | | | |")
            continue
        own = gains(runs)
        reference = first.setdefault(cell.method, own)
        apart = [own[seed] - reference[seed] for seed in own if seed in reference]
        is_first = own is reference
        aris = (mean(values_of(runs, f"ari_{side}")) for side in ("visible", "infrared", "joint"))
        before, after = (mean(values_of(runs, f"gap_{when}")) for when in ("first", "last"))
        cells = [
            listed(own.values(), "+.2f"),
            mean(own.values(), "+.2f"),
            "" if is_first else listed(apart, "+.2f"),
            "" if is_first else effect([*own.values()], [*reference.values()]),
            mean(values_of(runs, "clusters_per_person")),
            ", ".join(filter(None, aris)),
            mean(values_of(runs, "mixed")),
            f"{before} to {after}" if before else "",
            mean(values_of(runs, "right")),
        ]
        lines.append(" | ".join((f"| {cell.title}", *cells)) + " |")
    return "\n".join(lines)


def main_effects() -> str:
    """What each of E6's switches does over all settings of the others, and share with distance."""
    cells = list(grid())
    found = [[*gains(RECORDS.of(cell.name, cell.setting)).values()] for cell in cells]
    if min(map(len, found)) < 2:
        return "Main effects: not all cells of the grid have been run."
    sd = pooled(*found)
    lines = ["| switched off | effect on mAP | in deviations |", "|---|---|---|"]
    means = np.array([statistics.mean(own) for own in found]).reshape(2, 2, 2)
    for axis, name in enumerate(("halves", "modality-aware distance", "self-distillation")):
        on, off = means.mean(axis=tuple({0, 1, 2} - {axis}))
        lines.append(f"| {name} | {off - on:+.2f} | {abs(off - on) / sd:.1f} |")
    pair = means.mean(axis=2)
    both = (pair[0, 0] - pair[1, 0] - pair[0, 1] + pair[1, 1]) / 2
    lines.append(f"| halves and distance, beyond each alone | {both:+.2f} | {abs(both) / sd:.1f} |")
    return "\n".join(lines)


def frozen_table() -> str:
    """E2 without training: quality of the joint clusters by distance and radius."""
    lines = [
        "| distance | ε | joint clusters a person | outliers | ARI | clusters of both modalities |",
        "|---|---|---|---|---|---|",
    ]
    for name, eps in itertools.product(DISTANCES, RADII):
        runs = FROZEN.of(f"{name} {eps}", FROZEN_FLAGS)
        counts = [value / PEOPLE for value in values_of(runs, "clusters")]
        cells = [mean(counts) or "not run"]
        cells += [mean(values_of(runs, key)) for key in ("outliers", "ari", "mixed")]
        lines.append(" | ".join((f"| {name} | {eps}", *cells)) + " |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """Every experiment's table by its name."""
    found = {name: table_of(question) for name, question in QUESTIONS.items()}
    return found | {"E2-frozen": frozen_table(), "E6-effects": main_effects()}


def hours() -> float:
    """Hours that the recorded runs took, all together."""
    cells = {cell.name: cell for q in QUESTIONS.values() for cell in q.cells}
    runs = (RECORDS.of(cell.name, cell.setting) for cell in cells.values())
    return sum(sum(values_of(own, "minutes")) for own in runs) / 60


def main() -> None:
    """Train what is missing, print the tables."""
    parser = parser_of(__doc__.partition("\n")[0], "data/experiments-united", SEEDS)
    parser.add_argument("--experiments", nargs="+", choices=QUESTIONS, default=list(QUESTIONS))
    o = parser.parse_args()
    if not o.only_tables:
        work(o.folder.resolve(), o.experiments, o.seeds)
    found = tables()
    print("\n\n".join(f"{name}\n{table}" for name, table in found.items()))
    print(f"\n{hours():.1f} hours of training are recorded")
    if o.write:
        put_into(o.write, "united", found)


def work(folder: Path, experiments: Sequence[str], seeds: Sequence[int]) -> None:
    """Train and cluster what is not recorded."""
    warm = begin(folder, seeds)
    for seed in seeds:
        if "E2" in experiments and seed not in FROZEN.of(f"plain {RADII[-1]}", FROZEN_FLAGS):
            cluster_frozen(folder, warm, seed)
    for name, seed in itertools.product(experiments, seeds):
        for cell in QUESTIONS[name].cells:
            if seed not in RECORDS.of(cell.name, cell.setting):
                run_cell(folder, warm, cell, seed)


if __name__ == "__main__":
    main()
