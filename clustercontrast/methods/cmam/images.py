"""The images of CMAM-UDA: target and source, at the networks' size and at the generator's."""

import functools
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from clustercontrast.data import folder, market
from clustercontrast.data.images import ImageArray, Prepared
from clustercontrast.data.preparation import ensure
from clustercontrast.data.samples import Listing
from clustercontrast.data.target import TargetImages
from clustercontrast.files import UserError


class TransferImages(TargetImages):
    """Images of the target and of the source, opened, or prepared, when first asked for."""

    @cached_property
    def prepared(self) -> Prepared:
        """The target's images at the networks' size."""
        return self._target(self.options.height, self.options.width)

    @cached_property
    def source(self) -> ImageArray:
        """The source's images at the networks' size."""
        array = self._source(self.options.height, self.options.width)
        return self.placed({"source": array})["source"]

    @cached_property
    def small(self) -> dict[str, ImageArray]:
        """Images at the generator's size: the target's parts and, if there is one, the source."""
        size = self.options.fake_height, self.options.fake_width
        parts = self._target(*size).parts(self.options.trial_number)
        return self.placed(parts | ({"source": self._source(*size)} if self.options.source else {}))

    def _target(self, height: int, width: int) -> Prepared:
        o, size = self.options, (height, width)
        is_chosen = o.cache_dir and size == (o.height, o.width)
        place = Path(o.cache_dir) if is_chosen else _beside(o.data_dir, size)
        return ensure(self.dataset, Path(o.data_dir), place, size, **self._accepted())

    def _source(self, height: int, width: int) -> ImageArray:
        o, size = self.options, (height, width)
        if not o.source:
            raise UserError(
                "give --source FOLDER: visible images of other identities, in Market-1501's layout "
                "or, with --source-format folder, in any layout"
            )
        chosen = "" if self._all_splits else "-" + "-".join(o.source_splits)
        place = _beside(o.source, size, chosen)
        found = ensure(
            o.source_format, Path(o.source), place, size, self._reader, **self._accepted()
        )
        return found["source"]

    def _accepted(self) -> dict[str, Any]:
        """What the flags accept of images that have to be prepared."""
        o = self.options
        return {
            "allow_incomplete": o.allow_incomplete,
            "allow_leak": o.allow_leak,
            "intensities": o.intensity_range and tuple(o.intensity_range),
        }

    @property
    def _all_splits(self) -> bool:
        return self.options.source_format != "market" or set(self.options.source_splits) == set(
            market.SPLITS
        )

    @property
    def _reader(self) -> Callable[[Path], Listing]:
        o = self.options
        if o.source_format == "market":
            return functools.partial(market.read, splits=tuple(o.source_splits))
        return functools.partial(folder.read, camera_pattern=o.camera_pattern)

    @staticmethod
    def basis(dataset: str, options: Any) -> dict[str, dict]:
        """What tells the images of one run from those of another, by "source" and "target"."""
        return {
            "source": {
                "folder": str(Path(options.source).resolve()) if options.source else None,
                "format": options.source_format,
                "splits": list(options.source_splits),
                "cameras": options.camera_pattern,
                "size": [options.height, options.width],
            },
            "target": {
                "dataset": dataset,
                "folder": str(Path(options.data_dir).resolve()),
                "trial": options.trial_number,
            },
        }


def _beside(root: str, size: tuple[int, int], chosen: str = "") -> Path:
    return Path(f"{root.rstrip('/')}{chosen}-{size[0]}x{size[1]}")
