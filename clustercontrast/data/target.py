"""The images that a run trains on and is tested on, opened when they are first asked for."""

from collections.abc import Mapping
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
    """

    def __init__(self, dataset: str, options: Any, device: torch.device) -> None:
        self.dataset, self.options, self.device = dataset, options, device
        self.places: Mapping[str, Path] = {}

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
        """The arrays, on the device or in host memory, as they fit."""
        for array in arrays.values():
            array.place(self.device)
        return arrays
