"""Rendered data sets of any layout: claim a folder, draw in parallel, and mark it when it is whole.

``rendered.json`` in the root says that the identities are rendered; it is written last, so a folder
without it is unfinished.
"""

import io
import multiprocessing
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from PIL import Image

from clustercontrast.files import UserError, atomic, read_json, write_error, write_json

MARKER, STARTED = "rendered.json", "rendering.json"
Draw = Callable[[], Iterable[tuple[str, bytes]]]


class SetSize(Protocol):
    """How much to render of a layout."""

    name: str
    layout: ClassVar[str]  # name of the data set that has it

    @property
    def images(self) -> int:
        """Number of images of all parts together."""

    @property
    def counts(self) -> dict[str, int]:
        """The numbers that the layout's reader finds in a finished set."""


@dataclass(frozen=True)
class Content:
    """What a set consists of besides its marker.

    Attributes:
        folders: pairs of a path below the root and a function that draws the (name, content) of
            images of that folder; it travels to another process.  A folder may have several.
        texts: path below the root -> content of a list, written when all images are.
        copies: path below the root -> path of the image that it is a copy of.
    """

    folders: tuple[tuple[str, Draw], ...]
    texts: dict[str, str]
    copies: dict[str, str] = field(default_factory=dict)


def marker(size: SetSize, seed: int) -> dict:
    """The content of ``rendered.json``."""
    return {
        "rendered": True,
        "layout": size.layout,
        "seed": seed,
        "size": size.name,
        "counts": size.counts,
        "note": (
            f"people rendered by this project; no number measured on them is a {size.layout} result"
        ),
    }


def is_rendered(root: Path, size: SetSize, seed: int) -> bool:
    """Whether ``root`` holds the finished rendering of this size and seed."""
    path = Path(root) / MARKER
    return path.exists() and read_json(path) == marker(size, seed)


def render(
    root: Path,
    size: SetSize,
    seed: int,
    plan: Callable[[], Content],
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> dict[str, int]:
    """Render a whole set; a finished one is left as it is, an interrupted one is completed.

    Args:
        root: folder to make; it must be empty, missing, or of the same size and seed.
        size: what the marker says.
        seed: world of identities, at least 0.
        plan: gives the content; called only when there is something to draw.
        workers: processes, 1 renders in this one.
        progress: called with the number of images finished since the last call.

    Returns:
        The size's counts, which ``rendered.json`` holds as well.

    Raises:
        UserError: the folder holds something else, or it cannot be written.
    """
    root = Path(root)
    if is_rendered(root, size, seed):
        return size.counts
    _claim(root, marker(size, seed))
    content = plan()
    for images in _finished([(root / place, draw) for place, draw in content.folders], workers):
        if progress is not None:
            progress(images)
    _copy(root, content.copies)
    for place, text in content.texts.items():
        with atomic(root / place) as file:
            file.write(text)
    write_json(root / MARKER, marker(size, seed))
    (root / STARTED).unlink(missing_ok=True)
    return size.counts


def _copy(root: Path, copies: dict[str, str]) -> None:
    try:
        for place in {(root / place).parent for place in copies}:
            place.mkdir(parents=True, exist_ok=True)
        for place, original in copies.items():
            shutil.copyfile(root / original, root / place)
    except OSError as error:
        raise write_error(root, error) from error


def encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    """The content of an image file; ``kind`` and ``options`` are Pillow's."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def check_identities(asked: int, most: int) -> None:
    """Stop unless ``asked`` training identities are possible: 2 to ``most``."""
    if not 2 <= asked <= most:
        raise UserError(f"{asked} training identities asked for: give 2 to {most}")


def _claim(root: Path, content: dict) -> None:
    """Mark the folder as being rendered, or refuse it for what it holds."""
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file: name a folder that does not exist yet")
    if (root / MARKER).exists():
        raise UserError(
            f"{root} holds another rendering (its {MARKER} says another layout, size or seed): "
            "delete the folder or name another one"
        )
    started = root / STARTED
    is_ours = started.exists() and read_json(started) == content
    if root.exists() and any(root.iterdir()) and not is_ours:
        raise UserError(
            f"{root} is not empty and not an interrupted rendering of size {content['size']} with "
            f"seed {content['seed']} in {content['layout']}'s layout: delete the folder or name "
            "another one"
        )
    write_json(started, content)


def _finished(tasks: list[tuple[Path, Draw]], workers: int) -> Iterator[int]:
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


def _render_folder(task: tuple[Path, Draw]) -> int:
    """Write the images of one folder and return how many they are."""
    folder, draw = task
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return sum(bool((folder / name).write_bytes(content)) for name, content in draw())
    except OSError as error:
        raise write_error(folder, error) from error
