"""Files of labels, of the target's images and of the source's: one validation for both."""

import numpy as np
import pytest

from clustercontrast.data import pseudo_labels
from clustercontrast.data.samples import ImageList
from clustercontrast.data.source_labels import import_labels, load_labels
from clustercontrast.files import UserError


def images(modality, *names):
    ones = np.ones(len(names), np.int64)
    return ImageList(modality, names, ones, ones)


VISIBLE = images("visible", "v/a.jpg", "v/b.jpg", "v/c.jpg", "v/d.jpg")
INFRARED = images("infrared", "x", "y")
NAMES, LABELS = np.array(VISIBLE.paths), np.array([3, 3, -1, 8])


def read_target(path):
    return pseudo_labels.load(path, (VISIBLE, INFRARED))[0][0]


def save_target(path, names, labels):
    other = {"infrared_paths": np.array(INFRARED.paths), "infrared_labels": np.array([0, 1])}
    np.savez(path, visible_paths=names, visible_labels=labels, **other)


def save_source(path, names, labels):
    np.savez(path, relpath=names, label=labels)


READERS = {
    "pseudo labels": (read_target, save_target),
    "labels of stage 0": (lambda path: load_labels(path, VISIBLE), save_source),
    "source labels": (lambda path: import_labels(path, VISIBLE), save_source),
}


@pytest.fixture(params=READERS.values(), ids=READERS)
def reader(request, tmp_path):
    """Content, names and labels, written to a file and read again."""
    read, save = request.param

    def through(names=NAMES, labels=LABELS, path=tmp_path / "labels.npz"):
        save(path, names, labels)
        return read(path)

    return through


def test_gaps_are_renumbered_in_order(reader):
    assert reader(labels=np.array([70, 8, 70, 8])).tolist() == [1, 0, 1, 0]
    huge = np.array([2**62, 5, 2**62, 5])
    assert reader(labels=huge).tolist() == [1, 0, 1, 0]
    assert reader(labels=huge.astype(np.uint64)).tolist() == [1, 0, 1, 0]


def test_integers_of_every_kind_are_labels(reader):
    for kind in (np.int8, np.int16, np.int32, np.int64):
        assert reader(labels=np.array([4, 4, -1, -1], kind)).tolist() == [0, 0, -1, -1]


def test_paths_of_windows_are_paths(reader):
    names = np.array([name.replace("/", "\\") for name in VISIBLE.paths])
    assert reader(names, np.array([1, 0, 1, 0])).tolist() == [1, 0, 1, 0]


def objects(*values):
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


@pytest.mark.parametrize(
    ("names", "labels", "message"),
    [
        (NAMES, np.array([0, 1, 0, 1.0]), "labels that are float64"),
        (NAMES, np.array([0, 1, 0, np.nan]), "labels that are float64"),
        (NAMES, np.array(["0", "1", "0", "1"]), "labels that are <U1"),
        (NAMES, np.array([True, False, True, False]), "labels that are bool"),
        (NAMES, objects(0, 1, 0, 2**70), "cannot read the labels"),
        (NAMES, np.array([0, 1, 0, -7]), "it has the label -7"),
        (NAMES, np.array([0, 1, 0, 2**64 - 1], np.uint64), f"it has the label {2**64 - 1}"),
        (NAMES, np.array([0, 1, 0]), r"it has 4 paths, and labels .* of shape \(3,\)"),
        (NAMES, np.array([[0, 1], [0, 1]]), r"of shape \(2, 2\)"),
        (NAMES, np.array(3), r"of shape \(\)"),
        (NAMES.reshape(2, 2), np.array([[0, 1], [0, 1]]), r"its paths are .* of shape \(2, 2\)"),
        (NAMES.astype(bytes), LABELS, r"its paths are \|S7"),
        (np.arange(4), LABELS, "its paths are int64"),
        (objects(*VISIBLE.paths), LABELS, "cannot read the labels"),
        (NAMES[[0, 1, 1, 1]], LABELS, "names 2 images more than once"),
        (np.array(["v/a.jpg", "v\\a.jpg", "x", "y"]), LABELS, "names 1 images more than once"),
    ],
)
def test_other_content_is_one_line(reader, names, labels, message):
    with pytest.raises(UserError, match=message) as error:
        reader(names, labels)
    assert "labels.npz" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("reading", [read for read, _ in READERS.values()], ids=READERS)
def test_other_files_are_one_line(reading, tmp_path):
    path = tmp_path / "labels.npz"

    def refused(message="cannot read the labels"):
        with pytest.raises(UserError, match=message) as error:
            reading(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)

    path.mkdir()
    refused()
    path.rmdir()
    for content in (b"", b"no archive", b"PK\x03\x04"):
        path.write_bytes(content)
        refused()
    with path.open("wb") as file:
        np.save(file, LABELS)
    refused("one array without a name")
    np.savez(path, other=LABELS)
    refused(r"\(no ")
    save_target(path, np.resize(NAMES, 1000), np.zeros(1000, np.int64))
    path.write_bytes(path.read_bytes()[:2000])
    refused()


def test_one_modality_alone_is_named(tmp_path):
    path = tmp_path / "labels.npz"
    np.savez(path, visible_paths=NAMES, visible_labels=LABELS)
    with pytest.raises(UserError, match=r"\(no infrared_paths\)"):
        read_target(path)


# --- tables ---

TABLE = "relpath,label\nv/a.jpg,5\nv/b.jpg,5\nv/c.jpg,-1\n"


@pytest.mark.parametrize(
    "content",
    [
        TABLE.encode(),
        TABLE.replace("\n", "\r\n").encode("utf-8-sig"),
        TABLE.replace("/", "\\").replace("\n", "\r\n").encode(),
        (TABLE + "\r\n\r\n").encode(),
        b"label,relpath,note\n5,v/a.jpg,x\n 5 ,v/b.jpg,y\n",
    ],
)
def test_tables_as_programs_write_them(tmp_path, content):
    path = tmp_path / "labels.CSV"
    path.write_bytes(content)
    assert import_labels(path, VISIBLE).tolist() == [0, 0, -1, -1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "relpath,label"),
        (TABLE.replace(",", ";").encode(), "relpath,label"),
        (TABLE.encode("utf-16"), "relpath,label"),
        (TABLE.replace("5", "5.0").encode(), "whole numbers"),
        (TABLE.replace("5", "nan").encode(), "whole numbers"),
        (TABLE.replace("5", "1" + "0" * 30).encode(), "whole numbers"),
        (TABLE.replace("-1", "-7").encode(), "it has the label -7"),
        (TABLE.replace("v/b", "v/a").encode(), "names 1 images more than once"),
        (b"relpath,label\n", "has none of the 4 source images"),
    ],
)
def test_other_tables_are_one_line(tmp_path, content, message):
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        import_labels(path, VISIBLE)
    assert "\n" not in str(error.value)
