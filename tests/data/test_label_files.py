"""Files of labels, of the target's images and of the source's: one validation for both."""

import zipfile

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
        assert reader(labels=np.array([4, 4, -1, 9], kind)).tolist()[:3] == [0, 0, -1]


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


def in_zip_headers(places, change):
    """A byte changed in the header of every member: by mark of the header, its place."""

    def spoil(path):
        content = bytearray(path.read_bytes())
        for mark, place in places.items():
            start = content.find(mark)
            while start >= 0:
                content[start + place] = change(content[start + place])
                start = content.find(mark, start + 4)
        path.write_bytes(content)

    return spoil


encrypt = in_zip_headers({b"PK\x03\x04": 6, b"PK\x01\x02": 8}, lambda flags: flags | 1)
pack_unknown = in_zip_headers({b"PK\x03\x04": 8, b"PK\x01\x02": 10}, lambda method: 97)


def with_header(old, new):
    """Every array's header changed; the archive's checksums fit."""

    def spoil(path):
        with zipfile.ZipFile(path) as file:
            members = {name: file.read(name) for name in file.namelist()}
        with zipfile.ZipFile(path, "w") as file:
            for name, data in members.items():
                assert old in data
                file.writestr(name, data.replace(old, new))

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        encrypt,
        pack_unknown,
        with_header(b"(4,), }            ", b"(9000000000000,), }"),
        with_header(b"(4,), }", b"(4,   }"),
        with_header(b"{'descr'", b"{'descX'"),
    ],
    ids=["encrypted", "packed", "huge", "cut", "foreign"],
)
@pytest.mark.parametrize("read", [READERS["source labels"][0], READERS["labels of stage 0"][0]])
def test_archives_that_cannot_be_unpacked_are_one_line(tmp_path, read, spoil):
    path = tmp_path / "labels.npz"
    save_source(path, NAMES, LABELS)
    spoil(path)
    with pytest.raises(
        UserError, match=r"cannot read the labels .*labels\.npz \(.+\): it"
    ) as error:
        read(path)
    assert "\n" not in str(error.value)


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
        TABLE.encode("utf-16"),
        TABLE.replace(",", ";").encode(),
        TABLE.replace(",", " \t ").replace("v/", " v/").encode(),
    ],
)
def test_tables_as_programs_write_them(tmp_path, content):
    path = tmp_path / "labels.CSV"
    path.write_bytes(content)
    assert import_labels(path, VISIBLE).tolist() == [0, 0, -1, -1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "columns relpath and label"),
        (TABLE.encode("utf-16-le"), "NUL bytes"),
        (b"relpath,label,label\nv/a.jpg,5,6\n", "line 1 is 'relpath,label,label', expected"),
        (b"relpath,class\nv/a.jpg,5\n", "line 1 is 'relpath,class', expected"),
        (TABLE.replace("-1", "-1,2").encode(), "line 4 has 3 fields, expected 2"),
        (TABLE.replace(",-1", "").encode(), "line 4 has 1 fields, expected 2"),
        (TABLE.replace("5", "1_0").encode(), "line 2 has the label '1_0'"),
        (TABLE.replace("5", "5.0").encode(), "line 2 has the label '5.0'"),
        (TABLE.replace("5", "nan").encode(), "line 2 has the label 'nan'"),
        (TABLE.replace("5", "1" + "0" * 30).encode(), "expected an integer"),
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


# --- what a file does not know ---


def test_how_many_images_are_known_is_said_if_not_all_are(tmp_path):
    path, said = tmp_path / "labels.npz", []
    save_source(path, NAMES[:3], LABELS[:3])
    assert import_labels(path, VISIBLE, said.append).tolist() == [0, 0, -1, -1]
    assert said == [f"{path} knows 3 of 4 source images: the others are outliers"]
    save_target(path, NAMES[[0, 3]], LABELS[[0, 3]])
    pseudo_labels.load(path, (VISIBLE, INFRARED), said.append)
    assert said[1:] == [
        f"{path} knows 2 of 4 visible and 2 of 2 infrared images: the others are outliers"
    ]
    save_target(path, NAMES, LABELS)
    pseudo_labels.load(path, (VISIBLE, INFRARED), said.append)
    assert len(said) == 2


@pytest.mark.parametrize(
    ("names", "labels", "message"),
    [
        (NAMES, [-1, -1, -1, -1], "has 0 cluster.s. among the 4 of 4 visible images"),
        (NAMES, [7, 7, -1, 7], "has 1 cluster.s. among the 4 of 4 visible images"),
        (NAMES[:2], [0, 0], "has 1 cluster.s. among the 2 of 4 visible images"),
    ],
)
def test_fewer_than_two_clusters_are_refused(tmp_path, names, labels, message):
    path = tmp_path / "labels.npz"
    save_target(path, names, np.array(labels))
    with pytest.raises(UserError, match=message) as error:
        read_target(path)
    assert "--eps" not in str(error.value)
