"""RegDB's layout: its plan, its folders and its index files."""

import collections
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clustercontrast.data import regdb as reader
from clustercontrast.data import verify
from clustercontrast.files import UserError
from clustercontrast.rendering import __main__ as command
from clustercontrast.rendering import rig
from clustercontrast.rendering.layouts import SIZES, render_sysu
from clustercontrast.rendering.regdb import (
    REGDB_SIZES,
    RegDBSize,
    index_files,
    plan,
    render_regdb,
)
from clustercontrast.rendering.sets import is_rendered

FEW = RegDBSize("few", 3, 2, 48, 24)
NAME = re.compile(r"(Visible|Thermal)/(\d+)/(male|female)_(front|back)_([vt])_(\d{5})_(\d+)\.bmp")
LETTERS = {"Visible": "v", "Thermal": "t"}


def files_of(root: Path) -> dict[str, bytes]:
    paths = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def images_of(root: Path) -> dict[str, bytes]:
    return {path: content for path, content in files_of(root).items() if path.endswith(".bmp")}


def entries(text: str) -> list[tuple[str, int]]:
    pairs = (line.split(" ") for line in text.splitlines())
    return [(path, int(label)) for path, label in pairs]


def person_of(path: str) -> int:
    return int(path.split("/")[1])


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("rendered") / "few"
    render_regdb(root, FEW, seed=2)
    return root


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("rendered") / "tiny"
    render_regdb(root, REGDB_SIZES["tiny"], seed=0)
    return root


@pytest.fixture(scope="module")
def full():
    return plan(REGDB_SIZES["full"], seed=0)


# --- the plan ---


def test_full_size_has_exactly_the_counts_of_regdb(full):
    assert REGDB_SIZES["full"].counts == reader.COUNTS
    assert REGDB_SIZES["full"].images == 8240
    assert [len(folder.names) for folder in full.folders] == [10] * 824
    pairs = [(folder.identity, folder.modality) for folder in full.folders]
    assert pairs == [(n, m) for n in range(1, 413) for m in ("visible", "infrared")]
    assert (REGDB_SIZES["full"].height, REGDB_SIZES["full"].width) == (128, 64)
    assert len(full.trials) == 10


def test_names_are_those_of_regdb(full):
    for folder in full.folders:
        paths = [f"{folder.place}/{name}" for name in folder.names]
        found = [NAME.fullmatch(path).groups() for path in paths]
        assert len(set(found)) == 10
        assert [row[5] for row in found] == sorted(row[5] for row in found)
        for place, person, _, view, letter, _, owner in found:
            assert place == {"visible": "Visible", "infrared": "Thermal"}[folder.modality]
            assert letter == LETTERS[place]
            assert int(person) == int(owner) == folder.identity
            assert view == rig.habits(folder.identity, 0).view


def test_both_sexes_and_both_views_are_common_and_the_same_in_both_modalities(full):
    kinds = collections.defaultdict(set)
    for folder in full.folders:
        kinds[folder.identity] |= {tuple(name.split("_")[:2]) for name in folder.names}
    assert {len(kind) for kind in kinds.values()} == {1}
    sexes, views = zip(*(kind for (kind,) in kinds.values()), strict=True)
    assert 0.5 < sexes.count("female") / 412 < 0.75
    assert 0.3 < views.count("front") / 412 < 0.5


def test_frame_numbers_differ_between_the_modalities(full):
    numbers = [[name.split("_")[3] for name in folder.names] for folder in full.folders]
    same = [seen == felt for seen, felt in zip(numbers[::2], numbers[1::2], strict=True)]
    assert np.mean(same) < 0.05


@pytest.mark.parametrize("name", REGDB_SIZES)
def test_every_trial_splits_all_people_in_halves(name):
    size = REGDB_SIZES[name]
    trials = plan(size, seed=1).trials
    for parts in trials:
        learned, tested = set(parts["train"]), set(parts["test"])
        assert len(learned) == len(tested) == size.identities
        assert not learned & tested
        assert learned | tested == set(range(1, 2 * size.identities + 1))
    assert len({frozenset(parts["train"]) for parts in trials}) == 10


def test_splits_and_names_depend_on_the_seed():
    first, second = (plan(REGDB_SIZES["tiny"], seed) for seed in (0, 1))
    assert first.trials[0] != second.trials[0]
    assert first.folders[0].names != second.folders[0].names


def test_index_files_renumber_the_people_of_each_part(full):
    lists = index_files(full)
    assert lists.keys() == {
        f"idx/{part}_{word}_{trial}.txt"
        for part in ("train", "test")
        for word in ("visible", "thermal")
        for trial in range(1, 11)
    }
    for trial in range(1, 11):
        for part in ("train", "test"):
            visible, thermal = (
                entries(lists[f"idx/{part}_{word}_{trial}.txt"]) for word in ("visible", "thermal")
            )
            assert [label for _, label in visible] == [k for k in range(206) for _ in range(10)]
            owners = [(person_of(path), label) for path, label in visible]
            assert owners == [(person_of(path), label) for path, label in thermal]
            assert len(set(owners)) == 206
            expected = full.trials[trial - 1][part]
            assert tuple(person for person, _ in owners[::10]) == expected


