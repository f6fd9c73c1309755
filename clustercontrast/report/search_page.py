"""One self-contained HTML page of a search: every query and its ranked list.

The page needs neither network nor script.  Nobody knows who is right: no image is marked so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from clustercontrast.files import atomic
from clustercontrast.report.markup import definitions, document, explanation
from clustercontrast.report.pictures import thumbnail


@dataclass(frozen=True)
class Hit:
    """One gallery image of an answer.

    Attributes:
        name: its path.
        pixels: (H, W, 3) uint8; None where it could not be read again.
        score: what it was ranked by.
    """

    name: str
    pixels: np.ndarray | None
    score: float


@dataclass(frozen=True)
class Answer:
    """A query and what was found.

    Attributes:
        name: the query's path.
        pixels: (H, W, 3) uint8, or None.
        lists: heading -> hits, the best first.
        activations: query and best match under their maps, (H, W, 3) uint8 each, None where no
            place raises the similarity; or nothing.
    """

    name: str
    pixels: np.ndarray | None
    lists: Mapping[str, Sequence[Hit]]
    activations: Sequence[np.ndarray | None] = ()


@dataclass(frozen=True)
class Results:
    """All that a page shows.

    Attributes:
        title: of the page.
        subtitle: below it.
        warnings: what the page says first of all.
        answers: of the queries that are shown.
        facts: how the search was made.
    """

    title: str
    subtitle: str
    warnings: Sequence[str]
    answers: Sequence[Answer]
    facts: Mapping[str, Any]


def write_results(results: Results, path: Path) -> None:
    """Write the page of a search.

    Raises:
        UserError: the file cannot be written.
    """
    text = results_page(results)
    with atomic(path) as file:
        file.write(text)


def results_page(results: Results) -> str:
    """The whole page, HTML5 in one string."""
    lists = {
        heading: "".join(_answer(answer, heading) for answer in results.answers)
        for heading in results.answers[0].lists
    }
    said = (
        "A query stands first, then the gallery images that the model finds most like it, with the "
        "number they are ranked by. Who is right is not known here. A file's name appears under "
        "the pointer."
    )
    sections = {
        f"list{number}": (heading, explanation(said) + body)
        for number, (heading, body) in enumerate(lists.items(), start=1)
    }
    if any(answer.activations for answer in results.answers):
        sections["maps"] = ("Activation maps", _maps(results.answers))
    sections["search"] = ("How it was searched", definitions(results.facts))
    return document(results.title, results.title, results.subtitle, results.warnings, sections)


def _answer(answer: Answer, heading: str) -> str:
    hits = "".join(
        f"<li>{_figure(hit.pixels, hit.name, f'rank {rank}', f'{rank}: {hit.score:.3f}')}</li>"
        for rank, hit in enumerate(answer.lists[heading], start=1)
    )
    query = _figure(answer.pixels, answer.name, "query", "query")
    return (
        f'<article class="answer"><h3>{escape(answer.name)}</h3><div class="list">{query}'
        f"<ol>{hits}</ol></div></article>\n"
    )


def _maps(answers: Sequence[Answer]) -> str:
    said = (
        "Grad-CAM: warm places of a query are those that make it like its best match, and the "
        "other way round. A map says where the network looks, it does not prove why it is right."
    )
    heading = next(iter(answers[0].lists))
    pairs = "".join(_pair(answer, heading) for answer in answers if answer.activations)
    return f'{explanation(said)}<div class="pairs">{pairs}</div>\n'


def _pair(answer: Answer, heading: str) -> str:
    best, (query_map, best_map) = answer.lists[heading][0], answer.activations
    query = _side(answer.pixels, query_map, answer.name, "query")
    match = _side(best.pixels, best_map, best.name, f"best match, {best.score:.3f}")
    return f'<div class="pair">{query}{match}</div>\n'


def _side(pixels: np.ndarray, heat: np.ndarray | None, name: str, caption: str) -> str:
    """An image beside itself under its map."""
    pictures = _picture(pixels, name, caption)
    if heat is None:
        caption += ": no place raises the similarity"
    else:
        pictures += _picture(heat, name, f"{caption}, map")
    return f"<figure>{pictures}<figcaption>{caption}</figcaption></figure>"


def _figure(pixels: np.ndarray | None, name: str, role: str, caption: str) -> str:
    if pixels is None:
        picture = f'<div class="missing" title="{escape(name)}">not found</div>'
    else:
        picture = _picture(pixels, name, role)
    return f'<figure class="shown">{picture}<figcaption>{caption}</figcaption></figure>'


def _picture(pixels: np.ndarray, name: str, role: str) -> str:
    alt = escape(f"{role}: {PurePath(name).name}")
    return f'<img src="{thumbnail(pixels)}" alt="{alt}" title="{escape(name)}">'
