"""What torchrun says of the processes that it has started; read before torch is imported.

A training may run as several processes, one per GPU or per share of the processors.  torchrun sets
``RANK`` (number of this process), ``WORLD_SIZE`` (how many there are), ``LOCAL_RANK`` (its number
on this machine) and, for where they meet, ``MASTER_ADDR`` and ``MASTER_PORT``.
"""

import os
from collections.abc import Callable
from typing import NamedTuple

from clustercontrast.files import UserError

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


class Launch(NamedTuple):
    """Which of how many processes this is.

    Attributes:
        number: of this process, from 0.
        count: of all processes.
        local: its number on this machine.
    """

    number: int = 0
    count: int = 1
    local: int = 0


def started() -> Launch:
    """What the environment says; one process alone where it says nothing.

    Raises:
        UserError: it says a part of it, as when ``WORLD_SIZE`` is set by hand.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return Launch()
    missing = [name for name in NAMES if not os.environ.get(name)]
    if missing:
        raise UserError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but {', '.join(missing)} not set, so the "
            "processes cannot meet: start them with torchrun --nproc_per_node=N, or unset "
            "WORLD_SIZE for one process"
        )
    try:
        found = Launch(*(int(os.environ[name]) for name in NAMES[:3]))
        port = int(os.environ["MASTER_PORT"])
    except ValueError as error:
        raise UserError(
            "RANK, WORLD_SIZE, LOCAL_RANK and MASTER_PORT have to be numbers: start the processes "
            "with torchrun --nproc_per_node=N"
        ) from error
    if not 0 < port < 2**16:
        raise UserError(
            f"MASTER_PORT {port} is no port at which processes can meet: start them with torchrun "
            "--standalone, which finds a free one, or with --master_port 29500"
        )
    if not 0 <= found.number < found.count or not 0 <= found.local <= found.number:
        raise UserError(
            f"RANK {found.number} and LOCAL_RANK {found.local} do not fit WORLD_SIZE "
            f"{found.count}: start the processes with torchrun --nproc_per_node=N"
        )
    return found


def is_silent() -> bool:
    """Whether another process tells the user what this one would: the first of its machine."""
    return os.environ.get("LOCAL_RANK", "0") != "0" and os.environ.get("WORLD_SIZE", "1") != "1"


class PeerError(Exception):
    """Another process of the training has ended; its text is what was heard of it."""


class Speaker:
    """Which process says the last line, when all of them end.

    Attributes:
        claims: whether this process may say it; asked once.
    """

    claims: Callable[[], bool] = staticmethod(lambda: not is_silent())


SPEAKER = Speaker()
