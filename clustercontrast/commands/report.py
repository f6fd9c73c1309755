"""Tables of any number of runs, and the page of one.

Both read what training or the test command left in the folders of the runs:

python -m clustercontrast.report tables logs/sysu/*/*/ logs/regdb/*/*/ --out tables
python -m clustercontrast.report html logs/sysu/pclhd/seed1
"""

import json
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from clustercontrast.commands.cli import command, html
from clustercontrast.files import atomic, say
from clustercontrast.report.comparison import comparison_tables
from clustercontrast.settings.flags import OneLineParser

FORMS = {
    "text": lambda tables: "\n".join(table.text() for table in tables),
    "markdown": lambda tables: "\n".join(table.markdown() for table in tables),
    "latex": lambda tables: "\n".join(table.latex() for table in tables),
    "json": lambda tables: json.dumps([t.json() for t in tables], indent=2, ensure_ascii=False),
}
FILES = {"markdown": "tables.md", "latex": "tables.tex", "json": "tables.json"}


def main(argv: Sequence[str] | None = None) -> None:
    """Run a sub-command; a user's mistake is one line and exit code 2."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["html"]:
        html(words[1:])
    else:
        command(lambda: _tables(words))


def _tables(words: Sequence[str]) -> None:
    parser = OneLineParser(
        prog="python -m clustercontrast.report",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    sub = parser.add_subparsers(dest="action", required=True)
    sub.add_parser("html", help="one self-contained page per run: html --help")
    tables = sub.add_parser("tables", help="any number of runs in the layout of papers' tables")
    tables.add_argument("runs", nargs="+", type=Path, help="folders of tested runs")
    tables.add_argument(
        "--models", nargs="+", default=["last", "test"], choices=["last", "test", "cycle"],
        help="last epoch, best on the test set, best by cycle consistency [last test]",
    )  # fmt: skip
    tables.add_argument("--out", type=Path, help="folder for tables.md, tables.tex, tables.json")
    tables.add_argument("--format", choices=FORMS, default="text", help="what is printed [text]")
    args = parser.parse_args(words)
    made = comparison_tables(args.runs, args.models)
    say(FORMS[args.format](made))
    if args.out:
        for form, name in FILES.items():
            with atomic(args.out / name) as file:
                file.write(FORMS[form](made))
        # Not among what is printed, which may be piped into a program that reads it.
        sys.stderr.write(f"written to {args.out}: {', '.join(FILES.values())}\n")
