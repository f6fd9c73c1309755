"""Two processes that share a neighbour search find what one finds."""

import os
import socket

import numpy as np
import pytest
import torch
import torch.multiprocessing as processes

from clustercontrast.clustering import exact_search
from clustercontrast.clustering.neighbours import nearest
from clustercontrast.processes import ranks

COUNT = 2


def features():
    """Points of a grid, with ties and duplicates, among others."""
    generator = torch.Generator().manual_seed(0)
    grid = torch.randint(0, 3, (60, 2), generator=generator)
    return torch.cat([grid.float(), torch.randn(91, 2, generator=generator)])


def found(kinds):
    exact_search.PANEL_ROWS, exact_search.PANEL_COLUMNS, exact_search.MERGED_ROWS = 16, 40, 50
    return [nearest(features(), 7, kind) for kind in kinds]


def work(number, port, kinds, folder):
    """What one of the processes does."""
    names = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": COUNT, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in names.items()}
    os.environ["MASTER_ADDR"] = "localhost"
    ranks.join(torch.device("cpu"))
    try:
        np.save(f"{folder}/{number}.npy", found(kinds))
    finally:
        ranks.leave()


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    kinds = ["torch", "ivf", "hnsw"]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes.spawn(work, (port, kinds, str(tmp_path)), nprocs=COUNT)
    for name in ("PANEL_ROWS", "PANEL_COLUMNS", "MERGED_ROWS"):
        monkeypatch.setattr(exact_search, name, getattr(exact_search, name))  # restored afterwards
    expected = found(kinds)
    for number in range(COUNT):
        np.testing.assert_array_equal(np.load(tmp_path / f"{number}.npy"), expected)
