"""A small network of every kind that images are searched with."""

from clustercontrast.models.single_stream_resnet import SingleStreamResNet
from clustercontrast.models.two_stream_resnet import TwoStreamResNet
from clustercontrast.models.vision_transformer import TwoStreamViT

NETWORKS = {
    "resnet": lambda: TwoStreamResNet(10, non_local=True),
    "average": lambda: TwoStreamResNet(10, non_local=False, pooling="average"),
    "transformer": lambda: TwoStreamViT(8, 64, 3),  # images of 64x32 pixels
    "deep transformer": lambda: TwoStreamViT(8, 64, 3, shallow=False),
    "single": lambda: SingleStreamResNet(10),
    "no neck": lambda: SingleStreamResNet(10, "none"),
}
