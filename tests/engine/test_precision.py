"""Where float32 may be rounded to TF32, and compiled networks against eager ones."""

import copy

import narrow_resnet
import pytest
import torch
from test_loop import Toy, go

from clustercontrast.engine import compiling
from clustercontrast.engine.precision import autocast, tensor_cores
from clustercontrast.engine.run import Run
from clustercontrast.models.two_stream_resnet import TwoStreamResNet

CPU = torch.device("cpu")


def allowed():
    """Whether products, and convolutions, may take TF32."""
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture(autouse=True)
def _outside():
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("fp32", (False, False)), ("tf32", (True, True)), ("tf32-conv", (False, True)),
     ("bf16", (False, False))],
)  # fmt: skip
def test_what_takes_tf32(precision, expected):
    with tensor_cores(precision):
        assert (allowed(), torch.is_autocast_enabled("cpu")) == (expected, False)
    assert allowed() == (False, False)
    with autocast(CPU, precision):
        assert (allowed(), torch.is_autocast_enabled("cpu")) == (expected, precision == "bf16")
    assert allowed() == (False, False)


def test_the_precision_ends_with_an_error():
    with pytest.raises(ValueError, match="inside"), tensor_cores("tf32"):
        raise ValueError("inside")
    assert allowed() == (False, False)


def test_steps_take_tf32_in_both_passes_and_nothing_else_does(tmp_path):
    seen = {}

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            seen["forward"] = allowed()
            return x * 1

        @staticmethod
        def backward(ctx, gradient):
            seen["backward"] = allowed()
            return gradient

    class Rounded(Toy):
        def refresh(self, epoch):
            seen["refresh"] = allowed()
            yield from super().refresh(epoch)
            seen["after"] = allowed()

        def iteration(self, batch, epoch):
            yield "net", {"pull": (1.0, Watched.apply(self.net(torch.ones(1, 1))).sum())}

    def evaluate(stage):
        with stage.evaluating(stage.net):
            seen["features"] = allowed()
        seen["scores"] = allowed()
        return {}

    run = Run(tmp_path, CPU, "tf32", evaluate=evaluate)
    go(tmp_path, stages=[Rounded], run=run, epochs=1, iters=1)
    inside = dict.fromkeys(("forward", "backward", "features"), (True, True))
    assert seen == inside | dict.fromkeys(("refresh", "after", "scores"), (False, False))


def test_seconds_of_a_block_within_another_are_counted_once(tmp_path, monkeypatch):
    clock, noted = iter(range(100)), []

    class Noting(Run):
        def add_seconds(self, what, seconds):
            noted.append((what, seconds))
            super().add_seconds(what, seconds)

    monkeypatch.setattr("clustercontrast.engine.run.time.perf_counter", lambda: next(clock))
    run = Noting(tmp_path, CPU)
    with run.timed("evaluation"), run.timed("features"):  # from 0 and 1 to 2 and 3
        pass
    assert noted == [("features", 1), ("evaluation", 2)]


@pytest.mark.slow
def test_compiled_parts_compute_the_same(monkeypatch):
    """BatchNorm groups, recomputed activations, running statistics and gradients, in float64."""
    assert compiling.reason_against(CPU) is None, "no compiler here"
    narrow_resnet.use(monkeypatch)
    eager = TwoStreamResNet(10, True, 2, checkpoint_groups=True).double().train()
    compiled = copy.deepcopy(eager)
    compiling.compile_parts(compiled)
    assert compiled.state_dict().keys() == eager.state_dict().keys()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 4, 3, 32, 16, generator=generator, dtype=torch.float64)
    for network in (eager, compiled):
        sum(f.square().mean() for f in network(*images)).backward()
    for (name, mine), theirs in zip(eager.named_parameters(), compiled.parameters(), strict=True):
        if mine.grad is not None:
            torch.testing.assert_close(theirs.grad, mine.grad, rtol=1e-7, atol=1e-9, msg=name)
    for mine, theirs in zip(eager.buffers(), compiled.buffers(), strict=True):
        torch.testing.assert_close(theirs, mine, rtol=1e-9, atol=1e-12)


def test_what_cannot_be_compiled_is_said_and_trained_as_it_is(tmp_path, monkeypatch):
    def fail(function):
        raise RuntimeError("no C++ compiler\nand much more")

    monkeypatch.setattr(torch, "compile", fail)
    run = Run(tmp_path, CPU)
    go(tmp_path, run=run, epochs=1, iters=1, compile=True)
    said = (tmp_path / "log.txt").read_text()
    assert "--compile: not possible here, going on without (RuntimeError: no C++ compiler)" in said
    assert run.reached("toy") == 0
