"""Bytes that device tensors hold, and what torch.cuda answers about them."""

import collections
import os
import threading
import weakref

import torch

from simulated.records import RECORDS

BLOCK, SEGMENT = 512, 2 << 20
"""Tensors are rounded up to blocks, what is reserved from the device to segments."""


class DeviceMemory:
    """Counts the storages of device tensors.

    The device's allocator is not simulated: no fragmentation, nothing inside a kernel.
    """

    def __init__(self, total: int) -> None:
        self.total, self.held, self.peak, self.reserved = total, 0, 0, 0
        self.storages: dict[int, weakref.ref] = {}
        self.lock = threading.RLock()  # a storage may go while another is counted

    def hold(self, values: torch.Tensor) -> None:
        """Count a tensor's storage until it goes.

        Raises:
            torch.OutOfMemoryError: the device is full.
        """
        storage = values.untyped_storage()  # torch keeps one Python object of it
        with self.lock:
            if id(storage) not in self.storages:
                self._add(storage, _rounded(storage.nbytes(), BLOCK))

    def _add(self, storage: torch.UntypedStorage, count: int) -> None:
        if self.held + count > self.total:
            raise torch.OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {count / 2**20:.2f} MiB. GPU 0 has a total "
                f"capacity of {self.total / 2**30:.2f} GiB of which "
                f"{(self.total - self.held) / 2**20:.2f} MiB is free. (simulated)"
            )
        key = id(storage)
        self.storages[key] = weakref.ref(storage, lambda _: self._release(key, count))
        self.held += count
        self.peak = max(self.peak, self.held)
        self.reserved = max(self.reserved, _rounded(self.held, SEGMENT))
        RECORDS.held(self.held)

    def _release(self, key: int, count: int) -> None:
        with self.lock:
            del self.storages[key]
            self.held -= count

    def statistics(self, device=None) -> dict[str, int]:
        """What ``torch.cuda.memory_stats`` says, as far as it is asked here."""
        found = collections.defaultdict(int)
        for time, held in (("current", self.held), ("peak", self.peak)):
            found[f"allocated_bytes.all.{time}"] = found[f"active_bytes.all.{time}"] = held
            found[f"reserved_bytes.all.{time}"] = self.reserved
        return found

    def empty_cache(self) -> None:
        """Give back what is reserved and not held."""
        self.reserved = _rounded(self.held, SEGMENT)

    def reset_peak(self, device=None) -> None:
        """Forget what was held before."""
        self.peak = self.held

    def information(self, device=None) -> tuple[int, int]:
        """Free bytes and all of them, as ``torch.cuda.mem_get_info``."""
        return self.total - self.held, self.total

    def answer(self) -> None:
        """Let torch.cuda answer from these counts."""
        for module in (torch.cuda, torch.cuda.memory):
            module.memory_stats = self.statistics
            module.empty_cache = self.empty_cache
            module.reset_peak_memory_stats = self.reset_peak
            module.mem_get_info = self.information


def _rounded(count: int, unit: int) -> int:
    return -(-count // unit) * unit


MEMORY = DeviceMemory(int(os.environ.get("SIMULATED_BYTES", 24 << 30)))
"""Of the one device there is."""
