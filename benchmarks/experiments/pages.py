"""Tables of experiments, and the pages they stand in."""

import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path

from clustercontrast.files import UserError, atomic


def listed(values: Iterable[float], form: str = ".2f") -> str:
    """Values, one after the other."""
    return ", ".join(f"{value:{form}}" for value in values)


def mean(values: Iterable[float], form: str = ".2f") -> str:
    """Mean and sample deviation (n - 1)."""
    values = list(values)
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
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
