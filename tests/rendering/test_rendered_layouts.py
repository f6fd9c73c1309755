"""Folders, lists and counts of a rendered data set, and what a disturbed rendering leaves."""

import collections
import dataclasses
import errno
import json
from pathlib import Path

import pytest
from PIL import Image

from clustercontrast.files import UserError
from clustercontrast.rendering import __main__ as command
from clustercontrast.rendering.cameras import INFRARED, VISIBLE
from clustercontrast.rendering.layouts import SIZES, Size, is_rendered, plan, render_sysu

FEW = Size("few", 3, 1, 2, 26, 14, 8, 12, 6, 48, 22)
LISTS = ("train", "val", "test", "available")


def files_of(root: Path) -> dict[str, bytes]:
    paths = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def identities(root: Path, name: str) -> list[int]:
    text = (root / "exp" / f"{name}_id.txt").read_text()
    assert text.count("\n") == 1
    return [int(number) for number in text.split(",")]


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("rendered") / "few"
    render_sysu(root, FEW, seed=2)
    return root


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("rendered") / "tiny"
    render_sysu(root, SIZES["tiny"], seed=0)
    return root


def planned_images(size: Size, seed: int) -> dict[str, int]:
    planned = plan(size, seed)
    tested = set(planned.test)
    images = collections.Counter()
    for folder in planned.folders:
        subset = "test" if folder.identity in tested else "train"
        modality = "infrared" if folder.camera in INFRARED else "visible"
        images[f"{subset} {modality}"] += folder.images
    return dict(images)


def test_full_size_has_exactly_the_counts_of_sysu_mm01():
    planned = plan(SIZES["full"], seed=0)
    assert (len(planned.train), len(planned.val), len(planned.test)) == (296, 99, 96)
    assert planned_images(SIZES["full"], seed=0) == {
        "train visible": 22258,
        "train infrared": 11909,
        "test visible": 6775,
        "test infrared": 3803,
    }
    tested = set(planned.test)
    gallery = [f for f in planned.folders if f.identity in tested and f.camera in VISIBLE]
    assert len(gallery) == 301
    assert max(planned.test) <= 533


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("seed", [0, 1, 5])
def test_every_plan_meets_its_size(name, seed):
    size, planned = SIZES[name], plan(SIZES[name], seed)
    assert planned_images(size, seed) == {
        "train visible": size.train_visible,
        "train infrared": size.train_infrared,
        "test visible": size.test_visible,
        "test infrared": size.test_infrared,
    }
    people = [*planned.train, *planned.val, *planned.test]
    assert len(set(people)) == len(people)
    assert min(folder.images for folder in planned.folders) >= 2
    pairs = [(folder.identity, folder.camera) for folder in planned.folders]
    assert len(set(pairs)) == len(pairs)
    assert pairs == sorted(pairs)


@pytest.mark.parametrize("name", SIZES)
def test_everybody_is_seen_in_both_modalities_and_not_in_every_camera(name):
    cameras = collections.defaultdict(set)
    for folder in plan(SIZES[name], seed=0).folders:
        cameras[folder.identity].add(folder.camera)
    for seen in cameras.values():
        assert seen & {1, 4, 5}  # camera 2 alone is skipped for queries of camera 3
        assert seen & set(INFRARED)
    assert any(len(seen) < 6 for seen in cameras.values())


def test_numbers_have_gaps_and_depend_on_the_seed():
    people = sorted(plan(SIZES["demo"], 0).train)
    assert people != list(range(people[0], people[0] + len(people)))
    assert plan(SIZES["demo"], 0).test != plan(SIZES["demo"], 1).test


def test_folders_hold_different_numbers_of_images():
    images = [folder.images for folder in plan(SIZES["full"], 0).folders]
    assert max(images) - min(images) >= 6


def test_tiny_is_on_disk_what_its_plan_says(tiny):
    planned = plan(SIZES["tiny"], seed=0)
    paths = {path for path in files_of(tiny) if path.endswith(".jpg")}
    assert paths == {
        f"cam{folder.camera}/{folder.identity:04d}/{frame:04d}.jpg"
        for folder in planned.folders
        for frame in range(1, folder.images + 1)
    }
    assert {folder.images for folder in planned.folders} <= {4, 5, 6}
    for path in sorted(paths)[::40]:
        with Image.open(tiny / path) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")


def test_lists_are_one_line_of_sorted_numbers(tiny):
    train, val, test, available = (identities(tiny, name) for name in LISTS)
    assert (len(train), len(val), len(test)) == (12, 4, 8)
    assert sorted(train + val + test) == available
    assert train == sorted(train)
    assert len(set(available)) == 24
    assert {path.name for path in (tiny / "exp").iterdir()} == {f"{n}_id.txt" for n in LISTS}


