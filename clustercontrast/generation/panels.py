"""Pictures to check the generator by eye: images, their edges, the fakes made of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from clustercontrast.files import atomic

MARGIN, HEADING, LABELS = 4, 16, 64  # pixels
PAPER, INK = (255, 255, 255), (40, 40, 40)


def panel(rows: Sequence[tuple[str, torch.Tensor]], heading: str) -> Image.Image:
    """A grid with one row per kind of image and one column per image.

    Args:
        rows: name and (B, h, w, c) uint8 of every row, c being 1 or 3, all of one size.
        heading: what stands above.

    Returns:
        The picture, each image at its own size.
    """
    count, height, width = rows[0][1].shape[:3]
    size = (
        LABELS + count * (width + MARGIN) + MARGIN,
        HEADING + len(rows) * (height + MARGIN) + MARGIN,
    )
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN, MARGIN), heading, INK)
    for line, (name, images) in enumerate(rows):
        top = HEADING + MARGIN + line * (height + MARGIN)
        draw.text((MARGIN, top + height // 2 - 6), name, INK)
        for column, image in enumerate(images.cpu().numpy()):
            place = LABELS + column * (width + MARGIN), top
            picture.paste(Image.fromarray(np.broadcast_to(image, (height, width, 3)).copy()), place)
    return picture


def stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures below each other."""
    size = max(p.width for p in pictures), sum(p.height for p in pictures)
    whole, top = Image.new("RGB", size, PAPER), 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height
    return whole


def save(picture: Image.Image, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    with atomic(path, "wb") as file:
        picture.save(file, "PNG")
