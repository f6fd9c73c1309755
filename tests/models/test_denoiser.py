"""The U-Net and its edge adapter: size, cost, where the condition enters, and gradients."""

import itertools
import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from clustercontrast.models.denoiser import Denoiser
from clustercontrast.models.edge_adapter import EdgeAdapter

TINY = {"width": 16, "attention_at": (8, 4), "size": (32, 16)}
SIZES = [(192, 64), (96, 32), (48, 16), (24, 8)]


def randomised(module, seed=0):
    """All parameters random, the ones that start as zero too; a fixed start in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def noisy(count=2, size=(32, 16), seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, *size, generator=generator), torch.linspace(-1, 1, count)


def zero_maps(network, count=2, size=(32, 16)):
    height, width = size
    return [
        torch.zeros(count, channels, height >> level, width >> level)
        for level, channels in enumerate(network.widths)
    ]


def parameters_of(module):
    return sum(parameter.numel() for parameter in module.parameters())


def flops(network, *inputs):
    with FlopCounterMode(display=False) as counter:
        network(*inputs)
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("width", "blocks", "million", "giga"),
    [(192, 1, 162, 403), (128, 1, 72, 190), (96, 1, 41, 113), (64, 1, 18, 55), (192, 3, 295, 732)],
)
def test_size_and_cost(width, blocks, million, giga):
    """Known counts, which are rounded to whole numbers."""
    with torch.device("meta"):
        network, inputs = Denoiser(width, blocks=blocks), noisy_on_meta()
    assert parameters_of(network) / 1e6 == pytest.approx(million, abs=0.5)
    assert flops(network, *inputs) / 1e9 == pytest.approx(giga, abs=0.5)


@pytest.mark.parametrize(("width", "million", "giga"), [(192, 22.9, 52), (128, 10.2, 23)])
def test_size_and_cost_of_the_adapter(width, million, giga):
    """docs/methods/cmam.md#time-memory-disk."""
    with torch.device("meta"):
        adapter = EdgeAdapter([width * multiplier for multiplier in (1, 2, 3, 4)])
        edges = torch.empty(1, 1, 192, 64)
    assert parameters_of(adapter) / 1e6 == pytest.approx(million, abs=0.05)
    assert flops(adapter, edges) / 1e9 == pytest.approx(giga, abs=0.5)


def noisy_on_meta(count=1, size=(192, 64)):
    return torch.empty(count, 1, *size), torch.empty(count)


def test_shapes_at_full_size():
    with torch.device("meta"):
        network, (x, c_noise) = Denoiser(), noisy_on_meta(3)
        adapter = EdgeAdapter(network.widths)
        maps = adapter(x)
        skips = network.encode(x, network.noise(c_noise), maps)
        assert network(x, c_noise, maps).shape == x.shape
    assert network.widths == (192, 384, 576, 768)
    expected = [(3, n, *size) for n, size in zip(network.widths, SIZES, strict=True)]
    assert [tuple(condition.shape) for condition in maps] == expected
    assert len(skips) == 8  # one per block of the decoder
    assert [tuple(skip.shape) for skip in skips[1::2]] == expected


@pytest.mark.parametrize("options", [{}, {"blocks": 2}, {"multipliers": (2, 1)}, {"channels": 3}])
def test_shapes_when_tiny(options):
    network = randomised(Denoiser(**TINY | options))
    adapter = randomised(EdgeAdapter(network.widths))
    x, c_noise = noisy()
    maps = adapter(x.abs())
    x = x.expand(-1, options.get("channels", 1), -1, -1)
    found = network(x, c_noise, maps)
    assert found.shape == x.shape
    assert found.isfinite().all()
    assert [m.shape for m in maps] == [m.shape for m in zero_maps(network)]


