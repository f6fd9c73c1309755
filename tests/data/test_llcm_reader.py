"""LLCM's layout: who is trained on, who is tested, and that copies are never counted twice."""

import shutil

import numpy as np
import pytest
from handmade import write_noise

from clustercontrast.data import llcm, verify
from clustercontrast.data.samples import PARTS
from clustercontrast.files import UserError

# identity -> camera -> frames, by folder; 12 and 351 are tested
PEOPLE = {
    "vis": {7: {1: 2, 3: 1}, 40: {9: 1}, 351: {2: 2, 3: 1}, 12: {1: 1}},
    "nir": {7: {6: 1}, 40: {1: 2}, 351: {6: 2}, 12: {2: 1, 1: 1}},
}
TESTED = (351, 12)
LABELS = {7: 1, 40: 0}


def name_of(folder, identity, camera, frame):
    return f"{identity:04d}_c{camera:02d}_s200656_f{4830 + frame}_{folder}.jpg"


def images_of(folder):
    for identity, cameras in PEOPLE[folder].items():
        for camera, frames in cameras.items():
            for frame in range(frames):
                yield identity, camera, name_of(folder, identity, camera, frame)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "llcm"
    (root / "idx").mkdir(parents=True)
    for folder in PEOPLE:
        training = []
        for seed, (identity, camera, name) in enumerate(images_of(folder)):
            path = root / folder / f"{identity:04d}" / name
            write_noise(path, seed, size=(6, 12))
            if identity in TESTED:
                copy = root / f"test_{folder}" / f"cam{camera}" / f"{identity:04d}" / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
            else:
                training.append(f"{folder}/{identity:04d}/{name} {LABELS[identity]}\n")
        (root / "idx" / f"train_{folder}.txt").write_text("".join(training))
    (root / "idx" / "test_id.txt").write_text("351,12\n")
    return root


def test_training_images_are_those_of_the_index_files(root):
    lists = llcm.read(root).lists
    assert tuple(lists) == PARTS
    assert lists["train_visible"].paths == (
        "vis/0007/0007_c01_s200656_f4830_vis.jpg",
        "vis/0007/0007_c01_s200656_f4831_vis.jpg",
        "vis/0007/0007_c03_s200656_f4830_vis.jpg",
        "vis/0040/0040_c09_s200656_f4830_vis.jpg",
    )
    # identities of the paths, not the labels 1, 0
    assert lists["train_visible"].identities.tolist() == [7, 7, 7, 40]
    assert lists["train_visible"].cameras.tolist() == [1, 1, 3, 9]
    assert lists["train_infrared"].identities.tolist() == [7, 40, 40]
    assert lists["train_infrared"].cameras.tolist() == [6, 1, 1]
    assert [images.modality for images in lists.values()] == ["visible", "infrared"] * 2


def test_test_images_are_the_copies_in_order_of_identity_and_camera(root):
    lists = llcm.read(root).lists
    assert lists["test_visible"].paths == (
        "test_vis/cam1/0012/0012_c01_s200656_f4830_vis.jpg",
        "test_vis/cam2/0351/0351_c02_s200656_f4830_vis.jpg",
        "test_vis/cam2/0351/0351_c02_s200656_f4831_vis.jpg",
        "test_vis/cam3/0351/0351_c03_s200656_f4830_vis.jpg",
    )
    assert lists["test_infrared"].identities.tolist() == [12, 12, 351, 351]
    assert lists["test_infrared"].cameras.tolist() == [1, 2, 6, 6]


def test_identity_and_camera_of_test_images_are_those_of_the_folders(root):
    place = root / "test_vis" / "cam5" / "0012"
    place.mkdir(parents=True)
    write_noise(place / "frame.jpg", 0)
    images = llcm.read(root).lists["test_visible"]
    row = [path.split("/")[1] for path in images.paths].index("cam5")
    assert (images.identities[row], images.cameras[row]) == (12, 5)


