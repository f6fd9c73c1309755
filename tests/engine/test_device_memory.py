"""The account of a device's memory, on a device that answers what a test says."""

import pytest
import torch

from clustercontrast.engine.memory import PeakMemory


@pytest.fixture
def device(monkeypatch):
    """A GPU on which ``take`` and ``free`` move bytes."""

    class Device:
        now = peak = 100

        def take(self, count):
            self.now += count
            self.peak = max(self.peak, self.now)

        def free(self, count):
            self.now -= count

        def reset(self, device):
            self.peak = self.now

    found = Device()
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: found.now)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: found.peak)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", found.reset)
    return found


def test_peaks_by_phase_beyond_what_lay_there_before(device):
    device.take(50)
    device.free(50)
    memory = PeakMemory(torch.device("cuda"))
    device.take(10)
    memory.lap("labels")
    device.take(30)
    device.free(25)
    memory.lap("steps")
    device.take(5)
    memory.lap("optimiser")
    device.take(4)
    device.free(4)
    memory.lap("steps")  # lower than before
    assert memory.peaks == {"labels": 10, "steps": 40, "optimiser": 20}
    assert memory.held == 20


def test_what_is_skipped_is_not_counted(device):
    memory = PeakMemory(torch.device("cuda"))
    device.take(500)
    memory.lap("steps")
    device.take(500)
    device.free(990)
    memory.skip("steps")
    device.take(20)
    memory.lap("steps")
    assert memory.peaks == {"steps": 30}


def test_a_cpu_has_no_account():
    memory = PeakMemory(torch.device("cpu"))
    memory.lap("steps")
    memory.skip("steps")
    assert (memory.peaks, memory.held) == ({}, 0)
