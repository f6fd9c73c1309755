"""The U-Net of the diffusion model (the "ADM" network of EDM)."""

import contextlib
import functools
import itertools
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import nn

from clustercontrast.models.dropout import SharedDropout

GROUPS = 32
HEAD_WIDTH = 64
MAX_PERIOD = 10_000


class Denoiser(nn.Module):
    """F(x, c_noise), what is trained of the denoiser D.

    See docs/methods/cmam.md#edges-and-generator.

    Level l works at 1/2^l of the size.  The encoder leaves a skip after its input convolution,
    after every block, and after every down-sampling; each block of the decoder takes one.

    Args:
        width: channels of the first level; even.
        multipliers: of the width, one per level.
        blocks: residual blocks per level of the encoder; a level of the decoder has one more.
        attention_at: levels with self-attention, by their extent along ``attention_axis``.
        size: (height, width) in pixels that ``attention_at`` refers to.
        attention_axis: "width" or "height".
        dropout: inside the residual blocks.
        channels: of the image.

    Attributes:
        widths: channels of the levels, which the maps of `forward` have.

    Raises:
        ValueError: the size does not halve down to the last level, or the axis is unknown.
    """

    def __init__(
        self,
        width: int = 192,
        multipliers: Sequence[int] = (1, 2, 3, 4),
        blocks: int = 1,
        attention_at: Sequence[int] = (32, 16, 8),
        size: tuple[int, int] = (192, 64),
        attention_axis: str = "width",
        dropout: float = 0.1,
        channels: int = 1,
    ) -> None:
        super().__init__()
        if attention_axis not in ("width", "height"):
            raise ValueError(f"attention_axis is {attention_axis!r}: expected 'width' or 'height'")
        self.widths = widths = tuple(width * multiplier for multiplier in multipliers)
        self._check(*size)
        extent = size[attention_axis == "width"]
        attends = [extent >> level in attention_at for level in range(len(widths))]
        block = functools.partial(_Block, noise_width=4 * width, dropout=dropout)

        self.noise = _NoiseEmbedding(width)
        self.input = nn.Conv2d(channels, width, 3, padding=1)
        skips = _skip_widths((width, *widths), blocks)
        self.encoder = nn.ModuleList(
            nn.ModuleList(
                block(n, m, attention) for n, m in itertools.pairwise([before, *[after] * blocks])
            )
            for before, after, attention in zip((width, *widths[:-1]), widths, attends, strict=True)
        )
        self.down = nn.ModuleList(block(n, n, resample=nn.AvgPool2d(2)) for n in widths[:-1])
        last = widths[-1]
        self.middle = nn.ModuleList([block(last, last, attention=True), block(last, last)])
        self.decoder = nn.ModuleList(
            nn.ModuleList(
                block(n + skips.pop(), after, attention) for n in [before, *[after] * blocks]
            )
            for before, after, attention in zip(
                (last, *widths[:0:-1]), widths[::-1], attends[::-1], strict=True
            )
        )
        self.up = nn.ModuleList(
            block(n, n, resample=_Upsample(scale_factor=2)) for n in widths[:0:-1]
        )
        self.output = nn.Sequential(
            _norm(widths[0]), nn.SiLU(), _zeroed(nn.Conv2d(widths[0], channels, 3, padding=1))
        )

    def forward(
        self, x: torch.Tensor, c_noise: torch.Tensor, maps: Sequence[torch.Tensor] | None = None
    ) -> torch.Tensor:
        """One evaluation.

        Args:
            x: (B, C, H, W) images, scaled by c_in.
            c_noise: (B,) ln(σ) / 4.
            maps: condition, one per level, (B, widths[l], H/2^l, W/2^l).

        Returns:
            (B, C, H, W).

        Raises:
            ValueError: H or W does not halve down to the last level.
        """
        self._check(*x.shape[2:])
        noise = self.noise(c_noise)
        skips = self.encode(x, noise, maps)
        x = skips[-1]
        for block in self.middle:
            x = block(x, noise)
        return self.output(self._decode(x, skips, noise))

    def encode(
        self, x: torch.Tensor, noise: torch.Tensor, maps: Sequence[torch.Tensor] | None = None
    ) -> list[torch.Tensor]:
        """Skips in the order of their making; the last is what the middle goes on with.

        Map l is added to the last block of level l, on the way down and in the skip.

        Args:
            x: (B, C, H, W).
            noise: (B, 4 width) embedding, ``self.noise(c_noise)``.
            maps: as of `forward`.
        """
        skips = [self.input(x)]
        for level, blocks in enumerate(self.encoder):
            if level:
                skips.append(self.down[level - 1](skips[-1], noise))
            for block in blocks:
                skips.append(block(skips[-1], noise))
            if maps is not None:
                skips[-1] = skips[-1] + maps[level]
        return skips

    def _decode(
        self, x: torch.Tensor, skips: list[torch.Tensor], noise: torch.Tensor
    ) -> torch.Tensor:
        """Takes the skips from the end and leaves none."""
        for step, blocks in enumerate(self.decoder):
            if step:
                x = self.up[step - 1](x, noise)
            for block in blocks:
                x = block(torch.cat([x, skips.pop()], dim=1), noise)
        return x

    def _check(self, height: int, width: int) -> None:
        factor = 2 ** (len(self.widths) - 1)
        if height % factor or width % factor:
            raise ValueError(
                f"images of {height}x{width} pixels: {len(self.widths)} levels need multiples of "
                f"{factor}"
            )


