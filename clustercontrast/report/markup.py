"""Pieces of HTML that the sections of a run's page are made of; every text is escaped here."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from matplotlib.figure import Figure

from clustercontrast.report.forms import Table
from clustercontrast.report.pictures import svg

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""A page asks the network for nothing and runs no script."""

NARROW = "screen and (max-width: 960px)"
"""Windows that are shown the narrow form of a plot; page.css has rules for the same ones."""

COMMAND_LINE = "command line"
AS_IN = "as in "
"""Origins of values that were not taken from a recipe: typed, or those of another run."""


def document(
    title: str,
    heading: str,
    subtitle: str,
    warnings: Sequence[str],
    sections: Mapping[str, tuple[str, str]],
) -> str:
    """A self-contained page, HTML5 in one string.

    Args:
        title: of the browser's window.
        heading: of the page.
        subtitle: below it.
        warnings: what must be read before anything else.
        sections: anchor -> title and body, from the top of the page.
    """
    style = resources.files("clustercontrast.report").joinpath("page.css").read_text("utf-8")
    links = "".join(f'<a href="#{name}">{own}</a>' for name, (own, _) in sections.items())
    body = "\n".join(
        f'<section id="{name}"><h2>{own}</h2>\n{inner}</section>'
        for name, (own, inner) in sections.items()
    )
    banners = "".join(
        f'<p class="banner" role="note">{escape(text[:1].upper() + text[1:])}</p>\n'
        for text in warnings
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body><div class="page">
{banners}<header>
<h1>{escape(heading)}</h1>
<p class="dataset">{escape(subtitle)}</p>
<nav>{links}</nav>
</header>
{body}
<footer>This page is one file: it asks the network for nothing and runs no script.</footer>
</div></body>
</html>
"""


def explanation(text: str) -> str:
    """The sentence or two at the head of a section."""
    return f'<p class="soft">{escape(text)}</p>\n'


def card(name: str, old: float, new: float, spread: str = "") -> str:
    """A score in percent after training, and what it was before.

    Args:
        name: of the score.
        old: before training.
        new: after training.
        spread: how far the latter scatters, and over what.
    """
    return (
        f'<div class="card"><div class="name">{name}</div>'
        f'<div class="now">{new:.1f}<small> %</small></div>'
        f'<div class="change">{old:.1f} % before training, {new - old:+.1f}</div>'
        f'<div class="change">{escape(spread)}</div></div>'
    )


def plot(draw: Callable[[bool], Figure], text: str) -> str:
    """A plot in two forms, of which the browser shows the one that fits its window.

    Args:
        draw: makes the figure; True asks for the form of narrow windows, whose letters are as large
            on a column of a phone's width as those of the other form on a desk.
        text: what it shows, for readers who cannot see it.
    """
    wide, narrow = svg(draw(False)), svg(draw(True))
    return (
        f'<figure class="plot"><picture><source media="{NARROW}" srcset="{narrow}">'
        f'<img src="{wide}" alt="{escape(text)}"></picture></figure>\n'
    )


def table_html(table: Table) -> str:
    """The table, see :func:`rows_html`."""
    return rows_html(table.header, table.shown)


def rows_html(header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 2) -> str:
    """A table with numbers to the right and a rule above every new first cell.

    In a narrow window every row is a block, whose numbers and values stand below their names.

    Args:
        header: names of the columns.
        rows: cells.
        words: columns from the left that say what a row is of; values stand in the others.
    """
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    kinds = [
        ' class="number"' if _is_numeric(column) else _class("value", place >= words)
        for place, column in enumerate(columns)
    ]
    named = list(zip(kinds, map(escape, header), strict=True))
    head = "".join(f'<th scope="col"{kind}>{name}</th>' for kind, name in named)
    body, above = "", None
    for row in rows:
        cells = "".join(
            f'<td{kind} data-name="{name}">{escape(cell)}</td>'
            for (kind, name), cell in zip(named, row, strict=True)
        )
        body += f"<tr{_class('group', row[0] != above and above is not None)}>{cells}</tr>\n"
        above = row[0]
    return (
        f'<div class="wide"><table class="results"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def _is_numeric(cells: Iterable[str]) -> bool:
    """Every cell that is not empty begins like a number."""
    return all(re.match(r"[+−–-]?\s*\d|[–—-]$", cell) for cell in cells if cell)


def command(text: str) -> str:
    """A command line to be copied, broken before its flags only."""
    parts = re.split(r" (?=-)", text)
    return f"<pre>{' '.join(f'<span>{escape(part)}</span>' for part in parts)}</pre>\n"


def configuration(values: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    """A table of flag, value and origin, what was given on the command line first."""
    flags = sorted(values, key=lambda flag: not _is_given(origins.get(flag, "")))
    rows = "".join(_flag_row(flag, values[flag], origins.get(flag, "")) for flag in flags)
    return (
        '<table class="config"><thead><tr><th scope="col">flag</th><th scope="col">value</th>'
        f'<th scope="col">origin</th></tr></thead>\n<tbody>{rows}</tbody></table>\n'
    )


def _is_given(origin: str) -> bool:
    return origin.startswith((COMMAND_LINE, AS_IN))


def _flag_row(flag: str, value: Any, origin: str) -> str:
    name = "--" + flag.replace("_", "-")
    return (
        f"<tr{_class('given', _is_given(origin))}>"
        f'<td class="flag">{escape(name)}</td><td>{escape(shown(value))}</td>'
        f"<td>{escape(origin)}</td></tr>\n"
    )


def definitions(facts: Mapping[str, Any]) -> str:
    """Names and values as a definition list."""
    pairs = "".join(
        f"<dt>{escape(str(name))}</dt><dd>{escape(shown(value, ('no', 'yes')))}</dd>"
        for name, value in facts.items()
    )
    return f"<dl>{pairs}</dl>"


def shown(value: Any, words: tuple[str, str] = ("off", "on")) -> str:
    """A value of the configuration as a reader writes it, per stage where stages differ."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return words[value]
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {shown(own, words)}" for name, own in value.items())
    if isinstance(value, list | tuple):
        return " ".join(shown(own, words) for own in value) or "–"
    return str(value)


def _class(name: str, holds: bool) -> str:
    return f' class="{name}"' if holds else ""
