"""Results as a table in four forms: aligned text, Markdown, LaTeX (booktabs) and JSON.

A table keeps apart what must not be mixed: how a model was selected, what the ± is taken over,
published figures with their sources, and results on images that are not the official ones.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from clustercontrast.data.provenance import Provenance
from clustercontrast.evaluation.protocols import protocol_of
from clustercontrast.files import UserError
from clustercontrast.report.published import references
from clustercontrast.report.references.rows import METRICS, Published

TRIALS = 10
"""Trials of RegDB that papers average over."""

UNTESTED = "nothing is tested: no test image has a known identity"
"""Of a run on images without a test."""

UNKNOWN = "–"
"""Of a number that is not known."""

LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "$": r"\$",
         "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
         "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
         "[": "{[}",  # at the start of a row it would be an argument of the line break before
         "±": r"$\pm$", "–": "--", "−": "$-$",
         "†": r"$\dagger$", "‡": r"$\ddagger$", "§": r"\S{}",
         "≈": r"$\approx$", "≠": r"$\neq$", "λ": r"$\lambda$"}  # fmt: skip
FITTED = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"
"""Shrinks a table that is wider than the page."""


RERANKING_NOTE = (
    "re-ranked by k-reciprocal encoding (Zhong et al., CVPR 2017): to be compared with figures of "
    "the same re-ranking alone, no published figure stands beside them"
)


@dataclass(frozen=True)
class Table:
    """A finished table in any of its forms.

    Attributes:
        title: what was run.
        dataset: what it was run on, part of the heading of every form.
        header: column heads.
        rows: cells, one tuple per row, as long as ``header``; a number that is not known is empty
            here, and a dash in every form that is read by people.
        notes: lines that must be read with the numbers, part of every form.
        content: the numbers behind the cells, for :meth:`json`.
        words: how many columns from the left hold words.
        groups: heads over equally many of the other columns each; none for a plain table.
    """

    title: str
    dataset: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    content: Mapping[str, Any]
    words: int = 2
    groups: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """Title and dataset in one line."""
        return f"{self.title} ({self.dataset})"

    @property
    def shown(self) -> list[tuple[str, ...]]:
        """Rows as people read them."""
        return [self._dashed(row) for row in self.rows]

    def _dashed(self, row: Sequence[str]) -> tuple[str, ...]:
        return (*row[: self.words], *(cell or UNKNOWN for cell in row[self.words :]))

    def text(self) -> str:
        """Columns aligned with blanks, words to the left; a block for every group of columns."""
        blocks = [self._block(self.header, self.shown)] if self.rows else []
        if self.groups:
            columns = [(group, *self._columns(n)) for n, group in enumerate(self.groups)]
            blocks = [[group, "", *self._block(*own)] for group, *own in columns if own[1]]
        lines = [line for block in blocks for line in (*block, "")]
        return "\n".join([self.heading, "", *lines, *self.notes]) + "\n"

    def markdown(self) -> str:
        """A heading, a pipe table and the notes as a list."""
        rule = (*("---" for _ in self._words()), *("---:" for _ in self._numbers()))
        lines = [_piped(cells) for cells in (self._long_header(), rule, *self.shown)]
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([f"## {self.heading}", "", *lines, "", *notes]) + "\n"

    def latex(self) -> str:
        """A ``table*`` as wide as the page at most, its notes below; needs booktabs, graphicx."""
        columns = "l" * self.words + "r" * len(self._numbers())
        body = [_latex_row(cells) for cells in self.shown]
        notes = [rf"{_escaped(note)}.\par" for note in self.notes]
        return "\n".join(
            [
                r"% \usepackage{booktabs, graphicx}",
                r"\begin{table*}",
                r"\centering",
                rf"\caption{{{_escaped(self.heading)}}}",
                FITTED,
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                *self._latex_groups(),
                _latex_row(self.header),
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}}",
                r"\par\smallskip\footnotesize\raggedright",
                *notes,
                r"\end{table*}",
                "",
            ]
        )

    def json(self) -> dict[str, Any]:
        """Content to be written as JSON: what the table says and the numbers behind it."""
        return {
            "title": self.title,
            "dataset": self.dataset,
            "unit": "percent",
            "notes": list(self.notes),
            **self.content,
        }

    def _words(self) -> tuple[str, ...]:
        return self.header[: self.words]

    def _numbers(self) -> tuple[str, ...]:
        return self.header[self.words :]

    def _width(self) -> int:
        """Columns of a group."""
        return len(self._numbers()) // max(1, len(self.groups))

    def _columns(self, group: int) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and rows of one group; rows that say nothing in it are left out."""
        start = self.words + group * self._width()
        chosen = [*range(self.words), *range(start, start + self._width())]
        rows = [tuple(row[i] for i in chosen) for row in self.rows]
        header = tuple(self.header[i] for i in chosen)
        return header, [self._dashed(row) for row in rows if any(row[self.words :])]

    def _block(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
        columns = [list(column) for column in zip(*rows, strict=True)]
        columns[self.words :] = map(_on_points, columns[self.words :])
        lines = [header, *zip(*columns, strict=True)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        lines.insert(1, ["-" * width for width in widths])
        return [self._aligned(cells, widths) for cells in lines]

    def _aligned(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        placed = [
            cell.ljust(width) if column < self.words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(placed).rstrip()

    def _long_header(self) -> tuple[str, ...]:
        """Heads that name their group, for a form that has no two-level head."""
        numbers = self._numbers()
        if self.groups:
            numbers = [f"{self.groups[i // self._width()]}, {n}" for i, n in enumerate(numbers)]
        return (*self._words(), *numbers)

    def _latex_groups(self) -> list[str]:
        if not self.groups:
            return []
        width = self._width()
        heads = [rf"\multicolumn{{{width}}}{{c}}{{{_escaped(group)}}}" for group in self.groups]
        starts = [self.words + 1 + number * width for number in range(len(self.groups))]
        rules = [rf"\cmidrule(lr){{{start}-{start + width - 1}}}" for start in starts]
        return ["& " * self.words + " & ".join(heads) + r" \\", " ".join(rules)]


def results_table(
    results: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
    provenance: Provenance,
    title: str = "Results",
) -> Table:
    """Table of one run: its models in every mode, beside what was published of its configuration.

    Re-ranked results have a table of their own, without published figures.

    Args:
        results: one mapping per row: "model" says how the model was selected, "mode" is one of the
            protocol's, every metric that is known is {"mean", "std"} in percent; "searches" is the
            number of gallery draws, "trials" and "seeds" list what is averaged over.
        about: what the run, or the model, says of itself; nothing for weights of others.
        provenance: of the images that were searched.  What it notes stands below every form, and
            where these images, or those of the training, are not official, no published figure
            stands beside them.
        title: what was run.

    Raises:
        UserError: no result, an unknown mode, or a result without "model" or "mode".
        ValueError: some results are re-ranked and others are not.
    """
    protocol = protocol_of(provenance.dataset, about.get("rules"))
    modes = protocol.headings
    check_results(results, modes)
    is_reranked = "reranking" in results[0]
    is_compared = provenance.is_official and not is_reranked
    beside = references(about if is_compared else {}, provenance.dataset)
    rows = []
    for mode, heading in modes.items():
        rows += [
            (heading, f"{entry.name} [{number}]", *quoted_cells(entry, mode))
            for number, entry in enumerate(beside.rows, start=1)
            if mode in entry.scores
        ]
        rows += [
            (heading, result["model"], *measured_cells(result))
            for result in results
            if result["mode"] == mode
        ]
    trained = Provenance.of(about).notes() if "images" in about else []
    return Table(
        title=f"{title}, re-ranked" if is_reranked else title,
        dataset=provenance.title,
        header=("search", "model", *METRICS.values()),
        rows=tuple(rows),
        notes=(
            *dict.fromkeys([*provenance.notes(), *trained]),
            *reranking_notes(results),
            *filter(None, [protocol.note]),
            *spread_notes(results),
            *filter(None, [beside.note]),
            *source_notes(beside.rows),
        ),
        content={
            "images": provenance.json(),
            "results": [dict(r) for r in results],
            "published": published_json(beside.rows),
        },
    )


def reranking_notes(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What must be read with re-ranked results."""
    return [RERANKING_NOTE] if any("reranking" in result for result in results) else []


def untested_table(provenance: Provenance, title: str) -> Table:
    """The table of a run on images without a test identity: it has no rows, and says why."""
    return Table(
        title=title,
        dataset=provenance.title,
        header=("search", "model", *METRICS.values()),
        rows=(),
        notes=(*provenance.notes(), UNTESTED),
        content={
            "images": provenance.json(),
            "results": [],
            "untested": UNTESTED,
            "published": [],
        },
    )


def check_results(results: Sequence[Mapping[str, Any]], modes: Mapping[str, str]) -> None:
    """Refuse results that would vanish from a table or break it.

    Raises:
        UserError: see :func:`results_table`.
        ValueError: some results are re-ranked and others are not.
    """
    if len({"reranking" in result for result in results}) > 1:
        raise ValueError("re-ranked results stand in a table of their own")
    if not results:
        raise UserError("no result to show: evaluate a model first")
    for result in results:
        if "model" not in result or result.get("mode") not in modes:
            raise UserError(
                f"a result needs 'model' and 'mode' ({' or '.join(modes)}), found "
                f"model {result.get('model')!r}, mode {result.get('mode')!r}: evaluate again"
            )


def measured_cells(result: Mapping[str, Any]) -> list[str]:
    """Cells of a result of ours; a single trial, or search, of one seed has no deviation."""
    single = len(result["trials"]) == 1 if "trials" in result else result.get("searches") == 1
    single = single and "seeds" not in result
    return [
        ""
        if name not in result
        else f"{result[name]['mean']:.2f}" + ("" if single else f" ± {result[name]['std']:.2f}")
        for name in METRICS
    ]


def quoted_cells(entry: Published, mode: str) -> list[str]:
    """Cells of a published result."""
    return [entry.shown(mode, metric) for metric in METRICS]


def spread_notes(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the ± of some results is taken over, and how far they are from a paper's protocol."""
    notes, alone = [], [result for result in results if "seeds" not in result]
    draws = sorted({r["searches"] for r in alone if "trials" not in r and "searches" in r})
    if draws == [1]:
        notes.append("percent, a single search of one model")
    elif draws:
        notes.append(
            f"percent, mean ± population standard deviation over {_or(draws)} gallery draws of one "
            "model; the spread between trainings is not part of it"
        )
    for trials in sorted({tuple(r["trials"]) for r in alone if "trials" in r}):
        notes += [_trials_note(trials), *_few_trials(trials)]
    grouped = [result for result in results if "seeds" in result]
    for seeds, mean, trials in sorted({_averaged(result) for result in grouped}):
        notes += [
            "percent, mean ± sample standard deviation (n - 1) over the seeds "
            f"{', '.join(map(str, seeds))}, each trained by itself, of {mean}",
            *_few_trials(trials),
        ]
    return list(dict.fromkeys(notes))


def _averaged(result: Mapping[str, Any]) -> tuple[tuple[int, ...], str, tuple[int, ...]]:
    """Seeds that a result is a mean over, what it is the mean of, and the trials in that."""
    seeds, trials, draws = tuple(result["seeds"]), result.get("trials", ()), result["searches"]
    if trials:
        several = f"means over the trials {', '.join(map(str, trials))}"
        return seeds, several if len(trials) > 1 else f"trial {trials[0]} alone", tuple(trials)
    return seeds, f"means over {draws} gallery draws" if draws > 1 else "single searches", ()


def _trials_note(trials: Sequence[int]) -> str:
    listed = ", ".join(map(str, trials))
    if len(trials) == 1:
        return f"percent, trial {listed} alone"
    return (
        f"percent, mean ± population standard deviation over the trials {listed}, each with a "
        "model of its own"
    )


def _few_trials(trials: Sequence[int]) -> list[str]:
    """That figures of some trials, if they are of trials, are not those of papers."""
    if not 0 < len(trials) < TRIALS:
        return []
    return [f"papers average over {TRIALS} trials: figures of fewer are no more than a hint"]


def source_notes(quoted: Sequence[Published]) -> list[str]:
    """Where published figures stand, by number, and what they may be compared with."""
    if not quoted:
        return []
    notes = [f"[{n}] {entry.name}: {entry.where}" for n, entry in enumerate(quoted, start=1)]
    if any(entry.selection == "test" for entry in quoted):
        notes.insert(
            0,
            "published figures belong to the model that is best on the test set, unless they name "
            "the last epoch: compare them with that row",
        )
    return notes


def published_json(
    quoted: Sequence[Published], numbers: Iterable[int] | None = None
) -> list[dict[str, Any]]:
    """Published figures as JSON, with the numbers of their notes: 1, 2, ... unless given."""
    pairs = zip(numbers or itertools.count(1), quoted, strict=False)
    return [{"number": number} | asdict(entry) for number, entry in pairs]


def _or(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers))


def _on_points(column: Sequence[str]) -> list[str]:
    """Cells of a text column with blanks behind them that put their points below each other."""
    behind = [len(cell) - cell.find(".") if "." in cell else 0 for cell in column]
    longest = max(behind, default=0)
    return [cell + " " * (longest - own) for cell, own in zip(column, behind, strict=True)]


def _piped(cells: Sequence[str]) -> str:
    """One line of the Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _latex_row(cells: Sequence[str]) -> str:
    """One line of the tabular; a number's hyphen becomes a minus sign."""
    return " & ".join(_escaped(re.sub(r"^-(?=\d)", "−", cell)) for cell in cells) + r" \\"


def _escaped(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(LATEX.get(letter, letter) for letter in text)
