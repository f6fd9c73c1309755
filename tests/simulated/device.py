"""Tensors that torch takes for cuda:0, and the dispatch of their operations to CPU values."""

import os
import sys
import threading
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from simulated import rules
from simulated.memory import MEMORY
from simulated.records import RECORDS

DEVICE, HOST = torch.device("cuda", 0), torch.device("cpu")
GOES_ON = "SIMULATED_GOES_ON"
"""Environment variable: mistakes are recorded, and the run goes on as if there were none."""


class DeviceTensor(torch.Tensor):
    """A tensor on the simulated device.

    Attributes:
        host: the same tensor on the CPU, with its values.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, host: torch.Tensor) -> "DeviceTensor":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=DEVICE,
        )
        made.host = host
        MEMORY.hold(host)
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return dispatch(function, args, kwargs or {})

    # What Tensor does in C++ or for its own class alone.

    def __repr__(self, *, tensor_contents=None) -> str:
        return f"DeviceTensor({self.host!r})"

    def __format__(self, spec: str) -> str:
        return format(self.item() if not self.dim() else repr(self), spec)

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if force:
            return self.detach().cpu().numpy()
        RECORDS.event("mistake", "numpy() of a device tensor")
        raise TypeError("can't convert cuda:0 device type tensor to numpy (simulated)")

    def __array__(self, dtype=None) -> Any:
        return self.numpy()

    def __deepcopy__(self, memo: dict) -> "DeviceTensor":
        if id(self) not in memo:
            with torch.no_grad():
                copied = self.detach().clone()
            is_parameter = isinstance(self, torch.nn.Parameter)
            copied = torch.nn.Parameter(copied) if is_parameter else copied
            memo[id(self)] = copied.requires_grad_(self.requires_grad)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: int) -> Any:
        """Saved as the CPU tensor: files hold no simulated tensors."""
        return self.detach().cpu().__reduce_ex__(protocol)


class Simulation(TorchDispatchMode):
    """Also catches operations that begin on the host, such as copies to the device."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return dispatch(function, args, kwargs or {})


def dispatch(function: Any, args: tuple, kwargs: dict) -> Any:
    """One operation: judged as a CUDA device would, counted, and done on the CPU."""
    call = rules.Call(function, args, kwargs)
    if not call.is_on_device:
        return function(*args, **kwargs)
    for words in rules.mistakes(call):
        RECORDS.event("mistake", words)
        if not os.environ.get(GOES_ON):
            raise RuntimeError(f"{words} (simulated)")
    for kind, words in rules.waits(call):
        RECORDS.event(kind, words)
    if call.is_launched:
        RECORDS.operation(call.name)
    return _placed(_computed(call), call)


def _computed(call: rules.Call) -> Any:
    """The result on the CPU."""
    args, kwargs = rules.mapped(_to_host, (call.args, call.kwargs))
    if call.target is not None:
        kwargs["device"] = HOST
    found = call.function(*args, **kwargs)
    copies_nothing = call.name == "_to_copy" and found is args[0]
    return found.clone() if copies_nothing else found


def _to_host(argument: Any) -> Any:
    if isinstance(argument, DeviceTensor):
        return argument.host
    is_generator = isinstance(argument, torch.Generator)
    return None if is_generator and argument.device.type == "cuda" else argument


def _placed(found: Any, call: rules.Call) -> Any:
    """The result where the call wants it; arguments that were written to are themselves."""
    if call.target is not None and call.target.type == "cpu":
        return found
    if call.name == "copy_" and not call.args[0].is_cuda:
        return call.args[0]
    given = {id(tensor.host): tensor for tensor in call.device_tensors}

    def on_device(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return given[id(value)] if id(value) in given else DeviceTensor(value)

    return rules.mapped(on_device, found)


def install() -> None:
    """Make cuda:0 the simulated device for the rest of this process, in every thread."""
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device="cuda") is a copy
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch.backends.cudnn.enabled = False
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
    sys.modules["torch.optim.optimizer"]._foreach_supported_types.append(DeviceTensor)
    MEMORY.answer()
    _count_explicit_waits()
    _enter_in_threads()
    Simulation().__enter__()


def _count_explicit_waits() -> None:
    for owner in (torch.cuda, torch.cuda.Stream, torch.cuda.Event):
        owner.synchronize = _counted(owner.synchronize, "synchronize()")


def _counted(function: Any, words: str) -> Any:
    def counting(*args, **kwargs):
        RECORDS.event("wait", words)
        return function(*args, **kwargs)

    return counting


def _enter_in_threads() -> None:
    plain = threading.Thread.run

    def run(thread: threading.Thread) -> None:
        with Simulation():
            plain(thread)

    threading.Thread.run = run
