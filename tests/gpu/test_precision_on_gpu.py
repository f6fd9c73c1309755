"""What a GPU may change by: precision, recomputation, compilation, and memory that it has."""

import both_devices
import narrow_resnet
import pytest
import tiny_runs
import torch
import torch.nn.functional as F

from clustercontrast.engine.precision import autocast, tensor_cores
from clustercontrast.methods import METHODS
from clustercontrast.models.two_stream_resnet import TwoStreamResNet
from clustercontrast.models.vision_transformer import TwoStreamViT

pytestmark = pytest.mark.gpu

GPU = torch.device("cuda")
NETWORKS = {
    "resnet": lambda recomputed: TwoStreamResNet(10, True, 2, recomputed),
    "vit": lambda recomputed: TwoStreamViT(8, 64, 6, 0.0, False, 2, recomputed),
}
SIZE = 64, 32


def images(count, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn(2 * count, 3, *SIZE, generator=generator, dtype=torch.float64)
    return drawn.to(GPU, dtype).split(count)


def network_of(kind, recomputed=False):
    torch.manual_seed(2)
    return NETWORKS[kind](recomputed).to(GPU)


@pytest.mark.parametrize("kind", NETWORKS)
def test_recomputed_is_not_recomputed(kind):
    """In float64: outputs, gradients and statistics differ by the order of sums alone."""
    found = []
    for recomputed in (False, True):
        network = network_of(kind, recomputed).double().train()
        features = torch.cat(network(*images(8, torch.float64)))
        features[:, ::3].pow(3).sum().backward()
        gradients = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
        found.append({"features": features.detach()} | gradients | dict(network.named_buffers()))
    assert len(found[0]) > 20
    both_devices.assert_alike(found[1], found[0], 1e-8, 1e-10)


@pytest.mark.parametrize(("kind", "most"), [("resnet", 0.6), ("vit", 0.9)])
def test_recomputation_saves_memory(kind, most):
    """What the backward pass needs, as a share of what it needs without."""
    held = []
    for recomputed in (False, True):
        network = network_of(kind, recomputed).train()
        before = torch.cuda.memory_allocated()
        features = torch.cat(network(*images(16)))
        held.append(torch.cuda.memory_allocated() - before)
        del features
    assert held[1] < most * held[0]


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(
    ("precision", "least", "most"), [("bf16", 0.98, 0.4), ("tf32", 0.999, 0.1)]
)
def test_fewer_bits_stay_close(kind, precision, least, most):
    """Cosines of features with those of float32, and the relative change of all gradients."""
    features, gradients = {}, {}
    for name in ("fp32", precision):
        network = network_of(kind).train()
        with autocast(GPU, name):
            rows = torch.cat(network(*images(16))).float()
        with tensor_cores(name):
            F.cross_entropy(20 * rows[:, :16], torch.arange(32, device=GPU) % 16).backward()
        features[name] = F.normalize(rows.detach())
        found = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
        gradients[name] = torch.cat(found)
    cosines = (features["fp32"] * features[precision]).sum(1)
    assert cosines.min() > least
    difference = gradients["fp32"] - gradients[precision]
    assert difference.norm() < most * gradients["fp32"].norm()


@pytest.mark.parametrize("method", ["pclhd", "pgm"])
def test_compiled_is_eager(method, monkeypatch, tmp_path):
    narrow_resnet.use(monkeypatch)
    noted = []
    for flags in ([], ["--compile"]):
        stage = tiny_runs.make_stage(
            METHODS[method][-1], method, tmp_path / str(len(flags)),
            "--precision", "fp32", "--depth", "10", *flags, device="cuda",
        )  # fmt: skip
        both_devices.plant(stage)
        noted.append(both_devices.trained(stage, 0, monkeypatch))
    for got, expected in zip(noted[1], noted[0], strict=True):
        both_devices.assert_alike(got, expected, 2e-2, 2e-2)


def test_a_fused_step_is_a_plain_step():
    """The optimiser that a stage makes on a GPU moves weights as a plain Adam would."""
    torch.manual_seed(3)
    weights = torch.randn(1000, device=GPU)
    ends = []
    for options in ({"fused": True}, {"foreach": False}):
        parameter = torch.nn.Parameter(weights.clone())
        adam = torch.optim.Adam([parameter], 3.5e-4, weight_decay=5e-4, **options)
        for _ in range(3):
            adam.zero_grad()
            parameter.pow(4).sum().backward()
            adam.step()
        ends.append(parameter.detach())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-6, atol=1e-7)
