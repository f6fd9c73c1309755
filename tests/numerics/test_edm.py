"""Noise levels, preconditioning and solvers, on Gaussian data whose denoiser is known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clustercontrast.generation.edm import (
    coefficients,
    denoised,
    dpm_solver,
    draw_noise_levels,
    heun,
    noise_levels,
)

SIGMA_DATA = 0.5
ONE = torch.ones(1, 1, 1, 1)
EXACT = 80 * SIGMA_DATA / math.hypot(80, SIGMA_DATA)  # 0.499990, of the ODE from x = 80 to 0
SIGMAS = st.floats(1e-3, 1e3)


def gaussian(x, sigma):
    """Best denoiser of pixels of N(0, 0.5²)."""
    return x * SIGMA_DATA**2 / (sigma**2 + SIGMA_DATA**2)


def counted(denoise, calls):
    def wrapped(x, sigma):
        calls.append(sigma.item())
        return denoise(x, sigma)

    return wrapped


def relative_error(solver, steps):
    return solver(gaussian, ONE, noise_levels(steps)).item() / EXACT - 1


def test_grid():
    """Levels by hand."""
    sigmas = noise_levels(20)
    assert sigmas.shape == (21,)
    assert sigmas.dtype == torch.float64
    np.testing.assert_allclose(sigmas[:3], [80, 59.6575, 43.9203], atol=5e-5)
    np.testing.assert_allclose(sigmas[-3:], [0.0066, 0.002, 0], atol=5e-5)
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()


def test_grid_by_loop():
    n, low, high, rho = 7, 0.1, 12.0, 3.0
    roots = (high ** (1 / rho), low ** (1 / rho))
    expected = [(roots[0] + i / (n - 1) * (roots[1] - roots[0])) ** rho for i in range(n)]
    np.testing.assert_allclose(noise_levels(n, low, high, rho), [*expected, 0], rtol=1e-12)


def test_smallest_grids():
    np.testing.assert_allclose(noise_levels(1), [80, 0])
    np.testing.assert_allclose(noise_levels(2), [80, 0.002, 0])
    with pytest.raises(ValueError, match="at least one"):
        noise_levels(0)


@pytest.mark.parametrize("steps", [1, 5, 10, 15, 20, 25])
def test_number_of_evaluations(steps):
    sigmas, calls = noise_levels(steps), []
    heun(counted(gaussian, calls), ONE, sigmas)
    assert len(calls) == 2 * steps - 1
    calls = []
    dpm_solver(counted(gaussian, calls), ONE, sigmas)
    assert calls == sigmas[:-1].tolist()


@pytest.mark.parametrize(("steps", "value"), [(10, 0.609798), (20, 0.521824), (40, 0.504877)])
def test_heun_on_gaussian_data(steps, value):
    """Known values, which tend to 0.5."""
    assert heun(gaussian, ONE, noise_levels(steps)).item() == pytest.approx(value, abs=6e-7)


@pytest.mark.parametrize("solver", [heun, dpm_solver])
def test_error_is_of_order_two(solver):
    """Twice the steps, a quarter of the error."""
    errors = [abs(relative_error(solver, steps)) for steps in (100, 200, 400)]
    orders = np.log2(errors[:-1]) - np.log2(errors[1:])
    np.testing.assert_allclose(orders, 2, atol=0.15)


def test_dpm_solver_at_twenty_steps():
    assert abs(relative_error(dpm_solver, 20)) == pytest.approx(0.049, abs=5e-4)
    assert relative_error(heun, 20) == pytest.approx(0.044, abs=5e-4)


def slow_dpm_solver(denoise, x, sigmas):
    """DPM-Solver++ (2M) as published, with λ = -ln σ, one number at a time."""
    history = []
    for i in range(len(sigmas) - 1):
        history.append(denoise(x, sigmas[i]))
        target = history[-1]
        if sigmas[i + 1] == 0:
            return target
        h = math.log(sigmas[i] / sigmas[i + 1])
        if i:
            r = math.log(sigmas[i - 1] / sigmas[i]) / h
            target = (1 + 1 / (2 * r)) * history[-1] - 1 / (2 * r) * history[-2]
        x = sigmas[i + 1] / sigmas[i] * x - math.expm1(-h) * target
    raise AssertionError("the grid does not end at 0")


@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_dpm_solver_by_loop(steps):
    def wavy(x, sigma):
        return math.sin(x / (1 + sigma)) + 0.1 * sigma

    def wavy_tensors(x, sigma):
        return (x / (1 + sigma)).sin() + 0.1 * sigma

    sigmas = noise_levels(steps)
    expected = slow_dpm_solver(wavy, 0.3 * sigmas[0].item(), sigmas.tolist())
    found = dpm_solver(wavy_tensors, torch.tensor([0.3], dtype=torch.float64), sigmas)
    assert found.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("solver", [heun, dpm_solver])
def test_last_step_gives_the_denoiser(solver):
    """Whatever the start, a denoiser that knows the image leads to it."""
    image = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(2, 1, 4, 3)
    noise = torch.randn(2, 1, 4, 3, generator=torch.Generator().manual_seed(0))
    found = solver(lambda x, sigma: image, noise, noise_levels(5))
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, image, atol=1e-12)
    once = solver(gaussian, noise, noise_levels(1))
    np.testing.assert_allclose(once, gaussian(80 * noise.double(), torch.tensor(80.0)))


@given(SIGMAS, st.floats(0.05, 5))
def test_preconditioning(sigma, sigma_data):
    """Preconditioning by hand."""
    level = torch.tensor([sigma], dtype=torch.float64)
    c_skip, c_out, c_in, c_noise = (c.item() for c in coefficients(level, sigma_data))
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    assert weight * c_out**2 == pytest.approx(1)
    assert c_in**2 * (sigma_data**2 + sigma**2) == pytest.approx(1)
    assert c_skip == pytest.approx(sigma_data**2 / (sigma**2 + sigma_data**2))
    assert c_noise == pytest.approx(math.log(sigma) / 4, abs=1e-12)
    # The network's target, (y - c_skip (y + n)) / c_out, has the variance 1 as well.
    target = ((1 - c_skip) * sigma_data) ** 2 + (c_skip * sigma) ** 2
    assert target / c_out**2 == pytest.approx(1)


def test_network_of_zeros():
    """D is x at σ → 0, 0 at σ → ∞, and the Gaussian's denoiser in between."""
    x = torch.tensor([1.5, 1.5, 1.5]).reshape(3, 1, 1, 1)
    sigma = torch.tensor([1e-6, 1.0, 1e6])
    found = denoised(lambda x, c_noise: torch.zeros_like(x), x, sigma, SIGMA_DATA)
    np.testing.assert_allclose(found.flatten(), [1.5, 0.3, 0], atol=1e-6)


