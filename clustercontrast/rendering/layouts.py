"""Rendered people in SYSU-MM01's raw layout, with SYSU-MM01's counts at full size (common.md 1.1).

``rendered.json`` in the root says that the people are rendered; it is written last, so a folder
without it is unfinished. No number measured on these images is a SYSU-MM01 result.
"""

import dataclasses
import io
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clustercontrast.files import UserError, atomic, read_json, write_error, write_json
from clustercontrast.rendering.cameras import CAMERAS, INFRARED, VISIBLE, photograph
from clustercontrast.rendering.people import sample_identity

MARKER, STARTED = "rendered.json", "rendering.json"
NOTE = "people rendered by this project; no number measured on them is a SYSU-MM01 result"
LAST_IDENTITY = 533  # SYSU-MM01 numbers its people 1 to 533, with gaps
VISIBLE_FOLDERS = (
    3.136  # mean number of visible cameras that saw a person: 301 folders of 96 people
)
INFRARED_FOLDERS = 1.8
UNEVENNESS = 0.18  # spread of the number of images around a folder's share


@dataclass(frozen=True)
class Size:
    """How much to render; ``height`` and ``width`` are nominal, crops vary around them in pixels.

    Training images are those of the training and validation identities; the query set is every
    infrared test image and the gallery pool every visible one, in ``gallery_folders`` folders.
    """

    name: str
    train_identities: int
    val_identities: int
    test_identities: int
    train_visible: int
    train_infrared: int
    query: int
    gallery_pool: int
    gallery_folders: int
    height: int
    width: int

    @property
    def images(self) -> int:
        """Number of images of all subsets together."""
        return self.train_visible + self.train_infrared + self.query + self.gallery_pool

    def with_training_identities(self, identities: int) -> "Size":
        """The same size with another number of training people; the test people stay as they are.

        Args:
            identities: train and validation identities together, at least 2.

        Raises:
            UserError: fewer than 2, or more people than four digits can number.
        """
        most = 9999 - self.test_identities
        if not 2 <= identities <= most:
            raise UserError(f"{identities} training identities asked for: give 2 to {most}")
        before = self.train_identities + self.val_identities
        validation = max(1, round(identities * self.val_identities / before))
        return dataclasses.replace(
            self,
            name=f"{self.name}-{identities}",
            train_identities=identities - validation,
            val_identities=validation,
            train_visible=round(self.train_visible * identities / before),
            train_infrared=round(self.train_infrared * identities / before),
        )


SIZES = {
    "tiny": Size("tiny", 12, 4, 8, 250, 145, 70, 125, 25, 64, 28),
    "demo": Size("demo", 48, 12, 30, 1300, 700, 240, 564, 94, 128, 56),
    "full": Size("full", 296, 99, 96, 22258, 11909, 3803, 6775, 301, 225, 95),
}


@dataclass(frozen=True)
class Folder:
    """One folder ``cam<camera>/<identity>`` with its number of images."""

    identity: int
    camera: int
    images: int


@dataclass(frozen=True)
class Plan:
    """The identity lists and every folder of a rendered set."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]
    folders: tuple[Folder, ...]


def plan(size: Size, seed: int) -> Plan:
    """Who is in which list and how many images each folder holds; totals are exactly the size's."""
    generator = np.random.default_rng(np.random.SeedSequence((seed, 0, 0, 1)))
    total = size.train_identities + size.val_identities + size.test_identities
    last = min(9999, max(LAST_IDENTITY, round(1.1 * total)))
    numbers = (1 + generator.permutation(last)[:total]).tolist()
    training = size.train_identities + size.val_identities
    learned, tested = numbers[:training], numbers[training:]
    visible_folders = round(VISIBLE_FOLDERS * training)
    infrared, test_infrared = (round(INFRARED_FOLDERS * len(ids)) for ids in (learned, tested))
    folders = [
        *_folders(learned, VISIBLE, (visible_folders, size.train_visible), generator),
        *_folders(learned, INFRARED, (infrared, size.train_infrared), generator),
        *_folders(tested, VISIBLE, (size.gallery_folders, size.gallery_pool), generator),
        *_folders(tested, INFRARED, (test_infrared, size.query), generator),
    ]
    return Plan(
        train=tuple(sorted(learned[: size.train_identities])),
        val=tuple(sorted(learned[size.train_identities :])),
        test=tuple(sorted(tested)),
        folders=tuple(sorted(folders, key=lambda folder: (folder.identity, folder.camera))),
    )


def _folders(
    identities: list[int],
    cameras: tuple[int, ...],
    counts: tuple[int, int],
    generator: np.random.Generator,
) -> Iterator[Folder]:
    """Choose ``counts[0]`` pairs (identity, camera), one per person at least, and share images out.

    Everybody is seen by a camera other than 2: queries of camera 3 skip the gallery of camera 2, so
    whoever is in no other visible camera could not be found (common.md 2).
    """
    number, images = counts
    free = [camera for camera in cameras if camera != 2]
    sure = [(identity, int(generator.choice(free))) for identity in identities]
    others = sorted({(i, c) for i in identities for c in cameras} - set(sure))
    extra = generator.permutation(len(others))[: number - len(sure)]
    pairs = sure + [others[k] for k in extra.tolist()]
    shares = _shares(images, len(pairs), generator)
    return (Folder(i, c, n) for (i, c), n in zip(pairs, shares.tolist(), strict=True))


