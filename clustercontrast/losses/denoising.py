"""What the denoiser of a diffusion model is trained with (EDM)."""

import torch


def denoising_loss(
    denoised: torch.Tensor, clean: torch.Tensor, sigma: torch.Tensor, sigma_data: float
) -> torch.Tensor:
    """Squared error times λ(σ) = (σ² + σ_d²) / (σ σ_d)², at which all noise levels weigh alike.

    EDM sums over the pixels; the mean differs by a factor only.

    Args:
        denoised: (B, C, H, W) estimates D.
        clean: (B, C, H, W).
        sigma: (B,) noise level of each image.
        sigma_data: σ_d, standard deviation of the clean pixels.

    Returns:
        Scalar, mean over pixels and batch, in float32 at least.
    """
    wide = torch.promote_types(denoised.dtype, torch.float32)
    errors = (denoised.to(wide) - clean.to(wide)).square().flatten(1).mean(dim=1)
    sigma = sigma.to(wide)
    weights = (sigma.square() + sigma_data**2) / (sigma * sigma_data).square()
    return (weights * errors).mean()
