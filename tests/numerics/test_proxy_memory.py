"""Proxies of pseudo classes: by hand, plain loops, gradients."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clustercontrast.memories.proxy import ProxyMemory


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def groups():
    """Class 0 in both modalities, 1 in the first only, 3 in the second only; 2 and 4 in none."""
    return [
        (draw(1, 5, 6), torch.tensor([0, 1, 0, 0, 1])),
        (draw(2, 4, 6), torch.tensor([3, 0, 3, 3])),
    ]


def unit(x):
    return x / np.linalg.norm(x)


def test_one_update_by_hand():
    """v = (1, 0), μ = 0.2.  The means (0.5, 0.5) and (0, 1) give u = (0.25, 0.75).

    norm(0.2 (1, 0) + 0.8 (0.25, 0.75)) = norm(0.4, 0.6); the pooled mean (⅓, ⅔) would differ.
    """
    memory = ProxyMemory(torch.tensor([[4.0, 0], [0, 1]]), 0.2)
    visible = torch.tensor([[3.0, 0], [0, 7]]), torch.tensor([0, 0])
    infrared = torch.tensor([[0.0, 0.5]]), torch.tensor([0])
    memory.update([visible, infrared])
    expected = [[0.4 / 0.52**0.5, 0.6 / 0.52**0.5], [0, 1]]
    np.testing.assert_allclose(memory.rows, expected, atol=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.2, 0.8, 1.0])
def test_batch_means_against_plain_loops(momentum):
    memory = ProxyMemory(draw(0, 5, 6), momentum)
    rows = memory.rows.clone().numpy()
    memory.update(groups())
    for c in range(5):
        means = [
            np.mean([unit(f) for f, y in zip(x.numpy(), labels, strict=True) if y == c], axis=0)
            for x, labels in groups()
            if (labels == c).any()
        ]
        if means:
            rows[c] = unit(momentum * rows[c] + (1 - momentum) * np.mean(means, axis=0))
    np.testing.assert_allclose(memory.rows, rows, atol=1e-12)


def test_samples_one_by_one_against_plain_loops():
    memory = ProxyMemory(draw(0, 5, 6), 0.2, "sequential")
    rows = memory.rows.clone().numpy()
    memory.update(groups())
    for x, labels in groups():
        for f, c in zip(x.numpy(), labels.tolist(), strict=True):
            rows[c] = unit(0.2 * rows[c] + 0.8 * unit(f))
    np.testing.assert_allclose(memory.rows, rows, atol=1e-12)


@pytest.mark.parametrize("update", ["batch_mean", "sequential"])
def test_absent_classes_keep_their_bits_and_rows_their_length(update):
    memory = ProxyMemory(draw(0, 5, 6), 0.2, update)
    before = memory.rows.clone()
    memory.update(groups())
    assert torch.equal(memory.rows[[2, 4]], before[[2, 4]])
    assert (memory.rows[[0, 1, 3]] != before[[0, 1, 3]]).any(dim=1).all()
    torch.testing.assert_close(memory.rows.norm(dim=1), torch.ones(5).double())


def after(update, order):
    memory = ProxyMemory(draw(0, 5, 6), 0.2, update)
    memory.update([groups()[i] for i in order])
    return memory.rows


def test_the_order_of_modalities_is_of_no_matter_to_batch_means_only():
    assert torch.equal(after("batch_mean", (0, 1)), after("batch_mean", (1, 0)))
    gap = (after("sequential", (0, 1)) - after("sequential", (1, 0))).norm(dim=1)
    assert gap[0] > 0.1
    assert gap[1:].max() == 0


def test_cosines_and_their_gradient():
    proxies = draw(0, 5, 6).requires_grad_()
    memory = ProxyMemory(proxies, 0.2)
    features = draw(3, 4, 6).requires_grad_()
    cosines = memory.cosines(features)
    expected = F.cosine_similarity(features[:, None], proxies[None].detach(), dim=2)
    torch.testing.assert_close(cosines, expected)
    cosines.sum().backward()
    assert features.grad.abs().max() > 0
    assert proxies.grad is None
    assert not memory.rows.requires_grad


def test_an_update_before_backward_leaves_the_gradient_alone():
    """The graph holds the rows of its forward pass."""
    found = []
    for is_moved in (False, True):
        memory, features = ProxyMemory(draw(0, 5, 6), 0.2), draw(3, 4, 6).requires_grad_()
        loss = memory.cosines(features).square().sum()
        if is_moved:
            memory.update([(features, torch.tensor([0, 1, 2, 3]))])
            assert not memory.rows.requires_grad
        loss.backward()
        found.append(features.grad)
    assert torch.equal(*found)


def test_a_class_without_images_stays_finite():
    """Its proxy is 0, and becomes the first u it sees."""
    memory = ProxyMemory(torch.tensor([[1.0, 0], [0, 0]]), 0.2)
    assert memory.cosines(torch.tensor([[0.6, 0.8]])).tolist()[0] == pytest.approx([0.6, 0])
    memory.update([(torch.tensor([[3.0, 0]]), torch.tensor([0]))])
    assert memory.rows.tolist() == [[1, 0], [0, 0]]
    memory.update([(torch.tensor([[0.0, 2]]), torch.tensor([1]))])
    assert memory.rows.tolist() == [[1, 0], [0, 1]]


def test_half_precision_features_and_autocast():
    memory = ProxyMemory(draw(0, 5, 6).float(), 0.2)
    features = draw(3, 4, 6).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cosines = memory.cosines(features)
        memory.update([(features, torch.tensor([0, 1, 2, 3]))])
    assert cosines.dtype == memory.rows.dtype == torch.float32
    torch.testing.assert_close(memory.rows.norm(dim=1), torch.ones(5))


def test_unknown_update():
    with pytest.raises(KeyError, match="hard"):
        ProxyMemory(torch.eye(2), 0.2, "hard")
