"""BatchNorm as data parallelism computed it, on one device.

Every official run wraps its network in ``DataParallel`` over 2 or 4 GPUs: each replica takes one
contiguous chunk of the visible and one of the infrared batch, normalises with the statistics of
its own chunk, and only replica 0 keeps its running statistics (COMMON-1).  As the
visible batch is [plain views; exchanged views], the running statistics used for clustering and
testing never see an exchanged view.  ``--bn-groups G`` reproduces that, group by group.

Several processes share the groups: each forwards its own ones and receives the features of all
(docs/distributed.md), so that their number changes no result.
"""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from clustercontrast.processes import ranks

Tensors = tuple[torch.Tensor, ...]


@contextlib.contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Inside the block, forwards in train mode write running statistics to discarded copies.

    Copies rather than no statistics at all: a recomputed forward must save as many tensors for
    backward as the first one did.
    """
    layers = [m for m in network.modules() if isinstance(m, _BatchNorm)]
    kept = [dict(layer.named_buffers(recurse=False)) for layer in layers]
    for layer, buffers in zip(layers, kept, strict=True):
        for name, buffer in buffers.items():
            setattr(layer, name, buffer.clone())
    try:
        yield
    finally:
        for layer, buffers in zip(layers, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(layer, name, buffer)


def forward_in_groups(
    network: nn.Module,
    forward: Callable[..., Tensors],
    inputs: Tensors,
    groups: int,
    recompute: bool = False,
    skip: Callable[..., None] | None = None,
) -> Tensors:
    """Run ``forward`` on ``groups`` contiguous chunks of ``inputs`` and join the outputs.

    Args:
        network: owner of the BatchNorm layers that ``forward`` runs through; in eval mode there
            are no groups, and the inputs are nobody's share.
        forward: maps one chunk of every input to a tuple of tensors.
        inputs: tensors that are cut along the batch axis; of a batch that several processes share,
            this process's parts.
        groups: number of emulated replicas, G, of all processes together.
        recompute: forget each group's activations and compute them again in the backward pass
            (exact; running statistics move once), so that they take 1/G of the memory.
        skip: given a chunk of every input, draws what ``forward`` draws and does nothing else; for
            the groups of other processes, so that random layers draw alike everywhere.

    Returns:
        The outputs of all groups, concatenated in order.

    Raises:
        ValueError: a batch does not divide by ``groups``, or the groups by the processes.
    """
    if not network.training:
        return forward(*inputs)
    own = range(groups)[ranks.share(groups)]
    _check(inputs, groups, len(own))
    run = _recomputing(network, forward) if recompute and torch.is_grad_enabled() else forward
    outputs = []
    chunks = list(zip(*(tensor.chunk(len(own)) for tensor in inputs), strict=True))
    for number in range(groups):
        if number in own:
            with contextlib.nullcontext() if number == 0 else frozen_statistics(network):
                outputs.append(run(*chunks[number - own.start]))
        elif skip is not None:
            skip(*chunks[0])
    return tuple(ranks.joined(torch.cat(parts)) for parts in zip(*outputs, strict=True))


def _check(inputs: Tensors, groups: int, own: int) -> None:
    processes = ranks.count()
    if groups % processes:
        raise ValueError(f"{groups} groups do not divide by {processes} processes")
    for tensor in inputs:
        if len(tensor) % own:
            size = len(tensor) * processes
            raise ValueError(f"a batch of {size} images does not divide by {groups} groups")


def _recomputing(network: nn.Module, forward: Callable[..., Tensors]) -> Callable[..., Tensors]:
    """``forward`` whose activations are computed again, with frozen statistics, in backward."""

    def contexts() -> tuple:
        return contextlib.nullcontext(), frozen_statistics(network)

    def run(*chunk: torch.Tensor) -> Tensors:
        return checkpoint(
            forward, *chunk, use_reentrant=False, context_fn=contexts, preserve_rng_state=False
        )

    return run
