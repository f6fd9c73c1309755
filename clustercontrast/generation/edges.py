"""Edge maps, the only thing that the generator reads of an image (A34)."""

import torch
import torch.nn.functional as F

LUMINANCE = (0.299, 0.587, 0.114)
PERCENTILE = 0.995
FLOOR = 1e-3  # of the divisor: an image without edges stays dark


def luminance(pixels: torch.Tensor) -> torch.Tensor:
    """(B, H, W, 3) uint8 RGB to (B, 1, H, W) float32 in [0, 1]."""
    red, green, blue = (
        channel * weight
        for channel, weight in zip(pixels.float().unbind(-1), LUMINANCE, strict=True)
    )
    return ((red + green + blue) / 255).clamp(max=1)[:, None]


def edge_maps(
    gray: torch.Tensor, norm: str = "percentile", threshold: float | None = None
) -> torch.Tensor:
    """Magnitudes of the Sobel gradient, scaled image by image (A34).

    Infrared and visible images differ in contrast, and the generator only ever sees infrared edges:
    hence the scale.  An image gives the same bits whatever else is in the batch.

    Args:
        gray: (B, 1, H, W) in [0, 1].
        norm: divisor of an image, at least 1e-3: "percentile" (the 99.5th, interpolated), "max", or
            "none" for 1.
        threshold: make the scaled map binary, 1 where it is at least this.

    Returns:
        (B, 1, H, W) float32 in [0, 1], on the device of ``gray``.

    Raises:
        ValueError: unknown ``norm``.
    """
    edges = _sobel(gray.float())
    edges = (edges / _scales(edges, norm)[:, None, None, None]).clamp(max=1)
    return edges if threshold is None else (edges >= threshold).float()


def _sobel(gray: torch.Tensor) -> torch.Tensor:
    """Length of the gradient, by kernels of unit L1 norm.

    Sums of shifted images, not a convolution, whose rounding may depend on the size of the batch.
    """
    padded = F.pad(gray, (1, 1, 1, 1), mode="replicate")
    up, middle, down = padded[..., :-2, :], padded[..., 1:-1, :], padded[..., 2:, :]
    left, centre, right = padded[..., :-2], padded[..., 1:-1], padded[..., 2:]
    columns, rows = up + 2 * middle + down, left + 2 * centre + right
    horizontal = (columns[..., 2:] - columns[..., :-2]) / 8
    vertical = (rows[..., 2:, :] - rows[..., :-2, :]) / 8
    return (horizontal.square() + vertical.square()).sqrt()


def _scales(edges: torch.Tensor, norm: str) -> torch.Tensor:
    """(B,) divisors."""
    values = edges.flatten(1)
    if norm == "percentile":
        return _percentile(values).clamp(min=FLOOR)
    if norm == "max":
        return values.amax(dim=1).clamp(min=FLOOR)
    if norm == "none":
        return torch.ones_like(values[:, 0])
    raise ValueError(f"norm is {norm!r}: expected 'percentile', 'max' or 'none'")


def _percentile(values: torch.Tensor) -> torch.Tensor:
    """(B, n) to (B,): 99.5th percentile of each row; torch.quantile refuses large batches."""
    last = values.shape[1] - 1
    below = int(PERCENTILE * last)
    largest = values.topk(last + 1 - below, dim=1).values
    lower, upper = largest[:, -1], largest[:, -2 if below < last else -1]
    return lower + (upper - lower) * (PERCENTILE * last - below)
