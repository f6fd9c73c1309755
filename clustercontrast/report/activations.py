"""Activation maps as HTML: queries beside their best matches, each with and without its map."""

from collections.abc import Callable, Mapping, Sequence
from html import escape

import numpy as np
import torch

from clustercontrast.data.images import ImageArray
from clustercontrast.report.grids import MARKS
from clustercontrast.report.pictures import overlaid, thumbnail
from clustercontrast.report.retrievals import Answer, Ranking

Heat = Callable[[str, np.ndarray, np.ndarray], np.ndarray]
"""Modality, rows (n,) of its test images, features (n, d) -> (n, h, w) maps towards these."""


def pairs(
    ranking: Ranking,
    queries: Sequence[int],
    images: Mapping[str, ImageArray],
    features: Mapping[str, np.ndarray],
    heat: Heat,
) -> str:
    """Queries and the first image of their answers, and what in each is like the other.

    Args:
        ranking: of the search.
        queries: which to show, from the top.
        images: test images by modality.
        features: (N, d) unit rows by modality.
        heat: maps of images of a modality towards features.
    """
    query, gallery = ranking.search.query, ranking.search.gallery
    answers = [ranking.answer(one, 1) for one in queries]
    asked = np.array([answer.row for answer in answers])
    found = np.array([answer.hits[0].row for answer in answers])
    sides = (
        _pictures(images[query], asked, heat(query, asked, features[gallery][found])),
        _pictures(images[gallery], found, heat(gallery, found, features[query][asked])),
    )
    cards = "".join(map(_pair, answers, *sides))
    return f'<div class="pairs">{cards}</div>'


def _pictures(images: ImageArray, rows: np.ndarray, maps: np.ndarray) -> list[str]:
    """Every image twice, as it is and below its map."""
    pixels = images.gather(torch.from_numpy(rows)).cpu().numpy()
    return [_twice(images, *one) for one in zip(rows, pixels, maps, strict=True)]


def _twice(images: ImageArray, row: int, pixels: np.ndarray, heat: np.ndarray) -> str:
    path = escape(images.index.paths[row])
    who = f"identity {images.index.identities[row]}"
    says = "map" if heat.any() else "no place raises the cosine"
    return (
        f'<img src="{thumbnail(pixels)}" alt="{who}" title="{path}">'
        f'<img src="{thumbnail(overlaid(pixels, heat))}" alt="{who}, {says}" title="{path}">'
    )


def _pair(answer: Answer, query: str, match: str) -> str:
    (hit,) = answer.hits
    name, mark = MARKS[hit.right]
    similarity = round(hit.similarity, 2) + 0.0  # no -0.00
    return (
        f'<div class="pair"><figure>{query}<figcaption>query</figcaption></figure>'
        f'<figure class="{name}">{match}<figcaption>{mark} best match, {similarity:.2f}'
        "</figcaption></figure></div>\n"
    )
