"""Tables of any number of runs, and the page of one.

Both read what training or the test command left in the folders of the runs:

python -m clustercontrast.report tables logs/sysu/*/*/ logs/regdb/*/*/ --out tables
python -m clustercontrast.report html logs/sysu/pclhd/seed1
"""

import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from clustercontrast.commands.cli import add_evaluation_flags, command, existing, with_torch
from clustercontrast.settings.parser import OneLineParser

FORMS = ("text", "markdown", "latex", "json")


def main(argv: Sequence[str] | None = None) -> None:
    """Run a sub-command; a user's mistake is one line and exit code 2."""
    words = sys.argv[1:] if argv is None else list(argv)
    action = _html if words[:1] == ["html"] else _tables
    command(lambda: action(words))


def _html(words: Sequence[str]) -> None:
    parser = OneLineParser(
        prog="python -m clustercontrast.report html",
        description="Write report.html into the folder of a run, or of each of its trials.",
    )
    parser.add_argument("run", type=Path, help="logs/<dataset>/<method>/<name>/, or a trial of it")
    chosen = ("last", "test", "cycle")
    parser.add_argument("--model", choices=chosen, default="last", help="model it shows [last]")
    add_evaluation_flags(parser)
    args = parser.parse_args(words[1:])
    run = existing(args.run, "a run's folder")
    with_torch("testing").write_pages(run, args.model, args)


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
    more = tables.add_mutually_exclusive_group()
    more.add_argument(
        "--each",
        action="store_true",
        help="every gallery draw or trial of each run by itself, and their average, beside the "
        "published ones [their means]",
    )
    more.add_argument(
        "--with-competitors",
        action="store_true",
        help="methods of others above the runs, by supervision as PCLHD's Table 1 has them "
        "[the methods of the runs]",
    )
    tables.add_argument(
        "--out",
        type=Path,
        help="folder for tables.md, tables.tex, tables.json (with --each: each.md, ...) [none]",
    )
    tables.add_argument("--format", choices=FORMS, default="text", help="what is printed [text]")
    args = parser.parse_args(words)
    for run in args.runs:
        existing(run, "folders of tested runs")
    with_torch("tables").write_tables(args)
