"""ResNet whose weights all views share: M_joint and M_gray of CMAM-UDA.

The paper names a ResNet-50 with generalised-mean pooling and no more; the neck and the trained
exponent are those of the FastReID baseline whose settings it lists
(docs/methods/cmam.md#networks-and-circle-head).
"""

from collections.abc import Callable

import torch
from torch import nn

from clustercontrast.models.bn_groups import forward_in_groups
from clustercontrast.models.pooling import clamped_generalised_mean
from clustercontrast.models.two_stream_resnet import Stem, Trunk

NECKS = ("bnneck", "none", "bnneck-before")


class SingleStreamResNet(nn.Module):
    """Embeds images of any view with the same weights.

    Args:
        depth: 50 in the paper; 10, 18 and 34 for tests and quick trials.
        neck: "bnneck" – one feature, behind the BatchNorm neck, serves everything; "none" – the
            pooled vector serves everything (the paper's words); "bnneck-before" – the triplet loss
            takes the vector before the neck, all else the one behind it (A3).
        exponent: initial exponent p of the pooling.
        train_exponent: let p learn.
        bn_groups: BatchNorm groups of a training forward (see ``bn_groups.py``).

    Attributes:
        flip_averaged: False – mirror images are not averaged into a feature (CMAM-21).
    """

    flip_averaged = False

    def __init__(
        self,
        depth: int = 50,
        neck: str = "bnneck",
        exponent: float = 3.0,
        train_exponent: bool = True,
        bn_groups: int = 1,
    ) -> None:
        super().__init__()
        self.bn_groups = bn_groups
        self.stem = Stem()
        self.trunk = Trunk(depth, non_local=False)
        self.exponent = nn.Parameter(torch.tensor(float(exponent)), requires_grad=train_exponent)
        self.metric_before_neck = neck == "bnneck-before"
        self.neck = None if neck == "none" else nn.BatchNorm1d(self.width)
        if self.neck is not None:
            self.neck.bias.requires_grad_(False)

    @property
    def width(self) -> int:
        """Length d of a feature: 2048 at depth 50, 512 at 10, 18 and 34."""
        return self.trunk.width

    def forward(self, *views: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Features for the triplet loss and features f for all else, the same unless A3 says so.

        Args:
            views: (B, 3, H, W) normalised images each; BatchNorm sees all of them together.

        Returns:
            (B, d), (B, d) of every view in turn, none normalised.
        """
        return forward_in_groups(self, self._seen, views, self.bn_groups)

    def _seen(self, *views: torch.Tensor) -> tuple[torch.Tensor, ...]:
        both = self._features(self.trunk(self.stem(torch.cat(views))))
        sizes = list(map(len, views))
        pairs = zip(*(features.split(sizes) for features in both), strict=True)
        return tuple(features for pair in pairs for features in pair)

    def embed(self, images: torch.Tensor, modality: str) -> torch.Tensor:
        """Retrieval feature, in eval mode, of either modality: (B, d) unit rows."""
        maps, feature_of = self.mapped(images, modality)
        return feature_of(maps)

    def mapped(
        self,
        images: torch.Tensor,
        modality: str,  # noqa: ARG002
    ) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
        """Last maps (B, d, h, w), and what makes the feature of ``embed`` of them."""
        return self.trunk(self.stem(images)), self._feature_of

    def _feature_of(self, maps: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self._features(maps)[1].float())

    def _features(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What ``forward`` returns, from the last maps."""
        pooled = clamped_generalised_mean(maps, self.exponent)
        features = pooled if self.neck is None else self.neck(pooled)
        return (pooled if self.metric_before_neck else features), features
