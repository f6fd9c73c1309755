"""Fake infrared images on disk: one memory-mapped array, filled image by image.

``<name>.npy`` holds (N, h, w, c) uint8, row i made from image i of a list; ``<name>.done.npy`` is
(N,) bool, true for finished rows; ``<name>.json`` says of which images, by which weights and how.
A row's noise depends on the seed and on the image's path alone, so that batches, processes and
interruptions do not change it.  Several processes may fill disjoint rows of one set.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from clustercontrast.data.images import ImageArray
from clustercontrast.data.samples import ImageList
from clustercontrast.files import UserError, atomic, read_json, write_json

PATIENCE = 60.0  # seconds that the other processes wait for the first to make the files


class FakeSet:
    """The fake infrared images of one list.

    Args:
        folder: where its three files are.
        name: of the set.
        images: the visible images they are made from.

    Attributes:
        pixels: (N, h, w, c) uint8, mapped to the disk; a row counts when ``done`` says so.
        done: (N,) bool, mapped to the disk.
    """

    def __init__(self, folder: Path, name: str, images: ImageList) -> None:
        self.folder, self.name, self.images = Path(folder), name, images
        about = read_json(self._path(".json"))
        if about["paths"] != list(images.paths):
            raise UserError(
                f"{self._path('.json')} lists other images than {name} has now: delete "
                f"{self.folder} and run --stages generation again"
            )
        try:
            self.pixels = np.load(self._path(".npy"), mmap_mode="r+")
            self.done = np.load(self._path(".done.npy"), mmap_mode="r+")
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self._path('.npy')} is missing or damaged ({error}): delete {self.folder} and "
                "run --stages generation again"
            ) from error

    @classmethod
    def opened(
        cls,
        folder: Path,
        name: str,
        images: ImageList,
        shape: tuple[int, int, int],
        about: dict,
        first: bool = True,
    ) -> "FakeSet":
        """The set, made empty if it is not there.

        Args:
            folder: of its files.
            name: of the set.
            images: the visible images.
            shape: (h, w, c) of a fake image.
            about: facts to keep with it (weights, sampler, edges, seed).
            first: this process makes the files; the others wait for it.
        """
        path = Path(folder) / f"{name}.json"
        if first and not path.exists():
            _make_empty(Path(folder), name, images, shape, about)
        until = time.monotonic() + PATIENCE
        while not path.exists():
            if time.monotonic() > until:
                raise UserError(f"{path} does not appear: start shard 0 as well")
            time.sleep(0.1)
        return cls(folder, name, images)

    def missing(self, wanted: np.ndarray) -> np.ndarray:
        """Rows of ``wanted`` (M,) int64 that are not finished."""
        return wanted[~self.done[wanted]]

    def write(self, rows: np.ndarray, pixels: np.ndarray) -> None:
        """Store finished images (B, h, w, c) uint8 at ``rows`` (B,)."""
        self.pixels[rows] = pixels
        self.pixels.flush()  # before the mark: a marked row is a whole one
        self.done[rows] = True
        self.done.flush()

    def array(self, size: tuple[int, int], rows: np.ndarray | None = None) -> "FakeArray":
        """The images for training and testing, enlarged to ``size`` (height, width).

        Args:
            size: of the array.
            rows: that will be read, all by default.

        Raises:
            UserError: some of them are not finished.
        """
        left = len(self.missing(np.arange(len(self.images)) if rows is None else rows))
        if left:
            raise UserError(
                f"{left:,} fakes of {self.name} are missing in {self.folder}: run --stages "
                "generation again"
            )
        return FakeArray(self.images, np.load(self._path(".npy"), mmap_mode="c"), size)

    def _path(self, ending: str) -> Path:
        return self.folder / f"{self.name}{ending}"


def _make_empty(
    folder: Path, name: str, images: ImageList, shape: tuple[int, int, int], about: dict
) -> None:
    """Write the three files; the one that marks them as complete comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    content = np.lib.format.open_memmap(
        folder / f"{name}.npy", mode="w+", dtype=np.uint8, shape=(len(images), *shape)
    )
    content.flush()
    with atomic(folder / f"{name}.done.npy", "wb") as file:
        np.save(file, np.zeros(len(images), dtype=bool))
    write_json(folder / f"{name}.json", about | {"paths": list(images.paths)})


def fill(
    fakes: FakeSet,
    rows: np.ndarray,
    make: Callable[[np.ndarray], torch.Tensor],
    batch_size: int,
    progress: Callable[[int], None],
) -> None:
    """Make the images at ``rows``, batch by batch; a kill loses the open batch at most.

    Args:
        fakes: the set.
        rows: (M,) int64.
        make: rows (B,) -> fake images (B, c, h, w) with values in [-1, 1].
        batch_size: images at a time.
        progress: called with the number of images after each batch.
    """
    for start in range(0, len(rows), batch_size):
        chosen = rows[start : start + batch_size]
        fakes.write(chosen, quantised(make(chosen)).cpu().numpy())
        progress(len(chosen))


def quantised(images: torch.Tensor) -> torch.Tensor:
    """round(127.5 (x + 1)) of (B, c, h, w) values clipped to [-1, 1]: (B, h, w, c) uint8."""
    values = (127.5 * (images.clamp(-1, 1) + 1)).round()
    return values.to(torch.uint8).permute(0, 2, 3, 1)


def scaled(gray: torch.Tensor) -> torch.Tensor:
    """Values in [0, 1] as the diffusion sees them, in [-1, 1] (A31)."""
    return 2 * gray - 1


def noise_of(paths: Sequence[str], shape: tuple[int, int, int], seed: int) -> torch.Tensor:
    """Standard normal (B, c, h, w) float32; an image's own depends on its path and the seed."""
    own = []
    for path in paths:
        digest = hashlib.blake2b(f"{seed}:{path}".encode(), digest_size=8).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
        height, width, channels = shape
        own.append(torch.randn(channels, height, width, generator=generator))
    return torch.stack(own)


class FakeArray(ImageArray):
    """Fake infrared images as training sees them: enlarged, three equal channels."""

    def __init__(self, images: ImageList, pixels: np.ndarray, size: tuple[int, int]) -> None:
        super().__init__(images, pixels)
        self.size = size

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """Images at ``rows`` (B,) int64: (B, H, W, 3) uint8 on the device."""
        return self._enlarged(super().gather(rows))

    def chunks(self, size: int, rows: torch.Tensor | None = None):
        """All images, or those at ``rows``, in order: (up to size, H, W, 3) uint8."""
        if rows is not None:
            yield from super().chunks(size, rows)
            return
        yield from map(self._enlarged, super().chunks(size))

    def _enlarged(self, pixels: torch.Tensor) -> torch.Tensor:
        images = pixels.permute(0, 3, 1, 2).float()
        if tuple(images.shape[2:]) != tuple(self.size):
            images = F.interpolate(images, self.size, mode="bicubic", align_corners=False)
        return images.round().clamp(0, 255).byte().permute(0, 2, 3, 1).expand(-1, -1, -1, 3)
