"""The processes of one training, and what they tell each other (docs/distributed.md).

torchrun starts them, torch.distributed carries what they say.  Before :func:`join`, and in a
program of one process, there is one that is the first of one, and nothing here costs anything.

Every process ("rank") holds the same weights, memories, labels and random state.  A batch is
shared: each rank shows its networks a contiguous part of every stream, and receives the features of
the whole batch, on which all of them compute the same loss.
"""

import contextlib
import datetime
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist

from clustercontrast.files import UserError
from clustercontrast.processes.launch import SPEAKER, PeerError, started

PATIENCE = datetime.timedelta(hours=6)
"""How long the others wait for what the first one does alone, such as clustering and reports."""
PUNCTUALITY = datetime.timedelta(minutes=5)
"""How long processes wait for each other at the start."""
HOST = torch.device("cpu")


class Together:
    """Whether this process is one of several just now.

    Attributes:
        number: of this process.
        count: of all.
    """

    number, count = 0, 1


def number() -> int:
    """Number of this process, from 0."""
    return Together.number


def count() -> int:
    """How many processes there are."""
    return Together.count


def is_first() -> bool:
    """Whether this process clusters, logs and saves."""
    return Together.number == 0


def hides_bars() -> bool | None:
    """Value of tqdm's ``disable``: the first process shows its bars, where there is a terminal."""
    return None if is_first() else True


def join(device: torch.device) -> None:
    """Meet the other processes that torchrun has started; with one process nothing is done.

    Args:
        device: of this process; with CUDA, tensors there are exchanged by NCCL, others by gloo.

    Raises:
        UserError: the others cannot be met.
    """
    launch = started()
    if launch.count == 1 or dist.is_initialized():
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)  # where NCCL looks for this process's tensors
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        meeting = dist.rendezvous("env://", launch.number, launch.count, timeout=PUNCTUALITY)
        store, *_ = next(meeting)
        dist.init_process_group(
            backend,
            timeout=PATIENCE,
            world_size=launch.count,
            rank=launch.number,
            store=store,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the {launch.count} processes could not meet ({_brief(error)}): start them with "
            "torchrun, and let MASTER_ADDR name a machine that all of them reach"
        ) from error
    SPEAKER.claims = functools.partial(_claims, store)
    Together.number, Together.count = launch.number, launch.count


def _claims(store: dist.Store) -> bool:
    try:
        return store.add("last line", 1) == 1
    except RuntimeError:  # where they met is gone, and so is who could say it
        return True


def leave() -> None:
    """Part from the others, in peace."""
    Together.number, Together.count = 0, 1
    if dist.is_initialized():
        dist.destroy_process_group()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Inside the block this process works as if there were no others."""
    before = Together.number, Together.count
    Together.number, Together.count = 0, 1
    try:
        yield
    finally:
        Together.number, Together.count = before


@contextlib.contextmanager
def _exchanging() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo and NCCL have no class of their own for a lost peer
        raise PeerError(_brief(error)) from error


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


# --- one batch


def share(size: int) -> slice:
    """This process's contiguous part of so many rows."""
    return slice(size * Together.number // Together.count,
                 size * (Together.number + 1) // Together.count)  # fmt: skip


def joined(own: torch.Tensor) -> torch.Tensor:
    """Rows of all processes, in their order; the gradient goes to the own ones.

    Its gradient is taken times the number of processes, since :func:`average` divides by it.

    Args:
        own: (n, ...) of this process; n is the same everywhere.

    Returns:
        (n times the processes, ...).
    """
    return own if Together.count == 1 else _Joined.apply(own)


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx, own):
        ctx.size = len(own)
        parts = [torch.empty_like(own) for _ in range(Together.count)]
        with _exchanging():
            dist.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient):
        return gradient[ctx.size * Together.number :][: ctx.size] * Together.count


@torch.no_grad()
def average(tensors: Sequence[torch.Tensor]) -> None:
    """Replace tensors, such as gradients, by their mean over all processes."""
    if Together.count == 1:
        return
    for flat, own in _flattened(tensors):
        with _exchanging():
            dist.all_reduce(flat)
        _unflatten(flat.div_(Together.count), own)


@torch.no_grad()
def equalise(tensors: Iterable[torch.Tensor]) -> None:
    """Replace tensors, such as weights, by those of the first process."""
    if Together.count == 1:
        return
    for flat, own in _flattened(list(tensors)):
        with _exchanging():
            dist.broadcast(flat, 0)
        _unflatten(flat, own)


def _flattened(
    tensors: Sequence[torch.Tensor],
) -> Iterator[tuple[torch.Tensor, list[torch.Tensor]]]:
    """All values of a kind in one vector, and the tensors that they are of."""
    kinds: dict[tuple, list[torch.Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for (dtype, _), own in kinds.items():
        flat = torch.cat([tensor.reshape(-1) for tensor in own])
        yield flat.byte() if dtype == torch.bool else flat, own


def _unflatten(flat: torch.Tensor, tensors: Sequence[torch.Tensor]) -> None:
    parts = flat.split([tensor.numel() for tensor in tensors])
    for tensor, values in zip(tensors, parts, strict=True):
        tensor.copy_(values.view(tensor.shape))


# --- everything else


def first(make: Callable[[], Any]) -> Any:
    """What the first process makes, on every process; the others wait for it.

    Args:
        make: asks nothing of the other processes.

    Returns:
        Its result, whose tensors lie on the CPU.

    Raises:
        UserError: on all processes, if ``make`` raised it.
    """
    if Together.count == 1:
        return make()
    place = getattr(make, "__qualname__", "")
    outcome: list[Any] = [None, None, place]
    if is_first():
        try:
            with alone():
                outcome[0] = make()
        except UserError as error:
            outcome[1] = str(error)
    with _exchanging():
        dist.broadcast_object_list(outcome, 0, device=HOST)
    made, mistake, place_of_first = outcome
    if place_of_first != place:
        raise RuntimeError(f"processes have come apart: {place_of_first} there, {place} here")
    if mistake is not None:
        raise UserError(mistake)
    return made


def everyones(own: Any) -> list[Any]:
    """What every process has made, in their order; small things, tensors on the CPU."""
    if Together.count == 1:
        return [own]
    found = [None] * Together.count
    with _exchanging():
        dist.all_gather_object(found, own)
    return found


def gathered(own: torch.Tensor | None) -> torch.Tensor:
    """Rows of all processes in their order, without a gradient; their numbers may differ.

    Args:
        own: (n, ...) of this process; dtype and further lengths are the same everywhere. None for
            no row.

    Returns:
        (sum of all n, ...) on the device of the rows.
    """
    if Together.count == 1:
        return own
    known = None if own is None else (len(own), own.shape[1:], own.dtype, own.device.type)
    kinds = everyones(known)
    _, shape, dtype, device = next(kind for kind in kinds if kind is not None)
    sizes = [0 if kind is None else kind[0] for kind in kinds]
    padded = torch.zeros(max(sizes), *shape, dtype=dtype, device=device)
    if own is not None:
        padded[: len(own)] = own
    parts = [torch.empty_like(padded) for _ in sizes]
    with _exchanging():
        dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
