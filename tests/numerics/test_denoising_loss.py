"""The denoising loss by hand, and its weight."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clustercontrast.losses.denoising import denoising_loss


def test_by_hand():
    """Squared errors (1, 4) at σ = 0.5, where λ = 8, and (0, 9) at σ = 1, where λ = 5."""
    clean = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).reshape(2, 1, 1, 2)
    found = torch.tensor([[1.0, -1.0], [2.0, 0.0]]).reshape(2, 1, 1, 2)
    loss = denoising_loss(found, clean, torch.tensor([0.5, 1.0]), 0.5)
    assert loss.shape == ()
    assert loss.item() == pytest.approx((8 * (1 + 4) + 5 * (0 + 9)) / 4)


@given(st.floats(1e-3, 1e3), st.floats(0.05, 5))
def test_weight_cancels_the_output_scale(sigma, sigma_data):
    """An error of c_out counts as 1, that is λ c_out² = 1, at any noise level."""
    c_out = sigma * sigma_data / math.hypot(sigma, sigma_data)
    clean = torch.zeros(1, 1, 3, 2, dtype=torch.float64)
    levels = torch.tensor([sigma], dtype=torch.float64)
    assert denoising_loss(clean + c_out, clean, levels, sigma_data).item() == pytest.approx(1)


def test_perfect_denoiser_gives_zero():
    clean = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert denoising_loss(clean.clone(), clean, torch.tensor([0.002, 1.0, 80.0]), 0.5) == 0


def test_gradient_by_hand():
    estimate = torch.tensor([3.0, 1.0]).reshape(2, 1, 1, 1).requires_grad_()
    denoising_loss(estimate, torch.ones(2, 1, 1, 1), torch.tensor([0.5, 1.0]), 0.5).backward()
    assert estimate.grad.flatten().tolist() == pytest.approx([8 * 2, 0])  # 2 λ error / 2 images


def test_half_precision_is_widened():
    estimate = torch.full((1, 1, 2, 2), 1.0, dtype=torch.bfloat16)
    loss = denoising_loss(estimate, torch.zeros(1, 1, 2, 2), torch.tensor([0.002]), 0.5)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx((0.002**2 + 0.25) / 0.001**2, rel=1e-6)
