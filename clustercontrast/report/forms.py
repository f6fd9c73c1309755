"""A table, and the forms it is written in: text, Markdown, LaTeX (booktabs), CSV and JSON.

What must be read with its numbers is part of every form.
"""

import csv
import io
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

UNKNOWN = "–"
"""Of a number that is not known."""

LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "$": r"\$",
         "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
         "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
         "[": "{[}",  # at the start of a row it would be an argument of the line break before
         "±": r"$\pm$", "–": "--", "−": "$-$",
         "†": r"$\dagger$", "‡": r"$\ddagger$", "§": r"\S{}",
         "≈": r"$\approx$", "≠": r"$\neq$", "λ": r"$\lambda$"}  # fmt: skip
FITTED = r"\resizebox{\ifdim\width>\%(limit)s\%(limit)s\else\width\fi}{!}{%%"
"""Shrinks a table that is wider than its float."""

DEVIATION, REMARK = ", deviation", "remark"
"""Columns of comma-separated values: behind a figure's head, and the last one."""

SOURCE = re.compile(r"\[\d+\] ")
"""Begins a note that a number in the table leads to."""

NARROW = 4
"""Columns of numbers that one column of a two-column paper has room for."""

BEST = (
    "bold: the best figure of its column, among models that were selected alike, on the same "
    "images, over as many trials and draws"
)


@dataclass(frozen=True)
class Place:
    """Where a row stands among the others.

    Attributes:
        section: heading that a paper puts above rows of a kind; empty for none.
        words: the row's words as a paper prints them, shorter than in the other forms.
        alike: figures of rows that are alike are ranked, and the best of a column stands in bold;
            empty for a row that is ranked with none, such as a difference.
        remark: what must be read with the row, in a form whose rows are taken apart.
        dataset: of the row, in such a form.
    """

    section: str = ""
    words: tuple[str, ...] = ()
    alike: str = ""
    remark: str = ""
    dataset: str = ""


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
        places: one per row; none for a table whose rows are not ranked.
        short: heads of the words of the places.
    """

    title: str
    dataset: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    content: Mapping[str, Any]
    words: int = 2
    groups: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()
    short: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """Title and dataset in one line."""
        return f"{self.title} ({self.dataset})"

    @property
    def shown(self) -> list[tuple[str, ...]]:
        """Rows as people read them."""
        return [self._dashed(row) for row in self.rows]

    def only(self, metrics: Sequence[str]) -> "Table":
        """The table with some of its columns of numbers.

        Args:
            metrics: heads of the columns, in the order wanted.
        """
        width, heads = self._width(), self._numbers()
        wanted = [heads[:width].index(name) for name in metrics if name in heads[:width]]
        starts = range(self.words, len(self.header), width)
        chosen = [*range(self.words), *(start + column for start in starts for column in wanted)]
        header, rows = self._picked(chosen)
        return replace(self, header=header, rows=tuple(rows))

    def text(self) -> str:
        """Columns aligned with blanks, words to the left; a block for every group of columns."""
        blocks = [self._block(self.header, self.shown)] if self.rows else []
        if self.groups:
            columns = [(group, *self._columns(n)) for n, group in enumerate(self.groups)]
            blocks = [[group, "", *self._block(*own)] for group, *own in columns if own[1]]
        lines = [line for block in blocks for line in (*block, "")]
        return "\n".join([self.heading, "", *lines, *self.notes]) + "\n"

    def markdown(self) -> str:
        """A heading, a pipe table, the best of a column in bold, and the notes as a list."""
        rule = (*("---" for _ in self._words()), *("---:" for _ in self._numbers()))
        rows = [self._marked(n, row, "**{}**".format) for n, row in enumerate(self.shown)]
        lines = [_piped(cells) for cells in (self._long_header(), rule, *rows)]
        notes = [f"- {note}" for note in self._all_notes()]
        return "\n".join([f"## {self.heading}", "", *lines, "", *notes]) + "\n"

    def latex(self) -> str:
        """A float that needs booktabs and graphicx, its notes below.

        It is as wide as a column of a two-column paper if it has at most ``NARROW`` columns of
        numbers, as wide as the page otherwise, and shrunk where that is not enough.  Sources follow
        as ordinary text: there are too many for a float.
        """
        narrow = len(self._numbers()) <= NARROW
        float_, limit = ("table", "columnwidth") if narrow else ("table*", "textwidth")
        words = self.short or self._words()
        sources = [note for note in self.notes if SOURCE.match(note)]
        notes = [note for note in self._all_notes() if note not in sources]
        return "\n".join(
            [
                r"% \usepackage{booktabs, graphicx}",
                rf"\begin{{{float_}}}",
                r"\centering\footnotesize\setlength{\tabcolsep}{2pt}",
                rf"\caption{{{_escaped(self.heading)}}}",
                FITTED % {"limit": limit},
                rf"\begin{{tabular}}{{{'l' * len(words)}{'r' * len(self._numbers())}}}",
                r"\toprule",
                *self._latex_groups(len(words)),
                _latex_row((*words, *self._numbers())),
                *self._latex_body(len(words)),
                r"\bottomrule",
                r"\end{tabular}}",
                r"\par\smallskip\scriptsize\raggedright",
                *map(_latex_note, notes),
                rf"\end{{{float_}}}",
                *([r"{\scriptsize", *map(_latex_note, sources), "}"] if sources else []),
                "",
            ]
        )

    def records(self) -> list[dict[str, str]]:
        """Rows by the heads of their columns, as :func:`csv_of` writes them.

        A figure and its deviation have columns of their own; the last one has what must be read
        with the row.
        """
        heads = self._long_header()
        found = []
        for number, row in enumerate(self.rows):
            place = self.places[number] if self.places else Place(remark="; ".join(self.notes))
            record = {"table": self.title, "dataset": place.dataset or self.dataset}
            for head, cell in zip(heads[: self.words], row, strict=False):
                record[head] = cell
            for head, cell in zip(heads[self.words :], row[self.words :], strict=True):
                figure, deviation = _parted(cell)
                record[head] = figure.partition(" ")[0]  # without the mark of a difference
                record[head + DEVIATION] = deviation
            found.append(record | {REMARK: place.remark})
        return found

    def json(self) -> dict[str, Any]:
        """Content to be written as JSON: what the table says and the numbers behind it."""
        return {
            "title": self.title,
            "dataset": self.dataset,
            "unit": "percent",
            "notes": list(self.notes),
            **self.content,
        }

    # --- columns ---

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
        header, rows = self._picked(chosen)
        return header, [self._dashed(row) for row in rows if any(row[self.words :])]

    def _picked(self, chosen: Sequence[int]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and rows of some columns."""
        rows = [tuple(row[i] for i in chosen) for row in self.rows]
        return tuple(self.header[i] for i in chosen), rows

    def _dashed(self, row: Sequence[str]) -> tuple[str, ...]:
        return (*row[: self.words], *(cell or UNKNOWN for cell in row[self.words :]))

    # --- the best of a column ---

    def _all_notes(self) -> list[str]:
        """Notes of a form that has bold figures."""
        bold = [BEST] if any(self._best(n) for n in range(len(self.rows))) else []
        return [*self.notes, *bold]

    def _best(self, row: int) -> set[int]:
        """Columns of a row whose figure is the best of at least two that are alike."""
        if not self.places or not self.places[row].alike:
            return set()
        rivals = [own for own, place in zip(self.rows, self.places, strict=True)
                  if place.alike == self.places[row].alike]  # fmt: skip
        found = set()
        for column in range(self.words, len(self.header)):
            figures = [_figure(own[column]) for own in rivals if own[column]]
            own = self.rows[row][column]
            if own and len(figures) > 1 and _figure(own) == max(figures):
                found.add(column)
        return found

    def _marked(
        self, row: int, cells: Sequence[str], mark: Callable[[str], str]
    ) -> tuple[str, ...]:
        """Cells of a row, the best of their columns marked."""
        best = self._best(row)
        return tuple(mark(cell) if i in best else cell for i, cell in enumerate(cells))

    # --- text ---

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

    # --- LaTeX ---

    def _latex_groups(self, words: int) -> list[str]:
        if not self.groups:
            return []
        width = self._width()
        heads = [rf"\multicolumn{{{width}}}{{c}}{{{_escaped(group)}}}" for group in self.groups]
        starts = [words + 1 + number * width for number in range(len(self.groups))]
        rules = [rf"\cmidrule(lr){{{start}-{start + width - 1}}}" for start in starts]
        return ["& " * words + " & ".join(heads) + r" \\", " ".join(rules)]

    def _latex_body(self, words: int) -> Iterator[str]:
        """Rows, a rule and a heading above those of another section."""
        columns, section = words + len(self._numbers()), ""
        yield r"\midrule"
        for number, row in enumerate(self.shown):
            place = self.places[number] if self.places else Place()
            if place.section != section:
                yield from [r"\midrule"] if section else []
                head = _escaped(place.section)
                yield rf"\multicolumn{{{columns}}}{{l}}{{\textit{{{head}}}}} \\"
                section = place.section
            best = {column - self.words + words for column in self._best(number)}
            yield _latex_row((*(place.words or row[: self.words]), *row[self.words :]), best)


