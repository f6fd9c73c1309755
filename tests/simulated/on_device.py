"""Tests of the device itself; test_device.py runs this file on it."""

import copy
import io
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.torch_version import TorchVersion

from simulated.records import RECORDS

GPU = torch.device("cuda")


@pytest.fixture(autouse=True)
def events():
    """What the test makes happen; forgotten at its end, because mistakes are meant here."""
    RECORDS.events.clear()
    yield lambda kind: sum(n for (_, found, *_), n in RECORDS.events.items() if found == kind)
    RECORDS.events.clear()


def run(source: str) -> None:
    """Execute a statement about x (floats) and i (indices) on the device, h and j on the host."""
    x, i = (t.to(GPU) for t in (torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0, 2, 0])))
    names = {"x": x, "i": i, "h": x.cpu(), "j": i.cpu(), "torch": torch, "np": np, "F": F}
    names["many"] = torch.ones(1 << 20)
    RECORDS.events.clear()
    exec(source, names)


SCALARS_WAIT = int(TorchVersion(torch.__version__) < (2, 15))
"""Since 2.15 torch makes the scalar of an assignment where the tensor is."""


@pytest.mark.parametrize(
    ("source", "waits", "pageable"),
    [
        ("x + 1", 0, 0),
        ("x * torch.tensor(2.0)", 0, 0),
        ("x[i] @ x", 0, 0),
        ("x.sum().item()", 1, 0),
        ("float(x.sum())", 1, 0),
        ("bool(x.any())", 1, 0),
        ("f'{x.sum():.1f}'", 1, 0),
        ("x.tolist()", 1, 0),
        ("x.cpu()", 1, 0),
        ("h.copy_(x)", 1, 0),
        ("x[x > 0]", 1, 0),
        ("x[x > 0] = 0", 0, 0),
        ("x[x > 0] = x[:2] + 1", 1, 0),
        ("x[j]", 1, 1),
        ("x[i] = 0", SCALARS_WAIT, SCALARS_WAIT),
        ("x.nonzero()", 1, 0),
        ("x.unique()", 1, 0),
        ("i.bincount()", 1, 0),
        ("x.masked_select(x > 0)", 1, 0),
        ("x.masked_fill(x > 0, 0)", 0, 0),
        ("torch.equal(x, x)", 1, 0),
        ("x.repeat_interleave(i)", 1, 0),
        ("x.repeat_interleave(i, output_size=2)", 0, 0),
        ("torch.where(x > 0, 0.0, x)", 0, 0),
        ("torch.where(x > 0, torch.tensor(0.0), x)", 1, 1),
        ("torch.tensor([1.0], device='cuda')", 1, 1),
        ("torch.zeros(3, device='cuda')", 0, 0),
        ("h.to('cuda')", 1, 1),
        ("x.copy_(h)", 1, 1),
        ("h.to('cuda', non_blocking=True)", 0, 0),
        ("x.copy_(h, non_blocking=True)", 0, 0),
        ("many.to('cuda', non_blocking=True)", 1, 1),
        ("many.pin_memory().to('cuda', non_blocking=True)", 0, 0),
        ("many.pin_memory().to('cuda')", 1, 0),
        ("torch.cuda.synchronize()", 1, 0),
        ("e = torch.cuda.Event(); e.record(); e.synchronize()", 1, 0),
    ],
)
def test_what_is_waited_for(source, waits, pageable, events):
    run(source)
    assert (events("wait"), events("pageable copy")) == (waits, pageable)
    assert events("mistake") == 0


def test_a_copy_that_is_not_waited_for_is_named(events):
    run("x.to('cpu', non_blocking=True)")
    assert (events("wait"), events("unfinished copy")) == (0, 1)


@pytest.mark.parametrize(
    "source",
    [
        "x + h",
        "x @ h",
        "torch.cat([x, h])",
        "h[i]",
        "h[j] = x",
        "x[i] = h",
        "x.scatter_(0, i, h)",
        "F.cross_entropy(x, torch.tensor(1))",
        "torch.rand(3, device='cuda', generator=torch.Generator())",
        "i @ i",
        "i[None] @ i[:, None]",
        "x.numpy()",
        "np.asarray(x)",
        "torch.segment_reduce(x, 'sum', lengths=j)",
    ],
)
def test_what_is_refused(source, events):
    with pytest.raises((RuntimeError, TypeError)):
        run(source)
    assert events("mistake") == 1


def test_what_has_no_deterministic_kernel_is_refused_where_one_is_asked_for(events):
    """Pooling to a grid is; its means by hand are not, and neither is where nobody asks."""
    maps = torch.randn(2, 4, 6, 2, device=GPU, requires_grad=True)
    F.adaptive_avg_pool2d(maps, (3, 1)).sum().backward()
    torch.use_deterministic_algorithms(True)
    try:
        maps[:, :, :2].mean((2, 3)).sum().backward()
        assert events("mistake") == 0
        with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
            F.adaptive_avg_pool2d(maps, (3, 1)).sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)


