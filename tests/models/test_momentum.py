"""The momentum encoder: averaged parameters, statistics of its own, an ordinary state dict."""

import pytest
import torch
from torch import nn

from clustercontrast.models.momentum import MomentumEncoder

DECAY = 0.9


def network(seed=0):
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    layers[1].bias.requires_grad_(False)  # frozen, as the bias of the neck
    return layers


def moved(encoder, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in encoder.parameters():
            p.add_(torch.randn(p.shape, generator=generator))


def test_one_update_by_hand():
    encoder = nn.Linear(1, 1, bias=False)
    nn.init.constant_(encoder.weight, 2.0)
    momentum = MomentumEncoder(encoder, DECAY)
    nn.init.constant_(encoder.weight, 12.0)
    momentum.update(encoder)
    assert momentum.network.weight.item() == pytest.approx(0.9 * 2 + 0.1 * 12)


def test_updates_follow_the_closed_form():
    """θ_m = β^n θ_0 + (1 - β) Σ β^(n-i) θ_i (Eq. 16), frozen parameters included."""
    encoder, n = network().double(), 7
    momentum = MomentumEncoder(encoder, DECAY)
    expected = [DECAY**n * p.detach().clone() for p in encoder.parameters()]
    for i in range(1, n + 1):
        moved(encoder, i)
        momentum.update(encoder)
        for sum_, p in zip(expected, encoder.parameters(), strict=True):
            sum_ += (1 - DECAY) * DECAY ** (n - i) * p.detach()
    for got, wanted in zip(momentum.network.parameters(), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_bounds_of_the_decay(decay):
    encoder = network()
    momentum = MomentumEncoder(encoder, decay)
    old = [p.clone() for p in momentum.network.parameters()]
    moved(encoder, 1)
    momentum.update(encoder)
    expected = encoder.parameters() if decay == 0 else old
    for got, wanted in zip(momentum.network.parameters(), expected, strict=True):
        assert torch.equal(got, wanted)


def test_buffers_are_not_averaged():
    encoder = network()
    momentum = MomentumEncoder(encoder, DECAY)
    encoder(torch.randn(8, 3) + 5)
    before = {name: b.clone() for name, b in momentum.network.named_buffers()}
    momentum.update(encoder)
    after = dict(momentum.network.named_buffers())
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_forward_in_train_mode_moves_its_own_statistics():
    """Same input, same weights: the same statistics as the online encoder's, in its own buffers."""
    encoder = network()
    momentum = MomentumEncoder(encoder, DECAY)
    images = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)) + 5
    momentum.train()(images)
    untouched = encoder[1].running_mean.clone()
    assert not untouched.any()
    encoder(images)
    assert torch.equal(momentum.network[1].running_mean, encoder[1].running_mean)


def test_no_gradient_passes_through():
    encoder = network()
    momentum = MomentumEncoder(encoder, DECAY)
    images = torch.randn(4, 3, requires_grad=True)
    assert not momentum(images).requires_grad
    assert not any(p.requires_grad for p in momentum.parameters())
    assert [p.requires_grad for p in encoder.parameters()] == [True, True, True, False]


def test_the_copy_is_independent():
    encoder = network()
    momentum = MomentumEncoder(encoder, DECAY)
    before = [p.clone() for p in momentum.network.parameters()]
    moved(encoder, 3)
    for a, b in zip(momentum.network.parameters(), before, strict=True):
        assert torch.equal(a, b)


def test_states_are_interchangeable():
    encoder, other = network(0), network(1)
    momentum = MomentumEncoder(encoder, DECAY)
    assert momentum.state_dict().keys() == encoder.state_dict().keys()
    momentum.load_state_dict(other.state_dict())
    encoder.load_state_dict(momentum.state_dict())
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])


def test_embedding_is_the_networks_own():
    class Embedding(nn.Linear):
        def embed(self, images, modality):
            return self(images), modality

    encoder = Embedding(3, 2)
    images = torch.randn(2, 3)
    features, modality = MomentumEncoder(encoder, DECAY).embed(images, "infrared")
    assert torch.equal(features, encoder(images))
    assert modality == "infrared"
