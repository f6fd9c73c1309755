"""Prepared arrays: exact pixels, whole or not at all, and one source for every residence."""

import errno
import json
import shutil
import zlib
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch
from PIL import Image

from clustercontrast.data import images, sysu, verification, verify, writing
from clustercontrast.files import UserError

HEIGHT, WIDTH = 24, 12
WHOLE = {"complete": True, "leak": False}


def prepare(root, folder, **changes):
    arguments = {
        "dataset": "sysu",
        "listing": sysu.read(root),
        "resampling": sysu.RESAMPLING,
        "size": (HEIGHT, WIDTH),
        "workers": 2,
        "facts": verify.facts(root, sysu) | WHOLE,
        "progress": False,
    }
    writing.prepare(root, folder, **(arguments | changes))


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
    assert prepared.provenance.is_official
    assert prepared.facts == {"rendered": False, "counts": sysu.COUNTS} | WHOLE
    for name, expected in lists.items():
        found = prepared[name].index
        assert (found.modality, found.paths) == (expected.modality, expected.paths)
        np.testing.assert_array_equal(found.identities, expected.identities)
        np.testing.assert_array_equal(found.cameras, expected.cameras)
        assert len(prepared[name]) == len(expected)


def test_rendered_data_stay_marked(sysu_root, folder):
    known = {"rendered": True, "counts": dict(sysu.COUNTS), "seed": 1, "note": "drawn"} | WHOLE
    prepare(sysu_root, folder, facts=known)
    prepared = images.open_prepared(folder, "sysu")
    assert prepared.provenance.rendered
    assert not prepared.provenance.is_official
    assert prepared.facts == known


def test_checksums_are_those_of_the_images(folder):
    index = json.loads((folder / "index.json").read_text())
    for name, entry in index["lists"].items():
        pixels = np.load(folder / f"{name}.npy")
        assert entry["checksums"] == [zlib.crc32(image.tobytes()) for image in pixels]


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
    monkeypatch.setattr(writing.shutil, "rmtree", lambda *_, **__: None)
    with pytest.raises(KeyboardInterrupt):
        prepare(sysu_root, tmp_path / "prepared")
    assert (tmp_path / "prepared.partial" / "test_visible.npy").exists()
    with pytest.raises(UserError, match="no prepared images"):
        images.open_prepared(tmp_path / "prepared", "sysu")

    monkeypatch.undo()
    (tmp_path / "prepared.partial" / "index.json.tmp").touch()
    prepare(sysu_root, tmp_path / "prepared")
    assert not (tmp_path / "prepared.partial").exists()
    assert len(images.open_prepared(tmp_path / "prepared", "sysu")) == 4


def test_preparing_again_replaces(sysu_root, folder, tmp_path):
    prepare(sysu_root, folder, size=(10, WIDTH))
    assert images.open_prepared(folder, "sysu")["test_infrared"].pixels.shape[1:] == (10, WIDTH, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepared", "sysu"]


def foreign_index(folder):
    """A web project, say."""
    (folder / "index.json").write_text('{"pages": []}')


def foreign_file(folder):
    (folder / "thesis.tex").write_text("unfinished")


def foreign_text_of_that_name(folder):
    (folder / "test_visible.npy").write_text("diary")


def foreign_array(folder):
    np.save(folder / "embedding.npy", np.zeros(3))


@pytest.mark.parametrize(
    "put", [foreign_index, foreign_file, foreign_array, foreign_text_of_that_name]
)
@pytest.mark.parametrize("place", ["new", "prepared", "prepared.partial", "prepared.earlier"])
def test_a_folder_with_foreign_files_is_never_removed(sysu_root, folder, tmp_path, put, place):
    """Not even one of the names that only this module gives."""
    place = tmp_path / place
    place.mkdir(exist_ok=True)
    put(place)
    before = {path: path.read_bytes() for path in place.iterdir()}
    if place == folder and put in (foreign_index, foreign_text_of_that_name):
        assert len(before) == 6  # one file of our own is damaged, the others say whose folder it is
        return
    with pytest.raises(UserError, match=r"not a folder of prepared images, it holds \w+\."):
        prepare(sysu_root, tmp_path / "new" if place.name == "new" else folder)
    assert {path: path.read_bytes() for path in place.iterdir()} == before


@pytest.mark.parametrize("inside", [".", "cache", "exp/cache"])
def test_a_dataset_is_never_written_to(sysu_root, inside):
    before = sorted(sysu_root.rglob("*"))
    with pytest.raises(UserError, match="inside the dataset"):
        prepare(sysu_root, sysu_root / inside)
    assert sorted(sysu_root.rglob("*")) == before


def test_a_link_to_a_folder_on_another_disk_stays(sysu_root, folder, tmp_path):
    disk = folder.rename(tmp_path / "disk")
    folder.symlink_to(disk)
    for height in (HEIGHT + 1, HEIGHT):
        prepare(sysu_root, folder, size=(height, WIDTH))
        assert folder.is_symlink()
        assert images.open_prepared(disk, "sysu").height == height
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "prepared", "sysu"]


