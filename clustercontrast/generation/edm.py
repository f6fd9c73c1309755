"""EDM diffusion without its network: preconditioning, noise levels and solvers.

Formulas and constants: docs/methods/cmam.md#edges-and-generator.

A denoiser D(x; σ) estimates the clean image in x = clean + σ · unit noise.  The solvers follow
dx/dσ = (x - D(x; σ)) / σ from σ_max to 0.
"""

import itertools
from collections.abc import Callable

import torch

Denoise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def noise_levels(
    steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0
) -> torch.Tensor:
    """Grid of a solver: σ^(1/ρ) falls evenly from ``sigma_max`` to ``sigma_min``.

    Args:
        steps: n, number of steps; the last one is that to 0.
        sigma_min: last level above 0.
        sigma_max: first level.
        rho: ρ; the greater, the finer the grid at low noise.

    Returns:
        (n + 1,) float64, falling; the last is 0.

    Raises:
        ValueError: fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"{steps} steps: expected at least one")
    first, last = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    levels = torch.linspace(first, last, steps, dtype=torch.float64) ** rho
    return torch.cat([levels, levels.new_zeros(1)])


def coefficients(
    sigma: torch.Tensor, sigma_data: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """EDM's c_skip, c_out, c_in and c_noise, each of the shape and dtype of σ.

    Args:
        sigma: σ > 0.
        sigma_data: standard deviation of the clean pixels.
    """
    variance = sigma.square() + sigma_data**2
    c_in = variance.rsqrt()
    return sigma_data**2 / variance, sigma * sigma_data * c_in, c_in, sigma.log() / 4


def denoised(
    network: Denoise, x: torch.Tensor, sigma: torch.Tensor, sigma_data: float
) -> torch.Tensor:
    """D(x; σ) = c_skip x + c_out F(c_in x, c_noise).

    Args:
        network: F, of a (B, ...) float32 image and (B,) float32 c_noise; it may autocast inside.
        x: (B, ...) noisy images.
        sigma: (B,) noise levels, or one for all.
        sigma_data: standard deviation of the clean pixels.

    Returns:
        Of the shape of ``x``, in its dtype, float32 at least.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    x, sigma = x.to(wide), sigma.to(x.device, wide, non_blocking=True).expand(len(x))
    c_skip, c_out, c_in, c_noise = coefficients(sigma, sigma_data)
    c_skip, c_out, c_in = (c.view(-1, *[1] * (x.ndim - 1)) for c in (c_skip, c_out, c_in))
    return c_skip * x + c_out * network((c_in * x).float(), c_noise.float()).to(wide)


@torch.no_grad()
def heun(denoise: Denoise, noise: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """Heun's method, without churn; 2n - 1 evaluations, error of order two.

    Args:
        denoise: D, of (B, ...) float64 images and a scalar tensor σ.
        noise: (B, ...) unit normal; the start is ``sigmas[0]`` times it.
        sigmas: (n + 1,) falling noise levels, the last 0; on the CPU no step waits for the device.

    Returns:
        Of the shape of ``noise``, float64.
    """
    x = noise.double() * sigmas[0]
    for sigma, following in itertools.pairwise(sigmas):
        slope = (x - denoise(x, sigma)) / sigma
        proposal = x + (following - sigma) * slope
        if following > 0:
            there = (proposal - denoise(proposal, following)) / following
            proposal = x + (following - sigma) * (slope + there) / 2
        x = proposal
    return x


@torch.no_grad()
def dpm_solver(denoise: Denoise, noise: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """Second-order multistep DPM-Solver++ (2M); n evaluations.

    With λ = -ln σ and h the step of λ, D goes along a straight line through its last two values::

        x ← σ'/σ x + (1 - σ'/σ) (D + (h / 2 h_before) (D - D_before))

    The first step and the one to 0, where h is infinite, take D as it is; the last returns it.

    Args:
        denoise: as of `heun`.
        noise: as of `heun`.
        sigmas: as of `heun`.

    Returns:
        Of the shape of ``noise``, float64.
    """
    x, before, step_before = noise.double() * sigmas[0], None, None
    for sigma, following in itertools.pairwise(sigmas):
        estimate, step = denoise(x, sigma), (sigma / following).log()
        target = estimate
        if before is not None and following > 0:
            target = estimate + step / (2 * step_before) * (estimate - before)
        x = target + following / sigma * (x - target)
        before, step_before = estimate, step
    return x


def draw_noise_levels(
    count: int, mean: float, std: float, generator: torch.Generator
) -> torch.Tensor:
    """Noise levels to train at: ln σ ~ N(mean, std²).

    Returns:
        (count,) float32, on the device of ``generator``.
    """
    normal = torch.randn(count, generator=generator, device=generator.device)
    return (mean + std * normal).exp()
