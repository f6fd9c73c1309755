"""Images as a user has them: a folder, paths, opened images, arrays; read block by block."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image

from clustercontrast.data import folder
from clustercontrast.data.decoding import ANY_KIND, Rules, as_pixels, decode
from clustercontrast.data.samples import MODALITIES
from clustercontrast.data.tree import Tree
from clustercontrast.files import UserError

Item: TypeAlias = Path | Image.Image | np.ndarray
Given: TypeAlias = str | Item | Iterable["Given"]
"""What a user may give: one of these, or several of any kind."""

ENDINGS = (*folder.ENDINGS, ".jfif", ".webp", ".gif", ".ppm", ".pgm")

RESAMPLING = Image.Resampling.LANCZOS  # as of the test images of every dataset (COMMON-5)


@dataclass(frozen=True)
class Images:
    """Images that are read when they are asked for.

    Attributes:
        names: of the N images: the path as given, or "image 3" for what has none.
        items: the images themselves, or where they are.
        size: (height, width) that they are resized to, pixels.
        rules: how files become pixels.
        passed_over: what lies in given folders and is no image by its name, or cannot be entered.
    """

    names: tuple[str, ...]
    items: tuple[Item, ...]
    size: tuple[int, int]
    rules: Rules = field(default_factory=lambda: Rules(turned=True))
    passed_over: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        given: Given,
        size: tuple[int, int],
        intensities: tuple[float, float] | None = None,
    ) -> "Images":
        """List what was given.

        A folder stands for all images below it, in the order of their paths.

        Raises:
            UserError: there is no such path, no image, or it is of another kind.
        """
        passed_over: list[str] = []
        items = tuple(_items(given, passed_over))
        if not items:
            raise UserError("there are no images: give a folder, paths, opened images or arrays")
        names = tuple(
            str(item) if isinstance(item, Path) else f"image {number}"
            for number, item in enumerate(items)
        )
        rules = Rules(_range(intensities), turned=True)
        return cls(names, items, size, rules, tuple(passed_over))

    def __len__(self) -> int:
        return len(self.items)

    def read(self, row: int) -> np.ndarray | UserError:
        """One image, (H, W, 3) uint8, or what is wrong with it."""
        item, (height, width) = self.items[row], self.size
        try:
            if isinstance(item, Path):
                return decode(item, (width, height), RESAMPLING, self.rules)[0]
            image = _image(item)
            return as_pixels(image, self.names[row], (width, height), RESAMPLING, self.rules)
        except UserError as error:
            return error
        except ANY_KIND as error:
            return UserError(f"{self.names[row]} cannot be read ({error}): give another")

    def blocks(
        self, blocks: Sequence[range], workers: int
    ) -> Iterator[tuple[range, list[np.ndarray | UserError]]]:
        """Blocks of rows with their images; the next one is read while one is used.

        Args:
            blocks: rows of every block.
            workers: threads that decode.
        """
        with ThreadPoolExecutor(workers) as pool:
            waiting: list[Future] = []
            for number, block in enumerate(blocks):
                current = waiting or [pool.submit(self.read, row) for row in block]
                ahead = blocks[number + 1] if number + 1 < len(blocks) else ()
                waiting = [pool.submit(self.read, row) for row in ahead]
                yield block, [future.result() for future in current]


def read_pictures(paths: Sequence[str], size: tuple[int, int]) -> list[np.ndarray | None]:
    """Images of paths, (H, W, 3) uint8 at (height, width); None for one that cannot be read."""
    images = Images(tuple(paths), tuple(map(Path, paths)), size)
    with ThreadPoolExecutor() as pool:
        found = pool.map(images.read, range(len(images)))
        return [None if isinstance(one, UserError) else one for one in found]


def check_modality(word: str) -> None:
    """Refuse what is no modality.

    Raises:
        UserError: it says which there are.
    """
    if word not in MODALITIES:
        raise UserError(f"'{word}' is no modality: say {' or '.join(MODALITIES)}")


def _range(intensities: Sequence[float] | None) -> tuple[float, float] | None:
    """Two numbers, the smaller one first."""
    if intensities is None:
        return None
    try:
        low, high = map(float, intensities)
    except (TypeError, ValueError) as error:
        raise UserError(f"intensities are {intensities!r}: give two numbers") from error
    return low, high


def _items(given: Given, passed_over: list[str]) -> Iterator[Item]:
    if isinstance(given, str | Path):
        yield from _paths(given, passed_over)
    elif isinstance(given, Image.Image):
        yield given
    elif isinstance(given, np.ndarray):
        yield from given if given.ndim == 4 else [given]
    elif isinstance(given, Iterable) and not isinstance(given, bytes | torch.Tensor):
        for one in given:
            yield from _items(one, passed_over)
    else:
        raise UserError(
            f"images cannot be a {type(given).__name__}: give a folder, paths, opened images or "
            "arrays (H, W, 3) uint8"
        )


def _paths(given: str | Path, passed_over: list[str]) -> Iterator[Path]:
    place = Path(given)
    if os.path.isdir(place) and str(given):  # noqa: PTH112 - asks about links without rights, too
        tree = Tree(place, enters_all=False)
        every = sorted(tree.every())
        found = [path for path in every if path.lower().endswith(ENDINGS)]
        passed_over += [str(place / path) for path in (*{*every} - {*found}, *tree.skipped)]
        if not found:
            raise UserError(f"{place} has no image ({', '.join(ENDINGS)}): give another folder")
        yield from (place / path for path in found)
    elif os.path.lexists(place) and str(given):
        yield place
    else:
        raise UserError(f"{given or 'an empty name'} does not exist: give a folder or an image")


def _image(item: Image.Image | np.ndarray) -> Image.Image:
    if isinstance(item, Image.Image):
        return item
    is_colour = item.ndim == 3 and item.shape[2] in (3, 4)
    if not item.size or item.dtype != np.uint8 or not (is_colour or item.ndim == 2):
        raise UserError(
            f"an array of {item.dtype} {item.shape} is no image: give uint8 (H, W, 3), or (H, W) "
            "for gray"
        )
    return Image.fromarray(item)
