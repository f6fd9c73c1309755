"""What fits a GPU: decisions by hand-made needs, batches that are rehearsed, and refusals."""

import math
from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from clustercontrast.commands import planning
from clustercontrast.commands.planning import GIB, Need, Planner, decide, small_batches
from clustercontrast.data import images as images_module
from clustercontrast.data.images import ImageArray
from clustercontrast.data.samples import ImageList
from clustercontrast.data.target import TargetImages
from clustercontrast.engine.memory import Line
from clustercontrast.files import UserError
from clustercontrast.methods import METHODS
from clustercontrast.methods.rehearsal import Rehearsal
from clustercontrast.settings.command_line import parse
from clustercontrast.settings.options import Options

FAST = Need(Line(1 * GIB, 0.08 * GIB), Line(0.5 * GIB, 0.01 * GIB), 2 * GIB)
SLOW = Need(Line(1 * GIB, 0.04 * GIB), Line(0.5 * GIB, 0.01 * GIB), 2 * GIB)


def needs(*found):
    yield from zip((False, True), found, strict=False)


def test_a_line_through_two_points():
    line = Line.through((48, 1000), (96, 1480))
    assert line == (520, 10)
    assert line.at(384) == 4360
    assert Line.through((48, 1000)).at(384) == 1000  # the full batch itself
    assert Line.through((48, 1000), (48, 1000)).at(1) == 1000
    assert Line.through((48, 1000), (96, 900)).at(384) == 900  # memory does not shrink


def test_the_most_of_all_phases_counts():
    assert FAST.at(200, 256) == 17 * GIB
    assert FAST.at(1, 256) == pytest.approx(3.06 * GIB)
    assert FAST.at(1, 16) == 2 * GIB


def test_a_need_is_measured_by_phases():
    def rehearsal(images, shown, **peaks):
        return Rehearsal("intra", images, (1.0,), shown, 1.0, 1, 1, peaks=peaks)

    need = Need.of(
        {
            48: rehearsal(48, 32, steps=500, forward=90, labels=70, optimiser=300),
            96: rehearsal(96, 64, steps=980, forward=122, labels=80, optimiser=310),
        }
    )
    assert need == Need(Line(20, 10), Line(58, 1), 310)


@pytest.mark.parametrize(
    ("free", "recomputed", "for_images"),
    [
        (26, False, 26 - 1 - 1.08 * 17),  # everything fast; images take what is left
        (19.4, False, 19.4 - 1 - 1.08 * 17),  # images leave the device before anything is redone
        (19.3, True, 19.3 - 1 - 1.08 * 9),
        (10.8, True, 10.8 - 1 - 1.08 * 9),
    ],
)
def test_images_leave_the_device_before_activations_are_recomputed(free, recomputed, for_images):
    found = decide(needs(FAST, SLOW), 200, [256], free * GIB)
    assert found.recomputed is recomputed
    assert found.for_images == pytest.approx(for_images * GIB)
    assert found.peak == (9 if recomputed else 17) * GIB


def test_nothing_is_measured_that_is_not_needed():
    def measured():
        yield False, FAST
        raise AssertionError("recomputation was rehearsed")

    assert decide(measured(), 200, [256], 40 * GIB).recomputed is False


def test_forwards_shrink_before_anything_is_recomputed():
    heavy = Need(Line(GIB, 0), Line(0, 0.1 * GIB), 0)  # 256 images: 25.6 GiB
    assert decide(needs(heavy, heavy), 1, [256, 128, 64], 23 * GIB).forward == 128
    assert decide(needs(heavy, heavy), 1, [256], 23 * GIB) is None


def test_images_that_have_to_lie_on_the_device_count():
    assert decide(needs(FAST, SLOW), 200, [256], 24 * GIB, kept=lambda: 6 * GIB).recomputed is True
    assert decide(needs(FAST, SLOW), 200, [256], 16 * GIB, kept=lambda: 6 * GIB) is None
    kept = decide(needs(FAST, SLOW), 200, [256], 26 * GIB, kept=lambda: 6 * GIB)
    assert kept.for_images >= 6 * GIB


# --- batches that are rehearsed


@pytest.mark.parametrize(
    ("flags", "sizes"),
    [
        ({"batch_size": 128, "batch_visible": 128, "num_instances": 16, "bn_groups": 2},
         [(16, 16), (32, 32)]),
        ({"batch_size": 256, "batch_visible": 128, "num_instances": 16, "bn_groups": 4},
         [(32, 16), (64, 32)]),
        ({"batch_size": 24, "num_instances": 4, "bn_groups": 1}, [(4,), (8,)]),
        ({"batch_size": 24, "num_instances": 4, "bn_groups": 3}, [(12,), (24,)]),
        ({"batch_size": 16, "num_instances": 16, "bn_groups": 1}, [(16,)]),  # the full one
    ],
)  # fmt: skip
def test_small_batches_are_the_smallest_that_divide(flags, sizes):
    found = small_batches(Namespace(**flags, test_batch=256), "test_batch")
    names = [name for name in planning.BATCHES if name in flags]
    assert [tuple(getattr(own, name) for name in names) for own in found] == sizes
    assert all(own.test_batch <= 64 for own in found)


