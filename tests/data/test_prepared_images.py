"""Prepared arrays: exact pixels, whole or not at all, and one source for every residence."""

import errno
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clustercontrast.data import images, sysu, verify
from clustercontrast.files import UserError

HEIGHT, WIDTH = 24, 12


def prepare(root, folder, **changes):
    arguments = {
        "dataset": "sysu",
        "listing": sysu.read(root),
        "resampling": sysu.RESAMPLING,
        "size": (HEIGHT, WIDTH),
        "workers": 2,
        "facts": verify.facts(root, sysu),
        "progress": False,
    }
    images.prepare(root, folder, **(arguments | changes))


@pytest.fixture
def folder(sysu_root, tmp_path):
    prepare(sysu_root, tmp_path / "prepared")
    return tmp_path / "prepared"


def test_resized_exactly_as_pillow_does(sysu_root, folder):
    prepared = images.open_prepared(folder, "sysu")
    filters = {
        "train_visible": Image.Resampling.BICUBIC,
        "train_infrared": Image.Resampling.BICUBIC,
        "test_infrared": Image.Resampling.LANCZOS,
        "test_visible": Image.Resampling.LANCZOS,
    }
    for name, resample in filters.items():
        array = prepared[name]
        for row, path in enumerate(array.index.paths):
            expected = Image.open(sysu_root / path).convert("RGB").resize((WIDTH, HEIGHT), resample)
            np.testing.assert_array_equal(array.pixels[row], np.asarray(expected))


def test_gray_files_become_three_equal_channels(sysu_root, folder):
    path = sysu_root / "cam3" / "0001" / "0001.jpg"
    Image.open(path).convert("L").save(path)
    prepare(sysu_root, folder)
    pixels = images.open_prepared(folder, "sysu")["train_infrared"].pixels[0]
    assert pixels.std() > 0
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])


def test_lists_and_facts_survive(sysu_root, folder):
    prepared, lists = images.open_prepared(folder, "sysu"), sysu.read(sysu_root).lists
    assert list(prepared) == list(lists)
    assert len(prepared) == 4
    assert (prepared.height, prepared.width, prepared.folder) == (HEIGHT, WIDTH, folder)
    assert prepared.rendered is False
    assert prepared.facts == {"rendered": False, "counts": sysu.COUNTS}
    for name, expected in lists.items():
        found = prepared[name].index
        assert (found.modality, found.paths) == (expected.modality, expected.paths)
        np.testing.assert_array_equal(found.identities, expected.identities)
        np.testing.assert_array_equal(found.cameras, expected.cameras)
        assert len(prepared[name]) == len(expected)


def test_rendered_data_stay_marked(sysu_root, folder):
    known = {"rendered": True, "counts": dict(sysu.COUNTS), "seed": 1, "note": "drawn"}
    prepare(sysu_root, folder, facts=known)
    prepared = images.open_prepared(folder, "sysu")
    assert prepared.rendered is True
    assert prepared.facts == known


def test_checksum_is_that_of_the_file(folder):
    index = json.loads((folder / "index.json").read_text())
    for name, entry in index["lists"].items():
        assert int(entry["crc32"], 16) == zlib.crc32((folder / f"{name}.npy").read_bytes())


def test_number_of_workers_changes_nothing(sysu_root, folder, tmp_path):
    prepare(sysu_root, tmp_path / "other", workers=1)
    for name in sysu.RESAMPLING:
        assert (folder / f"{name}.npy").read_bytes() == (
            tmp_path / "other" / f"{name}.npy"
        ).read_bytes()