def csv_of(tables: Sequence[Table]) -> str:
    """Rows of tables as comma-separated values, under the columns of all of them."""
    records = [record for table in tables for record in table.records()]
    heads = dict.fromkeys(head for record in records for head in record if head != REMARK)
    used = {head for record in records for head, cell in record.items() if cell}
    kept = [head for head in heads if head in used or not head.endswith(DEVIATION)]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*kept, REMARK], "", "ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _figure(cell: str) -> float:
    """The number that a cell begins with."""
    return float(cell.split()[0])


def _parted(cell: str) -> tuple[str, str]:
    """A figure, with the mark of a difference, and its deviation."""
    figure, _, deviation = cell.partition(" ± ")
    return figure, deviation


def _on_points(column: Sequence[str]) -> list[str]:
    """Cells of a text column with blanks behind them that put their points below each other."""
    behind = [len(cell) - cell.find(".") if "." in cell else 0 for cell in column]
    longest = max(behind, default=0)
    return [cell + " " * (longest - own) for cell, own in zip(column, behind, strict=True)]


def _piped(cells: Sequence[str]) -> str:
    """One line of the Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _latex_row(cells: Sequence[str], best: Collection[int] = ()) -> str:
    """One line of the tabular; a number's hyphen becomes a minus sign, a deviation is small."""
    shown = [_latex_cell(cell) for cell in cells]
    bold = [rf"\textbf{{{cell}}}" if n in best else cell for n, cell in enumerate(shown)]
    return " & ".join(bold) + r" \\"


def _latex_note(note: str) -> str:
    return rf"\noindent {_escaped(note)}.\par"


def _latex_cell(cell: str) -> str:
    figure, deviation = _parted(re.sub(r"^-(?=\d)", "−", cell))
    small = rf"{{\tiny$\pm${_escaped(deviation)}}}" if deviation else ""
    return _escaped(figure) + small


def _escaped(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(LATEX.get(letter, letter) for letter in text)