def test_small_batches_of_fakes_are_forwards():
    found = small_batches(Namespace(batch_size=256), "batch_size")
    assert [own.batch_size for own in found] == [32, 64]


@pytest.mark.parametrize("method", METHODS)
def test_every_default_has_two_small_batches_that_its_stage_accepts(method):
    options = parse("sysu", ["--method", method])
    for make in METHODS[method]:
        args = options.at(make.name)
        found = small_batches(args, make.forward_flag)
        assert len(found) == 2
        for own in found:
            k, groups = getattr(own, "num_instances", 1), getattr(own, "bn_groups", 1)
            assert own.batch_size % k == getattr(own, "batch_visible", 0) % k == 0
            assert own.batch_size % groups == 0


# --- decisions, applied


class Device:
    """A GPU's answers, and rehearsals that take what a test says."""

    def __init__(self, monkeypatch, free: float):
        self.rehearsed: list[Namespace] = []
        self.each = {(False, "tf32"): 0.08, (True, "tf32"): 0.04}
        monkeypatch.setattr(planning, "free_memory", lambda device: free * GIB)
        monkeypatch.setattr(planning, "rehearse", self.rehearse)
        monkeypatch.setattr(images_module.os, "sysconf", lambda name: 2**20)
        for name in ("to", "pin_memory"):
            monkeypatch.setattr(torch.Tensor, name, lambda pixels, *args, **named: pixels)

    def rehearse(self, make, args, data, device, steps):
        self.rehearsed.append(args)
        images = planning.images_of(args)
        each = self.each.get((args.checkpoint_groups, args.precision), math.inf)
        if each == math.inf:
            raise torch.OutOfMemoryError("full")
        peaks = {"steps": int((1 + each * images) * GIB), "forward": int(0.01 * GIB)}
        return Rehearsal(make.name, images, (1.0,), args.test_batch, 1.0, 1, 1, peaks=peaks)


def target(options, *gibibytes: float) -> TargetImages:
    data = TargetImages("sysu", options, torch.device("cuda"))
    empty = np.zeros(0, np.int64)
    for size in gibibytes:
        array = ImageArray(ImageList("visible", (), empty, empty), np.zeros((1, 1, 1, 3), np.uint8))
        array.pixels = Sized(array.pixels, size * GIB)
        data.opened.append(array)
    return data


class Sized(np.ndarray):
    """Pixels that claim to take so many bytes."""

    def __new__(cls, pixels: np.ndarray, count: float):
        made = pixels.view(cls)
        made.claimed = count
        return made

    @property
    def nbytes(self) -> float:
        return self.claimed


def options(*flags: str) -> Options:
    return parse("sysu", ["--method", "pgm", "--batch-size", "64", "--batch-visible", "64", *flags])


def planned(monkeypatch, free: float, *flags: str, arrays=(3.0, 2.0)):
    chosen = options(*flags)
    device, data = Device(monkeypatch, free), target(chosen, *arrays)
    make = METHODS["pgm"][0]
    args, line = Planner(chosen, data)(make, chosen.at(make.name))
    return SimpleNamespace(args=args, line=line, device=device, data=data)


def residences(found) -> list[str]:
    return [array.residence for array in found.data.opened]


def test_with_room_for_everything_nothing_is_given_up(monkeypatch):
    found = planned(monkeypatch, 30)  # 1 + 0.08 x 192 = 16.36 GiB
    assert (found.args.checkpoint_groups, found.args.test_batch) == (False, 256)
    assert residences(found) == ["device", "device"]
    assert found.line == (
        "intra: memory plan: 16.4 of 30.0 GiB that are free, nothing recomputed, 256 images per "
        "forward, images: 5.4 GB on the GPU"
    )


def test_images_that_were_read_come_first(monkeypatch):
    chosen = options()
    Device(monkeypatch, 21.5)
    data = target(chosen, 2.0, 2.1)  # 21.5 - 1 - 1.08 x 16.36 leaves 2.8 GiB
    data.opened[1].was_read = True
    make = METHODS["pgm"][0]
    Planner(chosen, data)(make, chosen.at(make.name))
    assert [array.residence for array in data.opened] == ["pinned", "device"]
    assert not data.opened[1].was_read
    assert data.bytes_on_device() == 2.1 * GIB


def test_recomputation_when_nothing_else_fits(monkeypatch):
    found = planned(monkeypatch, 18)
    assert found.args.checkpoint_groups is True
    assert residences(found) == ["device", "device"]  # 18 - 1 - 1.08 x 8.68 leaves 7.6 GiB
    assert "activations recomputed" in found.line
    assert {args.pretrained for args in found.device.rehearsed} == {"random"}