def damage(path, how):
    content = path.read_bytes()
    path.write_bytes({"truncated": content[: len(content) // 2], "text": b"no", "empty": b""}[how])


@pytest.mark.parametrize("how", ["truncated", "text", "empty"])
def test_unreadable_image_is_named_and_nothing_is_left(sysu_root, tmp_path, how):
    damage(sysu_root / "cam6" / "0003" / "0002.jpg", how)
    with pytest.raises(UserError, match=r"cam6/0003/0002\.jpg"):
        prepare(sysu_root, tmp_path / "prepared")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sysu"]


@pytest.mark.parametrize("value", [0, 255, 90])
def test_a_list_of_constant_images_alone_is_refused(sysu_root, folder, value):
    before = (folder / "test_infrared.npy").read_bytes()
    infrared = sysu.read(sysu_root).lists["test_infrared"]
    for path in infrared.paths[1:]:
        Image.new("L", (20, 37), value).save(sysu_root / path)
    prepare(sysu_root, folder)  # one image shows something
    Image.new("L", (20, 37), 7).save(sysu_root / infrared.paths[0])
    written = (folder / "test_infrared.npy").read_bytes()
    assert written != before
    with pytest.raises(
        UserError, match=r"all 6 images like .*cam3/0007/0001\.jpg have a single va"
    ):
        prepare(sysu_root, folder)
    assert (folder / "test_infrared.npy").read_bytes() == written


def test_failure_leaves_the_earlier_folder_alone(sysu_root, folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    damage(sysu_root / "cam6" / "0020" / "0001.jpg", "truncated")
    with pytest.raises(UserError):
        prepare(sysu_root, folder, size=(HEIGHT + 1, WIDTH))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_killed_preparation_never_looks_whole(sysu_root, tmp_path, monkeypatch):
    # A kill runs no clean-up: leave everything as it is just before the final rename.
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", killed)
    monkeypatch.setattr(images.shutil, "rmtree", lambda *_, **__: None)
    with pytest.raises(KeyboardInterrupt):
        prepare(sysu_root, tmp_path / "prepared")
    assert (tmp_path / "prepared.partial" / "test_visible.npy").exists()
    with pytest.raises(UserError, match="no prepared images"):
        images.open_prepared(tmp_path / "prepared", "sysu")

    monkeypatch.undo()
    (tmp_path / "prepared.partial" / "leftover").touch()
    prepare(sysu_root, tmp_path / "prepared")
    assert not (tmp_path / "prepared.partial").exists()
    assert not (tmp_path / "prepared" / "leftover").exists()
    assert len(images.open_prepared(tmp_path / "prepared", "sysu")) == 4


def test_preparing_again_replaces(sysu_root, folder, tmp_path):
    prepare(sysu_root, folder, size=(10, WIDTH))
    assert images.open_prepared(folder, "sysu")["test_infrared"].pixels.shape[1:] == (10, WIDTH, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepared", "sysu"]


def test_a_folder_of_something_else_is_never_replaced(sysu_root):
    with pytest.raises(UserError, match="not a prepared folder"):
        prepare(sysu_root, sysu_root)
    assert (sysu_root / "exp" / "val_id.txt").exists()


def test_full_disk_is_said_and_cleaned_up(sysu_root, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(images.os, "fsync", full)
    with pytest.raises(UserError, match="no space left"):
        prepare(sysu_root, tmp_path / "prepared")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sysu"]


def test_missing_folder_asks_for_preparation(tmp_path):
    with pytest.raises(UserError, match=r"run python prepare_sysu\.py first"):
        images.open_prepared(tmp_path / "nowhere", "sysu")


def change_index(folder, change):
    index = json.loads((folder / "index.json").read_text())
    change(index)
    (folder / "index.json").write_text(json.dumps(index))


def other_version(folder):
    change_index(folder, lambda index: index.update(version=images.VERSION + 1))


def other_height(folder):
    change_index(folder, lambda index: index.update(height=HEIGHT + 1))


def array_cut_short(folder):
    damage(folder / "test_infrared.npy", "truncated")


def array_gone(folder):
    (folder / "test_infrared.npy").unlink()


def array_of_floats(folder):
    np.save(folder / "test_infrared.npy", np.zeros((6, HEIGHT, WIDTH, 3), np.float32))


@pytest.mark.parametrize(
    "spoil", [other_version, other_height, array_cut_short, array_gone, array_of_floats]
)
def test_contradictions_ask_to_prepare_again(folder, spoil):
    spoil(folder)
    with pytest.raises(UserError, match=r"run python prepare_sysu\.py again"):
        images.open_prepared(folder, "sysu")


@pytest.fixture(params=["map", pytest.param("cuda", marks=pytest.mark.gpu)])
def placed(request, folder):
    """The gallery in every residence this machine offers."""
    array = images.open_prepared(folder, "sysu")["test_visible"]
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        assert array.place(torch.device("cuda"), budget_bytes=0) == "pinned"
        return array
    assert array.place(torch.device("cpu")) == "map"
    return array


def test_gather_gives_the_asked_pixels(placed):
    rows = torch.tensor([5, 0, 5, 7])
    batch = placed.gather(rows)
    assert batch.dtype == torch.uint8
    assert batch.device.type == placed.device.type
    np.testing.assert_array_equal(batch.cpu(), placed.pixels[[5, 0, 5, 7]])


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_chunks_are_all_images_in_order(placed, size):
    parts = list(placed.chunks(size))
    assert all(len(part) == size for part in parts[:-1])
    np.testing.assert_array_equal(torch.cat(parts).cpu(), placed.pixels)


def test_chunks_of_some_rows(placed):
    rows = torch.tensor([7, 2, 2, 0, 6])
    parts = list(placed.chunks(2, rows))
    assert [len(part) for part in parts] == [2, 2, 1]
    np.testing.assert_array_equal(torch.cat(parts).cpu(), placed.pixels[rows.numpy()])


def test_on_the_cpu_the_map_is_read_without_a_copy(folder):
    array = images.open_prepared(folder, "sysu")["test_visible"]
    assert isinstance(array.pixels, np.memmap)
    assert next(array.chunks(4)).data_ptr() == array.pixels.ctypes.data


def test_changing_delivered_pixels_spares_the_disk(folder):
    before = (folder / "test_visible.npy").read_bytes()
    for part in images.open_prepared(folder, "sysu")["test_visible"].chunks(4):
        part.zero_()
    assert (folder / "test_visible.npy").read_bytes() == before


@pytest.mark.parametrize(
    ("budget", "free", "residence"),
    [(None, 4.5, "device"), (None, 3.5, "pinned"), (1, None, "device"), (0.9, None, "pinned")],
)
def test_residence_follows_the_budget(folder, monkeypatch, budget, free, residence):
    # In units of the array's size; by default a quarter of the free device memory may be taken.
    array = images.open_prepared(folder, "sysu")["test_visible"]
    size = array.pixels.nbytes
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free * size, None))
    monkeypatch.setattr(images.os, "sysconf", lambda _: size)
    for name in ("to", "pin_memory"):  # there may be no device
        monkeypatch.setattr(torch.Tensor, name, lambda pixels, *_: pixels)
    device = torch.device("cuda")
    assert array.place(device, None if budget is None else budget * size) == residence
    monkeypatch.setattr(images.os, "sysconf", lambda _: 1)
    assert array.place(device, 0) == "map"


@pytest.mark.gpu
def test_residence_on_the_device(folder):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    array = images.open_prepared(folder, "sysu")["test_visible"]
    assert array.place(torch.device("cuda")) == "device"
    rows = torch.tensor([3, 3, 1])
    np.testing.assert_array_equal(array.gather(rows).cpu(), array.pixels[[3, 3, 1]])
    np.testing.assert_array_equal(torch.cat(list(array.chunks(3))).cpu(), array.pixels)
