"""Processes that work together as torchrun's do, forked from one that has imported everything."""

import multiprocessing
import os
import pickle
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["torch.distributed", "tiny_runs", "tiny_cmam", "warmed", "clustercontrast.commands.training"]
)
SECONDS = 280


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


def start(
    count: int, function: Callable[..., Any], *arguments: Any, numbers: Sequence[int] = (),
    port: int = 0, environment: Mapping[str, str] | None = None,
) -> list[BaseProcess]:  # fmt: skip
    """Start the processes of a training, or those of one machine.

    Args:
        count: of all processes.
        function: called in each, at the top level of a module.
        arguments: of it.
        numbers: of the processes to start, in order; all by default.
        port: where they meet; a free one by default.
        environment: more of it.
    """
    port, numbers = port or free_port(), numbers or range(count)
    processes = []
    for local, number in enumerate(numbers):
        own = {
            "RANK": str(number), "WORLD_SIZE": str(count), "LOCAL_RANK": str(local),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **(environment or {}),
        }  # fmt: skip
        process = SERVER.Process(target=_begin, args=(own, function, arguments))
        process.start()
        processes.append(process)
    return processes


def _begin(environment: Mapping[str, str], function: Callable, arguments: Sequence) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    function(*arguments)


def finish(processes: Sequence[BaseProcess], seconds: float = SECONDS) -> list[int | None]:
    """Exit codes of processes, which are killed if they do not end in time."""
    for process in processes:
        process.join(seconds)
    for process in processes:
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
    return [process.exitcode for process in processes]


def results(count: int, function: Callable[[], Any], folder: Path) -> list[Any]:
    """What a function returns in each of so many processes that have met."""
    processes = start(count, _keep, function, folder)
    assert finish(processes) == [0] * count
    return [pickle.loads((folder / f"{n}.pickle").read_bytes()) for n in range(count)]


def _keep(function: Callable[[], Any], folder: Path) -> None:
    from clustercontrast.processes import ranks

    ranks.join(torch.device("cpu"))
    (folder / f"{ranks.number()}.pickle").write_bytes(pickle.dumps(function()))
    ranks.leave()
