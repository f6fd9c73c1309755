"""A file is written whole or not at all, a folder by one process at a time."""

import errno
import os
import subprocess
import sys
import threading

import pytest

from clustercontrast.files import (
    UserError,
    alone,
    atomic,
    atomic_folder,
    read_json,
    write_error,
    write_json,
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "results.txt"
    path.write_text("old")
    return path


def only(path):
    """The text of the one file in a folder."""
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    return path.read_text()


def test_the_name_appears_with_the_whole_content(path):
    with atomic(path) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert only(path) == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_in_the_block_leaves_the_old_file(path, error):
    def fail():
        with atomic(path) as file:
            file.write("half")
            raise error

    with pytest.raises(error):
        fail()
    assert only(path) == "old"


def disk_full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write(path):
    with atomic(path) as file:
        file.write("new")


@pytest.mark.parametrize("place", ["fsync", "replace"])
def test_a_full_disk_is_one_clear_line_and_leaves_the_old_file(path, monkeypatch, place):
    monkeypatch.setattr(os, place, disk_full)
    monkeypatch.setattr(type(path), "replace", disk_full, raising=True)
    with pytest.raises(UserError) as error:
        write(path)
    assert str(path) in str(error.value)
    assert "no space left" in str(error.value)
    assert "\n" not in str(error.value)
    assert only(path) == "old"


def test_the_content_is_on_the_disk_before_the_name_appears(path, monkeypatch):
    order = []
    fsync, replace = os.fsync, type(path).replace
    monkeypatch.setattr(os, "fsync", lambda number: (order.append("fsync"), fsync(number)))
    monkeypatch.setattr(
        type(path), "replace", lambda a, b: (order.append("replace"), replace(a, b))
    )
    write(path)
    assert order == ["fsync", "replace"]


def test_folders_are_made(tmp_path):
    write(tmp_path / "a" / "b" / "c.txt")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "new"


def test_a_file_in_the_way_of_a_folder_is_named(path):
    with pytest.raises(UserError, match=r"cannot write .*results\.txt/inner"):
        write(path / "inner")


def test_bytes_and_unicode(tmp_path):
    with atomic(tmp_path / "b", "wb") as file:
        file.write(b"\x00\xff")
    assert (tmp_path / "b").read_bytes() == b"\x00\xff"
    write_json(tmp_path / "j", {"±": [1.5, None, "φ"]})
    assert read_json(tmp_path / "j") == {"±": [1.5, None, "φ"]}
    assert "φ" in (tmp_path / "j").read_text(encoding="utf-8")


def test_json_that_cannot_be_written_leaves_the_old_file(path):
    with pytest.raises(TypeError):
        write_json(path, {"x": object()})
    assert only(path) == "old"


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe"])
def test_damaged_json_is_named(path, content):
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"results\.txt is damaged"):
        read_json(path)


def test_missing_json_is_named(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_json(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EACCES, "check the folder's rights"),
    ],
)
def test_write_errors_name_the_remedy(path, number, remedy):
    message = str(write_error(path, OSError(number, os.strerror(number))))
    assert remedy in message
    assert str(path) in message


HOLDING = """
import sys, time
from pathlib import Path
from clustercontrast.files import alone
with alone(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(600)
"""


def test_a_folder_waits_for_the_process_that_works_on_it(tmp_path):
    """And for no longer: a lock goes with its process, killed or not."""
    folder, said = tmp_path / "new" / "images", []
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "in\n"
    threading.Timer(0.5, other.kill).start()
    with alone(folder, said.append):
        assert other.wait() != 0
    (line,) = said
    assert line.startswith(f"{folder}: another process is at work")
    with alone(folder, said.append):
        assert len(said) == 1
    assert not folder.exists()


def test_a_place_that_cannot_be_locked_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    def lock():
        with alone(tmp_path / "file" / "images"):
            raise AssertionError

    with pytest.raises(UserError, match="cannot write"):
        lock()


# --- folders ---


@pytest.mark.parametrize("is_there", [False, True], ids=["new", "empty"])
def test_a_folder_appears_whole(tmp_path, is_there):
    folder = tmp_path / "above" / "out"
    if is_there:
        folder.mkdir(parents=True)
    with atomic_folder(folder) as place:
        (place / "a.txt").write_text("a")
        assert not (folder / "a.txt").exists()
    assert [path.name for path in folder.iterdir()] == ["a.txt"]
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    umask = os.umask(0o022)
    os.umask(umask)
    assert folder.stat().st_mode & 0o777 == 0o777 & ~umask


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_in_the_block_leaves_no_folder(tmp_path, error):
    def fail():
        with atomic_folder(tmp_path / "out") as place:
            (place / "half.txt").write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_refused(path):
    with pytest.raises(UserError, match="is there already"), atomic_folder(path.parent):
        pass
    with pytest.raises(UserError, match="is there already"), atomic_folder(path):
        pass
    assert only(path) == "old"


def test_a_folder_that_cannot_be_made_is_one_line(path):
    with pytest.raises(UserError, match="cannot write"), atomic_folder(path / "out"):
        pass
