"""Shared test set-up: numbers, memory, and the order of the files."""

import collections
import ctypes
import gc
import sys
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")
sys.path.insert(0, str(Path(__file__).parent))

SECONDS = {True: 5.0, False: 0.3}  # that a test takes, marked slow or not
CROWDED = 1300 << 20  # bytes that a process holds when it is time to give some back
MUCH = 100 << 20
LEFT = {"bytes": 0}  # after the last collection
STATM = Path("/proc/self/statm")


def pytest_collection_modifyitems(items):
    """Longest files first: processes that take a file each then end together."""
    seconds = collections.Counter()
    for item in items:
        seconds[item.path] += SECONDS[item.get_closest_marker("slow") is not None]
    items.sort(key=lambda item: -seconds[item.path])


def pytest_collection_finish():
    """Modules and tests live to the end: collections of garbage need not look at them each time."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item):
    """Tests of a GPU are skipped where there is none."""
    if item.get_closest_marker("gpu"):
        import torch  # not by the process that only hands out the tests

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


@pytest.fixture(autouse=True)
def _denormal_numbers():
    """A command switches them off for its process; the next test must not notice."""
    import torch  # not by the process that only hands out the tests

    torch.set_flush_denormal(False)
    yield
    torch.set_flush_denormal(False)


def held() -> int:
    """Bytes that this process holds in memory; 0 where Linux does not say."""
    return int(STATM.read_text().split()[1]) * 4096 if STATM.exists() else 0


@pytest.fixture(autouse=True)
def _memory():
    """What a large test leaves behind, cycles and freed pages, goes back to the system.

    That takes its time: it is worth it when a test has left much more than the last collection did.
    """
    yield
    if held() > max(CROWDED, LEFT["bytes"] + MUCH):
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        LEFT["bytes"] = held()
