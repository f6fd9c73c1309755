"""PCA's modality classifier and its losses against the official numbers."""

import re

import golden_set
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from official import assert_checksum, filled_classifier, is_dead_bias, official_classifier_name

from clustercontrast.losses.adversarial import (
    adversarial_loss,
    modality_accuracy,
    modality_loss,
)
from clustercontrast.models.modality_classifier import ModalityClassifier

FILE = "pca/modal_classifier.npz"
VECTORS, ENTRY = golden_set.load(FILE), golden_set.entry_b(FILE)
PARAMETERS = ENTRY["params"]
TOLERANCE = dict(re.findall(r"(float\d+) rtol ([\d.e-]+)", ENTRY["tolerance"]))


def recorded_features(dtype):
    """[V; G; I], as the manifest says."""
    ids = np.arange(PARAMETERS["B"]) % 3
    rows = [
        golden_set.fill_b().family_vectors(
            f"modal_{m}", f"modal/{m}", ids, 2048, golden_set.salt_b()
        )
        for m in "vgi"
    ]
    features = torch.from_numpy(np.concatenate(rows))
    np.testing.assert_allclose(features[:, :8], VECTORS["features_head"], rtol=1e-6)
    return features.to(dtype)


def check_state(network, expected, tolerance, step):
    ours = dict(network.state_dict())
    for name, row in zip(VECTORS["state_names"], expected, strict=True):
        assert_checksum(ours[official_classifier_name(str(name))], row, tolerance, f"{step} {name}")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_two_rounds_equal_the_official_ones(dtype):
    """Classifier step on detached features, then the adversarial gradient of the features."""
    tolerance = float(TOLERANCE[str(dtype).removeprefix("torch.")])
    network = filled_classifier(PARAMETERS["key_shapes"]).to(dtype).train()
    sgd = torch.optim.SGD(network.parameters(), 0.01, 0.9, weight_decay=5e-4, nesterov=True)
    infrared = PARAMETERS["B"]
    for step in ("step0", "step1"):
        features = recorded_features(dtype).requires_grad_()
        logits = network(features.detach())
        np.testing.assert_allclose(
            logits.detach(), VECTORS[f"{step}_logits"], rtol=tolerance, atol=tolerance
        )
        loss = modality_loss(logits, infrared)
        assert loss.item() == pytest.approx(float(VECTORS[f"{step}_modal_loss"]), rel=tolerance)
        sgd.zero_grad()
        loss.backward()
        parameters = dict(network.named_parameters())
        if dtype == torch.float64:  # biases before BatchNorm: rounding noise in float32
            for name, row in zip(VECTORS["param_names"], VECTORS[f"{step}_D_grads"], strict=True):
                if not is_dead_bias(str(name)):
                    gradient = parameters[official_classifier_name(str(name))].grad
                    assert_checksum(gradient, row, 1e-6, f"gradient {step} {name}")
        for block in network.blocks:
            outer = block[0].weight.grad[:, :, [0, 2]]
            assert outer.abs().max() == 0
        sgd.step()
        check_state(network, VECTORS[f"{step}_D_state"], max(tolerance, 1e-7), step)
        logits = network(features)
        np.testing.assert_allclose(
            logits.detach(), VECTORS[f"{step}_adv_logits"], rtol=tolerance, atol=tolerance
        )
        loss = adversarial_loss(logits, infrared)
        assert loss.item() == pytest.approx(float(VECTORS[f"{step}_adv_loss"]), rel=tolerance)
        (gradient,) = torch.autograd.grad(loss, features)
        expected = VECTORS[f"{step}_adv_grad_head"]
        atol = tolerance * np.abs(expected).max()
        np.testing.assert_allclose(gradient[:, : expected.shape[1]], expected, atol=atol)
        for row, checksum in zip(gradient, VECTORS[f"{step}_adv_grad_checksum"], strict=True):
            # tests/golden/README_b.md: sums of n values deviate by up to sqrt(n) times tolerance.
            assert_checksum(row, checksum, tolerance * len(row) ** 0.5, f"{step} gradient")
        after = VECTORS[f"{step}_D_state_after_adv_forward"]
        check_state(network, after, max(tolerance, 1e-7), f"{step}, after the adversarial forward")


def test_it_is_a_perceptron_of_the_centre_taps():
    torch.manual_seed(0)
    network, features = ModalityClassifier(32).double(), torch.randn(9, 32).double()
    x = features
    for convolution, norm, _ in network.blocks:
        x = F.linear(x, convolution.weight[:, :, 1], convolution.bias)
        x = F.relu(F.batch_norm(x, None, None, norm.weight, norm.bias, training=True))
    torch.testing.assert_close(network(features), network.head(x))
    for block in network.blocks:
        block[0].weight.data[:, :, [0, 2]] = 7.0
    torch.testing.assert_close(network(features), network.head(x))


def test_widths_and_first_weights():
    network = ModalityClassifier()
    widths = [block[0].out_channels for block in network.blocks]
    assert widths == [1024, 512, 256, 128, 64, 32, 16, 8]
    first = network.blocks[0][0].weight
    assert first.abs().max().item() == pytest.approx((3 * 2048) ** -0.5, rel=1e-2)


def test_losses_by_hand():
    """One image each, logits log 2 for the first, second and third class in turn."""
    logits = torch.log(torch.tensor([[2.0, 1, 1], [1, 1, 2], [1, 1, 2]]).double())
    right, wrong = np.log(2), np.log(4)
    assert modality_loss(logits, 1).item() == pytest.approx(2 * right + wrong)
    assert adversarial_loss(logits, 1).item() == pytest.approx(wrong + 2 * right)
    assert modality_accuracy(logits, 1).item() == pytest.approx(2 / 3)


def test_every_part_weighs_the_same_however_many_images_it_has():
    """Two visible images of two views, one infrared image: means of parts are summed."""
    torch.manual_seed(0)
    logits = torch.randn(5, 3).double()
    log = logits.log_softmax(1)
    expected = -log[:2, 0].mean() - log[2:4, 2].mean() - log[4:, 1].mean()
    torch.testing.assert_close(modality_loss(logits, 1), expected)
    expected = -log[:2, 2].mean() - log[2:4, 2].mean() - log[4:, 2].mean()
    torch.testing.assert_close(adversarial_loss(logits, 1), expected)
