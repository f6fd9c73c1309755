"""Prepared images on demand: opened when they are whole, written anew when they are others'."""

import functools
import shutil
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from clustercontrast.data import preparation
from clustercontrast.data.images import command_of
from clustercontrast.data.preparation import ensure
from clustercontrast.data.samples import ImageList, Listing
from clustercontrast.files import UserError

SIZE = (12, 6)
READS = []


def read(root, every=1):
    """The images of a flat folder, one in ``every``; notes that it has been asked."""
    READS.append(every)
    if not root.is_dir():
        raise UserError(f"no folder {root}")
    paths = tuple(sorted(path.name for path in root.glob("*.png")))[::every]
    unknown = np.full(len(paths), -1)
    return Listing({"source": ImageList("visible", paths, unknown, unknown)})


READER = types.SimpleNamespace(
    TITLE="Flat",
    COUNTS={"source": 4},
    NAMES={"source": "source images"},
    RESAMPLING={"source": "bicubic"},
    TURNED=False,
    read=read,
    count=lambda listing: {"source": len(listing.lists["source"])},
)


@pytest.fixture(autouse=True)
def _reader(monkeypatch):
    monkeypatch.setitem(preparation.SOURCES, "flat", READER)
    READS.clear()


def draw(root, number, seed=0):
    root.mkdir()
    for row in range(number):
        pixels = np.random.default_rng([seed, row]).integers(0, 256, (20, 10, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"{row}.png")
    return root


@pytest.fixture
def root(tmp_path):
    return draw(tmp_path / "flat", 4)


@pytest.fixture
def prepared(root, tmp_path, capsys):
    """The folder of prepared images, and their pixels."""
    array = ensure("flat", root, tmp_path / "prepared", SIZE, workers=1)["source"]
    READS.clear()
    capsys.readouterr()
    return tmp_path / "prepared", array.pixels.copy()


def test_missing_images_are_prepared_and_one_line_says_so(root, tmp_path, capsys):
    array = ensure("flat", root, tmp_path / "prepared", SIZE, workers=1)["source"]
    assert array.pixels.shape == (4, *SIZE, 3)
    with Image.open(root / "2.png") as image:
        expected = np.asarray(image.resize((6, 12), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(array.pixels[2], expected)
    (line,) = capsys.readouterr().out.splitlines()
    assert "preparing 4 images" in line
    assert "12x6" in line


@pytest.mark.parametrize("gone", [False, True])
def test_whole_images_are_opened_without_a_look_at_the_dataset(root, prepared, gone, capsys):
    folder, pixels = prepared
    if gone:
        shutil.rmtree(root)
    np.testing.assert_array_equal(ensure("flat", root, folder, SIZE)["source"].pixels, pixels)
    assert not READS
    assert not capsys.readouterr().out


def test_images_of_another_folder_are_replaced_on_request_alone(prepared, tmp_path, capsys):
    folder, pixels = prepared
    other = draw(tmp_path / "other", 5, seed=1)
    more = {"allow_incomplete": True, "workers": 1}
    with pytest.raises(UserError, match=r"holds images of flat from .*flat, not of .*other: give"):
        ensure("flat", other, folder, SIZE, **more)
    array = ensure("flat", other, folder, SIZE, overwrite=True, **more)["source"]
    assert len(array) == 5
    assert not np.array_equal(array.pixels[:4], pixels)
    assert "warning: found 5 source images, Flat has 4" in capsys.readouterr().out


def test_a_dataset_that_was_moved_keeps_its_images(root, prepared, tmp_path, capsys):
    folder, _ = prepared
    moved = root.rename(tmp_path / "moved")
    ensure("flat", moved, folder, SIZE)
    assert READS == [1]
    assert not capsys.readouterr().out


@pytest.mark.parametrize("size", [(14, 6), (12, 8)])
def test_images_of_another_size_are_replaced(root, prepared, size):
    folder, _ = prepared
    assert ensure("flat", root, folder, size, workers=1)["source"].pixels.shape == (4, *size, 3)


def test_damaged_images_are_replaced(root, prepared):
    folder, pixels = prepared
    (folder / "source.npy").write_bytes(b"no array")
    np.testing.assert_array_equal(ensure("flat", root, folder, SIZE)["source"].pixels, pixels)


def test_images_belong_to_the_way_they_were_read(root, prepared):
    folder, _ = prepared
    halved = functools.partial(read, every=2)

    def of(reading):
        return ensure("flat", root, folder, SIZE, reading, 1, allow_incomplete=True)["source"].index

    assert of(halved).paths == ("0.png", "2.png")
    READS.clear()
    assert of(functools.partial(read, every=2)).paths == ("0.png", "2.png")
    assert not READS
    assert len(of(None)) == 4


def test_overwriting_writes_anew(root, prepared, capsys):
    folder, _ = prepared
    Image.new("RGB", (10, 20), "white").save(root / "1.png")
    array = ensure("flat", root, folder, SIZE, workers=1, overwrite=True)["source"]
    assert (array.pixels[1] == 255).all()
    assert "preparing" in capsys.readouterr().out


def test_refusals_leave_the_earlier_images_alone(root, prepared, tmp_path):
    folder, pixels = prepared
    with pytest.raises(UserError, match="no folder"):
        ensure("flat", tmp_path / "nowhere", folder, (14, 6))
    (root / "3.png").unlink()
    with pytest.raises(UserError, match="found 3 source images, Flat has 4"):
        ensure("flat", root, folder, SIZE, overwrite=True)
    np.testing.assert_array_equal(ensure("flat", root, folder, SIZE)["source"].pixels, pixels)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("unfinished")
    with pytest.raises(UserError, match="not a folder of prepared images"):
        ensure("flat", root, tmp_path / "mine", SIZE, allow_incomplete=True)


def test_images_belong_to_the_range_of_their_intensities(root, tmp_path):
    values = np.arange(200, dtype=np.uint16).reshape(20, 10)
    for row in range(4):
        Image.fromarray(8000 + row * values).save(root / f"{row}.png")
    folder = tmp_path / "prepared"
    with pytest.raises(UserError, match=r"0\.png has more than 8 bits .* --intensity-range LOW"):
        ensure("flat", root, folder, SIZE, workers=1)
    found = [
        ensure("flat", root, folder, SIZE, workers=1, intensities=(7990, high))
        for high in (8100, 8200, 8200)
    ]
    assert [prepared.facts["intensities"] for prepared in found][::2] == [
        [7990, 8100],
        [7990, 8200],
    ]
    pixels = [prepared["source"].pixels[1].copy() for prepared in found[1:]]
    np.testing.assert_array_equal(*pixels)
    assert len(READS) == 3  # the third time nothing was prepared


@pytest.mark.parametrize("range_", [(5, 5), (9, 1), (0, float("nan")), (1,), (-1.7e308, 1.7e308)])
def test_what_is_no_range_is_refused_before_anything_is_read(root, tmp_path, range_):
    with pytest.raises(UserError, match=r"--intensity-range .*: give two numbers, the smaller"):
        ensure("flat", root, tmp_path / "prepared", SIZE, intensities=range_)
    assert not READS


def test_facts_say_whether_all_is_there(root, prepared, tmp_path):
    folder, _ = prepared
    facts = ensure("flat", root, folder, SIZE).facts
    assert (facts["complete"], facts["leak"]) == (True, False)
    (root / "3.png").unlink()
    facts = ensure("flat", root, tmp_path / "less", SIZE, allow_incomplete=True, workers=1).facts
    assert (facts["complete"], facts["leak"]) == (False, False)


def test_several_processes_prepare_once(root, tmp_path, capsys):
    """Shards of one generation ask at the same time."""
    asking = threading.Barrier(4)

    def ask(_):
        asking.wait()
        return ensure("flat", root, tmp_path / "prepared", SIZE, workers=1)["source"].pixels

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(ask, range(4))
    assert all(np.array_equal(first, pixels) for pixels in others)
    assert capsys.readouterr().out.count("preparing 4 images") == 1


def test_splits_that_are_not_read_are_not_missed(tmp_path, capsys):
    """Market-1501's training folder alone, wanting images of its own."""
    known = preparation.SOURCES["market"]
    for number in range(3):
        place = tmp_path / "market" / "bounding_box_train" / f"0001_c1s1_{number:06d}_00.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 8), (0, 0, 90 * number)).save(place)
    places = tmp_path / "market", tmp_path / "prepared", SIZE
    train = functools.partial(known.read, splits=("train",))
    with pytest.raises(UserError, match="found 3 training images, Market-1501 has 12,936: "):
        ensure("market", *places, train)
    array = ensure("market", *places, train, workers=1, allow_incomplete=True)["source"]
    assert len(array) == 3
    assert "gallery" not in capsys.readouterr().out
    assert ensure("market", *places, train)["source"].index.paths == array.index.paths


def test_commands_name_scripts_where_there_are_scripts():
    assert command_of("train", "regdb") == "python train_regdb.py"
    assert command_of("prepare", "llcm") == "python -m clustercontrast prepare --dataset llcm"
