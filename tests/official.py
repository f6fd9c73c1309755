"""Networks and trajectories filled by the golden rule, under the official names."""

import contextlib
import ctypes
import functools
import re
from collections.abc import Iterator, Sequence

import golden_set
import numpy as np
import pytest
import torch
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint
from torchvision.models.resnet import Bottleneck

from clustercontrast.models import weights
from clustercontrast.models.bn_groups import frozen_statistics
from clustercontrast.models.modality_classifier import ModalityClassifier
from clustercontrast.models.two_stream_resnet import TwoStreamResNet
from clustercontrast.processes import ranks

BLOCK_FORWARD = Bottleneck.forward


def official_shapes(non_local: bool) -> dict[str, list[int]]:
    file = f"agw_forward/state_dict_nl_{'on' if non_local else 'off'}.json"
    return golden_set.load_json(file)["state_dict"]


@functools.lru_cache(maxsize=1)
def filled_state(non_local: bool, salt: int) -> dict[str, torch.Tensor]:
    """Weights of the golden rule for all parts that run, under the official names."""
    fill = golden_set.fill()
    return {
        name: torch.from_numpy(np.asarray(fill.fill_param(name, shape, salt)))
        for name, shape in official_shapes(non_local).items()
        if weights.our_name(name)
    }


def filled_encoder(non_local: bool, salt: int | None = None, **options) -> TwoStreamResNet:
    """A float64 network whose every tensor is filled by the golden rule."""
    encoder = TwoStreamResNet(non_local=non_local, **options)
    salt = golden_set.salt() if salt is None else salt
    state = weights.from_official(filled_state(non_local, salt))
    weights.load(encoder, state, "the golden rule")
    return encoder.double()


def images(tag: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(golden_set.fill().images(tag, *shape, golden_set.salt())).double()


def own_images(views: Sequence[np.ndarray]) -> torch.Tensor:
    """Images of a batch, view after view, in float64; of several processes, this one's part."""
    images = torch.from_numpy(np.concatenate(views)).double()
    return images[ranks.share(len(images))]


def tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name; of several processes, the first one's statistics."""
    ranks.equalise(module.buffers())
    return dict(module.named_parameters()) | dict(module.named_buffers())


def checksum(tensor) -> np.ndarray:
    """The numbers of ``fill.checksum``."""
    return golden_set.fill().checksum(np.asarray(torch.as_tensor(tensor).detach().cpu()))


def assert_checksum(actual, expected, tolerance: float, what: str) -> None:
    """Compare ``fill.checksum`` numbers with a tolerance relative to the L2 entry."""
    assert_alike(checksum(actual), expected, tolerance, what)


def assert_alike(got, expected, tolerance: float, what: str) -> None:
    """Compare the numbers of two checksums."""
    scale = max(expected[1], 1e-12)
    worst = np.abs(got - expected).max() / scale
    assert worst < tolerance, f"{what}: relative deviation {worst:.2e}"


class Product(torch.autograd.Function):
    """``weight @ columns(x)``; columns, larger than x, are made again in backward."""

    @staticmethod
    def forward(ctx, x, weight, columns):
        ctx.columns = columns
        ctx.save_for_backward(x, weight)
        return weight @ columns(x)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            columns = ctx.columns(x)
        of_weight = gradient @ columns.detach().T
        if not ctx.needs_input_grad[0]:
            return None, of_weight, None
        (of_x,) = torch.autograd.grad(columns, x, weight.T @ gradient)
        return of_x, of_weight, None


def matrix_convolution(self: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """A convolution as one matrix product over the whole batch.

    torch's float64 convolution on the CPU multiplies image by image and takes ten times as long;
    the trajectories exchange this one kernel, and nothing else, to finish in minutes.
    """
    n, _, h, w = x.shape
    size, stride, padding = self.kernel_size[0], self.stride[0], self.padding[0]
    height, width = ((s + 2 * padding - size) // stride + 1 for s in (h, w))

    def columns(x: torch.Tensor) -> torch.Tensor:
        if size == 1:
            every = x[:, :, ::stride, ::stride].flatten(2)
        else:
            every = torch.nn.functional.unfold(x, size, padding=padding, stride=stride)
        return every.transpose(0, 1).flatten(1)

    flat = Product.apply(x, self.weight.flatten(1), columns)
    if self.bias is not None:
        flat = flat + self.bias[:, None]
    return flat.view(-1, n, height, width).transpose(0, 1).contiguous()


def official_classifier_name(official: str) -> str:
    """Our name of a tensor of PCA's modality classifier."""
    name = official.replace("Liner.", "head.").replace("first_layer.", "blocks.0.")
    return re.sub(r"^layers\.(\d)\.", lambda found: f"blocks.{int(found[1]) + 1}.", name)


def is_dead_bias(official: str) -> bool:
    """Whether BatchNorm takes this bias of the classifier away again: its gradient is rounding."""
    return re.fullmatch(r"(first_layer|layers\.\d)\.0\.bias", official) is not None


def filled_classifier(shapes: dict[str, list[int]]) -> ModalityClassifier:
    """PCA's modality classifier in float64, every tensor filled by the golden rule."""
    fill, network = golden_set.fill(), ModalityClassifier()
    state = {
        official_classifier_name(name): torch.as_tensor(
            fill.fill_param(name, shape, golden_set.salt_b())
        )
        for name, shape in shapes.items()
    }
    network.load_state_dict(state)
    return network.double()


def recomputed(block: torch.nn.Module, maps: torch.Tensor) -> torch.Tensor:
    """A residual block that keeps nothing of its forward but its input; exact."""

    def contexts() -> tuple:
        return contextlib.nullcontext(), frozen_statistics(block)

    return checkpoint(
        BLOCK_FORWARD,
        block,
        maps,
        use_reentrant=False,
        context_fn=contexts,
        preserve_rng_state=False,
    )


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """For batches whose activations take gigabytes: forget them, and return freed ones at once."""
    threshold = -3  # glibc's M_MMAP_THRESHOLD: larger pieces do not come from the heap
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as after:
        patch.setattr(Bottleneck, "forward", recomputed)
        with contextlib.suppress(AttributeError):  # another C library
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(threshold, 1 << 20)
            after.callback(mallopt, threshold, 32 << 20)
        yield
