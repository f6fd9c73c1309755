"""Noise photographs, and names in RegDB's layout, for small datasets made by hand."""

from pathlib import Path

import numpy as np
from PIL import Image

REGDB_TRIALS = {1: ([11, 2], [1, 12]), 2: ([12, 1], [11, 2])}


def write_noise(path: Path, seed: int, size: tuple[int, int] = (20, 37)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path, quality=90)


def regdb_name(person: int, modality: str, frame: int) -> str:
    return f"male_front_{modality[0].lower()}_{frame:05d}_{person}.bmp"