def test_copies_are_counted_once(root):
    listing = llcm.read(root)
    assert llcm.count(listing) == {
        "train_identities": 2,
        "test_identities": 2,
        "train_visible": 4,
        "train_infrared": 3,
        "test_visible": 4,
        "test_infrared": 4,
    }
    names = [path.rpartition("/")[2] for images in listing.lists.values() for path in images.paths]
    assert len(names) == len(set(names)) == sum(1 for f in PEOPLE for _ in images_of(f))
    assert not verify.verify_split(listing, allow_leak=False)


def test_published_counts():
    assert llcm.NAMES.keys() == llcm.COUNTS.keys()
    assert sum(llcm.COUNTS[part] for part in PARTS) == 46767
    assert llcm.COUNTS["train_identities"] + llcm.COUNTS["test_identities"] == 1064


def test_a_training_identity_among_the_tested_is_a_leak(root):
    (root / "idx" / "test_id.txt").write_text("351,12,7\n")
    for place in ("vis", "nir"):
        path = root / f"test_{place}" / "cam1" / "0007" / f"0007_c01_s1_f1_{place}.jpg"
        write_noise(path, 1)
    with pytest.raises(UserError, match="identity 7 is in the training and in the test part"):
        verify.verify_split(llcm.read(root), allow_leak=False)


def test_lists_as_windows_writes_them(root):
    before = llcm.read(root).lists
    for path in (root / "idx").iterdir():
        text = path.read_text().replace("/", "\\").replace(".jpg ", ".JPG\t").replace(",", ", ")
        path.write_bytes(f"\ufeff{text}\n".replace("\n", "\r\n").encode())
    after = llcm.read(root).lists
    assert all(before[part].paths == after[part].paths for part in PARTS)


def test_links_to_folders_are_followed_and_left_behind_files_named(root):
    shutil.rmtree(root / "test_vis" / "cam3" / "0351")
    outside = root.parent / "elsewhere"
    write_noise(outside / name_of("vis", 351, 3, 7), 0)
    (root / "test_vis" / "cam3" / "0351").symlink_to(outside)
    (root / "test_vis" / "cam1" / "0012" / "Thumbs.db").touch()
    listing = llcm.read(root)
    assert listing.lists["test_visible"].identities.tolist() == [12, 351, 351, 351]
    assert listing.skipped == ("test_vis/cam1/0012/Thumbs.db",)


def test_a_manifest_is_possible(root):
    lines = ["relpath,split,modality,camera,identity"]
    for part, folder in zip(PARTS, ("vis", "nir") * 2, strict=True):
        identity = 7 if part.startswith("train") else 12
        name = sorted(path.name for path in (root / folder / f"{identity:04d}").iterdir())[0]
        lines.append(f"{folder}/{identity:04d}/{name},{part.replace('_', ',')},4,{identity}")
    (root / "manifest.csv").write_text("\n".join(lines))
    lists = llcm.read(root).lists
    assert [len(images) for images in lists.values()] == [1, 1, 1, 1]
    np.testing.assert_array_equal(lists["test_visible"].cameras, [4])


def test_what_lies_beside_the_test_images_is_named(root):
    for path in ("cam1/0007/0007_c01_s1_f1_vis.jpg", "cam1/notes.txt", "list.txt", "more/a.jpg"):
        (root / "test_vis" / path).parent.mkdir(exist_ok=True)
        (root / "test_vis" / path).touch()
    (root / "test_vis" / "cam1" / "0099").mkdir()  # empty: nothing is passed over
    listing = llcm.read(root)
    assert len(listing.lists["test_visible"]) == 4
    assert set(listing.skipped) == {
        "test_vis/cam1/0007",
        "test_vis/cam1/notes.txt",
        "test_vis/list.txt",
        "test_vis/more",
    }


def rename(old, new):
    """Give a training or test image another name, in its index file, too."""

    def spoil(root):
        (root / old).rename(root / new)
        for file in (root / "idx").glob("train_*.txt"):
            file.write_text(file.read_text().replace(old, new))

    return spoil


