"""One image file as 8-bit pixels of three channels, resized.

What becomes of the modes that Pillow tells apart:

====================================  ==========================================================
1, L, RGB, P, YCbCr, CMYK, LAB, HSV   converted to RGB by Pillow
LA, PA, RGBA, RGBX                    the same; transparency is left out, whatever is behind it
I;16 (any byte order), I, F           refused, or mapped to 8 bits by ``Rules.intensities``
16 bits in several channels           the upper 8, which is all that Pillow reads
several frames or pages               the first
====================================  ==========================================================
"""

import io
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from clustercontrast.files import UserError

ANY_KIND = (OSError, SyntaxError, ValueError, OverflowError, EOFError, struct.error, zlib.error)
"""What Pillow raises for damaged files, besides its error for huge ones."""


@dataclass(frozen=True)
class Rules:
    """How files become pixels, besides their size.

    Attributes:
        intensities: values of images of more than 8 bits that become 0 and 255; those between are
            mapped linearly and rounded, those beyond are clipped.  None refuses such images.
        turned: turn and mirror images as their EXIF data say.
    """

    intensities: tuple[float, float] | None = None
    turned: bool = False

    def __post_init__(self) -> None:
        if self.intensities is not None and not _is_range(self.intensities):
            raise UserError(
                f"--intensity-range {' '.join(map('{:g}'.format, self.intensities))}: give two "
                "numbers, the smaller one first"
            )


def decode(
    path: Path, size: tuple[int, int], resample: Image.Resampling, rules: Rules
) -> tuple[np.ndarray, int]:
    """Read one image.

    Args:
        path: the file.
        size: (width, height) of the result, pixels.
        resample: Pillow's filter.
        rules: how to treat what is not an ordinary photograph.

    Returns:
        (H, W, 3) uint8 pixels and the CRC-32 of the file's bytes.

    Raises:
        UserError: the file cannot be read, or holds values that would not fit.
    """
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            pixels = as_pixels(image, path, size, resample, rules)
    except (*ANY_KIND, Image.DecompressionBombError) as error:
        reason = "no known kind" if isinstance(error, UnidentifiedImageError) else error
        raise UserError(f"cannot read the image {path} ({reason}): copy it again") from error
    return pixels, zlib.crc32(content)


def as_pixels(
    image: Image.Image,
    name: object,
    size: tuple[int, int],
    resample: Image.Resampling,
    rules: Rules,
) -> np.ndarray:
    """An opened image as :func:`decode` returns it: (H, W, 3) uint8.

    Raises:
        UserError: it holds values that would not fit.
        OSError: its file cannot be read to the end; other kinds of ``ANY_KIND`` may be raised.
    """
    upright = ImageOps.exif_transpose(image) if rules.turned else image
    shallow = _as_8_bits(upright, name, rules.intensities) if _is_deep(image) else upright
    return np.asarray(shallow.convert("RGB").resize(size, resample))


def _is_range(values: Sequence[float]) -> bool:
    return len(values) == 2 and 0 < values[1] - values[0] < math.inf


def _is_deep(image: Image.Image) -> bool:
    """Whether the values of a single channel are more than 8 bits wide."""
    return image.mode == "F" or image.mode.startswith("I")


def _as_8_bits(
    image: Image.Image, name: object, intensities: tuple[float, float] | None
) -> Image.Image:
    values = np.asarray(image, np.float64)
    if not np.isfinite(values).all():
        raise UserError(f"{name} holds values that are not finite: write them anew")
    if intensities is None:
        raise UserError(
            f"{name} has more than 8 bits per pixel (mode {image.mode}, values {values.min():g} to "
            f"{values.max():g}): give --intensity-range LOW HIGH, the values that become black and "
            "white, or convert the images to 8 bits"
        )
    low, high = intensities
    scaled = np.clip((values - low) / (high - low) * 255, 0, 255)
    return Image.fromarray(np.rint(scaled).astype(np.uint8))
