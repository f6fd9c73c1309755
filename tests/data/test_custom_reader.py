"""Tables of one's own images: words for numbers, what may be missing, tracks, every mistake."""

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clustercontrast.data import custom, verify
from clustercontrast.data.images import open_prepared
from clustercontrast.data.places import reading, table_and_folder, usual_folder
from clustercontrast.data.preparation import Preparation
from clustercontrast.data.samples import PARTS, ImageList
from clustercontrast.files import UserError

HEADER = "path,modality,split,identity,camera,track"
LINES = (
    "day/ada/2.png,visible,train,ada,gate,",
    "day/ada/1.png,visible,train,ada,gate,",
    "night/x.png,infrared,train,,,",
    "day/eve/1.png,visible,test,eve,yard,walk 1",
    "day/eve/2.png,visible,test,eve,yard,walk 1",
    "day/eve/3.png,visible,test,eve,gate,",
    "day/bob.png,visible,test,,gate,",
    "night/eve.png,infrared,test,eve,night,walk 7",
)


def write(root: Path, *lines: str, header: str = HEADER, name: str = "manifest.csv") -> Path:
    (root / name).write_text("\n".join([header, *lines, ""]), encoding="utf-8")
    return root


def touch(root: Path) -> None:
    for line in LINES:
        path = root / line.split(",")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def root(tmp_path) -> Path:
    touch(tmp_path)
    return write(tmp_path, *LINES)


def test_words_are_numbered_in_the_order_of_the_text(root):
    lists = custom.read(root).lists
    assert tuple(lists) == PARTS
    visible, infrared = lists["test_visible"], lists["test_infrared"]
    assert visible.paths == ("day/bob.png", "day/eve/1.png", "day/eve/2.png", "day/eve/3.png")
    # ada 1, eve 2; gate 1, night 2, yard 3; walk 1 is 1, walk 7 is 2
    assert visible.identities.tolist() == [-1, 2, 2, 2]
    assert visible.cameras.tolist() == [1, 3, 3, 1]
    assert visible.tracks.tolist() == [-1, 1, 1, -1]
    assert (infrared.identities.tolist(), infrared.cameras.tolist()) == ([2], [2])
    assert infrared.tracks.tolist() == [2]
    assert lists["train_visible"].identities.tolist() == [1, 1]
    assert lists["train_infrared"].identities.tolist() == [-1]
    assert lists["train_infrared"].cameras.tolist() == [-1]


def test_what_the_table_says_is_told(root):
    write(root, *(f"{line},3" for line in LINES), header=f"{HEADER},age")
    unread, training, test, cameras = custom.read(root).notes
    assert "not read are the columns age (known: path or relpath, split" in unread
    assert training == "train: 1 identities, 1 images of unknown identity, 0 tracks"
    assert test == "test: 1 identities, 1 images of unknown identity, 2 tracks"
    assert cameras == "cameras are numbered: 1 gate, 2 night, 3 yard"


def test_numbers_alone_are_taken_as_they_are(root):
    numbers = {"ada": "0012", "eve": "7", "gate": "3", "yard": "4", "night": "5"}
    lines = [",".join(numbers.get(word, word) for word in line.split(",")) for line in LINES]
    lists = custom.read(write(root, *lines)).lists
    assert lists["train_visible"].identities.tolist() == [12, 12]
    assert lists["test_visible"].identities.tolist() == [-1, 7, 7, 7]
    assert lists["test_visible"].cameras.tolist() == [3, 4, 4, 3]
    assert not [note for note in custom.read(root).notes if "numbered" in note]


def test_one_word_among_numbers_makes_all_of_them_words(root):
    lines = [line.replace("ada", "10").replace("eve", "9b") for line in LINES]
    lines = [line.replace("10/", "ada/").replace("9b/", "eve/") for line in lines]
    lists = custom.read(write(root, *lines[:-1], lines[-1].replace("9b.png", "eve.png"))).lists
    assert lists["train_visible"].identities.tolist() == [1, 1]
    assert lists["test_infrared"].identities.tolist() == [2]


