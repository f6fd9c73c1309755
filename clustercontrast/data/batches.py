"""Labelled batches: rows from the sampler, pixels from the arrays, views from the augmentation."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch

from clustercontrast.data.augment import Part, TwinView, View, augment, augment_twins
from clustercontrast.data.images import ImageArray
from clustercontrast.data.sampler import ClassBatches, batches_of_rows
from clustercontrast.processes import ranks


@dataclass(frozen=True, eq=False)
class StreamPlan:
    """How to make one stream of batches.

    Attributes:
        array: the images, N of them.
        labels: (N,) int64 pseudo labels, -1 for outliers, which are never drawn.
        views: V ways to augment each image; every view starts from the same pixels.
        batch_size: B images (files) per batch, hence V * B rows.
        num_instances: K of the sampler.
        cameras: draw companions from other cameras.
    """

    array: ImageArray
    labels: np.ndarray
    views: tuple[View, ...]
    batch_size: int
    num_instances: int
    cameras: bool = True

    def __post_init__(self):
        if len(self.labels) != len(self.array):
            raise ValueError(f"{len(self.labels)} labels for {len(self.array)} images")


@dataclass
class Stream:
    """One modality's part of a batch: images on the device, labels and rows on the CPU.

    What is known on the CPU can be asked there; who needs labels on the device copies them.
    Several processes share the images: each has a contiguous part of them, and every label and row.

    Attributes:
        images: (V * B, 3, H, W) normalised: all images in the first view, then in the next; this
            process's part of them.
        labels: (V * B,) int64, repeated per view.
        rows: (B,) int64 rows of the images in their list.
    """

    images: torch.Tensor
    labels: torch.Tensor
    rows: torch.Tensor

    def to(self, device: torch.device) -> "Stream":
        """The same with the images on ``device``; labels and rows stay where they are."""
        images = self.images
        if device.type == "cuda" and images.device.type == "cpu":
            images = images.pin_memory()  # from other host memory a copy waits for the device
        return Stream(images.to(device, non_blocking=True), self.labels, self.rows)


class Batch:
    """Streams by name: ``batch.visible.images``, ``batch.infrared.labels`` and so on."""

    def __init__(self, streams: dict[str, Stream]):
        self.streams = streams

    def __getattr__(self, name: str) -> Stream:
        streams = self.__dict__.get("streams", {})
        if name not in streams:
            raise AttributeError(f"no stream {name!r} in this batch, only {', '.join(streams)}")
        return streams[name]

    @property
    def number_of_images(self) -> int:
        """Images that pass through networks, every view counted, in all processes."""
        return sum(len(stream.labels) for stream in self.streams.values())

    def to(self, device: torch.device) -> "Batch":
        """The same with the images on ``device``; labels and rows stay where they are."""
        return Batch({name: stream.to(device) for name, stream in self.streams.items()})


class Request(NamedTuple):
    """Images of a stream that a batch will show.

    Attributes:
        rows: (B,) int64 rows of the images in their list.
        own: those of them that this process shows.
        fetch: gives the pixels (b, H, W, 3) uint8 of its own ones, once they are there.
    """

    rows: torch.Tensor
    own: slice
    fetch: Callable[[], torch.Tensor]


def labelled_batches(
    plans: dict[str, StreamPlan], generator: torch.Generator, iterations: int
) -> Iterator[Batch]:
    """Endless independent streams zipped into ``iterations`` batches.

    The rows of the next batch are drawn before a batch is augmented, and their pixels are fetched
    in the background unless they are on the device already. The order of the draws is fixed: what
    comes out, and the state of the generator afterwards, do not depend on where the pixels live.

    Args:
        plans: the streams by name; their order is the order of the draws.
        generator: on the CPU, the source of all draws.
        iterations: number of batches.

    Returns:
        Batches with the images on the arrays' device, labels and rows on the CPU.

    Raises:
        clustercontrast.files.UserError: all images of a stream are outliers.
    """
    rows = zip(*(_rows(plan, generator) for plan in plans.values()), strict=True)
    return chosen_batches(plans, islice(rows, iterations), generator)


def chosen_batches(
    plans: dict[str, StreamPlan],
    rows: Iterable[tuple[torch.Tensor, ...]],
    generator: torch.Generator,
) -> Iterator[Batch]:
    """Batches of given rows.

    Args:
        plans: the streams by name; their sizes are not read.
        rows: per batch, the rows of every stream (B,) int64, in the order of ``plans``.
        generator: on the CPU, the source of the augmentations.

    Yields:
        Batches as :func:`labelled_batches` does.
    """
    arrays = {name: (plan.array, len(plan.views)) for name, plan in plans.items()}
    for request in _requested(arrays, (dict(zip(plans, drawn, strict=True)) for drawn in rows)):
        yield Batch({name: _stream(plans[name], request[name], generator) for name in plans})


@dataclass(frozen=True, eq=False)
class TwinPlan:
    """Images that come in kinds, such as visible ones and the fake infrared ones made from them.

    Attributes:
        arrays: by kind, row i of each showing the same; the kinds are names of streams.
        labels: (N,) int64 labels, -1 for outliers, which are never drawn.
    """

    arrays: dict[str, ImageArray]
    labels: np.ndarray


def twin_batches(
    plans: Sequence[TwinPlan],
    sampler: ClassBatches,
    view: TwinView,
    generator: torch.Generator,
    iterations: int,
) -> Iterator[Batch]:
    """Batches whose twins show the same rows in the same order (CMAM-UDA).

    Args:
        plans: one per list of the sampler.
        sampler: rows of every batch.
        view: how twins are augmented.
        generator: on the CPU, the source of the augmentations.
        iterations: number of batches.

    Yields:
        Batches with one stream per kind of every plan.
    """
    arrays = {kind: (array, 1) for plan in plans for kind, array in plan.arrays.items()}
    drawn = (
        {
            kind: rows
            for plan, rows in zip(plans, sampler[number], strict=True)
            for kind in plan.arrays
        }
        for number in range(iterations)
    )
    for request in _requested(arrays, drawn):
        streams: dict[str, Stream] = {}
        for plan in plans:
            pixels = tuple(request[kind].fetch() for kind in plan.arrays)
            rows, own, _ = request[next(iter(plan.arrays))]
            labels = torch.as_tensor(plan.labels, dtype=torch.int64)[rows]
            images = augment_twins(pixels, view, generator, Part(len(rows), own))
            twins = zip(plan.arrays, images, strict=True)
            streams |= {kind: Stream(image, labels, rows) for kind, image in twins}
        yield Batch(streams)


def plain_batches(array: ImageArray, drawn: Iterable[torch.Tensor]) -> Iterator[Batch]:
    """Batches of pixels as they are: one stream "images" of (B, H, W, 3) uint8, without labels."""
    for request in _requested({"images": (array, 1)}, ({"images": rows} for rows in drawn)):
        rows, pixels = request["images"].rows, request["images"].fetch()
        yield Batch({"images": Stream(pixels, torch.full_like(rows, -1), rows)})


def _requested(
    arrays: Mapping[str, tuple[ImageArray, int]], drawn: Iterable[dict[str, torch.Tensor]]
) -> Iterator[dict[str, Request]]:
    """Rows of every stream and how to have their pixels, which are fetched one batch ahead.

    Args:
        arrays: of every stream, with the number of views of its images.
        drawn: per batch, the rows of every stream.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield from _one_ahead(
            {name: _request(*arrays[name], rows, pool) for name, rows in batch.items()}
            for batch in drawn
        )


