"""A slowly following copy of a network (MoCo's momentum encoder)."""

import copy

import torch
from torch import nn


class MomentumEncoder(nn.Module):
    """φ_m: parameters follow the online encoder φ_o, without gradients (PCLHD Eq. 16).

    Buffers are **not** averaged.  In PCLHD the copy is forwarded in train mode and keeps BatchNorm
    statistics of its own activations, which are those used at test time (PCLHD-7); else it takes
    over those of the network that it follows.  Its state dict is that of an ordinary encoder, so a
    saved model loads into either.

    Args:
        encoder: network to copy, weights and buffers included.
        decay: weight β of the old parameters.
        copies_buffers: an update takes over the encoder's buffers.
    """

    def __init__(self, encoder: nn.Module, decay: float, copies_buffers: bool = False) -> None:
        super().__init__()
        self.decay, self.copies_buffers = decay, copies_buffers
        self.network = copy.deepcopy(encoder).requires_grad_(False)

    @torch.no_grad()
    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The network's own forward, without a graph."""
        return self.network(*inputs)

    def embed(self, images: torch.Tensor, modality: str) -> torch.Tensor:
        """The network's retrieval feature."""
        return self.network.embed(images, modality)

    @torch.no_grad()
    def update(self, encoder: nn.Module) -> None:
        """θ_m <- β θ_m + (1 - β) θ_o, frozen parameters included (Eq. 16)."""
        mine, theirs = list(self.network.parameters()), list(encoder.parameters())
        torch._foreach_mul_(mine, self.decay)
        torch._foreach_add_(mine, theirs, alpha=1 - self.decay)
        if self.copies_buffers:
            for own, followed in zip(self.network.buffers(), encoder.buffers(), strict=True):
                own.copy_(followed)

    def state_dict(self, *args, **kwargs) -> dict[str, torch.Tensor]:
        """State of the copied network."""
        return self.network.state_dict(*args, **kwargs)

    def load_state_dict(self, state: dict[str, torch.Tensor], **kwargs) -> object:
        """Load a state of the copied network, or of the network it follows."""
        return self.network.load_state_dict(state, **kwargs)
