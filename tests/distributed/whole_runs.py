"""Trainings in several processes, from the command line to the report."""

import contextlib
import io
import os
from collections.abc import Sequence
from pathlib import Path

import narrow_resnet
import pytest
import tiny_runs
import torch

from clustercontrast.commands import cli, reporting

GROUPS = ("--bn-groups", "2")


def arguments(method: str, logs: Path) -> list[str]:
    """Command line of a short training whose BatchNorm groups two processes can share."""
    if method == "cmam":
        return tiny_runs.cmam_arguments(logs, *GROUPS)
    own = {
        "pclhd": ["--depth", "10", "--match-from", "0"],
        "sdcl": ["--vit-width", "64", "--depth", "3", "--heterogeneous-from", "1",
                 "--candidates", "10", "--lr", "1e-6", "--k1-visible", "30", "15"],
        "united": ["--variant", "united-teacher", "--depth", "10", "--joint-k2", "4",
                   "--eps-joint", "0.5"],
    }[method]  # fmt: skip
    return tiny_runs.arguments(method, logs, *own, *GROUPS)


def train(argv: Sequence[str], said: Path | None = None) -> None:
    """A training on SYSU-MM01's layout, with networks of a few channels.

    Args:
        argv: the command line.
        said: file for what the process writes on its standard error.
    """
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        narrow_resnet.use(patch)
        if "cmam" in argv:  # in float32 some of its weights follow rounding alone
            patch.setattr(torch.Tensor, "float", torch.Tensor.double)
            torch.set_default_dtype(torch.float64)
        patch.setattr(reporting, "curves", lambda *_: None)  # most of the time of a tiny run
        if said is not None:
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        cli.train("sysu", argv)
