"""The images of CMAM-UDA: target and source, at the networks' size and at the generator's."""

import functools
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from clustercontrast.data import folder, market
from clustercontrast.data.images import ImageArray, Prepared
from clustercontrast.data.places import beside, reading, usual_folder
from clustercontrast.data.preparation import ensure
from clustercontrast.data.provenance import Provenance
from clustercontrast.data.samples import MODALITIES, Listing
from clustercontrast.data.target import TargetImages
from clustercontrast.files import UserError


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

    @cached_property
    def provenance(self) -> dict[str, Provenance]:
        """Of the target and of the source; what marks the source's images marks the run's."""
        target = self.prepared.provenance
        if not self.options.source:
            return {"images": target}
        source = self.prepared_source.provenance
        images = target.marked(source.complete, source.rendered, self._tests_source())
        return {"images": images, "source_images": source}

    def _tests_source(self) -> bool:
        """Whether images of the source are among the target's test images.

        Raises:
            UserError: they are, and --allow-leak was not given.
        """
        o, source = self.options, set(self.prepared_source.files["source"])
        tested = (self.prepared.contents(f"test_{m}", o.trial_number) for m in MODALITIES)
        shared = len(source & set().union(*tested))
        if shared and not o.allow_leak:
            raise UserError(
                f"{shared:,} files of --source {o.source} are test images of {o.data_dir}: give "
                "other images, or pass --allow-leak, which marks every report"
            )
        return bool(shared)

    def basis(self, name: str) -> dict[str, Any] | None:
        """What tells the images "source" or "target" of one run from those of another."""
        if name == "target":
            digest = self.prepared.provenance.digest
            return {"digest": digest, "trial": self.options.trial_number}
        return {"digest": self.prepared_source.provenance.digest} if self.options.source else None

    @cached_property
    def small(self) -> dict[str, ImageArray]:
        """Images at the generator's size: the target's parts and, if there is one, the source."""
        parts = self._of_the_same_files(self._target, self.prepared)
        found = parts.parts(self.options.trial_number)
        if self.options.source:
            found |= self._of_the_same_files(self._source, self.prepared_source)
        return self.placed(found)

    def _of_the_same_files(self, opened: Callable[..., Prepared], large: Prepared) -> Prepared:
        """Images at the generator's size, made from the files that the networks' were made from.

        Raises:
            UserError: the files have changed in between.
        """
        size = self.options.fake_height, self.options.fake_width
        small = opened(*size)
        if small.files != large.files:
            small = opened(*size, overwrite=True)
        if small.files != large.files:
            raise UserError(
                f"the images in {large.source} have changed since {large.folder} was made of them: "
                "delete that folder and run the same command, which makes it again"
            )
        return small

    def _target(self, height: int, width: int, overwrite: bool = False) -> Prepared:
        o, size = self.options, (height, width)
        is_chosen = o.cache_dir and size == (o.height, o.width)
        place = Path(o.cache_dir) if is_chosen else usual_folder(o, size)
        root, accepted, read = Path(o.data_dir), self._accepted(), reading(self.dataset, o)
        return ensure(self.dataset, root, place, size, read, overwrite=overwrite, **accepted)

    def _source(self, height: int, width: int, overwrite: bool = False) -> Prepared:
        o, size = self.options, (height, width)
        if o.source_format == "folder":
            chosen = "-source"  # the folder may be the target's
        else:
            chosen = "" if self._all_splits else "-" + "-".join(o.source_splits)
        place = beside(o.source, size, o.cache_root, chosen)
        root, reader = Path(o.source), self._reader
        return ensure(
            o.source_format, root, place, size, reader, overwrite=overwrite, **self._accepted()
        )

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
        return set(self.options.source_splits) == set(market.SPLITS)

    @property
    def _reader(self) -> Callable[[Path], Listing]:
        o = self.options
        if o.source_format == "market":
            return functools.partial(market.read, splits=tuple(o.source_splits))
        return functools.partial(folder.read, camera_pattern=o.camera_pattern)
