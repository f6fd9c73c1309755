"""A trained network that turns images into features."""

import functools
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from clustercontrast.data.augment import MEAN, STD, normalise
from clustercontrast.data.provenance import Provenance
from clustercontrast.data.samples import MODALITIES
from clustercontrast.engine.precision import autocast
from clustercontrast.evaluation.features import embedded, finite
from clustercontrast.files import UserError
from clustercontrast.models.activation import activation_maps
from clustercontrast.retrieval.blocks import Blocks
from clustercontrast.retrieval.digests import digest_of
from clustercontrast.retrieval.features import Features
from clustercontrast.retrieval.images import Given, Images, check_modality

BATCH = 64
"""Images per forward."""


@dataclass(frozen=True, eq=False)
class Model:
    """A saved network, ready to be used; ``clustercontrast.load`` makes one.

    Attributes:
        network: in eval mode.
        height: of the images it was trained on, pixels.
        width: likewise.
        about: what the model says of itself: method, dataset, stage, epoch; empty for a foreign
            file.
        source: where it was loaded from.
        device: where it computes.
        precision: "fp32", as in tests; "tf32" or "bf16".
    """

    network: nn.Module = field(repr=False)
    height: int
    width: int
    about: Mapping[str, Any] = field(repr=False)
    source: str
    device: torch.device
    precision: str = "fp32"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) that images are resized to, pixels."""
        return self.height, self.width

    @property
    def length(self) -> int:
        """Numbers of a feature, d."""
        return self.network.width

    @property
    def normalisation(self) -> dict[str, tuple[float, ...]]:
        """Mean and deviation of the channels, of values in [0, 1]; images are normalised inside."""
        return {"mean": MEAN, "std": STD}

    @property
    def stems(self) -> dict[str, str]:
        """Modality -> part of the network that reads its images first."""
        own = {name: f"{name}_stem" for name in MODALITIES}
        return {name: stem if hasattr(self.network, stem) else "stem" for name, stem in own.items()}

    @property
    def provenance(self) -> Provenance | None:
        """The images it was trained on and what marks them; None for a foreign file."""
        return Provenance.of(self.about) if "images" in self.about else None

    @functools.cached_property
    def digest(self) -> str:
        """Of the weights: the same network has the same one wherever it lies."""
        tensors = sorted(self.network.state_dict().items())
        pairs = ((name.encode(), own.detach().cpu().numpy().reshape(-1)) for name, own in tensors)
        return digest_of(itertools.chain.from_iterable(pairs))

    def features(
        self,
        images: Given,
        modality: str,
        flip: bool = True,
        batch_size: int = BATCH,
        workers: int | None = None,
        progress: bool = True,
        intensities: tuple[float, float] | None = None,
        keep: str | Path | None = None,
    ) -> Features:
        """Features of images, as the tests of this project extract them.

        Args:
            images: a folder (all images below it, in the order of their paths), a path, an opened
                image, an array (H, W, 3) or (N, H, W, 3) uint8, or several of these.  They are
                turned as their EXIF data say and resized with Lanczos' filter.
            modality: "visible" or "infrared", which decides the stem.
            flip: average over the mirror image, as every method but CMAM-UDA does in its tests
                (CMAM-21).
            batch_size: images per forward.
            workers: threads that decode; all cores by default.
            progress: show a bar where there is a terminal.
            intensities: values that become black and white in images of more than 8 bits.
            keep: folder for finished blocks: the same call goes on there when it was interrupted,
                and takes what is there when it is done.

        Returns:
            The features; images that cannot be read are left out and named in ``skipped``.

        Raises:
            UserError: no image, none that can be read, an unknown modality, or a model that does
                not read visible images themselves.

        >>> import clustercontrast
        >>> model = clustercontrast.load("logs/sysu/pclhd/seed1")
        >>> found = model.features("queries", modality="infrared")
        >>> found
        Features(6 infrared images, 512 numbers each)
        >>> found.rows.shape, found.paths[0]
        ((6, 512), 'queries/0001.jpg')
        """
        check_modality(modality)
        check_count("batch_size", batch_size)
        check_count("workers", workers if workers is not None else 1)
        if modality == "visible" and self.about.get("fakes"):
            raise UserError(
                f"{self.source} was trained to be shown fake infrared images in place of visible "
                "ones, which are made for its dataset alone: use the run's model M_joint"
            )
        listed = Images.of(images, self.size, intensities)
        made_with = self.made_with(flip)
        stamps = None if keep is None else digest_of(_stamps(listed))
        plan = {"modality": modality, **made_with, "images": stamps}
        done = Blocks(None if keep is None else Path(keep), plan, len(listed), self.length)
        left = sum(map(len, done.missing))
        with tqdm(
            total=len(listed),
            initial=len(listed) - left,
            desc=modality,
            unit="image",
            disable=None if progress else True,
        ) as bar:
            for block, found in listed.blocks(done.missing, workers or os.cpu_count() or 1):
                done.put(block, *self._block(found, modality, flip, batch_size, bar))
        return _features_of(listed, done, modality, made_with)

    def _block(
        self,
        images: Sequence[np.ndarray | UserError],
        modality: str,
        flip: bool,
        batch_size: int,
        bar: tqdm,
    ) -> tuple[np.ndarray, list[str]]:
        """(n, d) features, 0 where an image cannot be read, and the reasons ("" elsewhere)."""
        rows = np.zeros((len(images), self.length), np.float32)
        reasons = [str(one) if isinstance(one, UserError) else "" for one in images]
        good = [number for number, reason in enumerate(reasons) if not reason]
        bar.update(len(images) - len(good))
        for start in range(0, len(good), batch_size):
            some = good[start : start + batch_size]
            rows[some] = self.embed(np.stack([images[number] for number in some]), modality, flip)
            bar.update(len(some))
        return rows, reasons

    @torch.no_grad()
    def embed(self, pixels: np.ndarray, modality: str, flip: bool = True) -> np.ndarray:
        """Features of one batch.

        Args:
            pixels: (B, H, W, 3) uint8 at the model's size.
            modality: of all of them.
            flip: see :meth:`features`.

        Returns:
            (B, d) float32 unit rows.
        """
        batch = torch.tensor(pixels, device=self.device)
        with autocast(self.device, self.precision):
            return embedded(self.network, batch, modality, unit=True, flip=flip).cpu().numpy()

    def activations(self, pixels: np.ndarray, modality: str, towards: np.ndarray) -> np.ndarray:
        """Places of images that make them alike other features (docs/using.md#activation-maps).

        Args:
            pixels: (B, H, W, 3) uint8 at the model's size.
            modality: of all of them.
            towards: (B, d) features, one for every image.

        Returns:
            (B, h, w) float32 in [0, 1].
        """
        batch = normalise(torch.tensor(pixels, device=self.device))
        target = torch.tensor(towards, device=self.device)
        return activation_maps(self.network, batch, modality, target).numpy()

    def made_with(self, flip: bool = True) -> dict[str, Any]:
        """What features of this model say of it, see ``MADE_WITH`` of features."""
        kept = ("method", "dataset", "stage", "epoch", "images")
        return {
            "digest": self.digest,
            "height": self.height,
            "width": self.width,
            "flip": flip,
            "precision": self.precision,
            "source": self.source,
            "about": {key: self.about[key] for key in kept if key in self.about},
        }


def _features_of(
    images: Images, done: Blocks, modality: str, made_with: Mapping[str, Any]
) -> Features:
    """The features of the images that could be read.

    Raises:
        UserError: there is none, or some are not finite.
    """
    good = np.array([not reason for reason in done.reasons])
    pairs = list(zip(images.names, done.reasons, strict=True))
    if not good.any():
        raise UserError(f"none of {len(images):,} images can be read, such as: {pairs[0][1]}")
    rows = done.rows if good.all() else done.rows[good]
    finite(torch.from_numpy(rows), modality)
    names = tuple(name for name, reason in pairs if not reason)
    skipped = tuple(pair for pair in pairs if pair[1])
    return Features(rows, names, modality, made_with, skipped, images.passed_over)


def check_count(name: str, value: object) -> None:
    """Refuse what is no whole number from 1.

    Raises:
        UserError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise UserError(f"{name} is {value!r}: give a whole number from 1")


def _stamps(images: Images) -> Iterator[bytes | np.ndarray]:
    """Names, sizes and times of files: what is done holds for the same files alone."""
    yield repr((images.size, images.rules)).encode()
    for name, item in zip(images.names, images.items, strict=True):
        yield os.fsencode(name)
        if isinstance(item, Path):
            yield _stamp(item)
        else:
            yield np.asarray(item)


def _stamp(path: Path) -> bytes:
    """Size and time of a file; nothing of one that cannot be reached."""
    try:
        found = path.stat()
    except OSError:
        return b""
    return repr((found.st_size, found.st_mtime_ns)).encode()
