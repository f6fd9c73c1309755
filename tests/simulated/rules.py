"""What a CUDA device refuses, and what it makes the host wait for.

Sources: torch's CUDA kernels and copies, and NVIDIA's "API synchronization behavior".
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

STAGED = 64 << 10
"""Bytes of pageable memory that the driver copies aside, so that nobody waits."""
KEYS = (
    "CUDA",
    "CompositeExplicitAutograd",
    "CompositeExplicitAutogradNonFunctional",
    "CompositeImplicitAutograd",
)
WAITING = {
    "_local_scalar_dense", "nonzero", "masked_select", "_unique", "_unique2", "unique_dim",
    "unique_consecutive", "unique_dim_consecutive", "bincount", "equal", "is_nonzero",
    "_linalg_check_errors",
}  # fmt: skip
"""Operations whose result the host has to know."""
INDEXING = {"index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_"}
COPYING = {"_to_copy", "copy_"}
COPIES_SCALARS = {"where", *(name for name in INDEXING if "put" in name)}
"""Operations that copy a host scalar to the device, where others take it as an argument."""
FLOATING_PRODUCTS = {"mm", "bmm", "addmm", "baddbmm", "mv", "addmv", "dot", "_addmm_activation"}

WITHOUT_ORDER = {
    "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward",
    "adaptive_max_pool2d_backward",
    "avg_pool3d_backward", "upsample_linear1d_backward", "upsample_bilinear2d_backward",
    "upsample_bicubic2d_backward", "upsample_trilinear3d_backward", "reflection_pad1d_backward",
    "reflection_pad2d_backward", "reflection_pad3d_backward", "nll_loss2d_forward",
    "nll_loss2d_backward", "put_", "put", "histc", "median", "grid_sampler_2d_backward",
    "grid_sampler_3d_backward", "_ctc_loss_backward", "max_unpool2d",
}  # fmt: skip
"""Operations that torch has no deterministic kernel for (torch.use_deterministic_algorithms)."""


def leaves_of(nested: Any) -> Iterator[Any]:
    """What lists, tuples and dictionaries hold; torch's tree functions take ten times as long."""
    if isinstance(nested, list | tuple | dict):
        for part in nested.values() if isinstance(nested, dict) else nested:
            yield from leaves_of(part)
    else:
        yield nested


def mapped(function: Callable[[Any], Any], nested: Any) -> Any:
    """The same lists, tuples and dictionaries, with the function's values in them."""
    if isinstance(nested, dict):
        return {key: mapped(function, part) for key, part in nested.items()}
    if isinstance(nested, list | tuple):
        return type(nested)(mapped(function, part) for part in nested)
    return function(nested)


class Call:
    """One operation and what it is given.

    Attributes:
        function: the overload of the operator.
        name: its name, such as "index_put_".
        device_tensors: arguments on the device.
        host_tensors: arguments on the CPU.
        target: the device that the result is asked on, or None.
        generator: of random numbers, or None.
    """

    def __init__(self, function: Any, args: tuple, kwargs: dict) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs
        self.name = function._schema.name.partition("::")[2]
        leaves = [*leaves_of((args, kwargs))]
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        self.device_tensors = [tensor for tensor in tensors if tensor.is_cuda]
        self.host_tensors = [tensor for tensor in tensors if not tensor.is_cuda]
        self.generator = next((g for g in leaves if isinstance(g, torch.Generator)), None)
        target = kwargs.get("device")
        self.target = None if target is None else torch.device(target)

    @property
    def is_on_device(self) -> bool:
        """Whether the device has anything to do with it."""
        return bool(self.device_tensors) or (self.target is not None and self.target.type == "cuda")

    @property
    def is_launched(self) -> bool:
        """Whether the device is given work: not for views, not for memory alone."""
        return not is_view(self.function) and not self.name.startswith(("empty", "new_empty"))

    @property
    def copied(self) -> tuple[torch.Tensor, bool, bool]:
        """Of a copy: the source, whether it goes to the device, whether it is non_blocking."""
        if self.name == "copy_":
            destination, source, *left = self.args
            non_blocking = self.kwargs.get("non_blocking", bool(left and left[0]))
            return source, destination.is_cuda, non_blocking
        to_device = self.target.type == "cuda" if self.target else self.args[0].is_cuda
        return self.args[0], to_device, self.kwargs.get("non_blocking", False)


