"""Reading data sets by their table of images: order, labels, counts, and every mistake's line."""

from pathlib import Path

import pytest

from clustercontrast.data import llcm, manifest, sysu02, verify
from clustercontrast.data.samples import PARTS, number_of_people
from clustercontrast.files import UserError

HEADER = "relpath,split,modality,camera,identity"
LINES = (
    "night2/b.png,test,infrared,3,17",
    "night1/10.jpg,train,visible,1,-1",
    "night1/9.jpg,train,visible,1,-1",
    "night1/é.jpg,train,infrared,2,-1",
    "night2/a.png,test,infrared,2,4",
    "night2/c.png,test,visible,1,17",
    "night2/B.png,test,visible,1,17",
)


def write(root: Path, *lines: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
    (root / "manifest.csv").write_text("\n".join([header, *lines, ""]), encoding=encoding)
    return root


@pytest.fixture
def root(tmp_path) -> Path:
    for line in LINES:
        path = tmp_path / line.split(",")[0]
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return write(tmp_path, *LINES)


def test_lists_are_ascending_by_path_as_text(root):
    listing = manifest.read(root, "source")
    lists = listing.lists
    assert tuple(lists) == PARTS
    assert not listing.trials
    assert lists["train_visible"].paths == ("night1/10.jpg", "night1/9.jpg")
    assert lists["train_visible"].identities.tolist() == [-1, -1]
    assert lists["train_infrared"].paths == ("night1/é.jpg",)
    assert lists["test_visible"].paths == ("night2/B.png", "night2/c.png")
    assert lists["test_infrared"].paths == ("night2/a.png", "night2/b.png")
    assert lists["test_infrared"].identities.tolist() == [4, 17]
    assert lists["test_infrared"].cameras.tolist() == [2, 3]
    assert [images.modality for images in lists.values()] == ["visible", "infrared"] * 2
    assert manifest.RESAMPLING.keys() == lists.keys()


def test_the_order_of_lines_and_a_byte_order_mark_do_not_matter(root):
    before = manifest.read(root, "source").lists
    write(root, *reversed(LINES), "", encoding="utf-8-sig")
    after = manifest.read(root, "source").lists
    assert all(before[part].paths == after[part].paths for part in PARTS)
    assert all((before[part].identities == after[part].identities).all() for part in PARTS)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_tables_as_windows_writes_them(root, delimiter, encoding):
    before = manifest.read(root, "source").lists
    lines = [line.replace("/", "\\").replace(".png", ".PNG") for line in (HEADER, *LINES)]
    text = "\r\n".join(line.replace(",", f" {delimiter}  ") + " " for line in lines)
    (root / "manifest.csv").write_bytes(f"{text}\r\n\r\n".encode(encoding))
    after = manifest.read(root, "source").lists
    for part in PARTS:
        assert after[part].paths == before[part].paths
        assert after[part].identities.tolist() == before[part].identities.tolist()


def test_a_path_that_differs_in_its_ending_alone_is_the_same_image(root):
    write(root, *LINES, "night2/c.PNG,test,visible,1,17")
    with pytest.raises(UserError, match=r"line 9 repeats night2/c\.png"):
        manifest.read(root, "source")


def test_tracks_belong_to_tables_of_ones_own(root):
    write(root, *(f"{line},w" for line in LINES), header=f"{HEADER},track")
    assert all(images.tracks is None for images in manifest.read(root, "source").lists.values())


def test_counts_by_hand(root):
    lists = manifest.read(root, "source").lists
    assert number_of_people(lists["train_visible"], lists["train_infrared"]) == 0
    assert number_of_people(lists["train_visible"], lists["test_visible"]) == 1
    assert sysu02.count(sysu02.read(root)) == {
        "test_identities": 2,
        "train_visible": 2,
        "train_infrared": 1,
        "test_visible": 2,
        "test_infrared": 2,
    }
    write(root, *(line.replace("-1", "5") for line in LINES))
    assert llcm.count(llcm.read(root)) == {
        "train_identities": 1,
        "test_identities": 2,
        "train_visible": 2,
        "train_infrared": 1,
        "test_visible": 2,
        "test_infrared": 2,
    }


@pytest.mark.parametrize("reader", [sysu02, llcm])
def test_readers_know_their_published_counts(root, reader):
    listing = reader.read(root)
    assert reader.count(listing).keys() == reader.COUNTS.keys() == reader.NAMES.keys()
    assert reader.RESAMPLING.keys() == listing.lists.keys()


def test_differing_counts_are_named(root):
    listing = sysu02.read(root)
    counts = sysu02.count(listing)
    assert verify.verify_counts(listing, sysu02, counts, allow_incomplete=False) == []
    assert verify.verify_counts(listing, sysu02, counts | {"test_identities": 9}, True) == [
        "found 2 test identities, rendered.json has 9"
    ]


def test_llcm_without_training_labels_is_refused(root):
    listing = llcm.read(root)
    with pytest.raises(UserError, match="found no training identities"):
        verify.verify_counts(listing, llcm, llcm.count(listing), allow_incomplete=True)


def test_missing_images_are_counted(root):
    (root / "night1" / "9.jpg").unlink()
    (root / "night2" / "a.png").unlink()
    with pytest.raises(UserError, match=r"lists night1/9\.jpg, which is missing \(2 of 7 images"):
        manifest.read(root, "source")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("night1/9.jpg,train,visible,1", "has 4 fields"),
        ("night1/9.jpg,train,visible,1,2,3", "has 6 fields"),
        ("night1/9.jpg,val,visible,1,2", "has the split 'val', expected train or test"),
        ("night1/9.jpg,train,thermal,1,2", "has the modality 'thermal', expected visible or"),
        ("night1/9.jpg,train,visible,one,2", "has the camera 'one', expected an integer"),
        ("night1/9.jpg,train,visible,1,", "has the identity '', expected an integer"),
        ("night1/9.jpg,train,visible,1,-2", "has the identity -2 in the train split"),
        ("night1/9.jpg,test,visible,1,-1", "has the identity -1 in the test split"),
        ("night2/b.png,train,visible,1,2", r"repeats night2/b\.png"),
        ("night1/9.jpg,train,visible,-2,2", "has the camera -2, expected a number from 0"),
        ("/night1/9.jpg,train,visible,1,2", "has the path '/night1"),
        ("../night1/9.jpg,train,visible,1,2", r"has the path '\.\./night1"),
        ("night2/../night1/9.jpg,train,visible,1,2", r"has the path 'night2/\.\."),
        ("./night1/9.jpg,train,visible,1,2", r"has the path '\./night1"),
        ("..\\night1\\9.jpg,train,visible,1,2", "has the path"),
        (",train,visible,1,2", "has the path ''"),
    ],
)
def test_malformed_lines_are_named_by_number(root, line, message):
    write(root, LINES[0], "", line)
    with pytest.raises(UserError, match=rf"manifest\.csv, line 4 {message}"):
        manifest.read(root, "source")


