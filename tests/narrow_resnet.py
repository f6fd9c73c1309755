"""The real ResNets with an eighth of the channels inside their blocks, for whole runs.

All layers, features and names are there; a checkpoint takes an eighth of the disk.  So it is with
PCA's modality classifier.
"""

import pytest
from torch import nn
from torchvision.models import resnet

from clustercontrast.models import modality_classifier, two_stream_resnet


class NarrowBlock(resnet.BasicBlock):
    """A residual block whose two convolutions meet in fewer channels."""

    def __init__(self, inplanes: int, planes: int, stride: int = 1, *more, **options) -> None:
        super().__init__(inplanes, planes, stride, *more, **options)
        inner = planes // 8
        self.conv1 = resnet.conv3x3(inplanes, inner, stride)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = resnet.conv3x3(inner, planes)


def use(patch: pytest.MonkeyPatch) -> None:
    """Build ResNets with narrow blocks, rebuilt ones included, and narrow classifiers."""
    use_classifier(patch)
    for depth, (block, counts) in two_stream_resnet.BODIES.items():
        if block is resnet.BasicBlock:
            patch.setitem(two_stream_resnet.BODIES, depth, (NarrowBlock, counts))


def use_classifier(patch: pytest.MonkeyPatch) -> None:
    """Build modality classifiers of as many blocks with few channels."""
    patch.setattr(modality_classifier, "WIDTHS", (16,) * len(modality_classifier.WIDTHS))
