"""The non-local block of AGW, as its released code computes it."""

import torch
from torch import nn


class NonLocal(nn.Module):
    """Residual attention over positions with one inner channel (COMMON-14).

    θ, φ and g are 1x1 convolutions from C to **one** channel – the official reduction expression
    divides a number by itself, and every checkpoint carries the result.  The affinity ``θ φᵀ / n``
    has no softmax.  The output batch-norm starts at zero: a fresh block is the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.theta = nn.Conv2d(channels, 1, 1)
        self.phi = nn.Conv2d(channels, 1, 1)
        self.g = nn.Conv2d(channels, 1, 1)
        self.out = nn.Sequential(nn.Conv2d(1, channels, 1), nn.BatchNorm2d(channels))
        nn.init.zeros_(self.out[1].weight)
        nn.init.zeros_(self.out[1].bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H, W).

        With a single inner channel ``(θ φᵀ / n) g = θ (φ · g) / n``: the n x n affinity need not
        be formed, only the inner product of φ and g.
        """
        theta, phi, g = self.theta(x), self.phi(x), self.g(x)
        agreement = (phi * g).mean(dim=(2, 3), keepdim=True)
        return x + self.out(theta * agreement)