@pytest.mark.parametrize(
    ("header", "wrong"),
    [
        ("relpath,split,modality,identity", "has no column camera"),
        ("relpath,split,modality,camera,name", "has no column identity"),
        ("a;b", "has no column path"),
        ("", "has no column path"),
        ("relpath,path,split,modality,camera,identity", "has two columns path"),
    ],
)
def test_another_header_is_named(root, header, wrong):
    write(root, *LINES, header=header)
    expected = "expected the columns path, split, modality, camera, identity, in any order"
    with pytest.raises(UserError, match=rf"line 1 {wrong}: .*, {expected}"):
        manifest.read(root, "source")


def test_columns_are_found_by_name(root):
    before = manifest.read(root, "source").lists
    rows = [line.split(",") for line in LINES]
    turned = [",".join([r[4], r[0], "", r[2], r[3], r[1]]) for r in rows]
    write(root, *turned, header="Identity,PATH,remark,modality,camera,split")
    after = manifest.read(root, "source").lists
    assert all(after[part].is_like(before[part]) for part in PARTS)


def test_no_table_names_the_columns_and_the_source(tmp_path):
    with pytest.raises(UserError, match=r"expected a table with the columns path, .*IEEE"):
        sysu02.read(tmp_path)
    (tmp_path / "manifest.csv").write_bytes(b"relpath\xff")
    with pytest.raises(UserError, match="is not text in UTF-8"):
        sysu02.read(tmp_path)
