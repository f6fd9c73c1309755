"""Two-stream vision transformer of SDCL: a stem per modality, shared blocks, two private last ones.

ViT-B/16 with the ICS stem of TransReID-SSL (Luo et al., 2021), as the official SDCL code runs it
(docs/methods/sdcl.md#backbone).  timm's class is not used: timm is no requirement of this project
and has no ICS stem, and little of it would remain beside two private last blocks, grouped BatchNorm
and recomputed blocks.  Parts that never execute upstream (the last trunk block and its norm, the
classifier) are not built.
"""

import copy
import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import StochasticDepth

from clustercontrast.models.bn_groups import forward_in_groups

HEAD_WIDTH = 64  # numbers of a token that one attention head reads
STEM_CHANNELS = 64
PATCH = 16  # pixels of a side
EPSILON = 1e-6  # of every LayerNorm


class IBN(nn.Module):
    """InstanceNorm of the first half of the channels, BatchNorm of the second."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.instance = nn.InstanceNorm2d(channels // 2, affine=True)
        self.batch = nn.BatchNorm2d(channels // 2)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(B, channels, h, w) -> the same shape."""
        first, second = maps.chunk(2, dim=1)
        return torch.cat([self.instance(first), self.batch(second)], dim=1)


class Stem(nn.Module):
    """The modality-specific part: three convolutions at half resolution, then patches of 16x16."""

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = STEM_CHANNELS
        self.layers = nn.Sequential(
            nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False),
            IBN(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            IBN(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )
        self.projection = nn.Conv2d(channels, width, 8, stride=8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, H/16 x W/16, width) patch tokens, row by row."""
        return self.projection(self.layers(images)).flatten(2).transpose(1, 2)


class Block(nn.Module):
    """Pre-norm transformer block: attention, then an MLP, each on a residual branch.

    Args:
        width: length of a token, a multiple of 64.
        drop_rate: probability that a training image skips a branch (stochastic depth); kept
            branches are scaled up by 1 / (1 - drop_rate).
    """

    def __init__(self, width: int, drop_rate: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=EPSILON)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.stochastic_depth = StochasticDepth(drop_rate, mode="row")

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, n, width) -> the same shape."""
        tokens = tokens + self.stochastic_depth(self._attention(self.attention_norm(tokens)))
        return tokens + self.stochastic_depth(self.mlp(self.mlp_norm(tokens)))

    def _attention(self, tokens: torch.Tensor) -> torch.Tensor:
        by_head = self.qkv(tokens).unflatten(2, (3, -1, HEAD_WIDTH))  # (B, n, 3, heads, 64)
        query, key, value = by_head.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.attention_out(mixed.transpose(1, 2).flatten(2))


class TwoStreamViT(nn.Module):
    """Embeds visible and infrared images in one space, by one or two features per image.

    The deep feature is the class token after all blocks.  The shallow one is that of a private
    block which reads the class token after the shared blocks beside the *raw* patch tokens, which
    have passed none.

    Args:
        tokens: patches of 16x16 pixels per image, 162 at 288x144.
        width: length of a token, a multiple of 64.
        depth: blocks an image passes on the way to its deep feature, the private one included; 2
            or more.
        drop_path: rate of stochastic depth in the last block; it grows linearly from 0 in the
            first.
        shallow: build and return the shallow feature, too.
        bn_groups: BatchNorm groups of a training forward (see ``bn_groups.py``).
        recompute: compute every block again in the backward pass instead of keeping its
            activations; exact.
    """

    def __init__(
        self,
        tokens: int = 162,
        width: int = 768,
        depth: int = 12,
        drop_path: float = 0.1,
        shallow: bool = True,
        bn_groups: int = 1,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.bn_groups = bn_groups
        self.recompute = recompute
        self.visible_stem = Stem(width)
        self.infrared_stem = copy.deepcopy(self.visible_stem)  # alike, as with pretrained weights
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + tokens, width))
        *shared, last = (Block(width, drop_path * i / (depth - 1)) for i in range(depth))
        self.blocks = nn.ModuleList(shared)
        self.deep = nn.Sequential(last, nn.LayerNorm(width, eps=EPSILON))
        self.neck = _neck(width)
        self._initialise()
        self.shallow = copy.deepcopy(self.deep) if shallow else None
        self.shallow_neck = _neck(width) if shallow else None

    @property
    def width(self) -> int:
        """Length D of an embedding: that of a token, d, or 2 d with the shallow feature."""
        return self.neck.num_features * (1 if self.shallow is None else 2)

    def forward(
        self, visible: torch.Tensor, infrared: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Training forward of both modalities together, so that the necks' BatchNorm mixes them.

        Args:
            visible: (n_v, 3, H, W) normalised images, [plain views; exchanged views].
            infrared: (n_r, 3, H, W).

        Returns:
            (n_v, D) and (n_r, D) neck outputs [deep; shallow], **not** normalised.

        Raises:
            ValueError: a batch does not divide by ``bn_groups``, or the images have another size
                than the network has positions for.
        """
        return forward_in_groups(
            self, self._both, (visible, infrared), self.bn_groups, skip=self._skip
        )

    def embed(self, images: torch.Tensor, modality: str) -> torch.Tensor:
        """Retrieval feature of one modality, in eval mode.

        Returns:
            (B, 2 d) rows [deep; shallow], **not** normalised, since SDCL averages those of an
            image and its mirror image (SDCL-11); (B, d) unit rows, without an epsilon, of a
            network without the shallow feature.
        """
        maps, feature_of = self.mapped(images, modality)
        return feature_of(maps)

    def mapped(
        self, images: torch.Tensor, modality: str
    ) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
        """Patch tokens that the private blocks read, and what makes ``embed``'s feature of them.

        Returns:
            (B, c, h, w) maps: c = d, the tokens before the last block; with the shallow feature
            c = 2 d, the raw tokens behind them.  And a function of such maps, which knows the
            class tokens.
        """
        stem = self.visible_stem if modality == "visible" else self.infrared_stem
        raw = self.tokens(stem(images))
        tokens = self.trunk(raw)
        read = [tokens[:, 1:]] if self.shallow is None else [tokens[:, 1:], raw[:, 1:]]
        sides = [(side + 1) // PATCH for side in images.shape[2:]]
        maps = torch.cat(read, dim=2).transpose(1, 2).unflatten(2, sides)
        return maps, functools.partial(self._feature_of, tokens[:, :1])

    def pooled(
        self, visible: torch.Tensor, infrared: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Training forward of a network without the shallow feature, with what is before its neck.

        Returns:
            Features of both modalities, visible first, before and behind the neck: (n_v + n_r, d)
            each.
        """
        parts = forward_in_groups(
            self, self._pooled_and_behind, (visible, infrared), self.bn_groups, skip=self._skip
        )
        return torch.cat(parts[:2]), torch.cat(parts[2:])

    def _pooled_and_behind(
        self, visible: torch.Tensor, infrared: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Visible and infrared features before the neck, then behind it."""
        deep = self._last(self.deep, self.trunk(self.tokens(self._patches(visible, infrared))))
        sizes = len(visible), len(infrared)
        return *deep.split(sizes), *self.neck(deep).split(sizes)

    def _skip(self, visible: torch.Tensor, infrared: torch.Tensor) -> None:
        """Draw which branches the images of another group skip."""
        kind = visible.device.type
        is_mixed = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if is_mixed else self.positions.dtype
        images = len(visible) + len(infrared)
        branches = torch.empty(images, 1, 1, dtype=dtype, device=visible.device)
        private = (self.deep,) if self.shallow is None else (self.deep, self.shallow)
        for block in (*self.blocks, *(layers[0] for layers in private)):
            for _ in range(2):
                block.stochastic_depth(branches)

    def _initialise(self) -> None:
        """Initial weights of a ViT; convolutions keep torch's."""
        layers = [m for m in self.modules() if isinstance(m, nn.Linear)]
        for weight in (self.class_token, self.positions, *(layer.weight for layer in layers)):
            nn.init.trunc_normal_(weight, std=0.02)
        for layer in layers:
            nn.init.zeros_(layer.bias)

    def _both(
        self, visible: torch.Tensor, infrared: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        features = self._features(self._patches(visible, infrared))
        return features[: len(visible)], features[len(visible) :]

    def _patches(self, visible: torch.Tensor, infrared: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.visible_stem(visible), self.infrared_stem(infrared)])

    def _features(self, patches: torch.Tensor) -> torch.Tensor:
        """(B, tokens, d) -> (B, D) neck outputs."""
        raw = self.tokens(patches)
        tokens = self.trunk(raw)
        return self._outputs(tokens[:, :1], tokens[:, 1:], raw[:, 1:])

    def _feature_of(self, class_tokens: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        patches = maps.flatten(2).transpose(1, 2).split(class_tokens.shape[2], dim=2)
        features = self._outputs(class_tokens, patches[0], patches[-1])
        if self.shallow is not None:
            return features
        return features / features.norm(dim=1, keepdim=True)

    def _outputs(
        self, class_tokens: torch.Tensor, patches: torch.Tensor, raw: torch.Tensor
    ) -> torch.Tensor:
        """Neck outputs (B, D): deep ones of these patch tokens, shallow ones of the raw ones."""
        deep = self._last(self.deep, torch.cat([class_tokens, patches], dim=1))
        if self.shallow is None:
            return self.neck(deep)
        shallow = self._last(self.shallow, torch.cat([class_tokens, raw], dim=1))
        return torch.cat([self.neck(deep), self.shallow_neck(shallow)], dim=1)

    def tokens(self, patches: torch.Tensor) -> torch.Tensor:
        """Class token and patches at their positions: (B, 1 + tokens, d)."""
        found, expected = patches.shape[1], self.positions.shape[1] - 1
        if found != expected:
            raise ValueError(
                f"the images have {found} patches of 16x16 pixels, but the network has positions "
                f"for {expected}: give images of the size that it was built for"
            )
        # The length of a batch is open in a graph of ONNX, where len() would be a constant.
        class_tokens = self.class_token.expand(patches.shape[0], -1, -1)
        return torch.cat([class_tokens, patches], dim=1) + self.positions

    def trunk(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens after the shared blocks, of the same shape."""
        for block in self.blocks:
            tokens = self._run(block, tokens)
        return tokens

    def _last(self, layers: nn.Sequential, tokens: torch.Tensor) -> torch.Tensor:
        """Class token after a private block and its norm: (B, d)."""
        block, norm = layers
        return norm(self._run(block, tokens)[:, 0])

    def _run(self, block: Block, tokens: torch.Tensor) -> torch.Tensor:
        """A block; recomputed in backward, it must skip the same branches again."""
        if self.recompute and self.training and torch.is_grad_enabled():
            return checkpoint(block, tokens, use_reentrant=False, preserve_rng_state=True)
        return block(tokens)


def _neck(width: int) -> nn.BatchNorm1d:
    neck = nn.BatchNorm1d(width)
    neck.bias.requires_grad_(False)
    return neck