@settings(max_examples=25)
@given(st.permutations(LINES), st.permutations(range(6)))
def test_neither_the_order_of_lines_nor_of_columns_matters(tmp_path_factory, lines, columns):
    root = tmp_path_factory.mktemp("table")
    touch(root)
    before = custom.read(write(root, *LINES)).lists
    turned = [",".join(line.split(",")[i] for i in columns) for line in [HEADER, *lines]]
    after = custom.read(write(root, *turned[1:], header=turned[0])).lists
    for part in PARTS:
        assert after[part].is_like(before[part])
        assert after[part].tracks.tolist() == before[part].tracks.tolist()


def test_three_columns_are_enough(root):
    lines = [",".join(line.split(",")[:3]) for line in LINES[:3]]
    lists = custom.read(write(root, *lines, header="RelPath,Modality,split")).lists
    assert [len(lists[part]) for part in PARTS] == [2, 1, 0, 0]
    assert all(images.tracks is None for images in lists.values())
    assert set(lists["train_visible"].identities) == set(lists["train_visible"].cameras) == {-1}
    tabs = "\n".join(line.replace(",", "\t") for line in ["path,modality,split", *lines])
    (root / "manifest.csv").write_text(tabs.replace("visible", "Visible"), encoding="utf-16")
    assert custom.read(root).lists["train_visible"].is_like(lists["train_visible"])


def test_absolute_paths_stay_unless_they_lie_below_the_folder(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "y.png"
    elsewhere.touch()
    more = [f"{elsewhere},infrared,train,,,", f"{root}/night/x.png,infrared,train,,,"]
    lists = custom.read(write(root, *LINES[:2], *more)).lists
    assert lists["train_infrared"].paths == (str(elsewhere), "night/x.png")
    write(root, *LINES, more[1])
    with pytest.raises(UserError, match=r"line 10 repeats night/x\.png"):
        custom.read(root)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("day/ada/1.png,visible,train", r"line 4 has 3 fields, expected 6"),
        ("day/ada/1.png,rgb,train,,,", "line 4 has the modality 'rgb', expected visible or inf"),
        ("day/ada/1.png,visible,query,,,", "line 4 has the split 'query', expected train or test"),
        ("../1.png,visible,train,,,", r"line 4 has the path '\.\./1\.png', .* or an absolute one"),
        ("gone.png,visible,train,,,", r"lists gone\.png, which is missing \(1 of 3"),
        ("night/x.png,visible,train,,,", r"line 4 repeats night/x\.png"),
        ("day/ada/1.png,visible,train,-7,,", "line 4 has the identity -7, expected a number from"),
    ],
)
def test_malformed_lines_are_named(root, line, message):
    write(root, LINES[2], LINES[6], line)
    with pytest.raises(UserError, match=rf"manifest\.csv,? {message}"):
        custom.read(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("infrared,test,eve,yard", "their modality: 'visible' in line 5, 'infrared' in line 6"),
        ("visible,train,eve,yard", "their split: 'test' in line 5, 'train' in line 6"),
        ("visible,test,bob,yard", "their identity: 'eve' in line 5, 'bob' in line 6"),
        ("visible,test,,yard", "their identity: 'eve' in line 5, '' in line 6"),
        ("visible,test,eve,gate", "their camera: 'yard' in line 5, 'gate' in line 6"),
    ],
)
def test_a_track_is_one_person_in_one_place(root, change, message):
    lines = [*LINES]
    lines[4] = lines[4].replace("visible,test,eve,yard", change)
    write(root, *lines, header=HEADER.replace("track", "group"))
    with pytest.raises(UserError, match=f"images of the track 'walk 1' differ in {message}"):
        custom.read(root)


def test_tables_that_allow_no_training_or_no_test_are_refused(root):
    write(root, *LINES[:2])
    with pytest.raises(UserError, match="has no infrared training image: add lines"):
        custom.read(root)
    write(root, *LINES[:-1])
    with pytest.raises(UserError, match="no identity has both visible and infrared test images"):
        custom.read(root)
    write(root, *LINES, header=HEADER.replace("camera", "path"))
    with pytest.raises(UserError, match="line 1 has two columns path"):
        custom.read(root)


def test_one_identity_in_training_and_test_is_refused(root):
    write(root, *(line.replace(",ada,", ",eve,") for line in LINES))
    with pytest.raises(UserError, match="identity 1 is in the training and in the test part"):
        verify.verify_split(custom.read(root), allow_leak=False)


# --- places ---


