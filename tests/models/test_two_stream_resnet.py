"""The network against the official forward pass, and the emulation of data-parallel BatchNorm."""

import golden_set
import numpy as np
import pytest
import torch
from official import assert_checksum, filled_encoder, images, official_shapes, tensors

from clustercontrast.models import weights
from clustercontrast.models.bn_groups import frozen_statistics
from clustercontrast.models.two_stream_resnet import TwoStreamResNet

VARIANTS = {"on": True, "off": False}
TOLERANCE = 1e-9  # float64, manifest


@pytest.fixture(scope="module", params=VARIANTS)
def golden(request):
    file = f"agw_forward/nl_{request.param}.npz"
    parameters = golden_set.entry(file)["parameters"]
    return VARIANTS[request.param], golden_set.load(file), parameters


@pytest.mark.slow
def test_retrieval_features_equal_the_official_ones(golden):
    non_local, vectors, sizes = golden
    encoder = filled_encoder(non_local).eval()
    for name, shape in (("small", (64, 32)), ("full", (288, 144))):
        batch = images(f"agw/{name}", sizes[f"images_{name}"], *shape)
        assert_checksum(batch, vectors[f"check_input_{name}"], 1e-12, "input")
        for number, modality in ((1, "visible"), (2, "infrared")):
            with torch.no_grad():
                features = encoder.embed(batch, modality)
            expected = vectors[f"eval_{name}_modal{number}"]
            np.testing.assert_allclose(features, expected, rtol=0, atol=TOLERANCE)


def test_training_forward_and_running_statistics_equal_the_official_ones(golden):
    non_local, vectors, sizes = golden
    encoder = filled_encoder(non_local).train()
    n_visible, n_infrared = sizes["train_images"]
    before = {name: t.clone() for name, t in encoder.named_buffers()}
    features = encoder(
        images("agw/train_rgb", n_visible, 64, 32), images("agw/train_ir", n_infrared, 64, 32)
    )
    for value, name in zip(features, ("train_feat_rgb", "train_feat_ir"), strict=True):
        np.testing.assert_allclose(value.detach(), vectors[name], rtol=0, atol=TOLERANCE)
    changed = {n for n, t in encoder.named_buffers() if "running" in n and (t != before[n]).any()}
    assert changed == {weights.our_name(n) for n in vectors["bn_changed_names"]}
    buffers = dict(encoder.named_buffers())
    for name, expected in zip(
        vectors["bn_changed_names"], vectors["bn_changed_checksums"], strict=True
    ):
        assert_checksum(buffers[weights.our_name(name)], expected, 1e-9, name)
    for name in (n for n in vectors if n.startswith("bn/")):
        value = buffers[weights.our_name(name.removeprefix("bn/"))]
        np.testing.assert_allclose(value, vectors[name], rtol=1e-9, atol=1e-12)


def test_gradients_reach_exactly_the_parameters_of_the_official_network(golden):
    non_local, vectors, _ = golden
    encoder = filled_encoder(non_local).train()
    features = encoder(*(images(f"agw/train_{m}", 2, 64, 32) for m in ("rgb", "ir")))
    sum(f.square().sum() for f in features).backward()
    reached = {n for n, p in encoder.named_parameters() if p.grad is not None}
    assert reached == {weights.our_name(n) for n in vectors["params_with_grad"]}


def test_only_modules_that_run_are_built(golden):
    non_local, _, sizes = golden
    encoder = TwoStreamResNet(non_local=non_local)
    trained = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    assert trained == sizes["parameters_in_forward"]
    names = {weights.our_name(n) for n in official_shapes(non_local)} - {None}
    assert names == set(encoder.state_dict())


def test_average_pooling_is_the_mean_over_the_positions():
    torch.manual_seed(0)
    network = TwoStreamResNet(depth=10, non_local=False, pooling="average").eval()
    visible, infrared = torch.randn(2, 2, 3, 64, 32)
    maps = network.trunk(network.visible_stem(visible))
    pooled = network.pooled(visible, infrared)[0][:2]
    torch.testing.assert_close(pooled, maps.mean((2, 3)), atol=1e-6, rtol=0)


def test_a_fresh_non_local_block_is_the_identity():
    torch.manual_seed(0)
    with_blocks = TwoStreamResNet(depth=18, non_local=True)
    without = TwoStreamResNet(depth=18, non_local=False)
    without.load_state_dict(with_blocks.state_dict(), strict=False)
    batch = torch.randn(3, 3, 64, 32)
    for encoder in (with_blocks.eval(), without.eval()):
        encoder.requires_grad_(False)
    difference = with_blocks.embed(batch, "visible") - without.embed(batch, "visible")
    assert difference.abs().max() == 0


def test_groups_equal_separate_replicas_and_only_the_first_keeps_statistics():
    """Mutation check: updating the statistics from every group, or from the last, fails here."""
    torch.manual_seed(0)
    reference = TwoStreamResNet(depth=18, bn_groups=1).double().train()
    grouped = TwoStreamResNet(depth=18, bn_groups=2).double().train()
    grouped.load_state_dict(reference.state_dict())
    visible, infrared = torch.randn(8, 3, 32, 16).double(), torch.randn(4, 3, 32, 16).double()
    first = reference(visible[:4], infrared[:2])
    kept = {name: t.clone() for name, t in reference.named_buffers()}
    second = reference(visible[4:], infrared[2:])
    got = grouped(visible, infrared)
    for value, one, two in zip(got, first, second, strict=True):
        torch.testing.assert_close(value, torch.cat([one, two]), rtol=0, atol=1e-12)
    for name, value in grouped.named_buffers():
        torch.testing.assert_close(value, kept[name], rtol=0, atol=1e-12)


def test_recomputed_groups_give_the_same_gradients_and_touch_statistics_once():
    torch.manual_seed(0)
    plain = TwoStreamResNet(depth=18, bn_groups=2).double().train()
    recomputed = TwoStreamResNet(depth=18, bn_groups=2, checkpoint_groups=True).double().train()
    recomputed.load_state_dict(plain.state_dict())
    visible, infrared = torch.randn(4, 3, 32, 16).double(), torch.randn(4, 3, 32, 16).double()
    for encoder in (plain, recomputed):
        sum(f.pow(3).sum() for f in encoder(visible, infrared)).backward()
    expected = tensors(plain)
    for name, value in tensors(recomputed).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-12)
        if value.grad is not None:
            torch.testing.assert_close(value.grad, expected[name].grad, rtol=1e-10, atol=1e-10)


def test_recomputing_forgets_the_activations():
    """Saved activations of a recomputed forward are its inputs, not its inside."""

    def saved_bytes(checkpoint_groups):
        encoder = TwoStreamResNet(depth=18, bn_groups=2, checkpoint_groups=checkpoint_groups)
        total = 0

        def pack(tensor):
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            encoder.train()(torch.randn(8, 3, 64, 32), torch.randn(8, 3, 64, 32))
        return total

    assert saved_bytes(True) < 0.2 * saved_bytes(False)


def test_an_indivisible_batch_is_refused():
    encoder = TwoStreamResNet(depth=18, bn_groups=4)
    with pytest.raises(ValueError, match="a batch of 6 images does not divide by 4 groups"):
        encoder(torch.randn(6, 3, 32, 16), torch.randn(4, 3, 32, 16))


def test_frozen_statistics_are_thawed_after_an_error():
    encoder = TwoStreamResNet(depth=18)
    own = encoder.neck.running_mean

    def fail():
        with frozen_statistics(encoder):
            assert encoder.neck.running_mean is not own
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert encoder.neck.running_mean is own