def zeros(folder):
    """As an experiment may leave it, the shape being right."""
    path = folder / "test_visible.npy"
    np.save(path, np.zeros_like(np.load(path)))


def one_bit(folder):
    with (folder / "train_infrared.npy").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))


def rows_exchanged(folder):
    path = folder / "test_infrared.npy"
    pixels = np.load(path)
    np.save(path, pixels[::-1])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (zeros, r"test_visible\.npy: 8 of 8 images"),
        (one_bit, r"train_infrared\.npy: 1 of \d images"),
        (rows_exchanged, r"test_infrared\.npy: 6 of 6 images"),
    ],
)
def test_arrays_that_were_changed_are_noticed(folder, spoil, said):
    images.open_prepared(folder, "sysu")
    spoil(folder)
    for _ in range(2):  # what has not agreed leaves no stamp
        with pytest.raises(UserError, match=said):
            images.open_prepared(folder, "sysu")


def test_a_second_opening_reads_no_array(sysu_root, folder, tmp_path, monkeypatch):
    """Not even in a moved folder; in a copied one the checksums are compared once."""
    copied = shutil.copytree(folder, tmp_path / "copied")
    folder.rename(tmp_path / "moved")
    read = []
    monkeypatch.setattr(verification.zlib, "crc32", lambda image: read.append(1) or crc32(image))
    images.open_prepared(tmp_path / "moved", "sysu")
    assert not read
    images.open_prepared(copied, "sysu")
    assert len(read) == sum(map(len, sysu.read(sysu_root).lists.values()))
    images.open_prepared(copied, "sysu")
    assert len(read) == sum(map(len, sysu.read(sysu_root).lists.values()))


def test_the_digest_is_that_of_the_content(sysu_root, folder, tmp_path):
    def digest(place):
        return images.open_prepared(place, "sysu").provenance.digest

    prepare(sysu_root, tmp_path / "again", workers=1)
    assert digest(tmp_path / "again") == digest(folder)
    prepare(sysu_root, tmp_path / "larger", size=(HEIGHT + 1, WIDTH))
    assert digest(tmp_path / "larger") != digest(folder)


def other_identity(index):
    index["lists"]["test_visible"]["identities"][0] += 1


def other_camera(index):
    index["lists"]["test_infrared"]["cameras"][0] += 1


def not_rendered(index):
    index["facts"]["rendered"] = not index["facts"]["rendered"]


def other_path(index):
    index["lists"]["train_visible"]["paths"][0] = "cam1/0001/0009.jpg"


@pytest.mark.parametrize("change", [other_identity, other_camera, other_path, not_rendered])
def test_an_index_that_was_changed_is_noticed(folder, change):
    change_index(folder, change)
    with pytest.raises(UserError, match=r"index\.json was changed .*run python prepare_sysu"):
        images.open_prepared(folder, "sysu")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "format version None"),
        ("[]", "it is .*expected dict"),
        ('{"version": 3}', "dataset is missing"),
        ("", "damaged"),
        ("\xff\xfe", "damaged"),
    ],
)
def test_a_damaged_index_is_one_line(folder, content, said):
    (folder / "index.json").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=rf"{said}.*run python prepare_sysu\.py again"):
        images.open_prepared(folder, "sysu")


@pytest.mark.parametrize("key", ["source", "digest", "facts", "lists", "trials", "height"])
def test_an_index_without_a_key_is_one_line(folder, key):
    change_index(folder, lambda index: index.pop(key))
    with pytest.raises(UserError, match=f"{key} is missing"):
        images.open_prepared(folder, "sysu")


def test_full_disk_is_said_and_cleaned_up(sysu_root, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing.os, "fsync", full)
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
    if residence == "pinned":  # a copy that is there stays
        assert array.place(device, 0) == "pinned"
    assert array.place(device, 0, pins=False) == "map"
    assert array.place(device, 0) == "map"


@pytest.mark.gpu
def test_residence_on_the_device(folder):
    array = images.open_prepared(folder, "sysu")["test_visible"]
    assert array.place(torch.device("cuda")) == "device"
    rows = torch.tensor([3, 3, 1])
    np.testing.assert_array_equal(array.gather(rows).cpu(), array.pixels[[3, 3, 1]])
    np.testing.assert_array_equal(torch.cat(list(array.chunks(3))).cpu(), array.pixels)
