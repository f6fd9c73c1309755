"""Feature rows of any precision and place, of which a block at a time is float32."""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

Features = torch.Tensor | np.ndarray

BLOCK_ROWS = 16384  # rows that are float32 at a time where all rows are passed through


class FeatureRows:
    """Rows (N, d), converted where they are used.

    Args:
        features: (N, d) torch tensor, or NumPy array, which may be memory-mapped; of any float
            dtype.  float32 tensors are not copied.
        device: where rows are taken to; a tensor is moved there as a whole, in its own dtype.

    Attributes:
        device: of what is taken.
        half_squares: (N,) float32, ‖x‖²/2, on the device.

    Raises:
        ValueError: the shape is another, there are no rows, or some hold values that are not
            finite.
    """

    def __init__(self, features: Features, device: torch.device | str | None = None) -> None:
        if features.ndim != 2 or len(features) == 0:
            raise ValueError(
                f"features have shape {tuple(features.shape)}, expected (N, d) with N ≥ 1"
            )
        is_array = isinstance(features, np.ndarray)
        self.device = torch.device(device or ("cpu" if is_array else features.device))
        self._features = features if is_array else features.detach().to(self.device)
        lengths = [torch.linalg.vector_norm(rows, dim=1) for _, rows in self.blocks()]
        self.half_squares = torch.cat(lengths).square() / 2
        broken = int((~self.half_squares.isfinite()).sum())
        if broken:
            raise ValueError(
                f"{broken} of {len(features)} feature rows hold NaN, infinite or too large values"
            )

    def __len__(self) -> int:
        return len(self._features)

    @property
    def width(self) -> int:
        """Numbers per row, d."""
        return self._features.shape[1]

    def take(self, rows: slice | np.ndarray) -> torch.Tensor:
        """Rows (n, d) float32 on the device."""
        if isinstance(self._features, np.ndarray):
            # A copy, because torch warns of arrays that may not be written.
            return torch.from_numpy(np.array(self._features[rows], np.float32)).to(self.device)
        if not isinstance(rows, slice):
            rows = torch.from_numpy(rows).to(self.device)
        return self._features[rows].float()

    def blocks(self, part: slice = slice(None)) -> Iterator[tuple[slice, torch.Tensor]]:
        """Consecutive blocks of a part of the rows, and where they stand."""
        first, last, _ = part.indices(len(self))
        for start in range(first, last, BLOCK_ROWS):
            block = slice(start, min(start + BLOCK_ROWS, last))
            yield block, self.take(block)


@contextlib.contextmanager
def float32_products() -> Iterator[None]:
    """Matrix products on a GPU keep float32, whatever the process allows of TF32."""
    matmul = torch.backends.cuda.matmul
    allowed, matmul.allow_tf32 = matmul.allow_tf32, False
    try:
        yield
    finally:
        matmul.allow_tf32 = allowed