@pytest.mark.parametrize(
    ("flags", "recomputed", "rehearsed"),
    [((), False, {False}), (("--checkpoint-groups",), True, {True}),
     (("--no-checkpoint-groups",), False, {False})],
)  # fmt: skip
def test_flags_override_recomputation(monkeypatch, flags, recomputed, rehearsed):
    found = planned(monkeypatch, 24, *flags)
    assert found.args.checkpoint_groups is recomputed
    assert {args.checkpoint_groups for args in found.device.rehearsed} == rehearsed


@pytest.mark.parametrize(
    ("place", "expected"),
    [("pinned", ["pinned"] * 2), ("map", ["map"] * 2), ("device", ["device"] * 2)],
)
def test_flags_override_where_images_live(monkeypatch, place, expected):
    assert residences(planned(monkeypatch, 30, "--images", place)) == expected


def test_images_on_the_device_by_flag_cost_recomputation(monkeypatch):
    found = planned(monkeypatch, 21, "--images", "device")
    assert residences(found) == ["device", "device"]
    assert found.args.checkpoint_groups is True


def test_a_typed_forward_is_kept(monkeypatch):
    assert planned(monkeypatch, 30, "--test-batch", "100").args.test_batch == 100


@pytest.mark.slow
def test_forwards_that_do_not_fit_are_halved(monkeypatch):
    monkeypatch.setattr(planning.Need, "at", lambda need, images, forward: forward / 10 * GIB)
    assert planned(monkeypatch, 16).args.test_batch == 128
    monkeypatch.setattr(planning.Need, "at", lambda need, images, forward: math.inf)
    with pytest.raises(UserError):
        planned(monkeypatch, 16)


@pytest.mark.slow
def test_when_nothing_fits_one_line_says_what_would(monkeypatch):
    with pytest.raises(UserError) as error:
        planned(monkeypatch, 8, "--images", "device")
    text = str(error.value)
    assert "\n" not in text
    assert "stage intra does not fit: it needs 15.37 GiB" in text  # 1 + 1.08 x 8.68, 5 of images
    assert "8.00 GiB are free: take smaller batches (-b, --batch-visible)" in text
    assert "--precision bf16" not in text  # it would not fit either
    assert "--images auto" not in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("free", "flags", "remedy"),
    [(12, ("--images", "device"), "give --images auto"),
     (12, ("--no-checkpoint-groups",), "leave --no-checkpoint-groups out"),
     (12, ("--test-batch", "4096"), "leave --test-batch out")],
)  # fmt: skip
def test_a_remedy_that_is_named_works(monkeypatch, free, flags, remedy):
    linear = planning.Need.at
    monkeypatch.setattr(
        planning.Need, "at", lambda n, images, forward: max(linear(n, images, 1), forward * 4e6)
    )
    with pytest.raises(UserError) as error:
        planned(monkeypatch, free, *flags)
    assert f"GiB are free: {remedy}, or take smaller batches" in str(error.value)
    assert planned(monkeypatch, free).args.checkpoint_groups is True  # as it is without the flag


def test_another_stages_batch_leaves_that_of_generation_open():
    for words, expected in (((), 256), (("pretrain=32",), 256), (("generation=100",), None)):
        batch = ("--batch-size", *words) if words else ()
        chosen = parse("sysu", ["--method", "cmam", "--source", "x", *batch])
        make = next(make for make in METHODS["cmam"] if make.name == "generation")
        forwards = Planner(chosen, None).forwards(make, chosen.at("generation"))
        assert forwards == ([256, 128, 64, 32, 16] if expected else [100])


@pytest.mark.slow
def test_bf16_is_named_when_it_fits(monkeypatch):
    rehearse = Device.rehearse

    def narrow(device, make, args, *rest, **named):
        device.each[True, "bf16"] = device.each[False, "bf16"] = 0.02
        return rehearse(device, make, args, *rest, **named)

    monkeypatch.setattr(Device, "rehearse", narrow)
    with pytest.raises(UserError, match="free: give --precision bf16, or take smaller batches"):
        planned(monkeypatch, 8)


@pytest.mark.slow
def test_a_stage_that_is_too_large_at_small_batches_is_not_measured_further(monkeypatch):
    monkeypatch.setattr(Device, "rehearse", lambda *args, **named: raise_full())
    with pytest.raises(UserError, match="it needs far more of GPU memory"):
        planned(monkeypatch, 8)


def raise_full():
    raise torch.OutOfMemoryError("full")


def test_on_a_cpu_nothing_is_decided(monkeypatch):
    chosen = options()
    data = TargetImages("sysu", chosen, torch.device("cpu"))
    monkeypatch.setattr(planning, "rehearse", raise_full)
    args = chosen.at("intra")
    assert Planner(chosen, data)(METHODS["pgm"][0], args) == (args, None)
