"""Reading RegDB's layout: images, trials, the order of rows, and every contradiction named."""

import shutil

import numpy as np
import pytest
from handmade import REGDB_TRIALS, regdb_name

from clustercontrast.data import images, regdb, verify, writing
from clustercontrast.data.samples import PARTS
from clustercontrast.files import UserError


def test_lists_hold_every_image_once_per_filter(regdb_root):
    listing = regdb.read(regdb_root)
    assert listing.lists.keys() == regdb.RESAMPLING.keys()
    for name, every in listing.lists.items():
        modality, resample = name.split("_")
        assert regdb.RESAMPLING[name] == resample
        assert every.modality == modality
        assert every.identities.tolist() == [1, 1, 2, 2, 11, 11, 12, 12]
        assert set(every.cameras) == {regdb.CAMERAS[modality]}
        folder = {"visible": "Visible", "infrared": "Thermal"}[modality]
        assert every.paths[:2] == tuple(
            f"{folder}/1/{regdb_name(1, folder, frame)}" for frame in (7, 103)
        )


@pytest.mark.parametrize("trial", REGDB_TRIALS)
def test_parts_are_those_of_the_index_files(regdb_root, trial):
    parts = regdb.read(regdb_root).parts(trial)
    assert tuple(parts) == PARTS
    learned, tested = REGDB_TRIALS[trial]
    for part, own in parts.items():
        people = learned if part.startswith("train") else tested
        # labels 0, 1 and frames 7, 103: text order is the order of people in the list
        assert own.identities.tolist() == [person for person in people for _ in range(2)]
        assert own.modality == part.split("_")[1]


def test_training_images_are_resized_as_upstream_does(regdb_root):
    """Bicubic for training and clustering, Lanczos for retrieval (COMMON-5)."""
    for parts in regdb.read(regdb_root).trials.values():
        for part, (name, _) in parts.items():
            assert name.endswith("bicubic" if part.startswith("train") else "lanczos")


def test_rows_follow_unpadded_labels_as_text(regdb_root):
    """COMMON-23: "10_c1..." comes before "1_c1...", since "_" sorts after digits."""
    for modality in ("visible", "thermal"):
        path = regdb_root / "idx" / f"train_{modality}_1.txt"
        edit(path, lambda text: text.replace("bmp 1", "bmp 10").replace("bmp 0", "bmp 1"))
    # person 11 has label 1, person 2 has label 10
    assert regdb.read(regdb_root).parts(1)["train_visible"].identities.tolist() == [2, 2, 11, 11]


def test_counts_by_hand(regdb_root):
    counts = {"trials": 2, "visible": 8, "infrared": 8, "train_identities": 2}
    counts |= {"test_identities": 2} | dict.fromkeys(PARTS, 4)
    listing = regdb.read(regdb_root)
    assert regdb.count(listing) == counts
    assert verify.verify_counts(listing, regdb, counts, allow_incomplete=False) == []
    with pytest.raises(UserError, match="found 2 trials, RegDB has 10; found 8 visible images"):
        verify.verify_counts(listing, regdb, regdb.COUNTS, allow_incomplete=False)


def test_published_counts():
    assert regdb.COUNTS["visible"] == 412 * 10 == 2 * regdb.COUNTS["train_visible"]
    assert regdb.NAMES.keys() == regdb.COUNTS.keys()


def test_a_rendering_of_the_other_layout_is_refused(regdb_root):
    (regdb_root / "rendered.json").write_text('{"layout": "SYSU-MM01", "counts": {}}')
    with pytest.raises(UserError, match="layout of SYSU-MM01, not of RegDB"):
        verify.facts(regdb_root, regdb)


def test_left_behind_files_are_passed_over(regdb_root):
    (regdb_root / "Visible" / ".DS_Store").touch()
    (regdb_root / "Visible" / "1" / "Thumbs.db").touch()
    listing = regdb.read(regdb_root)
    assert len(listing.lists["visible_bicubic"]) == 8
    assert set(listing.skipped) == {"Visible/.DS_Store", "Visible/1/Thumbs.db"}


def test_index_files_as_windows_writes_them(regdb_root):
    """Byte order mark, CRLF, backslashes, tabs, .BMP for .bmp, and the reverse on disk."""
    before = regdb.read(regdb_root)
    for path in (regdb_root / "idx").iterdir():
        lines = path.read_text().replace("/", "\\").replace(".bmp ", ".BMP\t ").splitlines()
        path.write_bytes(("\ufeff" + "\t\r\n".join(lines) + "\r\n\r\n").encode())
    after = regdb.read(regdb_root)
    for trial in before.trials:
        for part, own in before.parts(trial).items():
            assert after.parts(trial)[part].paths == own.paths
    name = regdb_name(2, "Visible", 7)
    shown = regdb_root / "Visible" / "2" / name
    shown.rename(shown.with_suffix(".Bmp"))
    assert f"Visible/2/{name[:-4]}.Bmp" in regdb.read(regdb_root).parts(1)["train_visible"].paths


