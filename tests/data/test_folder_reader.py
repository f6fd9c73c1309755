"""Reading any folder of images: which files, in which order, and cameras from a pattern."""

import json
from pathlib import Path

import pytest
from handmade import write_noise

from clustercontrast.data import folder, verify
from clustercontrast.files import UserError

NAMES = ("b/cam2_x.JPG", "a/cam10.png", "a.bmp", "b/c/cam3.tiff", "z.Jpeg", "b/cam2_0.tif")


@pytest.fixture
def root(tmp_path) -> Path:
    for seed, name in enumerate(NAMES):
        write_noise(tmp_path / name, seed)
    write_noise(tmp_path / ".hidden" / "cam1.png", 8)
    write_noise(tmp_path / "b" / "._cam2_x.jpg", 9)
    for name in ("Thumbs.db", "notes.txt"):
        (tmp_path / name).write_text("no image")
    return tmp_path


def test_images_are_ascending_by_relative_path_and_unlabelled(root):
    listing = folder.read(root)
    source = listing.lists["source"]
    expected = ("a.bmp", "a/cam10.png", "b/c/cam3.tiff", "b/cam2_0.tif", "b/cam2_x.JPG", "z.Jpeg")
    assert source.paths == expected
    assert source.identities.tolist() == source.cameras.tolist() == [-1] * 6
    assert source.modality == "visible"
    assert folder.count(listing) == {"images": 6}
    assert listing.lists.keys() == folder.RESAMPLING.keys()


def test_what_is_passed_over_is_named(root):
    assert set(folder.read(root).skipped) == {
        ".hidden", "b/._cam2_x.jpg", "Thumbs.db", "notes.txt",
    }  # fmt: skip


def test_links_to_images_and_folders_are_followed(root, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    write_noise(outside / "cam4.png", 11)
    (root / "linked").symlink_to(outside)
    (root / "c.png").symlink_to(outside / "cam4.png")
    (root / "b" / "c" / "up").symlink_to(root / "b")
    listing = folder.read(root)
    paths = set(listing.lists["source"].paths)
    assert paths == {*NAMES, "linked/cam4.png", "c.png"}
    assert "b/c/up (a link that leads back)" in listing.skipped


def test_the_group_of_the_pattern_is_the_camera(root):
    for name in ("a.bmp", "z.Jpeg"):
        (root / name).unlink()
    source = folder.read(root, r"cam(\d+)").lists["source"]
    assert source.cameras.tolist() == [10, 3, 2, 2]
    assert source.identities.tolist() == [-1] * 4


@pytest.mark.parametrize("pattern", [r"cam\d+", r"(cam)(\d+)", ""])
def test_a_pattern_has_exactly_one_group(root, pattern):
    with pytest.raises(UserError, match=r"has \d groups: give a regular expression with one"):
        folder.read(root, pattern)


def test_a_malformed_pattern_is_named(root):
    with pytest.raises(UserError, match=r"pattern 'cam\(' is malformed"):
        folder.read(root, "cam(")


@pytest.mark.parametrize("pattern", [r"cam(\d+)", r"(\w)\.bmp", r"bmp(\d)?"])
def test_every_path_needs_a_camera(root, pattern):
    with pytest.raises(UserError, match=r"finds no number in a\.bmp: correct the pattern"):
        folder.read(root, pattern)


def test_no_folder_and_no_image(root, tmp_path_factory):
    with pytest.raises(UserError, match=r"no folder .*nowhere"):
        folder.read(root / "nowhere")
    empty = tmp_path_factory.mktemp("empty")
    (empty / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match=r"has no image \(\.jpg"):
        folder.read(empty)


def test_there_is_nothing_to_verify_but_rendered_people_stay_marked(root):
    listing = folder.read(root)
    known = verify.facts(root, folder)
    assert known == {"rendered": False, "counts": {}}
    assert verify.verify_counts(listing, folder, known["counts"], allow_incomplete=False) == []
    content = {"rendered": True, "layout": "Market-1501", "counts": {"train": 3}}
    (root / "rendered.json").write_text(json.dumps(content))
    known = verify.facts(root, folder)
    assert known["rendered"]
    assert verify.verify_counts(listing, folder, known["counts"], allow_incomplete=False) == []
