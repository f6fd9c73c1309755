"""PCA's three-way modality classifier (PCA-3)."""

import itertools

import torch
from torch import nn

MODALITIES = 3
WIDTHS = 1024, 512, 256, 128, 64, 32, 16, 8
"""Of what the blocks put out."""
OFFICIAL_PARTS = {
    "blocks.0.": "first_layer.",
    **{f"blocks.{number + 1}.": f"layers.{number}." for number in range(7)},
    "head.": "Liner.",
}
"""Beginnings of our names -> those of the official class."""


class ModalityClassifier(nn.Module):
    """Tells visible, infrared and channel-exchanged features apart.

    Eight blocks of convolution (kernel 3, stride 2), BatchNorm and ReLU halve the width down to 8,
    over a sequence of length one: of every kernel only the centre meets data, the outer taps see
    padding and merely decay.  It is an MLP in all but the scale of its initial weights.

    Args:
        width: d, length of a feature; 2048 in the released code.
    """

    def __init__(self, width: int = 2048) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(nn.Conv1d(n, m, 3, stride=2, padding=1), nn.BatchNorm1d(m), nn.ReLU())
                for n, m in itertools.pairwise((width, *WIDTHS))
            )
        )
        self.head = nn.Linear(WIDTHS[-1], MODALITIES)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, d) neck outputs, not normalised, to (B, 3) logits; BatchNorm sees the B at once."""
        return self.head(self.blocks(features[:, :, None])[:, :, 0])
