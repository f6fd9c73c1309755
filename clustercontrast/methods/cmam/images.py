"""The images of CMAM-UDA: target and source, at the networks' size and at the generator's."""

import functools
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from clustercontrast.data import folder, market
from clustercontrast.data.images import ImageArray, Prepared
from clustercontrast.data.places import beside
from clustercontrast.data.preparation import ensure
from clustercontrast.data.provenance import Provenance
from clustercontrast.data.samples import Listing
from clustercontrast.data.target import TargetImages


class TransferImages(TargetImages):
    """Images of the target and of the source, opened, or prepared, when first asked for."""

    @cached_property
    def prepared(self) -> Prepared:
        """The target's images at the networks' size."""
        return self._target(self.options.height, self.options.width)

    @cached_property
    def prepared_source(self) -> Prepared:
        """The source's images at the networks' size."""
        return self._source(self.options.height, self.options.width)

    @cached_property
    def source(self) -> ImageArray:
        """The source's images at the networks' size."""
        return self.placed({"source": self.prepared_source["source"]})["source"]

    def provenance(self) -> dict[str, Provenance]:
        """Of the target and of the source; what marks the source's images marks the run's."""
        found = super().provenance()
        if not self.options.source:
            return found
        target, source = found["images"], self.prepared_source.provenance
        marks = {
            "complete": target.complete and source.complete,
            "rendered": target.rendered or source.rendered,
        }
        return {"images": replace(target, **marks), "source_images": source}

    def basis(self, name: str) -> dict[str, Any] | None:
        """What tells the images "source" or "target" of one run from those of another."""
        if name == "target":
            digest = self.prepared.provenance.digest
            return {"digest": digest, "trial": self.options.trial_number}
        return {"digest": self.prepared_source.provenance.digest} if self.options.source else None

    @cached_property
    def small(self) -> dict[str, ImageArray]:
        """Images at the generator's size: the target's parts and, if there is one, the source."""
        size = self.options.fake_height, self.options.fake_width
        parts = self._target(*size).parts(self.options.trial_number)
        return self.placed(parts | self._small_source(size))

    def _small_source(self, size: tuple[int, int]) -> dict[str, ImageArray]:
        return {"source": self._source(*size)["source"]} if self.options.source else {}

    def _target(self, height: int, width: int) -> Prepared:
        o, size = self.options, (height, width)
        is_chosen = o.cache_dir and size == (o.height, o.width)
        place = Path(o.cache_dir) if is_chosen else beside(o.data_dir, size, o.cache_root)
        return ensure(self.dataset, Path(o.data_dir), place, size, **self._accepted())

    def _source(self, height: int, width: int) -> Prepared:
        o, size = self.options, (height, width)
        chosen = "" if self._all_splits else "-" + "-".join(o.source_splits)
        place = beside(o.source, size, o.cache_root, chosen)
        root, reader = Path(o.source), self._reader
        return ensure(o.source_format, root, place, size, reader, **self._accepted())

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