VIS, NIR = "0007_c01_s200656_f4830_vis.jpg", "0007_c06_s200656_f4830_nir.jpg"


@pytest.mark.parametrize(
    ("folder", "old", "new", "message"),
    [
        ("vis/0007", VIS, VIS.replace("0007", "9999"), "says identity 9999, its folder 7"),
        ("vis/0007", VIS, VIS.replace("vis", "nir"), "says modality nir, its folder vis"),
        ("nir/0007", NIR, NIR.replace("nir", "vis"), "says modality vis, its folder nir"),
        ("vis/0007", VIS, VIS.replace("c01", "c00"), "of camera 0, but visible cameras"),
        ("vis/0007", VIS, VIS.replace("c01", "c10"), "of camera 10, but visible cameras"),
        ("nir/0007", NIR, NIR.replace("c06", "c03"), "camera 3, but infrared cameras .* 1, 2, 4,"),
        ("test_vis/cam1/0012", name_of("vis", 12, 1, 0), name_of("vis", 13, 1, 0), "identity 13"),
        ("test_vis/cam1/0012", name_of("vis", 12, 1, 0), name_of("vis", 12, 2, 0), "camera 2, its"),
        ("test_nir/cam1/0012", name_of("nir", 12, 1, 0), name_of("vis", 12, 1, 0), "modality vis"),
    ],
)
def test_a_name_that_contradicts_its_place_is_refused(root, folder, old, new, message):
    rename(f"{folder}/{old}", f"{folder}/{new}")(root)
    with pytest.raises(UserError, match=message) as caught:
        llcm.read(root)
    assert str(root / folder / new) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "modality"),
    [("test_nir/cam3", "infrared"), ("test_vis/cam10", "visible"), ("test_vis/cam0", "visible")],
)
def test_folders_of_cameras_that_do_not_exist_are_refused(root, place, modality):
    write_noise(root / place / "0012" / "frame.jpg", 0)
    with pytest.raises(UserError, match=f"{place}: LLCM has no such {modality} camera"):
        llcm.read(root)


def lose_copies(root):
    shutil.rmtree(root / "test_nir")


def lose_image(root):
    (root / "vis" / "0007" / name_of("vis", 7, 1, 1)).unlink()


def lose_list(root):
    (root / "idx" / "train_nir.txt").unlink()


def lose_identities(root):
    (root / "idx" / "test_id.txt").write_text("\n")


def add_other_file(root):
    (root / "test_vis" / "cam1" / "0012" / "notes.txt").touch()


def append(line):
    def spoil(root):
        with (root / "idx" / "train_vis.txt").open("a") as file:
            file.write(line)

    return spoil


COPY = "test_vis/cam1/0012/" + name_of("vis", 12, 1, 0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "no folder .*expected LLCM there"),
        (lose_copies, r"has no test_nir, expected vis, nir, .* or a table manifest\.csv"),
        (lose_image, r"lists vis/0007/.*, which is missing \(1 of 4 images are\)"),
        (lose_list, r"cannot read .*train_nir\.txt .*copy the idx folder again"),
        (lose_identities, r"test_id\.txt is empty or malformed"),
        (add_other_file, r"notes\.txt is not a \.jpg image"),
        (append(f"{COPY} 0\n"), r"lists test_vis/.* test images are for testing alone"),
        (append("nir/0007/0007_c06_s200656_f4830_nir.jpg 1\n"), r"lists nir/.*, expected paths li"),
        (append("vis/0007/frame.jpg 1\n"), "lists vis/0007/frame.jpg, expected paths like"),
        (append("vis/0007/0007_c01_s200656_f4830_vis.jpg 1\n"), "line 5 is malformed or repeats"),
    ],
)
def test_contradictions_are_one_line_that_names_them(root, spoil, message):
    spoil(root)
    with pytest.raises(UserError, match=message) as caught:
        llcm.read(root)
    assert "\n" not in str(caught.value)


def test_a_folder_too_high_is_pointed_out(root):
    with pytest.raises(UserError, match="give that --data-dir"):
        llcm.read(root.parent)
