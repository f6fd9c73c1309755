"""The images that a run trains on and is tested on, opened when they are first asked for."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from clustercontrast.data.images import ImageArray, Prepared, open_sized
from clustercontrast.data.provenance import Provenance


class TargetImages:
    """Prepared images of a dataset, or of one of its trials.

    Args:
        dataset: its name, such as "sysu".
        options: flags of one model: where the images lie, how large they are, which trial.
        device: where images are wanted.

    Attributes:
        places: folders of the stages whose files several runs share, by name.
        opened: the arrays that were asked for, each where it was last put.
    """

    def __init__(self, dataset: str, options: Any, device: torch.device) -> None:
        self.dataset, self.options, self.device = dataset, options, device
        self.places: Mapping[str, Path] = {}
        self.opened: list[ImageArray] = []
        self._budget, self._pins = 0.0, False

    @cached_property
    def prepared(self) -> Prepared:
        """The images at the size of the networks.

        Raises:
            UserError: they are not there, or of another size.
        """
        return open_sized(self.options, self.dataset)

    @cached_property
    def provenance(self) -> dict[str, Provenance]:
        """What must be known of the images of a run, by its name in the run's record."""
        return {"images": self.prepared.provenance}

    @cached_property
    def parts(self) -> dict[str, ImageArray]:
        """Training and test images of both modalities, a key of ``PARTS`` each."""
        return self.placed(self.prepared.parts(self.options.trial_number))

    @property
    def visible(self) -> ImageArray:
        """Visible training images."""
        return self.parts["train_visible"]

    @property
    def infrared(self) -> ImageArray:
        """Infrared training images."""
        return self.parts["train_infrared"]

    def placed(self, arrays: dict[str, ImageArray]) -> dict[str, ImageArray]:
        """The arrays, put where the last :meth:`settle` leaves room; before it, on the disk."""
        self.opened += arrays.values()
        self._put(arrays.values())
        return arrays

    def settle(self, budget_bytes: float, pins: bool = True) -> None:
        """Put the arrays anew, those first that have been read since this was last done.

        Args:
            budget_bytes: memory of the device that all of them may take, later ones included.
            pins: the others go to page-locked host memory as far as they fit; else all stay mapped
                to the disk.
        """
        self.release()
        self._budget, self._pins = budget_bytes, pins
        self._put(sorted(self.opened, key=lambda array: not array.was_read))
        for array in self.opened:
            array.was_read = False

    def release(self) -> None:
        """Give the device's memory back: what lay there is read from the disk."""
        self._budget = 0.0
        for array in self.opened:
            if array.residence == "device":
                array.place(self.device, 0, pins=False)

    def bytes_on_device(self) -> int:
        """Of all arrays that lie there."""
        return sum(own.pixels.nbytes for own in self.opened if own.residence == "device")

    def _put(self, arrays: Iterable[ImageArray]) -> None:
        for array in arrays:
            if array.place(self.device, self._budget, self._pins) == "device":
                self._budget -= array.pixels.nbytes

    def residence(self) -> str:
        """Where the images are, in words."""
        names = {"device": "on the GPU", "pinned": "in pinned host memory", "map": "on the disk"}
        gigabytes = {
            name: sum(own.pixels.nbytes for own in self.opened if own.residence == place) / 1e9
            for place, name in names.items()
        }
        shown = [f"{size:.1f} GB {name}" for name, size in gigabytes.items() if size]
        return f"images: {', '.join(shown)}" if shown else "no images"
