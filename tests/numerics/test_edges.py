"""Edge maps by hand, against numpy, and image by image."""

import numpy as np
import pytest
import torch

from clustercontrast.generation.edges import edge_maps, luminance


def images(count=5, height=24, width=10, seed=0):
    pixels = torch.randint(
        256, (count, height, width, 3), generator=torch.Generator().manual_seed(seed)
    )
    return pixels.to(torch.uint8)


def row_by_row(values):
    """An image of eight equal rows."""
    return torch.tensor(values).expand(1, 1, 8, len(values))


def test_luminance():
    colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [10, 20, 30], [0, 0, 0]]
    pixels = torch.tensor(colours, dtype=torch.uint8).reshape(2, 1, 3, 3)
    gray = luminance(pixels)
    assert gray.shape == (2, 1, 1, 3)
    assert gray.dtype == torch.float32
    expected = [0.299, 0.587, 0.114, 1, (2.99 + 11.74 + 3.42) / 255, 0]
    np.testing.assert_allclose(gray.flatten(), expected, rtol=1e-6)
    assert gray.max() <= 1


def test_ramp_has_its_slope_as_edge():
    """Replicate padding halves the difference at both ends."""
    edges = edge_maps(row_by_row([0.1, 0.2, 0.3, 0.4, 0.5]), norm="none")
    expected = np.broadcast_to([0.05, 0.1, 0.1, 0.1, 0.05], (1, 1, 8, 5))
    np.testing.assert_allclose(edges, expected, rtol=1e-5)


def test_step_has_half_its_height_on_both_sides():
    step = row_by_row([0.2, 0.2, 0.2, 0.8, 0.8, 0.8])
    expected = np.broadcast_to([0, 0, 0.3, 0.3, 0, 0], (1, 1, 8, 6))
    np.testing.assert_allclose(edge_maps(step, norm="none"), expected, atol=1e-7)
    np.testing.assert_allclose(edge_maps(step.mT, norm="none"), expected.swapaxes(2, 3), atol=1e-7)
    np.testing.assert_allclose(edge_maps(step), expected / 0.3, atol=1e-6)
    np.testing.assert_allclose(edge_maps(step, norm="max"), expected / 0.3, atol=1e-6)


def test_single_bright_pixel():
    """Kernel turned around: corners √2/8, neighbours 2/8, nothing in the middle."""
    spot = torch.zeros(1, 1, 5, 5)
    spot[0, 0, 2, 2] = 1
    corner = 2**0.5 / 8
    expected = [[corner, 0.25, corner], [0.25, 0, 0.25], [corner, 0.25, corner]]
    np.testing.assert_allclose(edge_maps(spot, norm="none")[0, 0, 1:4, 1:4], expected, rtol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (24, 10), (48, 16)])
def test_scale_is_the_percentile_of_numpy(size):
    gray = luminance(images(3, *size))
    raw = edge_maps(gray, norm="none").numpy()
    scales = np.maximum(np.percentile(raw, 99.5, axis=(1, 2, 3), keepdims=True), 1e-3)
    np.testing.assert_allclose(edge_maps(gray), np.clip(raw / scales, 0, 1), rtol=1e-5, atol=1e-6)


def test_scale_ignores_contrast_down_to_its_floor():
    gray = luminance(images())
    np.testing.assert_allclose(edge_maps(gray * 0.3), edge_maps(gray), atol=1e-5)
    assert torch.equal(edge_maps(torch.full((1, 1, 6, 6), 0.7)), torch.zeros(1, 1, 6, 6))
    faint = row_by_row([0.5, 0.5, 0.501, 0.501])  # edges of 0.0005, half the floor
    for norm in ("percentile", "max"):
        assert edge_maps(faint, norm).max().item() == pytest.approx(0.5, rel=1e-3)


def test_threshold_makes_binary_maps():
    gray = luminance(images())
    edges = edge_maps(gray)
    assert torch.equal(edge_maps(gray, threshold=0.4), (edges >= 0.4).float())
    value = edges[0, 0, 3, 3].item()
    assert edge_maps(gray, threshold=value)[0, 0, 3, 3] == 1  # at least, not above


@pytest.mark.parametrize("norm", ["percentile", "max", "none"])
def test_image_does_not_depend_on_its_batch(norm):
    pixels = images(8, 17, 13)
    together = edge_maps(luminance(pixels), norm)
    alone = [edge_maps(luminance(image[None]), norm) for image in pixels]
    assert torch.equal(together, torch.cat(alone))
    assert together.dtype == torch.float32
    assert together.min() >= 0
    assert together.max() <= 1


def test_unknown_norm():
    with pytest.raises(ValueError, match="'median'"):
        edge_maps(torch.zeros(1, 1, 4, 4), norm="median")
