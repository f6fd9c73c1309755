"""Runs a Python program on the simulated device: ``python -m simulated REPORT [-m] PROGRAM ...``.

REPORT is a JSON file (see launch.py). The exit code is the program's, or 1 after mistakes.
"""

import json
import os
import runpy
import sys
from pathlib import Path

from simulated import toolchain


def main(report: str, *program: str) -> int:
    """Run, report; the process is replaced once, because the runtime is loaded before Python."""
    library = str(toolchain.runtime())
    if library not in os.environ.get("LD_PRELOAD", "").split(":"):
        environment = os.environ | {"LD_PRELOAD": library}
        command = [sys.executable, "-m", "simulated", report, *program]
        os.execve(sys.executable, command, environment)

    from simulated import device, phases  # import torch: after the runtime is in place
    from simulated.records import RECORDS

    device.install()
    phases.follow()
    try:
        code = _run(*program)
    finally:
        Path(report).write_text(json.dumps(RECORDS.json(), indent=1))
    return code or int(bool(RECORDS.json()["mistakes"]))


def _run(first: str, *rest: str) -> int:
    """The exit code of a file, or of a module after -m."""
    sys.argv = [*rest] if first == "-m" else [first, *rest]
    run = runpy.run_module if first == "-m" else runpy.run_path
    try:
        run(sys.argv[0], run_name="__main__", **({"alter_sys": True} if first == "-m" else {}))
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
