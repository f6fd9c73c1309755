"""Activation maps as HTML: queries beside their best matches, each with and without its map."""

from collections.abc import Callable, Mapping, Sequence
from html import escape

import numpy as np
import torch

from clustercontrast.data.images import ImageArray
from clustercontrast.report.grids import MARKS
from clustercontrast.report.pictures import overlaid, thumbnail
from clustercontrast.report.retrievals import Hit, Ranking

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
    left = heat(query, asked, features[gallery][found])
    right = heat(gallery, found, features[query][asked])
    cards = "".join(
        f'<div class="pair">{_figure(images[query], answer.row, own, "", "query")}'
        f"{_match(images[gallery], answer.hits[0], other)}</div>\n"
        for answer, own, other in zip(answers, left, right, strict=True)
    )
    return f'<div class="pairs">{cards}</div>'


def _match(images: ImageArray, hit: Hit, heat: np.ndarray) -> str:
    name, mark = MARKS[hit.right]
    similarity = round(hit.similarity, 2) + 0.0  # no -0.00
    return _figure(images, hit.row, heat, name, f"{mark} best match, {similarity:.2f}")


def _figure(images: ImageArray, row: int, heat: np.ndarray, name: str, caption: str) -> str:
    """An image twice, as it is and below its map."""
    (pixels,) = images.gather(torch.tensor([row])).cpu().numpy()
    path = escape(images.index.paths[row])
    who = f"identity {images.index.identities[row]}"
    empty = "" if heat.any() else "; empty map"
    return (
        f'<figure class="{name}"><img src="{thumbnail(pixels)}" alt="{who}" title="{path}">'
        f'<img src="{thumbnail(overlaid(pixels, heat))}" alt="map of {who}" title="{path}">'
        f"<figcaption>{caption}{empty}</figcaption></figure>"
    )
