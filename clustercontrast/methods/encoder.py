"""The two-stream networks that flags describe."""

from argparse import Namespace

from clustercontrast.files import UserError
from clustercontrast.models.two_stream_resnet import TwoStreamResNet
from clustercontrast.models.vision_transformer import TwoStreamViT

Encoder = TwoStreamResNet | TwoStreamViT


def build_encoder(args: Namespace, shallow: bool = False) -> Encoder:
    """The network that the flags describe, with random weights.

    Args:
        args: flags.
        shallow: rows of two features, [deep; shallow], which the vision transformer has.

    Raises:
        UserError: no such network.
    """
    return _resnet(args, shallow) if args.arch == "resnet" else _vit(args, shallow)


def _resnet(a: Namespace, shallow: bool) -> TwoStreamResNet:
    if shallow:
        raise UserError("a ResNet has no shallow feature, which this method needs: say --arch vit")
    return TwoStreamResNet(a.depth, a.non_local, a.bn_groups, a.checkpoint_groups, a.pooling)


def _vit(a: Namespace, shallow: bool) -> TwoStreamViT:
    if a.vit_width % 64 or a.depth < 2 or a.height % 16 or a.width % 16:
        raise UserError(
            f"a ViT needs images of whole 16x16 patches (--height {a.height}, --width {a.width}), "
            f"a token length in multiples of 64 (--vit-width {a.vit_width}) and two blocks or more "
            f"(--depth {a.depth})"
        )
    tokens = (a.height // 16) * (a.width // 16)
    sizes = tokens, a.vit_width, a.depth
    return TwoStreamViT(*sizes, a.drop_path, shallow, a.bn_groups, a.checkpoint_groups)
