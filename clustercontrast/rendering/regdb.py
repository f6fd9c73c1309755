"""Rendered identities in RegDB's raw layout, with RegDB's counts at full size.

No number measured on these images is a RegDB result.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from clustercontrast.rendering import rig, sets
from clustercontrast.rendering.people import Identity, sample_identity

TRIALS = 10
# Modality -> folder, its letter in the names of images, its word in the names of index files.
NAMES = {"visible": ("Visible", "v", "visible"), "infrared": ("Thermal", "t", "thermal")}
PARTS = ("train", "test")
SKIRTS = ("dress", "gown", "short skirt", "long skirt")


@dataclass(frozen=True)
class RegDBSize:
    """How much to render: ``identities`` to train on and as many to test on, per trial.

    Every identity is in ``frames`` images of either modality, each ``height`` x ``width`` pixels.
    """

    name: str
    identities: int
    frames: int
    height: int
    width: int
    layout: ClassVar[str] = "RegDB"

    @property
    def images(self) -> int:
        """Number of images of both modalities together."""
        return 4 * self.identities * self.frames

    @property
    def counts(self) -> dict[str, int]:
        """What a reader finds: all images of a modality, and the numbers of every trial."""
        part = self.identities * self.frames
        return {
            "trials": TRIALS,
            "visible": 2 * part,
            "infrared": 2 * part,
            "train_identities": self.identities,
            "test_identities": self.identities,
            "train_visible": part,
            "train_infrared": part,
            "test_visible": part,
            "test_infrared": part,
        }

    def with_training_identities(self, identities: int) -> "RegDBSize":
        """The same size with other numbers of training and of test identities per trial.

        Args:
            identities: of each part, at least 2.

        Raises:
            UserError: fewer than 2, or more than 4,999.
        """
        sets.check_identities(identities, most=4999)
        return dataclasses.replace(self, name=f"{self.name}-{identities}", identities=identities)


REGDB_SIZES = {
    "tiny": RegDBSize("tiny", 12, 5, 48, 24),
    "demo": RegDBSize("demo", 50, 10, 96, 48),
    "full": RegDBSize("full", 206, 10, 128, 64),
}


@dataclass(frozen=True)
class Folder:
    """One person in one modality: the names of the images in the order of their frames."""

    identity: int
    modality: str
    names: tuple[str, ...]

    @property
    def place(self) -> str:
        """The folder's path below the root."""
        return f"{NAMES[self.modality][0]}/{self.identity}"


@dataclass(frozen=True)
class Plan:
    """Every folder of a rendered set, and the identities of the trials' parts by label.

    ``trials[t - 1]["train"][label]`` is a person's number; "test" is the other half.
    """

    folders: tuple[Folder, ...]
    trials: tuple[dict[str, tuple[int, ...]], ...]


def plan(size: RegDBSize, seed: int) -> Plan:
    """The names of all images and the halves of all trials."""
    generator = np.random.default_rng(np.random.SeedSequence((seed, 0, 0, 2)))
    people = range(1, 2 * size.identities + 1)
    halves = [(1 + generator.permutation(len(people))).tolist() for _ in range(TRIALS)]
    trials = tuple(
        {"train": tuple(half[: size.identities]), "test": tuple(half[size.identities :])}
        for half in halves
    )
    folders = (folder for person in people for folder in _folders(person, size.frames, seed))
    return Plan(tuple(folders), trials)


def _folders(number: int, frames: int, seed: int) -> Iterator[Folder]:
    """The two folders of a person; the cameras count their own frames, so the numbers differ."""
    generator = np.random.default_rng(np.random.SeedSequence((seed, number, rig.RIG, 6)))
    habits = rig.habits(number, seed)
    start = f"{_sex(sample_identity(seed, number), generator)}_{habits.view}"
    steps = generator.integers(2, 9, frames)
    steps[habits.first_walk : habits.first_walk + 1] += generator.integers(300, 3000)
    passed = generator.integers(0, 90_000) + np.cumsum(steps)
    for modality, (_, letter, _) in NAMES.items():
        numbers = passed + generator.integers(0, 100)
        names = tuple(f"{start}_{letter}_{frame:05d}_{number}.bmp" for frame in numbers.tolist())
        yield Folder(number, modality, names)


def _sex(person: Identity, generator: np.random.Generator) -> str:
    """What the names say: women are all who wear skirts and some of the others."""
    is_skirted = person.upper.kind in SKIRTS or person.lower.kind in SKIRTS
    return "female" if generator.uniform() < 0.25 or is_skirted else "male"


def render_regdb(
    root: Path,
    size: RegDBSize,
    seed: int,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> dict[str, int]:
    """Render a whole data set, exactly as :func:`clustercontrast.rendering.sets.render` says.

    The files depend on ``size``, one of :data:`REGDB_SIZES` or a variation of it, and on ``seed``
    alone; different seeds share no identity.
    """
    return sets.render(root, size, seed, lambda: _content(size, seed), workers, progress)


def _content(size: RegDBSize, seed: int) -> sets.Content:
    planned, shape = plan(size, seed), (size.height, size.width)
    folders = (
        (folder.place, functools.partial(_draw, folder, seed, shape)) for folder in planned.folders
    )
    return sets.Content(tuple(folders), index_files(planned))


def _draw(folder: Folder, seed: int, shape: tuple[int, int]) -> Iterator[tuple[str, bytes]]:
    """Name and content of one person's images in one modality."""
    person = sample_identity(seed, folder.identity)
    for frame, name in enumerate(folder.names, start=1):
        image = rig.photograph(person, folder.modality, frame, seed, shape)
        yield name, sets.encoded(image, "BMP")


def index_files(planned: Plan) -> dict[str, str]:
    """Path below the root -> lines "<path> <label>" of the lists of all trials, by label."""
    folders = {(folder.identity, folder.modality): folder for folder in planned.folders}
    return {
        f"idx/{part}_{word}_{trial}.txt": "".join(
            f"{folders[person, modality].place}/{name} {label}\n"
            for label, person in enumerate(parts[part])
            for name in folders[person, modality].names
        )
        for trial, parts in enumerate(planned.trials, start=1)
        for part in PARTS
        for modality, (_, _, word) in NAMES.items()
    }