def _request(
    array: ImageArray, views: int, rows: torch.Tensor, pool: ThreadPoolExecutor
) -> Request:
    parts = [own for own in _parts(views, len(rows)) if own.stop > own.start]
    own = slice(min(part.start for part in parts), max(part.stop for part in parts))
    return Request(rows, own, _fetcher(array, rows[own], pool))


def _parts(views: int, size: int) -> list[slice]:
    """Of every view of a batch's images, the ones that this process shows."""
    first, last, _ = ranks.share(views * size).indices(views * size)
    starts = range(0, views * size, size)
    return [
        slice(min(max(first - start, 0), size), min(max(last - start, 0), size)) for start in starts
    ]


def _rows(plan: StreamPlan, generator: torch.Generator) -> Iterator[torch.Tensor]:
    cameras = plan.array.index.cameras if plan.cameras else None
    return batches_of_rows(plan.labels, cameras, plan.num_instances, plan.batch_size, generator)


def _fetcher(
    array: ImageArray, rows: torch.Tensor, pool: ThreadPoolExecutor
) -> Callable[[], torch.Tensor]:
    if array.residence == "device":
        return functools.partial(array.gather, rows)
    return pool.submit(array.gather, rows).result


def _one_ahead(requests: Iterable[dict[str, Request]]) -> Iterator[dict[str, Request]]:
    """Give each request out only after the one behind it has been made."""
    requests = iter(requests)
    ahead = next(requests, None)
    while ahead is not None:
        current, ahead = ahead, next(requests, None)
        yield current


def _stream(plan: StreamPlan, request: Request, generator: torch.Generator) -> Stream:
    rows, fetched, fetch = request
    pixels, parts = fetch(), _parts(len(plan.views), len(rows))
    shown = [pixels[own.start - fetched.start : own.stop - fetched.start] for own in parts]
    images = torch.cat(
        [
            augment(some, view, generator, Part(len(rows), own))
            for some, view, own in zip(shown, plan.views, parts, strict=True)
        ]
    )
    labels = torch.as_tensor(plan.labels, dtype=torch.int64)[rows].repeat(len(plan.views))
    return Stream(images, labels, rows)
