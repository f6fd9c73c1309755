"""Tables of the experiments with ``united``, made of the runs that are recorded."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.experiments.pages import listed, mean
from benchmarks.experiments.recorded import differences, effect, pooled, values_of
from benchmarks.experiments.united_cells import (
    DISTANCES,
    FROZEN,
    FROZEN_FLAGS,
    METHODS,
    PEOPLE,
    QUESTIONS,
    RADII,
    RECORDS,
    SHARES,
    VISIBLE_RADII,
    Cell,
    Question,
    grid,
)
from clustercontrast.settings.recipes import all_recipes


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
    first: dict[str, Cell] = {}
    for cell in question.cells:
        lines.append(row_of(cell, first.setdefault(cell.method, cell)))
    return "\n".join(lines)


def row_of(cell: Cell, reference: Cell) -> str:
    """A cell's figures, and its effect against another one, if it is another."""
    runs = RECORDS.of(cell.name, cell.setting)
    if not runs:
        return f"| {cell.title} | not run | | | | | | | | |"
    own = gains(runs)
    its = {} if cell == reference else gains(RECORDS.of(reference.name, reference.setting))
    aris = (mean(values_of(runs, f"ari_{side}")) for side in ("visible", "infrared", "joint"))
    before, after = (mean(values_of(runs, f"gap_{when}")) for when in ("first", "last"))
    cells = [
        listed(own.values(), "+.2f"),
        mean(own.values(), "+.2f"),
        listed(differences(own, its).values(), "+.2f"),
        effect(own, its),
        mean(values_of(runs, "clusters_per_person")),
        ", ".join(filter(None, aris)),
        mean(values_of(runs, "mixed")),
        f"{before} to {after}" if before else "",
        mean(values_of(runs, "right")),
    ]
    return " | ".join((f"| {cell.title}", *cells)) + " |"


def share_effects() -> str:
    """What E1's parts of the images do over both radii, and the larger radius over all parts."""
    seeds, values = gains_of(QUESTIONS["E1"].cells)
    if len(seeds) < 2:
        return "Effects: not all cells of E1 have been run with two seeds or more."
    lines = head_of_effects("what is changed", seeds)
    parts = values.reshape(len(METHODS), len(SHARES), len(VISIBLE_RADII), -1)
    small, large = VISIBLE_RADII
    for method, own in zip(METHODS, parts, strict=True):
        title, shares, radii = all_recipes()[method].title, own.mean(axis=1), own.mean(axis=0)
        found = {f"{title}: ε {large} in place of {small}": radii[1] - radii[0]}
        for share, gained in zip(SHARES[1:], shares[1:], strict=True):
            found[f"{title}: share {share} in place of {SHARES[0]}"] = gained - shares[0]
        lines += rows_of_effects(found, pooled(*own.reshape(-1, len(seeds))))
    return "\n".join(lines)


def main_effects() -> str:
    """What each of E6's switches does over all settings of the others, and share with distance."""
    seeds, values = gains_of(list(grid()))
    if len(seeds) < 2:
        return "Main effects: not all cells of the grid have been run with two seeds or more."
    effects = effects_of(values.reshape(2, 2, 2, -1))
    return "\n".join(
        [*head_of_effects("switched off", seeds), *rows_of_effects(effects, pooled(*values))]
    )


def gains_of(cells: Sequence[Cell]) -> tuple[list[int], np.ndarray]:
    """Seeds that every cell has been run with, and gains above the warm start (cells, seeds)."""
    runs = [gains(RECORDS.of(cell.name, cell.setting)) for cell in cells]
    seeds = sorted(set.intersection(*map(set, runs)))
    return seeds, np.array([[own[seed] for seed in seeds] for own in runs])


def head_of_effects(what: str, seeds: Sequence[int]) -> list[str]:
    """The first lines of a table of effects."""
    return [
        f"| {what} | effect on mAP, seeds {listed(seeds, 'd')} | mean | in pooled deviations |",
        "|---" * 4 + "|",
    ]


def rows_of_effects(effects: Mapping[str, np.ndarray], sd: float) -> list[str]:
    """A row per effect, of every seed, in their mean, and in units of ``sd``."""
    lines = []
    for name, own in effects.items():
        cells = listed(own, "+.2f"), mean(own, "+.2f"), f"{abs(own.mean()) / sd:.1f}"
        lines.append(" | ".join((f"| {name}", *cells)) + " |")
    return lines


def effects_of(values: np.ndarray) -> dict[str, np.ndarray]:
    """What switching off does, by seed.

    Args:
        values: (2, 2, 2, seeds): halves, distance and distillation, each on and off.
    """
    found = {}
    for axis, name in enumerate(("halves", "modality-aware distance", "self-distillation")):
        on, off = values.mean(axis=tuple({0, 1, 2} - {axis}))
        found[name] = off - on
    pair = values.mean(axis=2)
    both = (pair[0, 0] - pair[1, 0] - pair[0, 1] + pair[1, 1]) / 2
    return found | {"halves × distance (+: they gain together)": both}


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
    effects = {"E1-effects": share_effects(), "E6-effects": main_effects()}
    return found | effects | {"E2-frozen": frozen_table()}


def hours() -> float:
    """Hours that the recorded runs took, all together."""
    cells = {cell.name: cell for q in QUESTIONS.values() for cell in q.cells}
    runs = (RECORDS.of(cell.name, cell.setting) for cell in cells.values())
    return sum(sum(values_of(own, "minutes")) for own in runs) / 60
