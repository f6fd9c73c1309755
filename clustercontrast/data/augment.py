"""Batched augmentation on the device of the images.

The views: docs/methods/common.md#views-and-augmentation.

Every operation is a pure function of images and of its draws, so that tests can force each branch.
All draws come from one generator on the CPU: runs on different devices draw alike. The number of
draws depends on the view and on the number of images, never on what was drawn.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
LUMINANCE = (0.2989, 0.5870, 0.1140)
MIXES = ((1, 0, 0), (0, 1, 0), (0, 0, 1), LUMINANCE)
"""Weights of the channels of what an exchange may copy."""
TRAPEZIUMS = (5.0, 3.0, 1.0)
"""Where red, green and blue begin on the colour circle, in sixths of a turn."""
# Meant for values in [0, 1] but written after normalisation, as upstream does (COMMON-4).
ERASED = (0.4914, 0.4822, 0.4465)
MEAN_COLOUR = (0.0, 0.0, 0.0)
"""ImageNet's mean colour after normalisation: what CMAM-UDA erases with."""
AREAS = (0.02, 0.4)
ASPECTS = (0.3, 1 / 0.3)
ATTEMPTS = 100


@dataclass(frozen=True)
class View:
    """One way to augment a batch.

    Attributes:
        jitter: change brightness, contrast, saturation and hue.
        channels: "keep", "exchange" or "adaptive_gray".
        erasing: probability of erasing a rectangle.
        padding: black margin in pixels from which the crop is taken.
        flip: probability of mirroring.
    """

    jitter: bool = False
    channels: str = "keep"
    erasing: float = 0.5
    padding: int = 10
    flip: float = 0.5

    def __post_init__(self):
        if self.channels not in CHANNELS:
            raise ValueError(f"channels is {self.channels!r}, not one of {list(CHANNELS)}")


class Part(NamedTuple):
    """Images that one process shows, of a batch for which every process makes all draws.

    Attributes:
        count: images of the batch.
        rows: which of them.
    """

    count: int
    rows: slice = slice(None)

    def of(self, draws: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The draws, (count, ...) each, that belong to the images."""
        return tuple(own[self.rows] for own in draws)


def augment(
    pixels: torch.Tensor, view: View, generator: torch.Generator, part: Part | None = None
) -> torch.Tensor:
    """Crop, mirror, change colours, normalise, erase and mix channels, in this order.

    Args:
        pixels: (n, H, W, 3) uint8.
        view: what to do.
        generator: on the CPU.
        part: which images of a batch these are, for which all draws are made; all by default.

    Returns:
        (n, 3, H, W) normalised images on the device of ``pixels``.
    """
    size, height, width = pixels.shape[:3]
    part = part or Part(size)
    draw_channels, mix = CHANNELS[view.channels]
    crops = part.of(draw_crops(part.count, view, generator))
    colours = part.of(draw_jitter(part.count, generator)) if view.jitter else None
    rectangles = draw_rectangles(part.count, height, width, view.erasing, generator)
    channels = part.of(draw_channels(part.count, generator))

    images = to_unit(crop(pixels, view.padding, *crops))
    if colours is not None:
        images = jitter(images, *colours)
    images = erase(standardise(images), rectangles[part.rows])
    return mix(images, *channels)


# --- values


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) float32 with ImageNet's mean and deviation removed."""
    return standardise(to_unit(pixels))


def to_unit(pixels: torch.Tensor) -> torch.Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) float32 in [0, 1], channels last in memory."""
    return pixels.permute(0, 3, 1, 2).float().div_(255)


def standardise(images: torch.Tensor) -> torch.Tensor:
    """Remove ImageNet's mean and deviation from (B, 3, H, W) images in [0, 1]."""
    mean, std = (_constant(values, images.device) for values in (MEAN, STD))
    return (images - mean).div_(std)


# --- geometry


