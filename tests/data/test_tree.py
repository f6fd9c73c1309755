"""Files below a folder: links are followed, loops end, what is passed over is remembered."""

import pytest

from clustercontrast.data.tree import Tree
from clustercontrast.files import UserError


@pytest.fixture
def root(tmp_path):
    for path in ("a/1.jpg", "a/2.JPG", "a/.hidden", "a/Thumbs.db", "b/c/3.jpg", "b/desktop.ini"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    return tmp_path


def test_names_are_sorted_without_what_systems_leave_behind(root):
    tree = Tree(root)
    assert tree.names("a") == ["1.jpg", "2.JPG"]
    assert set(tree.skipped) == {"a/.hidden", "a/Thumbs.db"}
    assert tree.names("") == ["a", "b"]
    assert tree.names("nowhere") == tree.names("a/1.jpg") == []


def test_images_of_another_kind_are_named(root):
    assert Tree(root).images("a", ".jpg") == ["1.jpg", "2.JPG"]
    with pytest.raises(UserError, match=r"a/1\.jpg is not a \.bmp image: remove it"):
        Tree(root).images("a", ".bmp")


def test_every_file_is_found_through_links_and_none_twice_in_a_loop(root, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "4.jpg").touch()
    (root / "linked").symlink_to(outside)
    (root / "b" / "5.jpg").symlink_to(outside / "4.jpg")
    (root / "b" / "c" / "loop").symlink_to(root)
    (outside / "back").symlink_to(outside)
    (root / "b" / "gone.jpg").symlink_to(root / "nowhere")
    (root / "b" / "itself").symlink_to(root / "b" / "itself")
    tree = Tree(root)
    assert sorted(tree.every()) == [
        "a/1.jpg", "a/2.JPG", "b/5.jpg", "b/c/3.jpg", "b/gone.jpg", "b/itself", "linked/4.jpg",
    ]  # fmt: skip
    looping = {path for path in tree.skipped if "leads back" in path}
    assert {path.partition(" ")[0] for path in looping} == {"b/c/loop", "linked/back"}


def test_files_are_found_whatever_the_case_of_their_ending(root):
    tree = Tree(root)
    assert [tree.find(path) for path in ("a/1.jpg", "a/1.JPG", "a/2.jpg", "b/c/3.Jpg")] == [
        "a/1.jpg", "a/1.jpg", "a/2.JPG", "b/c/3.jpg",
    ]  # fmt: skip
    for path in ("a/3.jpg", "A/1.jpg", "b/c", "", "x/1.jpg"):
        assert tree.find(path) is None


def test_the_exact_name_is_preferred(root):
    (root / "a" / "1.JPG").touch()
    tree = Tree(root)
    assert (tree.find("a/1.JPG"), tree.find("a/1.jpg")) == ("a/1.JPG", "a/1.jpg")


def test_folders_that_are_not_wanted_are_remembered_unless_they_are_empty(root):
    (root / "empty").mkdir()
    (root / "c").touch()
    tree = Tree(root)
    assert tree.folders("", {"a", "c", "d"}) == ["a"]
    assert set(tree.skipped) == {"b", "c"}
