"""Features of a list of images: flip-averaged, in the list's order."""

from collections.abc import Callable

import torch
from torch import nn

from clustercontrast.data.augment import normalise
from clustercontrast.data.images import ImageArray
from clustercontrast.files import UserError
from clustercontrast.processes import ranks


def extract(
    network: nn.Module,
    images: ImageArray,
    batch_size: int = 256,
    rows: torch.Tensor | None = None,
    unit: bool = False,
) -> torch.Tensor:
    """Mean of the unit features of every image and of its mirror image.

    Clustering uses the mean as it is, norm at most 1; retrieval normalises it once more
    (COMMON-11).  The caller puts the network in eval mode, without gradients.

    Args:
        network: has ``embed(images, modality) -> (B, d)`` unit rows; with ``flip_averaged`` False
            it is not given the mirror images.
        images: prepared images; their list names the modality, hence the stem.
        batch_size: images per forward.
        rows: extract these rows only, in this order.
        unit: normalise the mean.

    Returns:
        (N, d) float32 on the CPU, in row order.

    Raises:
        UserError: some are not finite.
    """
    modality = images.index.modality
    found = in_chunks(
        lambda pixels: embedded(network, pixels, modality, unit), images, batch_size, rows
    )
    return finite(found, modality)


def in_chunks(
    embed: Callable[[torch.Tensor], torch.Tensor],
    images: ImageArray,
    size: int,
    rows: torch.Tensor | None = None,
) -> torch.Tensor:
    """What a network makes of images, some at a time; several processes share the chunks.

    A chunk holds the same images whoever is given it, so that the processes change no number.

    Args:
        embed: pixels (B, H, W, 3) uint8 -> (B, ...).
        images: prepared images.
        size: images of a chunk.
        rows: of the images, in this order; all by default.

    Returns:
        (N, ...) on the CPU, in row order.
    """
    count = len(images) if rows is None else len(rows)
    own = ranks.share(-(-count // size))
    first, last = own.start * size, min(own.stop * size, count)
    if ranks.count() > 1:
        rows = (torch.arange(count) if rows is None else torch.as_tensor(rows))[first:last]
    found, starts = None, range(0, last - first, size)
    chunks = images.chunks(size, rows) if starts else ()  # a process may have none
    for start, pixels in zip(starts, chunks, strict=True):
        some = embed(pixels)
        if found is None:  # one place for all: lists of parts would take the memory twice
            found = some.new_empty(last - first, *some.shape[1:])
        found[start : start + size] = some
    return ranks.gathered(found).cpu()


def embedded(
    network: nn.Module,
    pixels: torch.Tensor,
    modality: str,
    unit: bool = False,
    flip: bool = True,
) -> torch.Tensor:
    """The feature of every image of a batch, as :func:`extract` returns them.

    Args:
        network: see :func:`extract`.
        pixels: (B, H, W, 3) uint8 on the network's device.
        modality: of all images.
        unit: normalise the mean.
        flip: average over the mirror image, where the network's method does.

    Returns:
        (B, d) float32 on the network's device.
    """
    batch = normalise(pixels)
    mean = network.embed(batch, modality).float()
    if flip and getattr(network, "flip_averaged", True):
        mean = (mean + network.embed(batch.flip(-1), modality).float()) / 2
    return mean / mean.norm(dim=1, keepdim=True) if unit else mean


def finite(features: torch.Tensor, name: str) -> torch.Tensor:
    """Features (N, ...) as they are, if there is no NaN and no infinity among them.

    Args:
        features: on the CPU, where asking costs no waiting for the device.
        name: of the images, for the message.

    Raises:
        UserError: some are not finite.
    """
    broken = int((~features.flatten(1).isfinite().all(dim=1)).sum())
    if broken:
        raise UserError(
            f"the features of {broken:,} of {len(features):,} {name} images are NaN or infinite: "
            "the network's weights have diverged; take the model of an earlier epoch, or train "
            "again with a lower --lr, or with --precision fp32"
        )
    return features
