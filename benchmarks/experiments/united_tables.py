"""Tables of the experiments with ``united``, made of the runs that are recorded."""

import itertools
import statistics
from collections.abc import Mapping

import numpy as np

from benchmarks.experiments.pages import listed, mean
from benchmarks.experiments.recorded import effect, pooled, values_of
from benchmarks.experiments.united_cells import (
    DISTANCES,
    FROZEN,
    FROZEN_FLAGS,
    PEOPLE,
    QUESTIONS,
    RADII,
    RECORDS,
    Question,
    grid,
)


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
