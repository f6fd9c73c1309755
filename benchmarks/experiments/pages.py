"""Experiments as commands: rows over seeds, their tables, and the pages they stand in."""

import argparse
import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clustercontrast.files import UserError, atomic


def listed(values: Iterable[float], form: str = ".2f") -> str:
    """Values, one after the other."""
    return ", ".join(f"{value:{form}}" for value in values)


def mean(values: Iterable[float], form: str = ".2f") -> str:
    """Mean and sample deviation (n - 1), with as many decimals."""
    values = list(values)
    spread = f" ± {statistics.stdev(values):{form.lstrip('+')}}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{form}}{spread}" if values else ""


def put_into(page: Path, of: str, tables: Mapping[str, str]) -> None:
    """Write tables into a page, each between its two marks.

    Raises:
        UserError: the page lacks a mark.
    """
    text = page.read_text()
    for name, table in tables.items():
        first, last = f"<!-- {of}: {name} -->", f"<!-- end of {of}: {name} -->"
        if text.count(first) != 1 or text.count(last) != 1:
            raise UserError(f"{page} has no lines {first} and {last}: write them where it belongs")
        before, _, rest = text.partition(first)
        text = f"{before}{first}\n{table}\n{last}{rest.partition(last)[2]}"
    with atomic(page) as file:
        file.write(text)


def parser_of(title: str, folder: str, seeds: Sequence[int]) -> argparse.ArgumentParser:
    """The options that every experiment has.

    Args:
        title: what the command does, in a line.
        folder: where it works by default.
        seeds: that there are; all by default.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--folder", type=Path, default=Path(folder))
    parser.add_argument("--seeds", nargs="+", type=int, choices=seeds, default=seeds)
    parser.add_argument("--only-tables", action="store_true", help="train nothing")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into a page")
    return parser


@dataclass(frozen=True)
class Experiment:
    """Rows that are trained with several seeds, and the tables that are made of them.

    Attributes:
        name: of the tables in a page, see :func:`put_into`.
        title: what the command does, in a line.
        folder: where it works by default.
        rows: names.
        seeds: of every row.
        begin: makes what all rows need in a folder, and says what they start from.
        train: one row: folder, what it starts from, name, seed.
        tables: name -> what makes it of a folder.
    """

    name: str
    title: str
    folder: str
    rows: Sequence[str]
    seeds: Sequence[int]
    begin: Callable[[Path], Path]
    train: Callable[[Path, Path, str, int], Path]
    tables: Mapping[str, Callable[[Path], str]]

    def run(self) -> None:
        """Train what is missing, print the tables."""
        parser = parser_of(self.title, self.folder, self.seeds)
        parser.add_argument("--rows", nargs="+", choices=self.rows, default=self.rows)
        o = parser.parse_args()
        folder = o.folder.resolve()
        if not o.only_tables:
            start = self.begin(folder)
            for seed, name in itertools.product(o.seeds, o.rows):
                self.train(folder, start, name, seed)
        tables = {name: table(folder) for name, table in self.tables.items()}
        print("\n\n".join(tables.values()))
        if o.write:
            put_into(o.write, self.name, tables)