@pytest.mark.parametrize(
    ("manifest", "data_dir", "expected"),
    [
        (None, None, ("mine/people.csv", "mine")),
        ("other/a.csv", None, ("other/a.csv", "other")),
        ("a.csv", None, ("a.csv", ".")),
        (None, "moved", ("moved/people.csv", "moved")),
        ("a.csv", "crops", ("a.csv", "crops")),
    ],
)
def test_a_table_and_its_folder_say_where_the_other_is(manifest, data_dir, expected):
    assert table_and_folder(manifest, data_dir, ("mine/people.csv", "mine")) == expected


def test_every_table_of_a_folder_has_prepared_images_of_its_own(tmp_path):
    def place(manifest, **more):
        return usual_folder(Namespace(manifest=manifest, cache_root=None, **more), (32, 16))

    assert place("mine/manifest.csv") == Path("mine-32x16")
    assert place("mine/day.csv", data_dir="crops") == Path("mine-day-32x16")
    assert place(str(tmp_path / "manifest.csv")) == Path(f"{tmp_path}-32x16")


# --- prepared images ---


def preparation(root: Path, folder: Path, table: str = "manifest.csv") -> Preparation:
    args = Namespace(manifest=str(root / table), data_dir=str(root))
    return Preparation("custom", root, folder, (24, 12), reading("custom", args))


def prepared(wanted: Preparation):
    wanted.write(1, wanted.verify(), wanted.listed, overwrite=False)
    return open_prepared(wanted.folder, "custom")


@pytest.fixture
def pictures(tmp_path) -> Path:
    root = tmp_path / "mine"
    for line in LINES:
        path = root / line.split(",")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((20, 37), 90).save(path)
    return write(root, *LINES)


def test_tracks_survive_and_belong_to_the_digest(pictures, tmp_path, capsys):
    first = prepared(preparation(pictures, tmp_path / "first"))
    assert "test: 1 identities, 1 images of unknown identity, 2 tracks" in capsys.readouterr().out
    assert first["test_visible"].index.is_like(custom.read(pictures).lists["test_visible"])
    assert first["test_visible"].index.tracks.tolist() == [-1, 1, 1, -1]
    assert preparation(pictures, tmp_path / "first").listed()  # as it was written

    write(pictures, *(line.replace("walk 1", "") for line in LINES))
    assert not preparation(pictures, tmp_path / "first").listed()
    second = prepared(preparation(pictures, tmp_path / "second"))
    assert second.provenance.digest != first.provenance.digest


def test_lists_may_be_empty(pictures, tmp_path):
    write(pictures, *LINES[:3])
    found = prepared(preparation(pictures, tmp_path / "some"))
    assert [len(found[part]) for part in PARTS] == [2, 1, 0, 0]
    assert found["test_visible"].pixels.shape == (0, 24, 12, 3)


@pytest.mark.parametrize("place", ["mine", "tables"])
def test_rendered_identities_are_marked_by_a_file_beside_the_images_or_the_table(
    pictures, tmp_path, place
):
    (tmp_path / "tables").mkdir()
    write(tmp_path / "tables", *LINES)
    (tmp_path / place / "rendered.json").write_text(json.dumps({"counts": {}}))
    found = prepared(preparation(pictures, tmp_path / "p", "../tables/manifest.csv"))
    assert found.provenance.rendered
    assert found.provenance.notes() == ["rendered identities: not a custom dataset result"]


# --- tracks in lists ---


def listed(tracks) -> ImageList:
    numbers = np.zeros(len(tracks), np.int64)
    return ImageList(
        "visible", tuple(map(str, range(len(tracks)))), numbers, numbers, np.array(tracks, np.int64)
    )


@given(st.lists(st.integers(-1, 4), max_size=12))
def test_items_against_a_loop(tracks):
    found = listed(tracks).items().tolist()
    assert found == [i if t < 0 else tracks.index(t) for i, t in enumerate(tracks)]
    assert listed(tracks).number_of_tracks == len(set(tracks) - {-1})


def test_a_part_of_a_list_keeps_its_tracks():
    images = listed([5, -1, 5, 2])
    assert images.subset(np.array([2, 0])).items().tolist() == [0, 0]
    assert images.is_like(listed([1, -1, 1, 7]))
    assert not images.is_like(listed([1, -1, 7, 7]))
