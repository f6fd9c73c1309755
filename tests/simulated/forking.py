"""Programs on the simulated device, forked from one process that has imported everything.

Started with the runtime in LD_PRELOAD, it reads requests, one JSON object a line (see launch.py),
runs each in a fork that ends as a process of its own does, and writes its exit code.
"""

import importlib
import json
import os
import sys

PRELOADED = ("warmed", "clustercontrast.commands.training", "torchvision", "pytest")
"""None of them asks torch.cuda for anything: a fork could not."""


def main() -> None:
    """Until nobody asks any more."""
    for name in PRELOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        process = os.fork()
        if not process:
            sys.exit(_begin(**json.loads(line)))
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


def _begin(output: str, environment: dict[str, str], arguments: list[str]) -> int:
    """The exit code of ``python -m simulated`` with these arguments."""
    said = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(said, stream)
    os.environ.update(environment)
    from simulated import __main__  # the device's size is in the environment

    return __main__.main(*arguments)


if __name__ == "__main__":
    main()
