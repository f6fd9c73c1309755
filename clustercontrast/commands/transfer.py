"""What transfer methods need besides a dataset: source images, small images, shared files.

Stages that declare what they depend on (``Stage.reads``) leave their files in a folder named after
just that: runs that differ elsewhere share them.  An ablation of the last stage does not train the
generator again, and a generator never serves two trials.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import torch

from clustercontrast.data import folder, market
from clustercontrast.data.images import ImageArray, Prepared
from clustercontrast.data.preparation import ensure
from clustercontrast.data.samples import Listing
from clustercontrast.engine.stage import Stage
from clustercontrast.files import UserError
from clustercontrast.settings.options import Options


class TransferData:
    """Images of the target and of the source, opened, or prepared, when first asked for.

    Args:
        dataset: the target.
        options: of one model.
        places: folders of the shared stages by name.
        device: where images are wanted.

    Attributes:
        places: as given.
    """

    def __init__(
        self, dataset: str, options: Options, places: Mapping[str, Path], device: torch.device
    ) -> None:
        self.dataset, self.options, self.places, self.device = dataset, options, places, device

    @cached_property
    def prepared(self) -> Prepared:
        """The target's images at the networks' size."""
        return self._target(self.options.height, self.options.width)

    @cached_property
    def parts(self) -> dict[str, ImageArray]:
        """The target's training and test images."""
        return self._placed(self.prepared.parts(self.options.trial_number))

    @property
    def visible(self) -> ImageArray:
        """Visible training images."""
        return self.parts["train_visible"]

    @property
    def infrared(self) -> ImageArray:
        """Infrared training images."""
        return self.parts["train_infrared"]

    @cached_property
    def source(self) -> ImageArray:
        """The source's images at the networks' size."""
        array = self._source(self.options.height, self.options.width)
        return self._placed({"source": array})["source"]

    @cached_property
    def small(self) -> dict[str, ImageArray]:
        """Images at the generator's size: the target's parts and, if there is one, the source."""
        size = self.options.fake_height, self.options.fake_width
        parts = self._target(*size).parts(self.options.trial_number)
        return self._placed(
            parts | ({"source": self._source(*size)} if self.options.source else {})
        )

    def _target(self, height: int, width: int) -> Prepared:
        o, size = self.options, (height, width)
        is_chosen = o.cache_dir and size == (o.height, o.width)
        place = Path(o.cache_dir) if is_chosen else _beside(o.data_dir, size)
        root, incomplete = Path(o.data_dir), o.allow_incomplete
        return ensure(self.dataset, root, place, size, allow_incomplete=incomplete)

    def _source(self, height: int, width: int) -> ImageArray:
        o, size = self.options, (height, width)
        if not o.source:
            raise UserError(
                "give --source FOLDER: visible images of other people, in Market-1501's layout or, "
                "with --source-format folder, in any"
            )
        chosen = "" if self._all_splits else "-" + "-".join(o.source_splits)
        place = _beside(o.source, size, chosen)
        root, incomplete = Path(o.source), o.allow_incomplete
        prepared = ensure(
            o.source_format, root, place, size, self._reader, allow_incomplete=incomplete
        )
        return prepared["source"]

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

    def _placed(self, arrays: dict[str, ImageArray]) -> dict[str, ImageArray]:
        for array in arrays.values():
            array.place(self.device)
        return arrays


def _beside(root: str, size: tuple[int, int], chosen: str = "") -> Path:
    return Path(f"{root.rstrip('/')}{chosen}-{size[0]}x{size[1]}")


def places(dataset: str, options: Options, stages: list[type[Stage]]) -> dict[str, Path]:
    """Folder of every stage that shares its files, below LOGS_DIR/shared.

    Its name ends in a digest of the flags and images that the files depend on, those of the stages
    it is built on included.
    """
    found: dict[str, Path] = {}
    for stage in stages:
        if stage.reads:
            basis = basis_of(stage, dataset, options)
            basis["built_on"] = [found[name].name for name in stage.built_on]
            digest = hashlib.blake2b(json.dumps(basis, sort_keys=True).encode(), digest_size=5)
            name = f"{stage.name}-{digest.hexdigest()}"
            found[stage.name] = Path(options.logs_dir) / "shared" / name
    return found


def basis_of(stage: type[Stage], dataset: str, options: Options) -> dict:
    """What a shared stage's files depend on: flags, and the images they are made from."""
    args = vars(options.at(stage.name))
    images = {
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
    return {
        "flags": {name: args[name] for name in stage.reads},
        "images": {name: images[name] for name in stage.made_from},
    }