def _shares(total: int, folders: int, generator: np.random.Generator) -> np.ndarray:
    """(folders,) int64 uneven numbers of images that sum to ``total`` exactly."""
    weights = np.clip(generator.normal(1, UNEVENNESS, folders), 1 - UNEVENNESS, 1 + UNEVENNESS)
    ends = np.rint(np.cumsum(weights) / weights.sum() * total).astype(np.int64)
    return np.diff(ends, prepend=0)


def render_sysu(
    root: Path,
    size: Size,
    seed: int,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> dict:
    """Render a whole data set; the files depend on size and seed alone, not on ``workers``.

    A finished folder of the same size and seed is left as it is; an interrupted one is completed.

    Args:
        root: folder to make; it must be empty, missing, or of the same size and seed.
        size: one of :data:`SIZES`, or a variation of it.
        seed: world of people, at least 0; different seeds share nobody.
        workers: processes, 1 renders in this one.
        progress: called with the number of images finished since the last call.

    Returns:
        The counts that ``rendered.json`` holds as well: train_identities (training and validation),
        test_identities, train_visible, train_infrared, query, gallery, gallery_draw.

    Raises:
        UserError: the folder holds something else, or it cannot be written.
    """
    root = Path(root)
    content = _marker(size, seed)
    if is_rendered(root, size, seed):
        return content["counts"]
    _claim(root, content)
    planned = plan(size, seed)
    tasks = [(root, folder, seed, (size.height, size.width)) for folder in planned.folders]
    for images in _finished(tasks, workers):
        if progress is not None:
            progress(images)
    _write_lists(root / "exp", planned)
    write_json(root / MARKER, content)
    (root / STARTED).unlink(missing_ok=True)
    return content["counts"]


def is_rendered(root: Path, size: Size, seed: int) -> bool:
    """Whether ``root`` holds the finished rendering of this size and seed."""
    marker = Path(root) / MARKER
    return marker.exists() and read_json(marker) == _marker(size, seed)


def _marker(size: Size, seed: int) -> dict:
    counts = {
        "train_identities": size.train_identities + size.val_identities,
        "test_identities": size.test_identities,
        "train_visible": size.train_visible,
        "train_infrared": size.train_infrared,
        "query": size.query,
        "gallery": size.gallery_pool,
        "gallery_draw": size.gallery_folders,
    }
    return {
        "rendered": True,
        "layout": "SYSU-MM01",
        "seed": seed,
        "size": size.name,
        "counts": counts,
        "note": NOTE,
    }


def _claim(root: Path, content: dict) -> None:
    """Mark the folder as being rendered, or refuse it for what it holds."""
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file: name a folder that does not exist yet")
    if (root / MARKER).exists():
        raise UserError(
            f"{root} holds another rendering (its {MARKER} says another size or seed): "
            "delete the folder or name another one"
        )
    started = root / STARTED
    is_ours = started.exists() and read_json(started) == content
    if root.exists() and any(root.iterdir()) and not is_ours:
        raise UserError(
            f"{root} is not empty and not an interrupted rendering of size {content['size']} with "
            f"seed {content['seed']}: delete the folder or name another one"
        )
    write_json(started, content)


def _finished(tasks: list[tuple], workers: int) -> Iterable[int]:
    """Number of images of each folder as it gets done."""
    if workers <= 1:
        yield from map(_render_folder, tasks)
        return
    context = multiprocessing.get_context("spawn")  # safe beside the threads of torch
    with context.Pool(workers, initializer=_ignore_interrupts) as pool:
        yield from pool.imap_unordered(_render_folder, tasks, chunksize=4)


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the parent, which ends the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _render_folder(task: tuple[Path, Folder, int, tuple[int, int]]) -> int:
    """Render one (identity, camera) folder and return its number of images."""
    root, folder, seed, size = task
    person = sample_identity(seed, folder.identity)
    place = root / f"cam{folder.camera}" / f"{folder.identity:04d}"
    quality = CAMERAS[folder.camera].sensor.quality
    try:
        place.mkdir(parents=True, exist_ok=True)
        for frame in range(1, folder.images + 1):
            buffer = io.BytesIO()
            photograph(person, folder.camera, frame, seed, size).save(
                buffer, "JPEG", quality=quality
            )
            (place / f"{frame:04d}.jpg").write_bytes(buffer.getvalue())
    except OSError as error:
        raise write_error(place, error) from error
    return folder.images


def _write_lists(folder: Path, planned: Plan) -> None:
    """The four lists: one line each, integers without padding, separated by commas."""
    lists = {
        "train": planned.train,
        "val": planned.val,
        "test": planned.test,
        "available": sorted(planned.train + planned.val + planned.test),
    }
    for name, numbers in lists.items():
        with atomic(folder / f"{name}_id.txt") as file:
            file.write(",".join(map(str, numbers)) + "\n")