def test_the_number_of_people_can_be_changed():
    more = REGDB_SIZES["tiny"].with_training_identities(30)
    assert (more.name, more.identities, more.frames) == ("tiny-30", 30, 5)
    assert (more.counts["test_identities"], more.counts["visible"]) == (30, 300)
    assert len(plan(more, 0).folders) == 120


@pytest.mark.parametrize("identities", [0, 1, 5000])
def test_impossible_numbers_of_people_are_refused(identities):
    with pytest.raises(UserError, match=f"{identities} training identities asked for"):
        REGDB_SIZES["tiny"].with_training_identities(identities)


# --- the folder ---


def test_tiny_is_on_disk_what_its_plan_says(tiny):
    planned = plan(REGDB_SIZES["tiny"], seed=0)
    content = files_of(tiny)
    paths = {f"{folder.place}/{name}" for folder in planned.folders for name in folder.names}
    assert set(content) == paths | set(index_files(planned)) | {"rendered.json"}
    assert len(paths) == REGDB_SIZES["tiny"].images == 240
    for path, text in index_files(planned).items():
        assert content[path].decode() == text
    for path in sorted(paths)[::20]:
        with Image.open(tiny / path) as image:
            assert (image.format, image.mode, image.size) == ("BMP", "RGB", (24, 48))


def test_the_reader_finds_the_counts_of_the_marker(tiny):
    listing = reader.read(tiny)
    known = verify.facts(tiny, reader)
    assert reader.count(listing) == known["counts"]
    assert verify.verify_counts(listing, reader, known["counts"], allow_incomplete=False) == []


def test_the_marker_says_that_the_people_are_rendered(tiny):
    assert json.loads((tiny / "rendered.json").read_text()) == {
        "rendered": True,
        "layout": "RegDB",
        "seed": 0,
        "size": "tiny",
        "counts": {
            "trials": 10,
            "visible": 120,
            "infrared": 120,
            "train_identities": 12,
            "test_identities": 12,
            "train_visible": 60,
            "train_infrared": 60,
            "test_visible": 60,
            "test_infrared": 60,
        },
        "note": "people rendered by this project; no number measured on them is a RegDB result",
    }


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(few, tmp_path):
    seen = []
    counts = render_regdb(tmp_path / "again", FEW, seed=2, workers=2, progress=seen.append)
    assert files_of(tmp_path / "again") == files_of(few)
    assert sum(seen) == FEW.images == 24
    assert counts == FEW.counts


def test_another_seed_shares_no_image(few, tmp_path):
    render_regdb(tmp_path / "other", FEW, seed=3)
    first, second = (set(images_of(root).values()) for root in (few, tmp_path / "other"))
    assert len(first) == FEW.images
    assert not first & second


def test_an_interrupted_rendering_is_unmarked_and_can_be_completed(few, tmp_path):
    def interrupt(images: int) -> None:
        raise KeyboardInterrupt

    root = tmp_path / "few"
    with pytest.raises(KeyboardInterrupt):
        render_regdb(root, FEW, seed=2, progress=interrupt)
    assert images_of(root)
    assert not is_rendered(root, FEW, seed=2)
    with pytest.raises(UserError, match="not an interrupted rendering of size few with seed 3"):
        render_regdb(root, FEW, seed=3)
    render_regdb(root, FEW, seed=2)
    assert files_of(root) == files_of(few)


def test_a_finished_folder_is_left_as_it_is(few):
    before = {path: path.stat().st_mtime_ns for path in few.rglob("*")}
    assert render_regdb(few, FEW, seed=2, progress=pytest.fail) == FEW.counts
    assert before == {path: path.stat().st_mtime_ns for path in few.rglob("*")}


@pytest.mark.parametrize(("size", "seed"), [(FEW, 4), (dataclasses.replace(FEW, name="fewer"), 2)])
def test_a_finished_folder_of_another_kind_is_refused(few, size, seed):
    before = files_of(few)
    with pytest.raises(UserError, match=r"another rendering .* delete the folder or name another"):
        render_regdb(few, size, seed)
    assert files_of(few) == before


def test_a_folder_of_the_other_layout_is_refused(tiny):
    before = files_of(tiny)
    with pytest.raises(UserError, match="says another layout, size or seed"):
        render_sysu(tiny, SIZES["tiny"], seed=0)
    assert files_of(tiny) == before


def test_foreign_folders_and_files_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        render_regdb(tmp_path, FEW, seed=0)
    with pytest.raises(UserError, match="is a file"):
        render_regdb(tmp_path / "notes.txt", FEW, seed=0)
    assert files_of(tmp_path) == {"notes.txt": b"mine"}


def test_the_command_renders_either_layout(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(REGDB_SIZES, "tiny", FEW)
    place = ["--layout", "regdb", "--out", str(tmp_path / "set")]
    arguments = [*place, "--size", "tiny", "--identities", "2", "--workers", "1"]
    assert command.main(arguments) == 0
    assert "2 training and 2 test identities, 16 rendered images" in capsys.readouterr().err
    assert len(images_of(tmp_path / "set")) == 16
    assert command.main(arguments) == 0
    assert "is already rendered" in capsys.readouterr().err
    assert command.main([*place, "--size", "tiny", "--identities", "1"]) == 2