# --- prepared ---


def test_a_prepared_trial_has_the_images_of_its_parts(regdb_root, tmp_path):
    listing = regdb.read(regdb_root)
    known = {"rendered": False, "complete": True, "leak": False, "counts": {}}
    folder = tmp_path / "prepared"
    writing.prepare(
        regdb_root, folder, "regdb", listing, regdb.RESAMPLING, (12, 6), 1, known, progress=False
    )
    prepared = images.open_prepared(folder, "regdb")
    assert sorted(prepared.rows) == ["1", "2"]
    for trial in (1, 2):
        for part, array in prepared.parts(trial).items():
            expected = listing.parts(trial)[part]
            assert array.index.paths == expected.paths
            np.testing.assert_array_equal(array.index.identities, expected.identities)
            every = prepared[listing.trials[trial][part][0]]
            for row, path in enumerate(array.index.paths):
                whole = every.pixels[every.index.paths.index(path)]
                np.testing.assert_array_equal(array.pixels[row], whole)
    with pytest.raises(UserError, match="no trial 3: it has 1 to 2"):
        prepared.parts(3)
    with pytest.raises(UserError, match="images of regdb, not of sysu"):
        images.open_prepared(folder, "sysu")


# --- contradictions ---


def edit(path, change):
    path.write_text(change(path.read_text()))


def lose_folder(root):
    shutil.rmtree(root / "Thermal")


def lose_index_file(root):
    (root / "idx" / "test_thermal_2.txt").unlink()


def lose_trial(root):
    for path in (root / "idx").glob("*_1.txt"):
        path.unlink()


def lose_image(root):
    (root / "Visible" / "11" / regdb_name(11, "Visible", 7)).unlink()


def add_other_file(root):
    (root / "Visible" / "11" / "notes.txt").touch()


def add_other_folder(root):
    (root / "Visible" / "eleven").mkdir()


def break_line(root):
    edit(root / "idx" / "train_visible_1.txt", lambda text: text.replace(" 0", "", 1))


def repeat_line(root):
    edit(root / "idx" / "train_visible_1.txt", lambda text: text + text.splitlines()[0])


def swap_labels(root):
    edit(
        root / "idx" / "train_thermal_1.txt",
        lambda text: text.replace("bmp 0", "bmp 2").replace("bmp 1", "bmp 0"),
    )


def share_label(root):
    for modality in ("visible", "thermal"):
        path = root / "idx" / f"train_{modality}_1.txt"
        edit(path, lambda text: text.replace("bmp 1", "bmp 0"))


def shorten_trial(root):
    for modality in ("visible", "thermal"):
        path = root / "idx" / f"test_{modality}_2.txt"
        edit(path, lambda text: "\n".join(text.splitlines()[:-1]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "no folder .*expected RegDB there"),
        (lose_folder, "has no Thermal, expected Visible, Thermal and idx"),
        (lose_index_file, r"cannot read .*test_thermal_2\.txt"),
        (lose_trial, r"trials \[2\], expected 1 to 10"),
        (
            lose_image,
            r"train_visible_1\.txt lists Visible/11/male_front_v_00007_11\.bmp, not found",
        ),
        (add_other_file, r"notes\.txt is not a \.bmp image"),
        (add_other_folder, "eleven is not the folder of an identity"),
        (break_line, r"train_visible_1\.txt, line 1 is malformed"),
        (repeat_line, r"train_visible_1\.txt, line 5 is malformed or repeats"),
        (swap_labels, r"train_\*_1\.txt: identity 11 has 2 different labels"),
        (share_label, r"train_\*_1\.txt: label 0 has 2 different identities"),
        (shorten_trial, "trial 2 lists 3 images for test_visible, trial 1 lists 4"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_contradictions_are_one_line_that_names_them(regdb_root, spoil, message):
    spoil(regdb_root)
    with pytest.raises(UserError, match=message) as caught:
        regdb.read(regdb_root)
    assert "\n" not in str(caught.value)


def test_a_folder_too_high_is_pointed_out(regdb_root):
    with pytest.raises(UserError, match="give that --data-dir"):
        regdb.read(regdb_root.parent)
