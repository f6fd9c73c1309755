"""Results of a run as an aligned text table, as Markdown and as JSON.

The table keeps apart what must not be mixed: how the model was selected, what the ± is taken over,
published figures, and results on rendered people, which are no SYSU-MM01 results.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clustercontrast.files import UserError

METRICS = {
    "rank1": "Rank-1",
    "rank5": "Rank-5",
    "rank10": "Rank-10",
    "rank20": "Rank-20",
    "mAP": "mAP",
    "mINP": "mINP",
}
"""Key of every metric and its column head, in the order of the columns."""

MODES = ("all", "indoor")
DRAWS = 10
"""Gallery draws of the protocol, assumed of a result that does not say (common.md 2.2)."""

RENDERED_LAYOUT = "rendered SYSU-MM01 layout"
RENDERED_NOTE = "rendered people: not a SYSU-MM01 result"

_QUOTED = "quoted in PCLHD (NeurIPS 2024), Table 1"
PUBLISHED = {
    "ADCA, paper": {
        "source": f"ADCA (ACM MM 2022), {_QUOTED}",
        "all": {"rank1": 45.5, "mAP": 42.7},
        "indoor": {"rank1": 50.6, "mAP": 59.1},
    },
    "PGM, paper": {
        "source": f"PGM (CVPR 2023), {_QUOTED}",
        "all": {"rank1": 57.3, "mAP": 51.8},
        "indoor": {"rank1": 56.2, "mAP": 62.7},
    },
    "PGM, upstream log": {
        "source": "training log published with the official code of PGM",
        "all": {
            "rank1": 56.29,
            "rank5": 82.77,
            "rank10": 91.25,
            "rank20": 96.47,
            "mAP": 51.36,
            "mINP": 35.06,
        },
        "indoor": {
            "rank1": 57.99,
            "rank5": 84.05,
            "rank10": 91.66,
            "rank20": 97.07,
            "mAP": 64.92,
            "mINP": 60.77,
        },
    },
    "PCLHD, paper": {
        "source": "PCLHD (NeurIPS 2024), Table 1",
        "all": {"rank1": 64.4, "mAP": 58.7},
        "indoor": {"rank1": 69.5, "mAP": 74.4},
    },
}
"""Published SYSU-MM01 figures in percent and their source (pclhd.md 10.1; pgm.md 10.1, 10.2)."""


@dataclass(frozen=True)
class Table:
    """A finished table in any of three forms.

    Attributes:
        title: what was run.
        dataset: what it was run on, part of the heading of every form.
        header: column heads.
        rows: cells, one tuple per row, as long as ``header``; an empty cell is not known.
        notes: lines that must be read with the numbers, part of every form.
        results: the numbers behind the rows of this run, as handed to ``sysu_table``.
        published: the published figures behind the other rows.
    """

    title: str
    dataset: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    results: tuple[Mapping[str, Any], ...]
    published: Mapping[str, Any]

    @property
    def heading(self) -> str:
        """Title and dataset in one line."""
        return f"{self.title} ({self.dataset})"

    def text(self) -> str:
        """Columns aligned with blanks: words to the left, numbers to the right."""
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        rule = tuple("-" * width for width in widths)
        lines = [_aligned(cells, widths) for cells in (self.header, rule, *self.rows)]
        return "\n".join([self.heading, "", *lines, "", *self.notes]) + "\n"

    def markdown(self) -> str:
        """A heading, a pipe table and the notes as a list."""
        numbers = len(self.header) - 2
        rule = ("---", "---", *("---:" for _ in range(numbers)))
        lines = [_piped(cells) for cells in (self.header, rule, *self.rows)]
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([f"## {self.heading}", "", *lines, "", *notes]) + "\n"

    def json(self) -> dict[str, Any]:
        """Content to be written as JSON; ``sysu_table`` of its "results" makes the table again."""
        return {
            "title": self.title,
            "dataset": self.dataset,
            "notes": list(self.notes),
            "unit": "percent",
            "results": [dict(result) for result in self.results],
            "published": dict(self.published),
        }


def sysu_table(
    results: Sequence[Mapping[str, Any]], rendered: bool, title: str = "Results"
) -> Table:
    """Table of one or more models in all-search and indoor-search.

    Args:
        results: one mapping per row: "model" says how the model was selected ("last epoch", "best
            on the test set", "best by cycle consistency (no test labels)"), "mode" is "all" or
            "indoor", every metric of ``METRICS`` that is known is {"mean", "std"} in percent, and
            "draws" the number of gallery draws (the ten of the protocol when missing).
        rendered: the images are rendered people: the table says so in every form and shows no
            published figure beside them.
        title: what was run.

    Raises:
        UserError: no result, an unknown mode, or a result without "model" or "mode".
    """
    _check(results)
    published = {} if rendered else PUBLISHED
    rows = []
    for mode in MODES:
        rows += [(mode, name, *_quoted(entry[mode])) for name, entry in published.items()]
        rows += [
            (mode, result["model"], *_measured(result))
            for result in results
            if result["mode"] == mode
        ]
    return Table(
        title=title,
        dataset=RENDERED_LAYOUT if rendered else "SYSU-MM01",
        header=("search", "model", *METRICS.values()),
        rows=tuple(rows),
        notes=tuple(_notes(results, rendered)),
        results=tuple(results),
        published=published,
    )


def _check(results: Sequence[Mapping[str, Any]]) -> None:
    """Refuse results that would vanish from the table or break it."""
    if not results:
        raise UserError("no result to show: evaluate a model first")
    for result in results:
        if "model" not in result or result.get("mode") not in MODES:
            raise UserError(
                f"a result needs 'model' and 'mode' ({' or '.join(MODES)}), found "
                f"model {result.get('model')!r}, mode {result.get('mode')!r}: evaluate again"
            )


def _measured(result: Mapping[str, Any]) -> list[str]:
    """Cells of a result of this run."""
    return [
        f"{result[name]['mean']:.2f} ± {result[name]['std']:.2f}" if name in result else ""
        for name in METRICS
    ]


def _quoted(entry: Mapping[str, float]) -> list[str]:
    """Cells of a published result, with the digits that were published."""
    return [str(entry[name]) if name in entry else "" for name in METRICS]


def _notes(results: Sequence[Mapping[str, Any]], rendered: bool) -> list[str]:
    """What has to be read together with the numbers."""
    draws = " or ".join(str(n) for n in sorted({r.get("draws", DRAWS) for r in results}))
    notes = [
        f"percent, mean ± population standard deviation over {draws} gallery draws of one model; "
        "the spread between trainings is not part of it"
    ]
    if rendered:
        return [RENDERED_NOTE, *notes]
    sources = [f"{name}: {entry['source']}" for name, entry in PUBLISHED.items()]
    return [
        *notes,
        "published figures belong to the model that is best on the test set: compare them with "
        "that row",
        *sources,
    ]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """One line of the text table."""
    words = [cell.ljust(width) for cell, width in zip(cells[:2], widths[:2], strict=True)]
    numbers = [cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True)]
    return "  ".join(words + numbers).rstrip()


def _piped(cells: Sequence[str]) -> str:
    """One line of the Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
