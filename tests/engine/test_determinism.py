"""``--deterministic``: what is asked of torch on CUDA, and that nothing is left behind."""

import os

import pytest
import torch

from clustercontrast.commands.cli import command
from clustercontrast.engine.determinism import WORKSPACE, use_deterministic_kernels
from clustercontrast.engine.run import Run
from clustercontrast.files import UserError
from clustercontrast.settings.command_line import parse


def asked():
    cudnn = torch.backends.cudnn
    return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.delenv(WORKSPACE, raising=False)
    yield
    use_deterministic_kernels(False)


def test_a_run_on_cuda_asks_for_it_and_the_next_one_does_not(tmp_path, monkeypatch):
    gpu = torch.device("cuda")
    Run(tmp_path, gpu, deterministic=True)
    assert asked() == (True, True, False)
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert os.environ[WORKSPACE] == ":4096:8"
    for device, wanted in ((gpu, False), (torch.device("cpu"), True)):
        Run(tmp_path, device, deterministic=wanted)
        assert asked() == (False, False, True)


def test_a_workspace_of_the_users_own(monkeypatch):
    monkeypatch.setenv(WORKSPACE, ":16:8")
    use_deterministic_kernels(True)
    monkeypatch.setenv(WORKSPACE, ":0:0")
    with pytest.raises(UserError, match="to be :4096:8 or :16:8, and it is :0:0: unset it"):
        use_deterministic_kernels(True)


def test_an_operation_that_torch_refuses_is_one_line(capsys):
    """Torch's own message, as it is today: put_ without accumulation has no exact kernel."""
    torch.use_deterministic_algorithms(True)

    def act():
        torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))

    with pytest.raises(SystemExit, match="2"):
        command(act)
    assert capsys.readouterr().err.strip() == (
        "error: --deterministic: put_ does not have a deterministic implementation on CUDA: leave "
        "the flag out, and give that run a --name of its own"
    )


def test_no_run_changes_it_on_resuming_and_no_figure_depends_on_it():
    options = parse("sysu", ["--method", "pgm", "--deterministic"])
    assert options.numbers()["deterministic"] is True
    assert parse("sysu", ["--method", "pgm"]).numbers()["deterministic"] is False
