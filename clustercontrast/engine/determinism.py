"""``--deterministic``: kernels on CUDA that give the same bits every time.

Convolutions, products, attention, and sums through an index take algorithms without a race; torch
refuses an operation that has none.  On a CPU runs repeat exactly without it.
"""

import os

import torch

from clustercontrast.files import UserError

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""What cuBLAS reads when its first product begins: workspaces of a fixed size, one per stream."""
EXACT = (":4096:8", ":16:8")
"""Its values that are exact."""


def use_deterministic_kernels(wanted: bool) -> None:
    """Choose kernels by determinism, or by speed.

    Unwritten memory is not filled, as torch would do besides: nothing here reads it.

    Raises:
        UserError: the environment asks cuBLAS for other workspaces.
    """
    if wanted and os.environ.setdefault(WORKSPACE, EXACT[0]) not in EXACT:
        raise UserError(
            f"--deterministic needs {WORKSPACE} to be {' or '.join(EXACT)}, and it is "
            f"{os.environ[WORKSPACE]}: unset it"
        )
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.deterministic = wanted
    torch.backends.cudnn.benchmark = not wanted  # which tries algorithms out, by the clock