def test_autocast_follows_the_lists_of_cuda():
    """CUDA's lists put softmax, group norm and losses into float32; CPU's leave group norm."""
    x = torch.randn(2, 4, 6, 6, device=GPU)
    convolution = torch.nn.Conv2d(4, 4, 3).to(GPU)
    with torch.autocast("cuda", torch.bfloat16):
        half = convolution(x)
        assert half.dtype == torch.bfloat16
        assert F.group_norm(half, 2).dtype == torch.float32
        assert F.relu(half).dtype == torch.bfloat16
        assert half.softmax(1).dtype == torch.float32
        assert F.mse_loss(half, half).dtype == torch.float32


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.SGD])
def test_training_gives_the_values_of_the_cpu(make, fused):
    def trained(device):
        torch.manual_seed(0)
        network = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(),
            torch.nn.Linear(64, 5),
        )  # fmt: skip
        network, x = network.to(device), torch.randn(6, 3, 6, 6).to(device)
        optimiser = make(network.parameters(), lr=0.1, fused=fused)
        for _ in range(3):
            optimiser.zero_grad()
            network(x).square().mean().backward()
            optimiser.step()
        return network.state_dict()

    ours, expected = trained(GPU), trained("cpu")
    for name, value in expected.items():
        assert ours[name].device == torch.device("cuda:0")
        torch.testing.assert_close(ours[name].cpu(), value, rtol=0, atol=0)


def test_copies_and_files_hold_the_same_values():
    layer = torch.nn.Linear(3, 2).to(GPU)
    copied = copy.deepcopy(layer)
    with torch.no_grad():
        layer.weight.zero_()
    assert copied.weight.is_cuda
    assert isinstance(copied.weight, torch.nn.Parameter)
    assert copied.weight.requires_grad
    assert copied.weight.abs().sum() > 0
    file = io.BytesIO()
    torch.save(copied.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    assert type(saved["weight"]) is torch.Tensor
    assert torch.equal(saved["weight"], copied.weight.cpu())


def test_other_threads_have_the_device_too():
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.ones(3).to(GPU) * 2))
    thread.start()
    thread.join()
    assert found[0].is_cuda
    assert found[0].tolist() == [2, 2, 2]


def test_operations_are_counted_and_views_are_not():
    x = torch.ones(4, 3, device=GPU)
    RECORDS.operations.clear()
    (x.T[1:].reshape(2, 4) + 1).mul_(2)
    assert {name: n for (_, name, _), n in RECORDS.operations.items()} == {"add": 1, "mul_": 1}


# --- memory


def test_bytes_are_counted_by_storage_and_go_with_it():
    mib = 1 << 20
    before = torch.cuda.memory_allocated()
    x = torch.empty(mib, device=GPU)
    view = x[: mib // 2].view(-1, 8)
    assert torch.cuda.memory_allocated() - before == 4 * mib
    del x
    assert torch.cuda.memory_allocated() - before == 4 * mib
    small = torch.empty(1, device=GPU)
    assert torch.cuda.memory_allocated() - before == 4 * mib + 512
    del view, small
    assert torch.cuda.memory_allocated() == before


def test_activations_are_held_until_the_backward_pass():
    x = torch.ones(1 << 18, device=GPU, requires_grad=True)
    before = torch.cuda.memory_allocated()
    loss = x.exp().exp().sum()
    assert torch.cuda.memory_allocated() - before == (2 << 20) + 512
    loss.backward()
    del loss
    assert torch.cuda.memory_allocated() - before == 1 << 20  # the gradient


def test_peak_free_and_reserved_bytes():
    torch.cuda.reset_peak_memory_stats()
    before, (free, total) = torch.cuda.memory_allocated(), torch.cuda.mem_get_info()
    assert free == total - before
    torch.empty(3 << 20, dtype=torch.uint8, device=GPU)
    assert torch.cuda.max_memory_allocated() - before == 3 << 20
    assert torch.cuda.max_memory_reserved() % (2 << 20) == 0
    assert torch.cuda.max_memory_reserved() >= torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    assert torch.cuda.max_memory_allocated() == before
    assert torch.cuda.memory_reserved() >= before + (3 << 20)  # until it is given back
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() < before + (3 << 20)


def test_a_full_device_says_so():
    assert torch.cuda.mem_get_info()[1] == torch.cuda.get_device_properties(0).total_memory
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        torch.empty(torch.cuda.mem_get_info()[0] + 1, dtype=torch.uint8, device=GPU)
