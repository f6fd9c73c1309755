"""torch.compile for the networks of a stage (``--compile``)."""

from collections.abc import Iterator

import torch
from torch import nn

VERSIONS = 64
"""Kept of a part: with and without gradients, by batch and by depth of a block."""
CONTAINERS = nn.ModuleList | nn.ModuleDict | nn.Sequential


def compile_parts(network: nn.Module) -> None:
    """Compile every part of a network in place, when it is called next.

    Parts and not the whole: BatchNorm groups and recomputed activations stay plain Python, and so
    do the names in the state dict.  Whatever cannot be compiled runs as it is.
    """
    torch._dynamo.config.suppress_errors = True
    torch._dynamo.config.recompile_limit = VERSIONS
    for part in _parts(getattr(network, "network", network)):  # that of a momentum encoder
        part.compile()


def reason_against(device: torch.device) -> str | None:
    """Why nothing can be compiled on a device, in one line; None if it can.

    Args:
        device: of the networks.
    """
    try:
        torch.compile(torch.sin)(torch.zeros(2, device=device))
    except Exception as error:  # whatever the compiler raises, training goes on
        said = str(error).strip().splitlines()
        return f"{type(error).__name__}: {said[0] if said else 'no more is known'}"
    return None


def _parts(network: nn.Module) -> Iterator[nn.Module]:
    """What a network calls: its children, those of containers in their place."""
    for child in network.children():
        if isinstance(child, CONTAINERS):
            yield from _parts(child)
        else:
            yield child
