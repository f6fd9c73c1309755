"""Dropout of a batch that several processes share."""

import torch
import torch.nn.functional as F
from torch import nn

from clustercontrast.processes import ranks


class SharedDropout(nn.Dropout):
    """Dropout that draws for the whole batch and keeps the draws of this process's part.

    On a CPU the draws are those of one process; on a GPU a process by itself takes torch's fused
    dropout, which draws in another order.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, ...) of this process -> the same shape."""
        if not self.training or ranks.count() == 1:
            return F.dropout(x, self.p, self.training)
        is_last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if is_last else torch.contiguous_format
        shape = len(x) * ranks.count(), *x.shape[1:]
        kept = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)
        kept.bernoulli_(1 - self.p).div_(1 - self.p)
        return x * kept[ranks.share(len(kept))]
