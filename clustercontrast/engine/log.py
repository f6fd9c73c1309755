"""One log for readers (console and log.txt) and one for programs (metrics.jsonl)."""

import json
import math
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from clustercontrast.engine.stage import Terms
from clustercontrast.files import atomic, read_events, write_error
from clustercontrast.processes import ranks


class Log:
    """Appends to ``log.txt`` and ``metrics.jsonl``, line by line, so that a kill loses nothing.

    Of several processes the first one alone does.
    """

    def __init__(self, folder: Path) -> None:
        if ranks.is_first():
            folder.mkdir(parents=True, exist_ok=True)
        self.metrics = folder / "metrics.jsonl"
        self.text = folder / "log.txt"

    def say(self, line: str, console: bool = True) -> None:
        """A line for readers."""
        if not ranks.is_first():
            return
        self._append(self.text, f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}")
        if console:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()

    def event(self, **content: Any) -> None:
        """A line for programs."""
        self._append(self.metrics, json.dumps(content))

    def forget(self, stage: str, first_epoch: int) -> None:
        """Drop events of epochs that a resumed run will do again."""
        if not ranks.is_first() or not self.metrics.exists():
            return
        kept = [
            event
            for event in read_events(self.metrics)
            if event.get("stage") != stage or event.get("epoch", -1) < first_epoch
        ]
        with atomic(self.metrics) as file:
            file.writelines(f"{json.dumps(event)}\n" for event in kept)

    def epoch_seconds(self, stage: str) -> list[float]:
        """Seconds of a stage's finished epochs, in order; none before the first one."""
        if not ranks.is_first() or not self.metrics.exists():
            return []
        events = [own for own in read_events(self.metrics) if own["event"] == "saved"]
        return [own["seconds"]["total"] for own in events if own["stage"] == stage]

    @staticmethod
    def _append(path: Path, line: str) -> None:
        if not ranks.is_first():
            return
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise write_error(path, error) from error


class Meter:
    """Running means of loss terms, kept on the device so that no step waits for a number.

    Attributes:
        sums: of every unweighted term, and of "total".
        counts: of the values in each of them.
        weights: of every term, as last given.
        iterations: that "total" runs over.
    """

    def __init__(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.counts: Counter[str] = Counter()
        self.weights: dict[str, float] = {}
        self.iterations = 0

    def add(self, terms: Terms) -> None:
        """Take the unweighted terms of one optimiser step, and their weighted sum."""
        total = sum(weight * term.detach().float() for weight, term in terms.values())
        self.weights |= {name: weight for name, (weight, _) in terms.items()}
        self.counts.update(terms.keys())
        for name, value in (*((n, t) for n, (_, t) in terms.items()), ("total", total)):
            self.sums[name] = self.sums.get(name, 0) + value.detach().float()

    def means(self) -> dict[str, float]:
        """Means so far: of a term over the optimiser steps that had it, for streams may differ.

        ``total`` is a mean over iterations and adds up all optimiser steps of an iteration.

        Raises:
            FloatingPointError: names the first term that is no longer finite.
        """
        counts = {**self.counts, "total": self.iterations}
        means = {name: value / counts[name] for name, value in numbers(self.sums).items()}
        for name, value in means.items():
            if not math.isfinite(value):
                raise FloatingPointError(name)
        return means


def numbers(values: dict[str, torch.Tensor]) -> dict[str, float]:
    """Scalars of one device as numbers: it is waited for once, however many there are."""
    found = torch.stack(list(values.values())).tolist() if values else []
    return dict(zip(values, found, strict=True))
