"""Batches: rows, pixels and labels belong together, and only the generator decides."""

import threading

import numpy as np
import pytest
import torch

from clustercontrast.data import batches as module
from clustercontrast.data.augment import View, augment, normalise
from clustercontrast.data.batches import StreamPlan, labelled_batches
from clustercontrast.data.images import ImageArray
from clustercontrast.data.sampler import batches_of_rows
from clustercontrast.data.samples import ImageList

PLAIN = View(erasing=-1.0, padding=0, flip=0.0)
TWO_VIEWS = (View(padding=1), View(padding=1, channels="exchange"))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_array(count: int, seed: int, modality: str = "visible") -> ImageArray:
    rng = np.random.default_rng(seed)
    paths = tuple(f"{i:04d}.jpg" for i in range(count))
    images = ImageList(modality, paths, np.arange(count), np.arange(count) // 6 % 3 + 1)
    return ImageArray(images, rng.integers(0, 256, (count, 8, 4, 3), np.uint8))


def make_plans(views=TWO_VIEWS):
    labels_v, labels_r = np.arange(24) % 4, np.arange(30) % 6
    labels_v[:3] = -1
    return {
        "visible": StreamPlan(make_array(24, 1), labels_v, views, 8, 4),
        "infrared": StreamPlan(
            make_array(30, 2, "infrared"), labels_r, (View(padding=1),), 12, 4, cameras=False
        ),
    }


def flattened(batches) -> list[torch.Tensor]:
    return [
        tensor
        for batch in batches
        for stream in batch.streams.values()
        for tensor in (stream.images, stream.labels, stream.rows)
    ]


def assert_same(one, other):
    for a, b in zip(flattened(one), flattened(other), strict=True):
        assert torch.equal(a, b)


def test_layout_views_stacked_and_labels_repeated():
    plans = make_plans(views=(PLAIN, PLAIN))
    for batch in labelled_batches(plans, seeded(), 3):
        stream = batch.visible
        assert stream.images.shape == (16, 3, 8, 4)
        expected = normalise(torch.from_numpy(plans["visible"].array.pixels)[stream.rows])
        assert torch.equal(stream.images, torch.cat([expected, expected]))
        labels = torch.from_numpy(plans["visible"].labels)[stream.rows]
        assert torch.equal(stream.labels, torch.cat([labels, labels]))
        assert stream.labels.dtype == stream.rows.dtype == torch.int64
        assert (stream.labels >= 0).all()
        assert batch.infrared.images.shape == (12, 3, 8, 4)
        assert batch.number_of_images == 16 + 12


def test_views_draw_independently_from_the_same_pixels():
    view = View(erasing=-1.0, padding=0)
    mirrored = []
    for batch in labelled_batches(make_plans(views=(view, view)), seeded(), 40):
        first, second = batch.visible.images.chunk(2)
        same = (first == second).flatten(1).all(1)
        assert torch.equal(torch.where(same[:, None, None, None], first, first.flip(3)), second)
        mirrored.append(~same)
    assert 0.4 < torch.cat(mirrored).double().mean() < 0.6


def test_order_of_the_draws():
    """Rows of batch t+1 before the views of batch t; streams in the order of the plans."""
    plans, generator = make_plans(), seeded(7)
    streams = {
        name: batches_of_rows(
            plan.labels,
            plan.array.index.cameras if plan.cameras else None,
            plan.num_instances,
            plan.batch_size,
            generator,
        )
        for name, plan in plans.items()
    }
    rows, images = [{name: next(stream) for name, stream in streams.items()}], []
    for step in range(5):
        if step < 4:
            rows.append({name: next(stream) for name, stream in streams.items()})
        for name, plan in plans.items():
            pixels = torch.from_numpy(plan.array.pixels)[rows[step][name]]
            images.append(torch.cat([augment(pixels, view, generator) for view in plan.views]))
    found_generator = seeded(7)
    found = list(labelled_batches(plans, found_generator, 5))
    for step, batch in enumerate(found):
        for name in plans:
            assert torch.equal(getattr(batch, name).rows, rows[step][name])
            assert torch.equal(getattr(batch, name).images, images.pop(0))
    assert torch.equal(generator.get_state(), found_generator.get_state())


def test_cameras_are_used_exactly_when_asked_for():
    """Every cluster of the two plans has images of several cameras."""
    shares_camera = {"visible": [], "infrared": []}
    plans = make_plans(views=(PLAIN,))
    for batch in labelled_batches(plans, seeded(), 20):
        for name, shared in shares_camera.items():
            cameras = plans[name].array.index.cameras[getattr(batch, name).rows.view(-1, 4)]
            shared.append(cameras[:, 1:] == cameras[:, :1])
    assert not np.any(shares_camera["visible"])
    assert np.any(shares_camera["infrared"])


def test_same_state_same_batches_and_global_state_is_untouched():
    torch.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one = list(labelled_batches(make_plans(), seeded(1), 4))
    assert_same(one, labelled_batches(make_plans(), seeded(1), 4))
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    other = list(labelled_batches(make_plans(), seeded(2), 4))
    assert not torch.equal(one[0].visible.rows, other[0].visible.rows)


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_resuming_from_the_state_after_an_epoch(iterations):
    generator = seeded(5)
    assert len(list(labelled_batches(make_plans(), generator, iterations))) == iterations
    state = generator.get_state()
    following = list(labelled_batches(make_plans(), generator, 4))
    resumed = torch.Generator()
    resumed.set_state(state)
    assert_same(following, labelled_batches(make_plans(), resumed, 4))


def test_residence_changes_neither_batches_nor_draws():
    """The device branch, forced on the CPU: fetched by the caller instead of the background."""
    mapped, resident = make_plans(), make_plans()
    for plan in resident.values():
        plan.array.residence = "device"
    generators = seeded(6), seeded(6)
    assert_same(
        labelled_batches(mapped, generators[0], 5), labelled_batches(resident, generators[1], 5)
    )
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


def watch_gathers(monkeypatch) -> list[str]:
    threads, gather = [], ImageArray.gather

    def watched(self, rows):
        threads.append(threading.current_thread().name)
        return gather(self, rows)

    monkeypatch.setattr(module.ImageArray, "gather", watched)
    return threads


def test_pixels_are_fetched_one_batch_ahead_in_the_background(monkeypatch):
    threads = watch_gathers(monkeypatch)
    batches = labelled_batches(make_plans(), seeded(), 3)
    for _ in range(3):
        next(batches)
    assert next(batches, None) is None
    assert len(threads) == 2 * 3
    assert threading.main_thread().name not in threads


def test_resident_pixels_are_gathered_by_the_caller(monkeypatch):
    threads = watch_gathers(monkeypatch)
    plans = make_plans()
    for plan in plans.values():
        plan.array.residence = "device"
    list(labelled_batches(plans, seeded(), 3))
    assert set(threads) == {threading.main_thread().name}


def background_threads(before: set) -> list:
    return [thread for thread in threading.enumerate() if thread not in before]


@pytest.mark.parametrize("ending", ["exhausted", "closed", "forgotten", "failed"])
def test_the_background_thread_ends_with_the_iterator(ending, monkeypatch):
    before = set(threading.enumerate())
    batches = labelled_batches(make_plans(), seeded(), 3)
    next(batches)
    assert background_threads(before)
    if ending == "exhausted":
        list(batches)
    elif ending == "closed":
        batches.close()
    elif ending == "forgotten":
        del batches
    else:
        monkeypatch.setattr(module, "augment", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            next(batches)
    assert not background_threads(before)


def test_failure_in_the_background_reaches_the_caller(monkeypatch):
    def broken(self, rows):
        raise OSError("the disk is gone")

    monkeypatch.setattr(module.ImageArray, "gather", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        list(labelled_batches(make_plans(), seeded(), 2))


def test_streams_by_name_and_moving():
    batch = next(labelled_batches(make_plans(), seeded(), 1)).to(torch.device("cpu"))
    assert batch.visible is batch.streams["visible"]
    assert not hasattr(batch, "joint_visible")
    with pytest.raises(AttributeError, match="only visible, infrared"):
        _ = batch.joint_visible
    moved = batch.to(torch.device("meta"))
    assert moved.infrared.images.device.type == "meta"
    assert moved.infrared.labels is batch.infrared.labels  # can be asked without waiting
    assert moved.infrared.rows is batch.infrared.rows


def test_labels_of_another_length_are_refused():
    with pytest.raises(ValueError, match="3 labels for 24 images"):
        StreamPlan(make_array(24, 1), np.zeros(3, np.int64), (PLAIN,), 8, 4)


@pytest.mark.gpu
@pytest.mark.parametrize("budget", [None, 0])
def test_batches_on_the_device_are_those_of_the_cpu(budget):
    here, there = make_plans(views=(PLAIN,)), make_plans(views=(PLAIN,))
    for plan in there.values():
        plan.array.place(torch.device("cuda"), budget)
    pairs = zip(
        labelled_batches(here, seeded(8), 4), labelled_batches(there, seeded(8), 4), strict=True
    )
    for one, other in pairs:
        assert torch.equal(one.visible.rows, other.visible.rows)
        torch.testing.assert_close(other.visible.images.cpu(), one.visible.images)
