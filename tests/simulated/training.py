"""A training that is interrupted in the last epoch of its first stage and run again: a program.

``training.py FLAGS`` is ``train_sysu.py FLAGS`` with narrow networks and without pictures.
"""

import sys

import narrow_resnet
import pytest

from clustercontrast.commands import cli, reporting
from clustercontrast.engine.run import Run

INTERRUPTED = 130


def interrupt(patch: pytest.MonkeyPatch) -> None:
    """Leave the first stage of several epochs once, in its last one."""
    tick, left = Run.tick, []

    def interrupted(run, stage, epoch, *rest):
        tick(run, stage, epoch, *rest)
        if not left and len(stage.epochs) > 1 and epoch == stage.epochs[-1]:
            left.append(stage.name)
            raise KeyboardInterrupt

    patch.setattr(Run, "tick", interrupted)


def is_finished(argv: list[str]) -> bool:
    """Train, or go on; whether it came to its end."""
    try:
        cli.train("sysu", argv)
    except SystemExit as leaving:
        if leaving.code != INTERRUPTED:
            raise
        return False
    return True


def main(argv: list[str]) -> None:
    """Train until nothing interrupts."""
    with pytest.MonkeyPatch.context() as patch:
        narrow_resnet.use(patch)
        patch.setattr(reporting, "curves", lambda *_: None)  # most of the time of a tiny run
        interrupt(patch)
        while not is_finished(argv):
            pass


if __name__ == "__main__":
    main(sys.argv[1:])