def test_zero_maps_are_no_maps():
    """Bit for bit."""
    network = randomised(Denoiser(**TINY))
    x, c_noise = noisy()
    without = network(x, c_noise)
    assert without.abs().max() > 0
    assert torch.equal(network(x, c_noise, zero_maps(network)), without)


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("level", range(4))
def test_map_enters_after_the_last_block_of_its_level(level, blocks):
    """The skip carries the map itself, earlier ones nothing of it."""
    network = randomised(Denoiser(**TINY, blocks=blocks))
    x, c_noise = noisy()
    noise, maps = network.noise(c_noise), zero_maps(network)
    before = network.encode(x, noise, maps)
    maps[level] = torch.randn(maps[level].shape, generator=torch.Generator().manual_seed(2))
    after = network.encode(x, noise, maps)
    entry = (level + 1) * (blocks + 1) - 1
    for old, new in itertools.islice(zip(before, after, strict=True), entry):
        assert torch.equal(old, new)
    assert torch.equal(after[entry], before[entry] + maps[level])
    for old, new in itertools.islice(zip(before, after, strict=True), entry, None):
        assert not torch.allclose(old, new)
    assert not torch.allclose(network(x, c_noise, maps), network(x, c_noise))


def test_start_is_zero_and_blocks_pass_their_input_on():
    network = Denoiser(**TINY).eval()
    x, c_noise = noisy()
    assert torch.equal(network(x, c_noise), torch.zeros_like(x))
    skips = network.encode(x, network.noise(c_noise))
    assert torch.equal(skips[1], skips[0])  # the zero-initialised last convolution
    assert torch.equal(skips[2], torch.nn.functional.avg_pool2d(skips[1], 2))


def test_attention_axis():
    def levels(axis, places):
        with torch.device("meta"):
            network = Denoiser(attention_at=places, attention_axis=axis)
        return [
            level
            for level, blocks in enumerate(network.encoder)
            if any("attention.projections" in name for name, _ in blocks.named_parameters())
        ]

    assert levels("width", (32, 16, 8)) == [1, 2, 3]
    assert levels("height", (32, 16, 8)) == []
    assert levels("height", (192, 24)) == [0, 3]
    assert levels("width", (64,)) == [0]
    with pytest.raises(ValueError, match="'area'"):
        Denoiser(**TINY, attention_axis="area")


