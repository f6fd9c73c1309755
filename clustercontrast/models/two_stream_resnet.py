"""AGW two-stream ResNet: one stem per modality, a shared trunk, GeM and a BatchNorm neck.

AGW (Ye et al., TPAMI 2022), in the form that ADCA, PGM, PCLHD, RPNR, PCA and MMM run (COMMON-15).
The official class carries three complete ResNets of which two thirds never execute; here stand only
the modules that run.
"""

import copy
from collections.abc import Callable

import torch
from torch import nn
from torchvision.models import resnet

from clustercontrast.models.bn_groups import forward_in_groups
from clustercontrast.models.non_local import NonLocal
from clustercontrast.models.pooling import generalised_mean

BODIES = {  # depth -> residual block, blocks per layer
    10: (resnet.BasicBlock, [1, 1, 1, 1]),
    18: (resnet.BasicBlock, [2, 2, 2, 2]),
    34: (resnet.BasicBlock, [3, 4, 6, 3]),
    50: (resnet.Bottleneck, [3, 4, 6, 3]),
}
AVERAGED = "average_pooling"
"""Buffer of a network that averages where others take the generalised mean."""
NON_LOCAL_BLOCKS = {"layer2": 2, "layer3": 3}  # after the last two, the last three blocks


class Stem(nn.Module):
    """The modality-specific part: 7x7 convolution, BatchNorm, ReLU, max-pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, 64, H/4, W/4)."""
        maps = torch.relu(self.bn1(self.conv1(images)))
        return nn.functional.max_pool2d(maps, kernel_size=3, stride=2, padding=1)


class Trunk(nn.Module):
    """layer1 to layer4 shared by both modalities; layer4 keeps its input resolution (stride 1)."""

    def __init__(self, depth: int, non_local: bool) -> None:
        super().__init__()
        body = resnet.ResNet(*BODIES[depth])
        for convolution in (body.layer4[0].conv1, body.layer4[0].conv2):
            convolution.stride = (1, 1)
        body.layer4[0].downsample[0].stride = (1, 1)
        self.layers = nn.ModuleDict({f"layer{n}": getattr(body, f"layer{n}") for n in range(1, 5)})
        self.non_local = nn.ModuleDict()
        for name, count in NON_LOCAL_BLOCKS.items() if non_local else ():
            channels = _width(self.layers[name])
            blocks = min(count, len(self.layers[name]))
            self.non_local[name] = nn.ModuleList(NonLocal(channels) for _ in range(blocks))
        self.width = _width(self.layers["layer4"])

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(B, 64, h, w) -> (B, width, h/4, w/4)."""
        for name, layer in self.layers.items():
            attention = self.non_local[name] if name in self.non_local else ()  # noqa: SIM401
            for number, block in enumerate(layer, start=len(attention) - len(layer)):
                maps = block(maps)
                if number >= 0:
                    maps = attention[number](maps)
        return maps


class TwoStreamResNet(nn.Module):
    """Embeds visible and infrared images in one space.

    Args:
        depth: 50 in every paper; 10, 18 and 34 for tests, the demo and quick trials.
        non_local: insert the non-local blocks (PGM, PCLHD, RPNR, MMM: yes; ADCA, PCA: no).
        bn_groups: BatchNorm groups of a training forward (see ``bn_groups.py``).
        checkpoint_groups: recompute each group's activations in the backward pass.
        pooling: "gem", as in every official code, or "average" (PCLHD-12), which its state dict
            says of itself, since pooling has no weights.
    """

    def __init__(
        self,
        depth: int = 50,
        non_local: bool = True,
        bn_groups: int = 1,
        checkpoint_groups: bool = False,
        pooling: str = "gem",
    ) -> None:
        super().__init__()
        self.bn_groups = bn_groups
        self.checkpoint_groups = checkpoint_groups
        self.visible_stem = Stem()
        self.infrared_stem = copy.deepcopy(self.visible_stem)  # alike, as with ImageNet weights
        self.trunk = Trunk(depth, non_local)
        self.neck = nn.BatchNorm1d(self.trunk.width)
        nn.init.normal_(self.neck.weight, 1.0, 0.01)
        self.neck.bias.requires_grad_(False)
        self.exponent = 3.0
        if pooling == "average":
            self.exponent = 1.0
            self.register_buffer(AVERAGED, torch.tensor(True))

    @property
    def width(self) -> int:
        """Length d of an embedding: 2048 at depth 50, 512 at 10, 18 and 34."""
        return self.trunk.width

    def forward(
        self, visible: torch.Tensor, infrared: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Training forward of both modalities together, so that the trunk's BatchNorm mixes them.

        Args:
            visible: (n_v, 3, H, W) normalised images, [plain views; exchanged views].
            infrared: (n_r, 3, H, W).

        Returns:
            (n_v, d) and (n_r, d) neck outputs, **not** normalised (the memories normalise them).

        Raises:
            ValueError: a batch does not divide by ``bn_groups``.
        """
        return forward_in_groups(
            self, self._both, (visible, infrared), self.bn_groups, self.checkpoint_groups
        )

    def embed(self, images: torch.Tensor, modality: str) -> torch.Tensor:
        """Retrieval feature of one modality, in eval mode: (B, d) unit rows, without an epsilon."""
        maps, feature_of = self.mapped(images, modality)
        return feature_of(maps)

    def mapped(
        self, images: torch.Tensor, modality: str
    ) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
        """Last maps (B, d, h, w), and what makes the feature of ``embed`` of them."""
        stem = self.visible_stem if modality == "visible" else self.infrared_stem
        return self.trunk(stem(images)), self._feature_of

    def pooled(
        self, visible: torch.Tensor, infrared: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Training forward that shows what is before the neck, too.

        Returns:
            Features of both modalities, visible first, before and behind the neck: (n_v + n_r, d)
            each.
        """
        parts = forward_in_groups(
            self, self._pooled_and_behind, (visible, infrared), self.bn_groups,
            self.checkpoint_groups,
        )  # fmt: skip
        return torch.cat(parts[:2]), torch.cat(parts[2:])

    def _both(
        self, visible: torch.Tensor, infrared: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self._pooled_and_behind(visible, infrared)[2:]

    def _pooled_and_behind(
        self, visible: torch.Tensor, infrared: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Visible and infrared features before the neck, then behind it."""
        maps = torch.cat([self.visible_stem(visible), self.infrared_stem(infrared)])
        pooled = generalised_mean(self.trunk(maps), self.exponent)
        sizes = len(visible), len(infrared)
        return *pooled.split(sizes), *self.neck(pooled).split(sizes)

    def _feature_of(self, maps: torch.Tensor) -> torch.Tensor:
        features = self.neck(generalised_mean(maps, self.exponent))
        return features / features.norm(dim=1, keepdim=True)


def _width(layer: nn.Sequential) -> int:
    """Output channels of a residual layer."""
    last = layer[-1]
    return (last.conv3 if isinstance(last, resnet.Bottleneck) else last.conv2).out_channels
