"""Tables of several runs, as in papers or of a grid, printed and written."""

import json
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from clustercontrast.files import atomic, say, write_json
from clustercontrast.report.comparison import comparison_tables, grid_table
from clustercontrast.report.each import each_tables
from clustercontrast.report.forms import csv_of
from clustercontrast.report.references.rows import METRICS

FORMS = {
    "text": lambda tables: "\n".join(table.text() for table in tables),
    "markdown": lambda tables: "\n".join(table.markdown() for table in tables),
    "latex": lambda tables: "\n".join(table.latex() for table in tables),
    "csv": csv_of,
    "json": lambda tables: json.dumps([t.json() for t in tables], indent=2, ensure_ascii=False),
}
ENDINGS = {"markdown": "md", "latex": "tex", "csv": "csv", "json": "json"}


def write_tables(args: Namespace) -> None:
    """Print the tables of runs in one form, and write them in all forms.

    Args:
        args: ``runs`` (folders), ``models`` (of each), ``each`` (draw by draw, or trial by trial),
            ``with_competitors``, ``rerank`` (re-ranked results, too), ``metrics`` (columns; None
            for all), ``format`` (a key of ``FORMS``), ``out`` (folder of the files; None for none).

    Raises:
        UserError: a run has not been tested, not by this version where draws are asked for, or not
            with --rerank where re-ranked results are.
    """
    if args.each:
        made = each_tables(args.runs, args.models, args.rerank)
    else:
        made = comparison_tables(args.runs, args.models, args.with_competitors, args.rerank)
    if args.metrics:
        made = [table.only([METRICS[name] for name in args.metrics]) for table in made]
    say(FORMS[args.format](made))
    if args.out:
        names = [f"{'each' if args.each else 'tables'}.{ending}" for ending in ENDINGS.values()]
        for form, name in zip(ENDINGS, names, strict=True):
            with atomic(args.out / name) as file:
                file.write(FORMS[form](made))
        # Not among what is printed, which may be piped into a program that reads it.
        sys.stderr.write(f"written to {args.out}: {', '.join(names)}\n")


def write_grid(dataset: str, title: str, name: str, runs: Mapping[Path, Mapping[str, str]]) -> None:
    """Print the table of a grid's finished cells and write it beside their folders.

    Args:
        dataset: a key of ``DATASETS``.
        title: of the table.
        name: of the files.
        runs: folder of every finished cell -> its flags.
    """
    table = grid_table(dataset, title, runs)
    place = next(iter(runs)).parent
    for suffix, content in (("txt", table.text()), ("md", table.markdown())):
        with atomic(place / f"{name}.{suffix}") as file:
            file.write(content)
    write_json(place / f"{name}.json", table.json())
    say(table.text())
    say(f"written to {place}: {name}.txt, {name}.md, {name}.json")