def test_attention_by_loop():
    """Pixel by pixel, head by head."""
    with torch.device("meta"):
        layer = Denoiser(**TINY | {"width": 64}).middle[0].attention
    layer = randomised(layer.to_empty(device="cpu")).double()
    assert layer.heads == 4
    x = torch.randn(1, 256, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    tokens = layer.norm(x)[0].flatten(1).T
    query, key, value = (tokens @ layer.projections.weight.T + layer.projections.bias).split(256, 1)
    seen = torch.zeros(4, 256).double()
    for head, pixel in itertools.product(range(4), range(4)):
        part = slice(64 * head, 64 * head + 64)
        weights = torch.stack([query[pixel, part] @ key[other, part] / 8 for other in range(4)])
        seen[pixel, part] = weights.softmax(0) @ value[:, part]
    expected = x[0] + (seen @ layer.output.weight.T + layer.output.bias).T.reshape(256, 2, 2)
    torch.testing.assert_close(layer(x)[0], expected)


def test_noise_level_enters_as_cosines_and_sines():
    network = randomised(Denoiser(**TINY))
    layer = network.noise
    c_noise = torch.tensor([0.7])
    angles = [0.7 / 10_000 ** (i / 8) for i in range(8)]
    waves = torch.tensor([[*map(math.cos, angles), *map(math.sin, angles)]])
    hidden = torch.nn.functional.silu(layer.first(waves))
    torch.testing.assert_close(layer(c_noise), torch.nn.functional.silu(layer.second(hidden)))
    x, _ = noisy(1)
    assert not torch.allclose(network(x, c_noise), network(x, -c_noise))


def test_image_does_not_depend_on_the_others():
    network, (x, c_noise) = randomised(Denoiser(**TINY)), noisy(3)
    torch.testing.assert_close(network(x[1:2], c_noise[1:2]), network(x, c_noise)[1:2])


def test_size_that_does_not_halve():
    with pytest.raises(ValueError, match="36x16 pixels: 4 levels need multiples of 8"):
        Denoiser(**TINY | {"size": (36, 16)})
    network = Denoiser(**TINY)
    with pytest.raises(ValueError, match="32x12 pixels"):
        network(*noisy(size=(32, 12)))


def test_gradient_reaches_every_parameter():
    """Width 48: groups of two channels, since groups of one take the bias before them away."""
    network = randomised(Denoiser(48, (1, 2), attention_at=(4,), size=(16, 8))).train()
    adapter = randomised(EdgeAdapter(network.widths))
    x, c_noise = noisy(size=(16, 8))
    network(x, c_noise, adapter(x.abs())).square().mean().backward()
    for name, parameter in [*network.named_parameters(), *adapter.named_parameters()]:
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-7, name


def test_dropout_only_in_training():
    network, (x, c_noise) = randomised(Denoiser(**TINY, dropout=0.5)), noisy()
    with torch.random.fork_rng():
        assert torch.equal(network(x, c_noise), network(x, c_noise))
        network.train()
        assert not torch.equal(network(x, c_noise), network(x, c_noise))


def test_adapter_by_hand():
    """One channel, all weights 1, no bias: twice x + relu(sum of 3×3) per stage, pooled between."""
    adapter = EdgeAdapter([1, 1])
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            parameter.fill_(float("weight" in name))
    edges = torch.ones(1, 1, 2, 2)  # every 3x3 window sees all four pixels
    first, second = adapter(edges)
    assert torch.equal(first, torch.full((1, 1, 2, 2), 4 * 5 * 5.0))
    assert torch.equal(second, torch.full((1, 1, 1, 1), 100 * 2 * 2.0))


def test_adapter_does_not_start_as_zero():
    edges = torch.rand(1, 1, 16, 8, generator=torch.Generator().manual_seed(0))
    assert all(condition.std() > 1e-3 for condition in EdgeAdapter([8, 16, 24])(edges))


@pytest.fixture
def float32_list(monkeypatch):
    """Autocast on the CPU puts into float32 what it puts there on a GPU."""

    def widened(operation):
        def widen(value):
            is_on = torch.is_autocast_enabled("cpu")
            return value.float() if is_on and isinstance(value, torch.Tensor) else value

        return lambda *values, **named: operation(
            *map(widen, values), **{name: widen(value) for name, value in named.items()}
        )

    for name in ("group_norm", "interpolate"):
        monkeypatch.setattr(torch.nn.functional, name, widened(getattr(torch.nn.functional, name)))


def test_residual_stream_is_as_narrow_as_autocast_asks(float32_list):
    """Half of the memory of a training step, and of a batch of fakes, is this stream."""
    network, (x, c_noise) = randomised(Denoiser(**TINY)), noisy()
    adapter, dtypes = randomised(EdgeAdapter(network.widths)), set()
    for block in (*network.encoder.modules(), *network.decoder.modules(), *network.up):
        block.register_forward_hook(lambda layer, inputs, output: dtypes.add(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        found = network(x, c_noise, adapter(x.abs()))
    assert dtypes == {torch.bfloat16}
    wide = network(x, c_noise, adapter(x.abs()))
    assert wide.dtype == torch.float32
    error = (found.float() - wide).square().mean() / wide.square().mean()
    assert error.sqrt() < 0.05  # 2^-8 per operation, some hundred of them


def test_norm_in_bfloat16_has_float32_statistics():
    """A mean of 200 and a deviation of 1: statistics in bfloat16 would leave nothing of it."""
    norm = Denoiser(**TINY).encoder[0][0].first_norm
    x = torch.randn(2, 16, 32, 16, generator=torch.Generator().manual_seed(0)) + 200
    x = x.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = norm(x)
    expected = torch.nn.functional.group_norm(x.double(), norm.num_groups, eps=norm.eps)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, atol=0.02, rtol=0.01)
