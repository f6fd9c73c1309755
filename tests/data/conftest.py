"""Small datasets made by hand: noise photographs in SYSU-MM01's layout."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# identity -> camera -> number of frames. 1, 3: train; 12: validation; 7, 20: test.
PEOPLE = {
    1: {1: 3, 2: 2, 3: 2, 6: 1},
    3: {4: 2, 6: 3},
    12: {1: 1, 5: 2, 3: 2},
    7: {1: 2, 2: 3, 3: 3, 6: 2},
    20: {4: 1, 5: 2, 6: 1},
}
PARTS = {"train": "3,1", "val": "12", "test": "20,7"}


def write_noise(path: Path, seed: int, size: tuple[int, int] = (20, 37)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path, quality=90)


@pytest.fixture
def people() -> dict[int, dict[int, int]]:
    """Frames by identity and camera of the people in the lists."""
    return PEOPLE


@pytest.fixture
def sysu_root(tmp_path) -> Path:
    """A complete little dataset; identity 99 stands in no list and must not be read."""
    root = tmp_path / "sysu"
    for camera in range(1, 7):
        (root / f"cam{camera}").mkdir(parents=True)
    for identity, cameras in [*PEOPLE.items(), (99, {1: 1, 3: 1})]:
        for camera, frames in cameras.items():
            for frame in range(1, frames + 1):
                path = root / f"cam{camera}" / f"{identity:04d}" / f"{frame:04d}.jpg"
                write_noise(path, seed=1000 * identity + 10 * camera + frame)
    (root / "exp").mkdir()
    for part, identities in PARTS.items():
        (root / "exp" / f"{part}_id.txt").write_text(identities + "\n")
    return root
