"""ResNet with a global feature and one per horizontal stripe, as PPLR trains it."""

import torch
from torch import nn

from clustercontrast.models.bn_groups import forward_in_groups
from clustercontrast.models.two_stream_resnet import Stem, Trunk


class PartResNet(nn.Module):
    """Embeds an image as a whole and in horizontal stripes.

    Args:
        depth: 50 in the paper; 10, 18 and 34 for tests and quick trials.
        parts: stripes P of equal height; of a map whose rows they do not divide, neighbouring
            stripes share a row.  0 leaves the global feature alone.
        bn_groups: BatchNorm groups of a training forward (see ``bn_groups.py``).
    """

    def __init__(self, depth: int = 50, parts: int = 3, bn_groups: int = 1) -> None:
        super().__init__()
        self.parts, self.bn_groups = parts, bn_groups
        self.stem = Stem()
        self.trunk = Trunk(depth, non_local=False)
        self.neck = _neck(self.width)
        self.part_necks = nn.ModuleList(_neck(self.width) for _ in range(parts))

    @property
    def width(self) -> int:
        """Length d of a feature: 2048 at depth 50, 512 at 10, 18 and 34."""
        return self.trunk.width

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Average-pooled features behind their BatchNorms, not normalised.

        Args:
            images: (B, 3, H, W) normalised.

        Returns:
            g (B, d), and q (P, B, d) from the top stripe to the bottom one.
        """
        g, *parts = forward_in_groups(self, self._features, (images,), self.bn_groups)
        return g, torch.stack(parts) if parts else g.new_empty(0, *g.shape)

    def _features(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Global feature g and that of every part, (B, d) each."""
        maps = self.trunk(self.stem(images))
        g = self.neck(maps.mean((2, 3)))
        if not self.parts:
            return (g,)
        necks = zip(self.part_necks, stripes(maps, self.parts), strict=True)
        return g, *(neck(stripe) for neck, stripe in necks)


def stripes(maps: torch.Tensor, parts: int) -> list[torch.Tensor]:
    """Means (B, d) of the parts of maps (B, d, H, W), from top to bottom.

    Torch's adaptive pooling: parts share a row where H does not divide.  As means, since the
    backward pass of that one is not deterministic on CUDA.
    """
    rows = maps.shape[2]
    bounds = ((i * rows // parts, -(-(i + 1) * rows // parts)) for i in range(parts))
    return [maps[:, :, top:bottom].mean((2, 3)) for top, bottom in bounds]


def _neck(width: int) -> nn.BatchNorm1d:
    neck = nn.BatchNorm1d(width)
    neck.bias.requires_grad_(False)
    return neck