def test_input_of_the_network_has_unit_variance():
    generator = torch.Generator().manual_seed(0)
    seen = []
    sigma = torch.tensor([0.01, 0.5, 80])
    clean = SIGMA_DATA * torch.randn(3, 1, 128, 128, generator=generator)
    noise = torch.randn(3, 1, 128, 128, generator=generator)
    x = clean + sigma[:, None, None, None] * noise

    def network(x, c_noise):
        seen.extend([x, c_noise])
        return x

    denoised(network, x, sigma, SIGMA_DATA)
    np.testing.assert_allclose(seen[0].flatten(1).std(dim=1), 1, atol=0.02)
    np.testing.assert_allclose(seen[1], np.log([0.01, 0.5, 80]) / 4, rtol=1e-5)


@pytest.mark.parametrize(
    ("given_dtype", "dtype"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
    ],
)
def test_precision(given_dtype, dtype):
    """The network gets float32 and may answer in less; the rest is float32 at least."""

    def network(x, c_noise):
        assert x.dtype == c_noise.dtype == torch.float32
        assert c_noise.shape == (2,)
        return torch.ones_like(x, dtype=torch.bfloat16)

    x, sigma = torch.zeros(2, 1, 4, 4, dtype=given_dtype), torch.tensor(3.0, dtype=torch.float64)
    found = denoised(network, x, sigma, SIGMA_DATA)
    assert found.dtype == dtype
    c_out = 3 * 0.5 / math.sqrt(9.25)
    rel = 1e-12 if dtype == torch.float64 else 1e-6
    assert found.flatten()[5].item() == pytest.approx(c_out, rel=rel)


@pytest.mark.parametrize("solver", [heun, dpm_solver])
def test_solver_through_the_preconditioning(solver):
    """A network of zeros is the Gaussian's denoiser: same steps, image by image."""
    noise = torch.randn(3, 1, 4, 2, generator=torch.Generator().manual_seed(1))
    sigmas = noise_levels(8)

    def denoise(x, sigma):
        return denoised(lambda x, c_noise: torch.zeros_like(x), x, sigma, SIGMA_DATA)

    together = solver(denoise, noise, sigmas)
    np.testing.assert_allclose(together, solver(gaussian, noise, sigmas), rtol=1e-9)
    assert torch.equal(together[1:2], solver(denoise, noise[1:2], sigmas))


def test_draws_are_log_normal_and_repeat():
    draws = [draw_noise_levels(20_000, -1.2, 1.2, torch.Generator().manual_seed(3)) for _ in "ab"]
    assert torch.equal(*draws)
    assert draws[0].shape == (20_000,)
    assert draws[0].dtype == torch.float32
    logarithms = draws[0].log()
    assert logarithms.mean().item() == pytest.approx(-1.2, abs=0.03)
    assert logarithms.std().item() == pytest.approx(1.2, abs=0.03)
    within = ((logarithms + 1.2).abs() < 1.2).float().mean().item()
    assert within == pytest.approx(math.erf(0.5**0.5), abs=0.02)  # as of a normal distribution


def test_draws_go_on_with_their_generator():
    generator = torch.Generator().manual_seed(3)
    first, second = (draw_noise_levels(4, 0, 1, generator) for _ in range(2))
    assert not torch.equal(first, second)
    np.testing.assert_allclose(draw_noise_levels(3, 0.7, 0, generator), math.exp(0.7), rtol=1e-6)
