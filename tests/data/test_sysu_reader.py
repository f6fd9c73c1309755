"""Layout of SYSU-MM01: what is read, in which order, and what each wrong folder says."""

import shutil

import numpy as np
import pytest

from clustercontrast.data import sysu
from clustercontrast.files import UserError


def expected_paths(people, identities, cameras):
    return tuple(
        f"cam{camera}/{identity:04d}/{frame:04d}.jpg"
        for identity in identities
        for camera in cameras
        for frame in range(1, people[identity].get(camera, 0) + 1)
    )


def test_lists_have_the_right_people_cameras_and_order(sysu_root, people):
    lists = sysu.read(sysu_root).lists
    assert list(lists) == ["train_visible", "train_infrared", "test_visible", "test_infrared"]
    train, test = [1, 3, 12], [7, 20]
    assert lists["train_visible"].paths == expected_paths(people, train, [1, 2, 4, 5])
    assert lists["train_infrared"].paths == expected_paths(people, train, [3, 6])
    assert lists["test_infrared"].paths == expected_paths(people, test, [3, 6])
    assert lists["test_visible"].paths == expected_paths(people, test, [1, 2, 4, 5])


def test_columns_follow_the_paths_and_modality_the_camera(sysu_root):
    for name, images in sysu.read(sysu_root).lists.items():
        parts = [path.split("/") for path in images.paths]
        np.testing.assert_array_equal(images.cameras, [int(camera[3:]) for camera, _, _ in parts])
        np.testing.assert_array_equal(images.identities, [int(one) for _, one, _ in parts])
        assert images.identities.dtype == images.cameras.dtype == np.int64
        is_infrared = set(images.cameras.tolist()) <= {3, 6}
        assert images.modality == ("infrared" if is_infrared else "visible"), name


def test_order_is_by_identity_text_camera_digit_and_frame_text(sysu_root):
    for frame in np.random.default_rng(0).permutation(40):  # whatever order the disk lists
        (sysu_root / "cam2" / "0007" / f"{frame:04d}.jpg").touch()
    for images in sysu.read(sysu_root).lists.values():
        keys = [(one, camera, frame) for camera, one, frame in map(split, images.paths)]
        assert keys == sorted(keys)


def split(path):
    return path.split("/")


def test_system_files_are_passed_over(sysu_root):
    before = sysu.read(sysu_root).lists["train_visible"].paths
    for name in ("Thumbs.db", ".DS_Store", "._0001.jpg"):
        (sysu_root / "cam1" / "0001" / name).write_bytes(b"x")
    listing = sysu.read(sysu_root)
    assert listing.lists["train_visible"].paths == before
    assert set(listing.skipped) == {
        "cam1/0099",  # an identity in no list
        "cam3/0099",
        *(f"cam1/0001/{name}" for name in ("Thumbs.db", ".DS_Store", "._0001.jpg")),
    }


def test_lists_as_windows_writes_them(sysu_root):
    before = sysu.read(sysu_root).lists
    for path in (sysu_root / "exp").iterdir():
        fields = path.read_text().strip().replace(",", " ,\t")
        path.write_bytes(f"\ufeff{fields}\t\r\n\r\n".encode())
    after = sysu.read(sysu_root).lists
    assert all(before[name].paths == after[name].paths for name in before)


def test_only_the_first_line_of_a_list_counts(sysu_root, people):
    (sysu_root / "exp" / "train_id.txt").write_text("3, 1\n999,4000\n")
    assert len(sysu.read(sysu_root).lists["train_visible"]) == len(
        expected_paths(people, [1, 3, 12], [1, 2, 4, 5])
    )


def refused(root, *words):
    with pytest.raises(UserError) as caught:
        sysu.read(root)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_missing_root_says_where_the_dataset_comes_from(tmp_path):
    refused(tmp_path / "nowhere", "nowhere", "authors", "clustercontrast.rendering", "--data-dir")


def test_empty_root_says_where_the_dataset_comes_from(tmp_path):
    refused(tmp_path, "cam1", "authors", "clustercontrast.rendering")


def test_dataset_one_folder_deeper_is_pointed_at(sysu_root, tmp_path):
    (tmp_path / "outer").mkdir()
    sysu_root.rename(tmp_path / "outer" / "SYSU-MM01")
    refused(tmp_path / "outer", "give that --data-dir", str(tmp_path / "outer" / "SYSU-MM01"))


def test_missing_cameras_are_named(sysu_root):
    shutil.rmtree(sysu_root / "cam3")
    shutil.rmtree(sysu_root / "cam5")
    refused(sysu_root, "no cam3, cam5,")


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_missing_list_is_named(sysu_root, part):
    (sysu_root / "exp" / f"{part}_id.txt").unlink()
    refused(sysu_root, f"{part}_id.txt", "cannot read", "copy exp again")


@pytest.mark.parametrize(
    "text", ["", "\n", "\n1,3\n", "1,,3", "1,3,", "one,two", "1 3", "1;3", "1.5"]
)
def test_empty_and_malformed_lists_are_named(sysu_root, text):
    (sysu_root / "exp" / "train_id.txt").write_text(text)
    refused(sysu_root, "train_id.txt", "malformed", "separated by commas")


@pytest.mark.parametrize("text", ["1,3,1", "1,-3", "1,30000"])
def test_repeated_and_impossible_numbers_are_refused(sysu_root, text):
    (sysu_root / "exp" / "train_id.txt").write_text(text)
    refused(sysu_root, "train_id.txt", "0 ... 9999")


def test_binary_list_is_refused(sysu_root):
    (sysu_root / "exp" / "train_id.txt").write_bytes(b"\xff\xfe\x00\x01")
    refused(sysu_root, "train_id.txt", "malformed")


def test_identity_without_any_folder_is_unknown(sysu_root):
    (sysu_root / "exp" / "train_id.txt").write_text("1,3,123")
    refused(sysu_root, "unknown identity 0123", "exp/train_id.txt")


def test_overlapping_training_lists_are_refused(sysu_root):
    (sysu_root / "exp" / "train_id.txt").write_text("12")
    refused(sysu_root, "exp/train_id.txt", "exp/val_id.txt", "0012")


@pytest.mark.parametrize("name", ["0009.png", "notes.txt", "copy"])
def test_anything_else_in_an_identity_folder_is_named(sysu_root, name):
    (sysu_root / "cam2" / "0007" / name).write_bytes(b"x")
    refused(sysu_root, f"cam2/0007/{name}", "not a .jpg")
