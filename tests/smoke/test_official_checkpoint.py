"""The test command on a checkpoint as the official code writes it."""

import numpy as np
import pytest
import tiny_runs
import torch
from official import official_shapes

from clustercontrast.commands import cli
from clustercontrast.models.weights import our_name


def official_file(path, non_local):
    """Random numbers for what runs; dead parts have their shape and one number."""
    generator = torch.Generator().manual_seed(4)
    state = {}
    for name, shape in official_shapes(non_local).items():
        dead = our_name(name) is None
        values = torch.zeros(1) if dead else torch.randn(shape, generator=generator) / 50
        values = values.expand(shape) if dead and shape else values
        if name.endswith("num_batches_tracked"):
            values = torch.tensor(7)
        elif name.endswith("running_var"):
            values = values.abs() + 1
        state[f"module.{name}"] = values
    torch.save({"state_dict": state, "epoch": 43, "best_mAP": np.float64(51.36)}, path)


@pytest.mark.slow
@pytest.mark.parametrize("non_local", [False, True])
def test_official_checkpoint_is_tested(tmp_path, capsys, non_local):
    path = tmp_path / "model_best.pth.tar"
    official_file(path, non_local)
    place = ["--data-dir", str(tiny_runs.dataset()), *tiny_runs.SIZE, "--device", "cpu"]
    capsys.readouterr()
    cli.test("sysu", [str(path), *place, "--draws", "1", "--test-batch", "64"])
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if path.name in line and " search " in line]
    assert [row.split()[0] for row in rows] == ["All", "Indoor"]
    assert "±" not in "".join(rows)  # of a single draw
    assert "rendered identities" in printed
