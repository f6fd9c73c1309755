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
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_array

from benchmarks.experiments.pages import parser_of, put_into
from benchmarks.experiments.training import named, rendered, tested, train
from benchmarks.experiments.united_cells import (
    DISTANCES,
    FROZEN,
    FROZEN_FLAGS,
    JOINT_K1,
    JOINT_K2,
    PEOPLE,
    QUESTIONS,
    RADII,
    RECORDS,
    SEEDS,
    SIZE,
    UNSAMPLED,
    WARM,
    Cell,
)
from benchmarks.experiments.united_tables import hours, tables
from clustercontrast.clustering.dbscan import dbscan
from clustercontrast.clustering.jaccard import balanced_jaccard, jaccard, modality_jaccard
from clustercontrast.data.images import open_prepared
from clustercontrast.engine.run import saved_model
from clustercontrast.evaluation.diagnostics import clustering_quality
from clustercontrast.evaluation.features import extract
from clustercontrast.files import read_events
from clustercontrast.methods.clusters import mixed_clusters
from clustercontrast.models import weights


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
