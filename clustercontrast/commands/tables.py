"""The command that puts runs into the tables of papers."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from clustercontrast.files import atomic, say
from clustercontrast.report.comparison import comparison_tables

FORMS = {
    "text": lambda tables: "\n".join(table.text() for table in tables),
    "markdown": lambda tables: "\n".join(table.markdown() for table in tables),
    "latex": lambda tables: "\n".join(table.latex() for table in tables),
    "json": lambda tables: json.dumps([t.json() for t in tables], indent=2, ensure_ascii=False),
}
FILES = {"markdown": "tables.md", "latex": "tables.tex", "json": "tables.json"}


def write_tables(
    runs: Sequence[Path], models: Sequence[str], printed: str, out: Path | None
) -> None:
    """Print the tables of runs in one form, and write them in all forms.

    Args:
        runs: folders of tested runs.
        models: which models of each, of "last", "test" and "cycle".
        printed: a key of ``FORMS``.
        out: folder of the files; None for none.

    Raises:
        UserError: a run has not been tested.
    """
    made = comparison_tables(runs, models)
    say(FORMS[printed](made))
    if out:
        for form, name in FILES.items():
            with atomic(out / name) as file:
                file.write(FORMS[form](made))
        # Not among what is printed, which may be piped into a program that reads it.
        sys.stderr.write(f"written to {out}: {', '.join(FILES.values())}\n")
