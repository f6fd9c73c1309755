"""Small datasets made by hand: noise photographs in SYSU-MM01's and RegDB's layouts."""

from pathlib import Path

import pytest
from handmade import REGDB_TRIALS, regdb_name, write_noise

# identity -> camera -> number of frames. 1, 3: train; 12: validation; 7, 20: test.
PEOPLE = {
    1: {1: 3, 2: 2, 3: 2, 6: 1},
    3: {4: 2, 6: 3},
    12: {1: 1, 5: 2, 3: 2},
    7: {1: 2, 2: 3, 3: 3, 6: 2},
    20: {4: 1, 5: 2, 6: 1},
}
PARTS = {"train": "3,1", "val": "12", "test": "20,7"}


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


# RegDB: people 1, 2, 11, 12 with two frames per modality; trials: who trains, in label order.
@pytest.fixture
def regdb_root(tmp_path) -> Path:
    """A complete little RegDB of two trials."""
    root = tmp_path / "regdb"
    for modality in ("Visible", "Thermal"):
        for person in (1, 2, 11, 12):
            for frame in (7, 103):
                path = root / modality / str(person) / regdb_name(person, modality, frame)
                write_noise(path, seed=1000 * person + frame, size=(10, 20))
    (root / "idx").mkdir()
    for trial, parts in REGDB_TRIALS.items():
        for part, people in zip(("train", "test"), parts, strict=True):
            for modality in ("Visible", "Thermal"):
                lines = [
                    f"{modality}/{person}/{regdb_name(person, modality, frame)} {label}"
                    for label, person in enumerate(people)
                    for frame in (7, 103)
                ]
                file = root / "idx" / f"{part}_{modality.lower()}_{trial}.txt"
                file.write_text("\n".join(lines) + "\n")
    return root
