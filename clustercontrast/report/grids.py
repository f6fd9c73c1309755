"""Ranked retrievals as an HTML table: a query per row, its answer framed right or wrong."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import torch

from clustercontrast.data.images import ImageArray
from clustercontrast.report.pictures import thumbnail
from clustercontrast.report.retrievals import Answer, Hit, Ranking

LENGTH = 10
"""Gallery images of an answer."""

MARKS = {True: ("right", "✓"), False: ("wrong", "✗")}


def grid(
    ranking: Ranking, queries: Sequence[int], images: Mapping[str, ImageArray], first: bool = False
) -> str:
    """Queries and the first images of their answers.

    Args:
        ranking: of the search.
        queries: which to show, from the top.
        images: test images by modality.
        first: end every row with the first right image, wherever it stands.
    """
    answers = [ranking.answer(query, LENGTH) for query in queries]
    rows = [_row(ranking, answer, images, first) for answer in answers]
    return _table(rows, ["first right"] if first else [])


def paired_grid(
    rankings: Mapping[str, Ranking],
    images: Mapping[str, Mapping[str, ImageArray]],
    queries: Sequence[int],
) -> str:
    """The answers of several models to the same queries, one above the other.

    Args:
        rankings: of the same search, by the model's name.
        images: test images by modality, as each of the models sees them.
        queries: which to show, from the top.
    """
    rows = [
        _row(ranking, ranking.answer(query, LENGTH), images[name], False, f"{name}, AP")
        for query in queries
        for name, ranking in rankings.items()
    ]
    parted = [
        row.replace("<tr>", '<tr class="group">') if place % len(rankings) == 0 else row
        for place, row in enumerate(rows)
    ]
    return _table(parted)


def _table(rows: Sequence[str], more: Sequence[str] = ()) -> str:
    """Rows below the numbers of their ranks and the heads of further columns."""
    heads = ["", "query", *range(1, LENGTH + 1), *more]
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return (
        f'<div class="wide"><table class="ranking"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(
    ranking: Ranking,
    answer: Answer,
    images: Mapping[str, ImageArray],
    first: bool,
    said: str = "AP",
) -> str:
    """One query, its answer and, at the end, its first right image."""
    queries, gallery = images[ranking.search.query], images[ranking.search.gallery]
    pixels = _pixels(gallery, [hit.row for hit in (*answer.hits, answer.first)])
    cells = [_hit_cell(gallery, *pair) for pair in zip(answer.hits, pixels[:-1], strict=True)]
    cells += ["<td></td>"] * (LENGTH - len(cells))
    if first:
        cells.append(_hit_cell(gallery, answer.first, pixels[-1], apart=True))
    return (
        f'<tr><th scope="row">{said}<b>{100 * answer.precision:.1f}&nbsp;%</b></th>'
        f"{_query_cell(queries, answer.row)}{''.join(cells)}</tr>"
    )


def _query_cell(images: ImageArray, row: int) -> str:
    (pixels,) = _pixels(images, [row])
    caption = f"identity {images.index.identities[row]}"
    picture = _picture(images, row, pixels, "query")
    return (
        f'<td class="query"><figure class="shown">{picture}'
        f"<figcaption>{caption}</figcaption></figure></td>"
    )


def _hit_cell(images: ImageArray, hit: Hit, pixels: np.ndarray, apart: bool = False) -> str:
    """An image of an answer; one ``apart`` from the others says its rank itself."""
    name, mark = MARKS[hit.right]
    picture = _picture(images, hit.row, pixels, f"rank {hit.rank}, {name}")
    kind, rank = (' class="first"', f"<br>rank {hit.rank}") if apart else ("", "")
    similarity = round(hit.similarity, 2) + 0.0  # no -0.00
    return (
        f'<td{kind}><figure class="shown {name}">{picture}<span class="mark">{mark}</span>'
        f"<figcaption>{similarity:.2f}{rank}</figcaption></figure></td>"
    )


def _picture(images: ImageArray, row: int, pixels: np.ndarray, role: str) -> str:
    """An image whose alternative text says what is seen and whose title names the file."""
    camera = images.index.cameras[row]
    who = f"identity {images.index.identities[row]}" + (f", camera {camera}" if camera >= 0 else "")
    path = escape(images.index.paths[row])
    return f'<img src="{thumbnail(pixels)}" alt="{role}: {who}" title="{path} ({who})">'


def _pixels(images: ImageArray, rows: Sequence[int]) -> np.ndarray:
    """(n, H, W, 3) uint8."""
    return images.gather(torch.tensor(rows)).cpu().numpy()