def draw_crops(
    count: int, view: "View | TwinView", generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(B,) tops and (B,) lefts uniform on 0 ... 2 * padding, and (B,) bool: mirrored?"""
    tops, lefts = torch.randint(2 * view.padding + 1, (2, count), generator=generator)
    return tops, lefts, _uniform(count, generator=generator) < view.flip


def crop(
    pixels: torch.Tensor,
    padding: int,
    tops: torch.Tensor,
    lefts: torch.Tensor,
    mirrored: torch.Tensor,
) -> torch.Tensor:
    """Cut windows of the images' own size out of the images with a black margin, then mirror some.

    Args:
        pixels: (B, H, W, 3) uint8.
        padding: width of the margin in pixels.
        tops: (B,) int64 first row of each window, margin included: 0 ... 2 * padding.
        lefts: (B,) int64 first column, likewise.
        mirrored: (B,) bool.

    Returns:
        (B, H, W, 3) uint8.
    """
    count, height, width = pixels.shape[:3]
    padded = F.pad(pixels, (0, 0, padding, padding, padding, padding))
    # Only the draws are copied: the indices made of them are too large to be staged at once.
    tops, lefts, mirrored = (_to(draws, pixels.device) for draws in (tops, lefts, mirrored))
    image, down, across = (torch.arange(n, device=pixels.device) for n in (count, height, width))
    across = torch.where(mirrored[:, None], width - 1 - across, across)
    row, column = tops[:, None] + down, lefts[:, None] + across
    return padded[image[:, None, None], row[:, :, None], column[:, None, :]]


# --- erasing


def erase(
    images: torch.Tensor, rectangles: torch.Tensor, constants: tuple[float, ...] = ERASED
) -> torch.Tensor:
    """Fill one rectangle per image with constants.

    Args:
        images: (B, 3, H, W), or (B, 1, H, W), which takes the first constant.
        rectangles: (B, 4) int64 top, left, height, width; height 0 erases nothing.
        constants: of the three channels.
    """
    top, left, height, width = _to(rectangles, images.device)[:, :, None].unbind(1)
    row = torch.arange(images.shape[2], device=images.device)
    column = torch.arange(images.shape[3], device=images.device)
    in_rows = (row >= top) & (row < top + height)
    in_columns = (column >= left) & (column < left + width)
    inside = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return torch.where(inside, _constant(constants[: images.shape[1]], images.device), images)


def draw_rectangles(
    count: int, height: int, width: int, probability: float, generator: torch.Generator
) -> torch.Tensor:
    """Rectangles for :func:`erase`: (B, 4) int64 top, left, height, width.

    Areas are uniform on 2 ... 40 % of the image, aspects (height to width) on 0.3 ... 1/0.3; the
    first of 100 attempts that fits is placed uniformly.
    """
    is_erased = _uniform(count, generator=generator) <= probability
    areas = _uniform(count, ATTEMPTS, low=AREAS[0], high=AREAS[1], generator=generator)
    aspects = _uniform(count, ATTEMPTS, low=ASPECTS[0], high=ASPECTS[1], generator=generator)
    heights, widths, found = first_fitting(areas, aspects, height, width)
    places = _uniform(2, count, generator=generator)
    tops = (places[0] * (height - heights + 1)).long()
    lefts = (places[1] * (width - widths + 1)).long()
    rectangles = torch.stack([tops, lefts, heights, widths], dim=1)
    return rectangles * (is_erased & found)[:, None]


def first_fitting(
    areas: torch.Tensor, aspects: torch.Tensor, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sizes of the first attempt strictly smaller than the image in both directions.

    Args:
        areas: (B, T) float64 attempted fractions of the image's area.
        aspects: (B, T) float64 attempted ratios of height to width.
        height: of the image.
        width: of the image.

    Returns:
        (B,) int64 heights, (B,) int64 widths (both 0 where nothing fits), (B,) bool found.
    """
    area = areas * (height * width)
    heights = (area * aspects).sqrt().round().long()
    widths = (area / aspects).sqrt().round().long()
    fits = (heights < height) & (widths < width)
    first, found = fits.int().argmax(dim=1, keepdim=True), fits.any(dim=1)
    return heights.gather(1, first)[:, 0] * found, widths.gather(1, first)[:, 0] * found, found


# --- channels


def exchange(images: torch.Tensor, choice: torch.Tensor) -> torch.Tensor:
    """Give all channels the values of one.

    Args:
        images: (B, 3, H, W).
        choice: (B,) int64: the channel to copy, 0, 1 or 2, or 3 for the luminance of the values.
    """
    weights = _constant(MIXES, images.device)[_to(choice, images.device)]
    mixed = (images * weights).sum(dim=1, keepdim=True).expand_as(images)
    return mixed.contiguous(memory_format=torch.channels_last)


def adaptive_gray(images: torch.Tensor, choice: torch.Tensor, gray: torch.Tensor) -> torch.Tensor:
    """Copy one channel to all, take the luminance, or leave the image as it is.

    Args:
        images: (B, 3, H, W).
        choice: (B,) int64: the channel to copy, 0, 1 or 2; 3 leaves the decision to ``gray``.
        gray: (B,) bool: luminance instead of the unchanged image, read where ``choice`` is 3.
    """
    unchanged = _to((choice == 3) & ~gray, images.device)
    return torch.where(unchanged[:, None, None, None], images, exchange(images, choice))


def keep(images: torch.Tensor) -> torch.Tensor:
    """The images (B, 3, H, W) as they are."""
    return images


def _draw_nothing(count: int, generator: torch.Generator) -> tuple:  # noqa: ARG001
    return ()


def _draw_exchange(count: int, generator: torch.Generator) -> tuple[torch.Tensor]:
    """Each channel with probability 1/3."""
    return (torch.randint(3, (count,), generator=generator),)


def _draw_adaptive_gray(
    count: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each channel with probability 1/4, luminance 1/8, unchanged 1/8."""
    choice = torch.randint(4, (count,), generator=generator)
    return choice, _uniform(count, generator=generator) <= 0.5


CHANNELS: dict[str, tuple[Callable, Callable]] = {
    "keep": (_draw_nothing, keep),
    "exchange": (_draw_exchange, exchange),
    "adaptive_gray": (_draw_adaptive_gray, adaptive_gray),
}
"""What a view draws for its images, and what it does with them."""


# --- colours


def draw_jitter(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors and orders for :func:`jitter`: U(0.5, 1.5), hue U(-0.5, 0.5); uniform orders."""
    factors = _uniform(count, 4, low=0.5, high=1.5, generator=generator).float()
    factors[:, 3] -= 1
    return factors, _uniform(count, 4, generator=generator).argsort(dim=1)


def jitter(
    images: torch.Tensor,
    factors: torch.Tensor,
    orders: torch.Tensor,
    operations: tuple[Callable, ...] | None = None,
) -> torch.Tensor:
    """Change brightness, contrast, saturation and hue, each image in its own order.

    Args:
        images: (B, 3, H, W) in [0, 1].
        factors: (B, K) of the K operations; the hue's is in turns.
        orders: (B, K) int64 permutations of 0 ... K - 1: the operation of each step.
        operations: the four named above, or others.

    Returns:
        (B, 3, H, W) in [0, 1], not rounded to 8 bits between the operations.
    """
    operations = operations or (brightness, contrast, saturation, hue)
    images, factors = images.clone(), _to(factors, images.device)[:, :, None, None, None]
    for step in orders.unbind(1):
        for number, operation in enumerate(operations):
            rows = _to((step == number).nonzero()[:, 0], images.device)
            images[rows] = operation(images[rows], factors[rows, number])
    return images


def brightness(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Scale (B, 3, H, W) images in [0, 1] by ``factor`` (B, 1, 1, 1)."""
    return _blend(images, torch.zeros_like(images), factor)


def contrast(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Move values away from the image's mean luminance for factors above one."""
    return _blend(images, _luminance(images).mean(dim=(1, 2, 3), keepdim=True), factor)


def saturation(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Move values away from the pixel's luminance for factors above one."""
    return _blend(images, _luminance(images), factor)


def hue(images: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Rotate the hue by ``turn`` (B, 1, 1, 1) of a full circle, value and saturation kept."""
    value = images.amax(dim=1, keepdim=True)
    chroma = value - images.amin(dim=1, keepdim=True)
    red, green, blue = images.split(1, dim=1)
    # The hue in sixths of a turn; any number will do where there is no chroma.
    divisor = torch.where(chroma == 0, 1, chroma)
    sixths = torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor)
    sixths = torch.where(value == red, (green - blue) / divisor, sixths)
    # Back from hue, value and chroma: each channel is a trapezium over the colour circle.
    place = (sixths + 6 * turn + _constant(TRAPEZIUMS, images.device)).remainder(6)
    return value - chroma * torch.minimum(place, 4 - place).clamp(0, 1)


def _luminance(images: torch.Tensor) -> torch.Tensor:
    """(B, 1, H, W) weighted mean of the channels."""
    return (images * _constant(LUMINANCE, images.device)).sum(dim=1, keepdim=True)


def _blend(images: torch.Tensor, others: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return (factor * images + (1 - factor) * others).clamp(0, 1)


# --- twins: one identity in two kinds of image (CMAM-UDA)


@dataclass(frozen=True)
class TwinView:
    """How to augment images that come in kinds, such as a visible image and its fake infrared one.

    Attributes:
        flip: probability of mirroring.
        erasing: probability of erasing a rectangle, filled with the mean colour.
        jitter: probability of changed brightness (0.8 to 1.2) and contrast (0.85 to 1.15).
        padding: black margin in pixels from which the crop is taken.
        shared: twins share crop, mirroring and rectangle; the jitter is drawn for each (A8).
    """

    flip: float = 0.5
    erasing: float = 0.5
    jitter: float = 1.0
    padding: int = 0
    shared: bool = True


def augment_twins(
    kinds: tuple[torch.Tensor, ...],
    view: TwinView,
    generator: torch.Generator,
    part: Part | None = None,
) -> list[torch.Tensor]:
    """Crop, mirror, change brightness and contrast, normalise, erase.

    Args:
        kinds: (n, H, W, 3) uint8 per kind, row i of each showing the same.
        view: what to do.
        generator: on the CPU.
        part: which images of a batch these are, for which all draws are made; all by default.

    Returns:
        (n, 3, H, W) normalised images per kind.
    """
    size, height, width = kinds[0].shape[:3]
    part = part or Part(size)
    count = part.count
    found, geometry = [], None
    for pixels in kinds:
        if geometry is None or not view.shared:
            geometry = (
                draw_crops(count, view, generator),
                draw_rectangles(count, height, width, view.erasing, generator),
            )
        crops, rectangles = geometry
        colours = part.of(_draw_mild_jitter(count, view, generator))
        images = to_unit(crop(pixels, view.padding, *part.of(crops)))
        images = jitter(images, *colours, (brightness, contrast))
        found.append(erase(standardise(images), rectangles[part.rows], MEAN_COLOUR))
    return found


def _draw_mild_jitter(
    count: int, view: TwinView, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors (B, 2), one where an image is left as it is, and orders (B, 2)."""
    spread = torch.tensor([0.2, 0.15], dtype=torch.float64)
    changed = _uniform(count, 1, generator=generator) < view.jitter
    factors = 1 + spread * changed * _uniform(count, 2, low=-1.0, generator=generator)
    return factors.float(), _uniform(count, 2, generator=generator).argsort(dim=1)


# --- constants and draws


@functools.cache
def _constant(values: tuple, device: torch.device) -> torch.Tensor:
    """Values per channel as (..., 3, 1, 1) on a device, copied once."""
    return _to(torch.tensor(values), device)[..., None, None]


def _uniform(
    *shape: int, low: float = 0.0, high: float = 1.0, generator: torch.Generator
) -> torch.Tensor:
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)


def _to(draws: torch.Tensor, device: torch.device) -> torch.Tensor:
    # Small tensors in ordinary host memory are staged at once: the device is not waited for.
    return draws.to(device, non_blocking=True)