class _NoiseEmbedding(nn.Module):
    """(B,) c_noise to (B, 4 width): cosines and sines, two linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        frequencies = torch.exp(-math.log(MAX_PERIOD) * torch.arange(half) / half)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.first = nn.Linear(2 * half, 4 * width)
        self.second = nn.Linear(4 * width, 4 * width)

    def forward(self, c_noise: torch.Tensor) -> torch.Tensor:
        angles = c_noise[:, None] * self.frequencies
        waves = torch.cat([angles.cos(), angles.sin()], dim=1)
        return F.silu(self.second(F.silu(self.first(waves))))


class _Block(nn.Module):
    """Residual block, scaled and shifted by the noise level; attention after it where asked.

    A down- or up-sampling one changes the size ahead of its first convolution, and of the skip.
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        attention: bool = False,
        resample: nn.Module | None = None,
        *,
        noise_width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.first_norm, self.second_norm = _norm(width_in), _norm(width_out)
        self.first = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.second = _zeroed(nn.Conv2d(width_out, width_out, 3, padding=1))
        self.modulation = nn.Linear(noise_width, 2 * width_out)
        self.dropout = SharedDropout(dropout)
        self.resample = resample or nn.Identity()
        same = width_in == width_out
        self.skip = nn.Identity() if same else nn.Conv2d(width_in, width_out, 1)
        self.attention = _Attention(width_out) if attention else nn.Identity()

    def forward(self, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        hidden = self.first(self.resample(F.silu(self.first_norm(x))))
        scale, shift = self.modulation(noise)[:, :, None, None].chunk(2, dim=1)
        hidden = F.silu(self.second_norm(hidden) * (1 + scale) + shift)
        return self.attention(self.skip(self.resample(x)) + self.second(self.dropout(hidden)))


class _Attention(nn.Module):
    """Self-attention among the pixels, added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = _divisor(width, max(1, width // HEAD_WIDTH))
        self.norm = _norm(width)
        self.projections = nn.Linear(width, 3 * width)
        self.output = _zeroed(nn.Linear(width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        # (B, heads, HW, width of a head), whose last axis is dense: the fused kernels need that
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in self.projections(tokens).chunk(3, dim=2)
        )
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return x + self.output(seen).transpose(1, 2).reshape(x.shape)


def _skip_widths(widths: Sequence[int], blocks: int) -> list[int]:
    """Channels of the skips: of the input convolution or a down-sampling, then of the blocks.

    Args:
        widths: of the input convolution, then of the levels.
        blocks: per level.
    """
    steps = itertools.pairwise(widths)
    return [skip for before, after in steps for skip in [before, *[after] * blocks]]


def _divisor(number: int, most: int) -> int:
    """Largest divisor up to ``most``."""
    return next(n for n in range(most, 0, -1) if number % n == 0)


class _GroupNorm(nn.GroupNorm):
    """In the dtype of its input, whatever autocast says.

    Autocast on a GPU would give out float32, and with it make the residual stream as wide.  Means
    and variances are float32 within torch's kernels anyway.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = (p.to(x.dtype) for p in (self.weight, self.bias))
        with _without_autocast(x.device):
            return F.group_norm(x, self.num_groups, weight, bias, self.eps)


class _Upsample(nn.Upsample):
    """In the dtype of its input, whatever autocast says: it repeats pixels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with _without_autocast(x.device):
            return super().forward(x)


def _without_autocast(device: torch.device) -> AbstractContextManager:
    """Off, where the device has one: the meta device has none."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


def _norm(width: int) -> nn.GroupNorm:
    return _GroupNorm(_divisor(width, GROUPS), width)


def _zeroed(layer: nn.Module) -> nn.Module:
    """A layer that starts as zero: its residual block as the identity."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