def test_the_marker_says_that_the_people_are_rendered(tiny):
    marker = json.loads((tiny / "rendered.json").read_text())
    assert marker["rendered"] is True
    assert (marker["layout"], marker["seed"], marker["size"]) == ("SYSU-MM01", 0, "tiny")
    assert "no number measured on them is a SYSU-MM01 result" in marker["note"]
    assert marker["counts"] == {
        "train_identities": 16,
        "test_identities": 8,
        "train_visible": 250,
        "train_infrared": 145,
        "test_visible": 125,
        "test_infrared": 70,
        "gallery_draw": 25,
    }


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(few, tmp_path):
    seen = []
    counts = render_sysu(tmp_path / "again", FEW, seed=2, workers=2, progress=seen.append)
    assert files_of(tmp_path / "again") == files_of(few)
    assert sum(seen) == FEW.images
    assert counts == json.loads((few / "rendered.json").read_text())["counts"]


def test_another_seed_shares_no_image(few, tmp_path):
    render_sysu(tmp_path / "other", FEW, seed=3)
    first, second = (
        {content for path, content in files_of(root).items() if path.endswith(".jpg")}
        for root in (few, tmp_path / "other")
    )
    assert len(first) == FEW.images
    assert not first & second


def test_an_interrupted_rendering_is_unmarked_and_can_be_completed(few, tmp_path):
    def interrupt(images: int) -> None:
        raise KeyboardInterrupt

    root = tmp_path / "few"
    with pytest.raises(KeyboardInterrupt):
        render_sysu(root, FEW, seed=2, progress=interrupt)
    assert list(root.glob("cam*/*/*.jpg"))
    assert not (root / "rendered.json").exists()
    assert not is_rendered(root, FEW, seed=2)
    with pytest.raises(UserError, match="not an interrupted rendering of size few with seed 3"):
        render_sysu(root, FEW, seed=3)
    render_sysu(root, FEW, seed=2)
    assert files_of(root) == files_of(few)


def test_a_finished_folder_is_left_as_it_is(few):
    before = {path: path.stat().st_mtime_ns for path in few.rglob("*")}
    counts = render_sysu(few, FEW, seed=2, progress=pytest.fail)
    assert counts["train_visible"] == FEW.train_visible
    assert before == {path: path.stat().st_mtime_ns for path in few.rglob("*")}


@pytest.mark.parametrize(("size", "seed"), [(FEW, 4), (dataclasses.replace(FEW, name="fewer"), 2)])
def test_a_finished_folder_of_another_kind_is_refused(few, size, seed):
    before = files_of(few)
    with pytest.raises(UserError, match=r"another rendering .* delete the folder or name another"):
        render_sysu(few, size, seed)
    assert files_of(few) == before


def test_foreign_folders_and_files_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        render_sysu(tmp_path, FEW, seed=0)
    with pytest.raises(UserError, match="is a file"):
        render_sysu(tmp_path / "notes.txt", FEW, seed=0)
    assert files_of(tmp_path) == {"notes.txt": b"mine"}


def test_a_full_disk_is_reported_and_leaves_no_marker(tmp_path, monkeypatch):
    def refuse(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(UserError, match="no space left on the disk"):
        render_sysu(tmp_path / "few", FEW, seed=2)
    assert not (tmp_path / "few" / "rendered.json").exists()


def test_the_number_of_training_people_can_be_changed():
    more = SIZES["demo"].with_training_identities(150)
    assert more.train_identities + more.val_identities == 150
    assert more.test_identities == SIZES["demo"].test_identities
    assert more.train_visible == SIZES["demo"].train_visible * 150 // 60
    assert planned_images(more, 1)["train visible"] == more.train_visible
    assert planned_images(more, 1)["test visible"] == SIZES["demo"].test_visible
    assert len(plan(SIZES["tiny"].with_training_identities(700), 0).train) > 500
    assert len(plan(SIZES["tiny"].with_training_identities(2), 0).folders) > 0


@pytest.mark.parametrize("identities", [0, 1, 10_000])
def test_impossible_numbers_of_people_are_refused(identities):
    with pytest.raises(UserError, match=f"{identities} training identities asked for"):
        SIZES["tiny"].with_training_identities(identities)


def run(*arguments: object) -> int:
    return command.main([str(argument) for argument in arguments])


def test_the_command_renders_once_and_then_leaves_the_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SIZES, "tiny", FEW)
    arguments = ("--out", tmp_path / "set", "--size", "tiny", "--seed", 5, "--workers", 1)
    assert run(*arguments) == 0
    assert is_rendered(tmp_path / "set", FEW, seed=5)
    assert "4 training and 2 test identities" in capsys.readouterr().err
    assert run(*arguments) == 0
    assert "is already rendered" in capsys.readouterr().err


def test_the_command_reports_mistakes_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SIZES, "tiny", FEW)
    assert run("--out", tmp_path, "--size", "tiny", "--identities", 1) == 2
    assert capsys.readouterr().err.startswith("error: 1 training identities asked for")
    with pytest.raises(SystemExit, match="2"):
        run("--out", tmp_path, "--seed", -1)