def mistakes(call: Call) -> Iterator[str]:
    """What a CUDA device refuses about a call, in words."""
    if call.device_tensors and not has_kernel(call.function):
        yield f"{call.function} has no CUDA kernel"
    if call.generator is not None and call.generator.device.type != "cuda":
        yield f"{call.function}: expected a 'cuda' generator, found a 'cpu' one"
    if not call.device_tensors or call.name in COPYING:
        return
    if call.name in WITHOUT_ORDER and torch.are_deterministic_algorithms_enabled():
        yield f"{call.function} does not have a deterministic implementation"
    yield from _mixed_devices(call)
    if call.name in FLOATING_PRODUCTS and not call.device_tensors[0].dtype.is_floating_point:
        yield f"{call.function} is not implemented for {call.device_tensors[0].dtype} on CUDA"


def _mixed_devices(call: Call) -> Iterator[str]:
    hosts = call.host_tensors
    if call.name in INDEXING:
        if not call.args[0].is_cuda:
            yield f"{call.function}: a host tensor is indexed by, or given, a device tensor"
        indices = {id(index) for index in call.args[1]}
        hosts = [tensor for tensor in hosts if id(tensor) not in indices]
    takes_scalars = call.name in COPIES_SCALARS or torch.Tag.pointwise in call.function.tags
    takes_scalars = takes_scalars or call.name.startswith(("_foreach", "masked_fill", "index_fill"))
    if any(tensor.dim() or not takes_scalars for tensor in hosts):
        yield f"{call.function}: tensors on cuda:0 and cpu"


@functools.cache
def has_kernel(function: Any) -> bool:
    """Whether this torch has code for an operator on CUDA."""
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return any(has(function.name(), key) for key in KEYS)


@functools.cache
def is_view(function: Any) -> bool:
    """Whether an operator gives its argument another shape."""
    returns = function._schema.returns
    return any(r.alias_info is not None and not r.alias_info.is_write for r in returns)


def waits(call: Call) -> Iterator[tuple[str, str]]:
    """What the host waits for, as kind ("wait", "pageable copy", "unfinished copy") and words.

    A copy from pageable memory that the host waits for is both of the first two.
    """
    if call.name in COPYING:
        yield from _copy_waits(call)
    elif call.name in INDEXING:
        yield from _index_waits(call)
    elif call.name in WAITING:
        yield "wait", call.name
    elif call.name == "repeat_interleave" and call.kwargs.get("output_size") is None:
        yield "wait", "repeat_interleave without output_size"
    copies_scalars = call.name in COPIES_SCALARS and not _is_masked_fill(call)
    if copies_scalars and any(not tensor.dim() for tensor in call.host_tensors):
        yield from _pageable(f"{call.name} with a host scalar")


def _copy_waits(call: Call) -> Iterator[tuple[str, str]]:
    source, to_device, non_blocking = call.copied
    if source.is_cuda == to_device or not source.numel():
        return
    if not to_device and non_blocking:
        yield "unfinished copy", "to the host, non_blocking"
    elif not to_device:
        yield "wait", "copy to the host"
    elif source.is_pinned():
        if not non_blocking:
            yield "wait", "copy from page-locked memory"
    elif not non_blocking or source.nbytes > STAGED:
        yield from _pageable("copy from pageable memory")


def _index_waits(call: Call) -> Iterator[tuple[str, str]]:
    given = [index for index in call.args[1] if index is not None]
    if any(not index.is_cuda for index in given):
        yield from _pageable("host index into a device tensor")
    has_mask = any(index.dtype in (torch.bool, torch.uint8) for index in given)
    if has_mask and not _is_masked_fill(call):
        yield "wait", "boolean index"


def _is_masked_fill(call: Call) -> bool:
    """Whether one number is written through one mask, which needs no count of the mask."""
    if call.name not in INDEXING or "put" not in call.name:
        return False
    given = [index for index in call.args[1] if index is not None]
    is_one_mask = len(given) == 1 and given[0].dtype == torch.bool
    value = call.args[2]
    return is_one_mask and value.numel() == 1 and not value.is_cuda


def _pageable(words: str) -> Iterator[tuple[str, str]]:
    yield "wait", words
    yield "pageable copy", words
