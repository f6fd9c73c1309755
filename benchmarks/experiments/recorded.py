"""Figures of finished runs in a table that the repository keeps: what is in it is not run again.

A line is one run: its cell, its seed, the flags it was trained with, and figures.  Lines of other
flags than a cell has now are not read.  Several processes may add lines to one table.
"""

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.experiments.pages import mean

KEYS = ("cell", "seed", "flags")


@dataclass(frozen=True)
class Records:
    """A table of runs.

    Attributes:
        file: in CSV.
        figures: names of its columns behind ``KEYS``; a figure that a run lacks is empty.
    """

    file: Path
    figures: tuple[str, ...]

    def add(self, cell: str, seed: int, flags: str, found: Mapping[str, float | str]) -> None:
        """One line more; the first one writes the names of the columns."""
        is_new = not self.file.exists()
        with self.file.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, (*KEYS, *self.figures), lineterminator="\n")
            if is_new:
                writer.writeheader()
            own = {name: rounded(value) for name, value in found.items()}
            writer.writerow({"cell": cell, "seed": seed, "flags": flags} | own)

    def of(self, cell: str, flags: str) -> dict[int, dict[str, str]]:
        """Seed -> figures of a cell's runs with these flags; the last line of a seed counts."""
        if not self.file.exists():
            return {}
        with self.file.open(newline="", encoding="utf-8") as file:
            lines = [x for x in csv.DictReader(file) if (x["cell"], x["flags"]) == (cell, flags)]
        return {int(line["seed"]): line for line in sorted(lines, key=lambda x: int(x["seed"]))}


def rounded(value: float | str) -> float | str:
    """Six significant digits; words as they are."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def pooled(*groups: Sequence[float]) -> float | None:
    """Square root of the mean of the groups' variances (n - 1); None with fewer than two values."""
    variances = [statistics.variance(values) for values in groups if len(values) > 1]
    return statistics.mean(variances) ** 0.5 if len(variances) == len(groups) else None


def differences(values: Mapping[int, float], reference: Mapping[int, float]) -> dict[int, float]:
    """Values minus those of a reference, by seed, over the seeds of both."""
    return {seed: values[seed] - reference[seed] for seed in values if seed in reference}


def effect(values: Mapping[int, float], reference: Mapping[int, float]) -> str:
    """Difference to a reference over the seeds of both: "+1.20 ± 0.50 (0.8 sd)".

    Mean and deviation are those of the differences; in brackets the mean in units of the pooled
    deviation of the values themselves, in which the seeds' identities differ, too.

    Args:
        values: by seed.
        reference: likewise.
    """
    apart = differences(values, reference)
    sd = pooled(*([group[seed] for seed in apart] for group in (values, reference)))
    units = f" ({abs(statistics.mean(apart.values())) / sd:.1f} sd)" if sd else ""
    return mean(apart.values(), "+.2f") + units


def values_of(runs: Mapping[int, Mapping[str, str]], figure: str) -> list[float]:
    """A figure of every run that has it, in the order of the seeds."""
    return [float(run[figure]) for run in runs.values() if run[figure]]
