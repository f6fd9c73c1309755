"""The network of stage 0 of CMAM-UDA: shapes, stripes, necks, torchvision's weights."""

import pytest
import torch
from torchvision.models import resnet18

from clustercontrast.files import UserError
from clustercontrast.models import weights
from clustercontrast.models.part_resnet import PartResNet, stripes
from clustercontrast.models.single_stream_resnet import SingleStreamResNet
from clustercontrast.models.two_stream_resnet import TwoStreamResNet


def images(count=2, height=96, width=32):
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return PartResNet(10, 3).eval()


def maps_of(network, pixels):
    return network.trunk(network.stem(pixels))


def test_global_and_part_features_are_means_behind_their_necks(network):
    """A map of six rows has stripes of two; scale and shift of every neck tell them apart."""
    for number, neck in enumerate([network.neck, *network.part_necks]):
        neck.running_mean.fill_(0.1 * number)
        neck.running_var.fill_((1 + number) ** 2 - neck.eps)
    with torch.no_grad():
        maps, (g, q) = maps_of(network, images()), network(images())
    assert maps.shape == (2, 512, 6, 2)  # a sixteenth: the last stage keeps its resolution
    torch.testing.assert_close(g, maps.mean((2, 3)))
    for part in range(3):
        mean = maps[:, :, 2 * part : 2 * part + 2].mean((2, 3))
        torch.testing.assert_close(q[part], (mean - 0.1 * (part + 1)) / (part + 2))


def test_no_parts():
    network = PartResNet(10, 0).eval()
    g, q = network(images())
    assert (g.shape, q.shape) == ((2, 512), (0, 2, 512))
    assert not any(name.startswith("part_necks") for name in network.state_dict())


@pytest.mark.parametrize(("rows", "parts"), [(6, 3), (7, 3), (2, 3), (5, 1)])
def test_stripes_are_those_of_adaptive_pooling(rows, parts):
    maps = torch.randn(2, 4, rows, 3, generator=torch.Generator().manual_seed(1))
    wanted = torch.nn.functional.adaptive_avg_pool2d(maps, (parts, 1)).flatten(2).unbind(2)
    torch.testing.assert_close(stripes(maps, parts), [*wanted])


def test_more_parts_than_rows_of_the_map(network):
    _, q = network(images(height=32, width=16))
    assert q.shape == (3, 2, 512)
    assert torch.isfinite(q).all()


def test_biases_of_the_necks_stay_zero(network):
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    assert frozen == ["neck.bias", *(f"part_necks.{n}.bias" for n in range(3))]
    assert all(not p.any() for name, p in network.named_parameters() if name in frozen)


@pytest.mark.parametrize(("depth", "width"), [(10, 512), (50, 2048)])
def test_width(depth, width):
    assert PartResNet(depth, 0).width == width


def test_torchvision_weights_fill_everything_but_the_necks(tmp_path):
    source, network = resnet18(), PartResNet(18, 3)
    torch.save(source.state_dict(), tmp_path / "resnet18.pth")
    report = weights.start(network, str(tmp_path / "resnet18.pth"))
    assert report.loaded == len(source.state_dict()) - 2  # fc.weight and fc.bias
    assert torch.equal(network.stem.conv1.weight, source.conv1.weight)
    own = network.trunk.layers["layer4"][1].conv2.weight
    assert torch.equal(own, source.layer4[1].conv2.weight)


@pytest.mark.parametrize("make", [lambda: PartResNet(10, 3), lambda: SingleStreamResNet(10)])
def test_a_two_stream_network_gives_its_visible_half(tmp_path, make):
    source, network = TwoStreamResNet(10, non_local=False), make()
    torch.nn.init.zeros_(source.infrared_stem.conv1.weight)
    torch.save({"weights": source.state_dict()}, tmp_path / "model.pth")
    weights.start(network, str(tmp_path / "model.pth"))
    assert torch.equal(network.stem.conv1.weight, source.visible_stem.conv1.weight)
    own = network.trunk.layers["layer3"][0].conv1.weight
    assert torch.equal(own, source.trunk.layers["layer3"][0].conv1.weight)


def test_a_single_stream_network_is_restored_whole(tmp_path):
    source, network = SingleStreamResNet(10), SingleStreamResNet(10)
    source.exponent.data.fill_(2.5)
    torch.save({"weights": source.state_dict()}, tmp_path / "model.pth")
    weights.start(network, str(tmp_path / "model.pth"))
    for ours, theirs in zip(
        network.state_dict().values(), source.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)
    images = torch.rand(2, 3, 32, 16, generator=torch.Generator().manual_seed(0))
    rebuilt = weights.network_for(source.state_dict()).eval()
    with torch.no_grad():
        assert torch.equal(
            rebuilt.embed(images, "visible"), source.eval().embed(images, "infrared")
        )


def test_another_depth_is_refused(tmp_path):
    torch.save(resnet18().state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(UserError, match="another architecture"):
        weights.start(PartResNet(34), str(tmp_path / "resnet18.pth"))
