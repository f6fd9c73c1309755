"""Grad-CAM on features: a case by hand, central differences, a place that is known."""

import pytest
import torch
from torch import nn

from clustercontrast.models.activation import activation_maps
from clustercontrast.models.single_stream_resnet import SingleStreamResNet
from clustercontrast.models.two_stream_resnet import TwoStreamResNet
from clustercontrast.models.vision_transformer import TwoStreamViT

# Width of the differences, and how closely they are met.
EXACT = {torch.float64: (1e-5, 1e-5), torch.float32: (1e-2, 2e-3)}


class Pooled(nn.Module):
    """Images are their own maps, and the feature is their mean over the positions."""

    def mapped(self, images, modality):
        return images, lambda maps: maps.mean((2, 3))


NETWORKS = {
    "two streams": lambda: TwoStreamResNet(depth=10),
    "average": lambda: TwoStreamResNet(depth=10, pooling="average"),
    "single stream": lambda: SingleStreamResNet(depth=10),
    "no neck": lambda: SingleStreamResNet(depth=10, neck="none"),
    "transformer": lambda: TwoStreamViT(tokens=8, width=64, depth=3),
    "deep alone": lambda: TwoStreamViT(tokens=8, width=64, depth=3, shallow=False),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    """Random weights, and statistics that are not those of an untouched BatchNorm.

    In float64, but for the single stream, which pools in float32.
    """
    torch.manual_seed(3)
    made = NETWORKS[request.param]().eval()
    if not isinstance(made, SingleStreamResNet):
        made.double()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return made


@pytest.fixture
def images(network):
    """(number, seed) -> normalised images in the network's precision."""
    dtype = next(network.parameters()).dtype

    def draw(count=3, seed=0):
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(count, 3, 64, 32, generator=generator, dtype=dtype)

    return draw


def test_two_channels_by_hand():
    """f = (2, 1) and t = (0, 1): ds/df = (t - s f/|f|)/|f| with s = 1/sqrt 5 goes as (-1, 2).

    -A_1 + 2 A_2 = [[-8, 6], [2, 0]]: what is above 0, divided by the largest.
    """
    first = torch.tensor([[8.0, 0.0], [0.0, 0.0]])  # mean 2
    second = torch.tensor([[0.0, 3.0], [1.0, 0.0]])  # mean 1
    found = activation_maps(
        Pooled().eval(), torch.stack([first, second])[None], "visible", torch.tensor([[0.0, 1.0]])
    )
    assert found.shape == (1, 2, 2)
    assert found.dtype == torch.float32
    expected = torch.tensor([[0.0, 1.0], [1 / 3, 0.0]])
    torch.testing.assert_close(found[0], expected)


def test_zeros_stay_zeros():
    """The cosine of features of one number is 1 whatever the image: nothing raises it."""
    found = activation_maps(Pooled().eval(), torch.rand(2, 1, 4, 3), "visible", torch.ones(2, 1))
    assert found.abs().max() == 0


def test_weights_are_the_slopes_of_the_cosine(network, images):
    """Central differences: a channel raised everywhere moves the cosine by its weight."""
    shown, towards = images(1), network.embed(images(1, seed=9), "infrared")
    maps, feature_of = network.mapped(shown, "visible")
    wide, close = EXACT[maps.dtype]

    def cosines(channel, step):
        moved = maps.clone()
        moved[:, channel] += step
        return nn.functional.cosine_similarity(feature_of(moved).double(), towards.double())[0]

    with torch.no_grad():
        weights = torch.stack([cosines(k, wide) - cosines(k, -wide) for k in range(maps.shape[1])])
        raising = torch.einsum("k,khw->hw", weights, maps[0].double()).relu()
    assert raising.max() > 0
    expected = (raising / raising.max()).float()
    found = activation_maps(network, shown, "visible", towards)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=close)


def test_the_feature_is_made_of_the_maps(network, images):
    for modality in ("visible", "infrared"):
        maps, feature_of = network.mapped(images(), modality)
        assert torch.equal(feature_of(maps), network.embed(images(), modality))


def test_a_map_depends_on_its_own_image_alone(network, images):
    shown, towards = images(), network.embed(images(seed=9), "infrared")
    together = activation_maps(network, shown, "visible", towards)
    for one in range(3):
        alone = activation_maps(network, shown[one : one + 1], "visible", towards[one : one + 1])
        torch.testing.assert_close(alone[0], together[one])
    assert together.shape[1] / together.shape[2] == 2
    assert together.amax((1, 2)).tolist() == [1.0, 1.0, 1.0]
    assert together.min() >= 0


def test_no_gradient_reaches_a_parameter_and_nothing_changes(network, images):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        activation_maps(network, images(), "visible", network.embed(images(seed=9), "infrared"))
    assert all(parameter.grad is None for parameter in network.parameters())
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_length_of_the_other_feature_does_not_matter(network, images):
    shown, towards = images(), network.embed(images(seed=9), "infrared")
    torch.testing.assert_close(
        activation_maps(network, shown, "visible", towards),
        activation_maps(network, shown, "visible", 7 * towards),
    )


@pytest.mark.parametrize(("top", "left"), [(8, 8), (40, 8), (24, 32)])
def test_the_peak_lies_where_two_images_have_something_in_common(top, left):
    """A textured square on a plain ground, towards a square elsewhere, against plain ground."""
    torch.manual_seed(0)
    network = TwoStreamResNet(depth=10, non_local=False).eval()
    texture = torch.randn(3, 24, 24, generator=torch.Generator().manual_seed(1))
    ground = torch.zeros(1, 3, 96, 64)
    shown, other = ground.clone(), ground.clone()
    shown[0, :, top : top + 24, left : left + 24] = texture
    other[0, :, 64:88, 36:60] = texture
    towards = network.embed(other, "visible") - network.embed(ground, "visible")
    found = activation_maps(network, shown, "visible", towards)[0]
    row, column = divmod(int(found.argmax()), found.shape[1])
    cell = 96 / found.shape[0]
    assert top <= (row + 0.5) * cell <= top + 24
    assert left <= (column + 0.5) * cell <= left + 24


def test_a_network_in_training_and_a_wrong_number_are_refused(network, images):
    towards = network.embed(images(), "visible")
    with pytest.raises(ValueError, match="3 images need as many features, found 2"):
        activation_maps(network, images(), "visible", towards[:2])
    with pytest.raises(ValueError, match="call eval"):
        activation_maps(network.train(), images(), "visible", towards)
