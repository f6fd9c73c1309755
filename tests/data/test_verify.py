"""Counts: hand-counted on the little dataset, and every difference named."""

import json

import numpy as np
import pytest

from clustercontrast.data import manifest, regdb, sysu, verify
from clustercontrast.data.samples import PARTS, ImageList, Listing
from clustercontrast.files import UserError

# By hand from PEOPLE in conftest.py. Gallery draw: (7, cam1), (7, cam2), (20, cam4), (20, cam5).
FOUND = {
    "train_identities": 3,
    "test_identities": 2,
    "train_visible": 3 + 2 + 2 + 1 + 2,
    "train_infrared": 2 + 1 + 3 + 2,
    "test_infrared": 3 + 2 + 1,
    "test_visible": 2 + 3 + 1 + 2,
    "gallery_draw": 4,
}


def test_counts_by_hand(sysu_root):
    assert sysu.count(sysu.read(sysu_root)) == FOUND


def test_images_per_camera_by_hand(sysu_root):
    table = verify.images_per_camera(sysu.read(sysu_root).lists)
    assert table["train_visible"] == {1: 4, 2: 2, 4: 2, 5: 2}
    assert table["train_infrared"] == {3: 4, 6: 4}
    assert table["test_infrared"] == {3: 3, 6: 3}
    assert table["test_visible"] == {1: 2, 2: 3, 4: 1, 5: 2}
    json.dumps(table)


def test_agreement_is_silent(sysu_root):
    assert verify.verify_counts(sysu.read(sysu_root), sysu, FOUND, allow_incomplete=False) == []


def test_every_difference_is_named_in_one_line(sysu_root):
    expected = FOUND | {"train_infrared": 11909, "test_infrared": 7}
    with pytest.raises(UserError) as caught:
        verify.verify_counts(sysu.read(sysu_root), sysu, expected, allow_incomplete=False)
    message = str(caught.value)
    assert "\n" not in message
    assert "found 8 infrared training images" in message
    assert "11,909" in message
    assert "found 6 infrared query images" in message
    assert "--allow-incomplete" in message
    assert "visible training" not in message


def test_published_counts_are_called_by_the_datasets_name(sysu_root):
    listing = sysu.read(sysu_root)
    with pytest.raises(UserError, match="10 visible training images, SYSU-MM01 has 22,258"):
        verify.verify_counts(listing, sysu, sysu.COUNTS, allow_incomplete=False)


def test_incomplete_data_are_warned_of_when_allowed(sysu_root):
    warnings = verify.verify_counts(sysu.read(sysu_root), sysu, FOUND | {"test_visible": 9}, True)
    assert len(warnings) == 1
    assert "8 visible gallery images" in warnings[0]


def test_an_empty_list_is_never_allowed(sysu_root):
    listing = sysu.read(sysu_root)
    listing.lists["test_infrared"] = listing.lists["test_infrared"].subset(np.zeros(0, np.int64))
    with pytest.raises(UserError, match="no infrared query images"):
        verify.verify_counts(listing, sysu, FOUND, allow_incomplete=True)


def test_gallery_draw_counts_pairs_not_images():
    one, none = np.ones(3, np.int64), ImageList("infrared", (), *np.zeros((2, 0), np.int64))
    gallery = ImageList("visible", ("a", "b", "c"), one, np.array([1, 1, 2]))
    parts = {"train_visible": none, "train_infrared": none, "test_infrared": none}
    assert sysu.count(Listing(parts | {"test_visible": gallery}))["gallery_draw"] == 2


def test_published_facts(sysu_root):
    known = verify.facts(sysu_root, sysu)
    assert known == {"rendered": False, "counts": sysu.COUNTS}
    assert sysu.NAMES.keys() == sysu.COUNTS.keys()
    # 44 745 files of the 491 identities.
    assert sum(sysu.COUNTS[name] for name in PARTS) == 44745
    assert sysu.COUNTS["train_identities"] + sysu.COUNTS["test_identities"] == 491


def test_rendered_facts_come_from_the_folder(sysu_root):
    content = {"rendered": True, "counts": FOUND, "seed": 3, "note": "drawn"}
    (sysu_root / "rendered.json").write_text(json.dumps(content))
    assert verify.facts(sysu_root, sysu) == content
    with pytest.raises(UserError, match=r"rendered\.json has 9"):
        verify.verify_counts(sysu.read(sysu_root), sysu, FOUND | {"test_visible": 9}, False)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"counts": {"test_infrared": 1}}'])
def test_damaged_facts_are_named(sysu_root, text):
    (sysu_root / "rendered.json").write_text(text)
    with pytest.raises(UserError, match=r"rendered\.json"):
        verify.facts(sysu_root, sysu)


# --- training and test identities ---


def overlap_of_sysu(root):
    (root / "exp" / "test_id.txt").write_text("7,12")
    return sysu.read(root)


@pytest.fixture
def leaky_regdb(regdb_root):
    """Trial 2 tests person 2 and trains on it."""
    for modality in ("visible", "thermal"):
        path = regdb_root / "idx" / f"train_{modality}_2.txt"
        text = path.read_text().replace("_1.bmp", "_2.bmp").replace("/1/", "/2/")
        path.write_text(text)
    return regdb.read(regdb_root)


def test_official_splits_are_disjoint(sysu_root, regdb_root):
    assert not verify.verify_split(sysu.read(sysu_root), allow_leak=False)
    assert not verify.verify_split(regdb.read(regdb_root), allow_leak=False)


def test_an_identity_of_both_parts_is_refused_unless_allowed(sysu_root):
    listing = overlap_of_sysu(sysu_root)
    with pytest.raises(UserError, match=r"identity 12 is in .* test part: correct .*--allow-leak"):
        verify.verify_split(listing, allow_leak=False)
    assert verify.verify_split(listing, allow_leak=True)


def test_every_trial_is_looked_at(leaky_regdb):
    with pytest.raises(UserError, match="identity 2 is in the training and in the test part of tr"):
        verify.verify_split(leaky_regdb, allow_leak=False)
    assert verify.verify_split(leaky_regdb, allow_leak=True)


def people(*identities):
    number = len(identities)
    paths = tuple(map(str, range(number)))
    return ImageList("visible", paths, np.array(identities, np.int64), np.ones(number, np.int64))


def test_shared_people_are_counted_and_unknown_ones_are_nobody():
    lists = dict(
        zip(PARTS, (people(-1, 4), people(9, -1), people(9, 5), people(4, 4)), strict=True)
    )
    with pytest.raises(UserError, match=r"identity 4 is .* \(2 identities are\)"):
        verify.verify_split(Listing(lists), allow_leak=False)
    unknown = dict(zip(PARTS, (people(-1), people(-1), people(-1, 1), people(2)), strict=True))
    assert not verify.verify_split(Listing(unknown), allow_leak=False)


def test_lists_without_a_split_have_no_leak():
    assert not verify.verify_split(Listing({"source": people(1, 1)}), allow_leak=False)


def test_a_manifest_with_a_shared_identity(tmp_path):
    lines = ["relpath,split,modality,camera,identity"]
    for row, part in enumerate(PARTS):
        (tmp_path / f"{row}.jpg").touch()
        lines.append(f"{row}.jpg,{part.replace('_', ',')},1,3")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match="identity 3 is in the training and in the test part"):
        verify.verify_split(manifest.read(tmp_path, "source"), allow_leak=False)
