"""Reading Market-1501's layout: order, labels of file names, splits, and every mistake named."""

import json
from pathlib import Path

import pytest
from handmade import write_noise

from clustercontrast.data import market, verify
from clustercontrast.files import UserError

FILES = {
    "bounding_box_train": ["0007_c3s1_000100_01.jpg", "0002_c1s1_000451_03.jpg"],
    "bounding_box_test": [
        "1501_c6s2_000002_00.jpg",
        "0000_c2s1_000001_00.jpg",
        "-1_c4s1_000009_05.jpg",
        "Thumbs.db",
        ".DS_Store",
    ],
    "query": ["1501_c5s2_000003_00.JPG"],
    "gt_bbox": ["whatever.txt"],
}
ALL = {"train": 2, "gallery": 3, "query": 1}


@pytest.fixture
def root(tmp_path) -> Path:
    for folder, names in FILES.items():
        for seed, name in enumerate(names):
            if name.lower().endswith(".jpg"):
                write_noise(tmp_path / folder / name, seed)
            else:
                (tmp_path / folder).mkdir(exist_ok=True)
                (tmp_path / folder / name).write_text("left behind")
    return tmp_path


def test_splits_follow_one_another_and_files_are_ascending(root):
    listing = market.read(root)
    source = listing.lists["source"]
    assert source.paths == (
        "bounding_box_train/0002_c1s1_000451_03.jpg",
        "bounding_box_train/0007_c3s1_000100_01.jpg",
        "bounding_box_test/-1_c4s1_000009_05.jpg",
        "bounding_box_test/0000_c2s1_000001_00.jpg",
        "bounding_box_test/1501_c6s2_000002_00.jpg",
        "query/1501_c5s2_000003_00.JPG",
    )
    assert source.identities.tolist() == [2, 7, -1, -1, 1501, 1501]
    assert source.cameras.tolist() == [1, 3, 4, 2, 6, 5]
    assert source.modality == "visible"
    assert listing.lists.keys() == market.RESAMPLING.keys() == {"source"}
    assert not listing.trials


def test_the_order_of_the_splits_is_the_callers(root):
    paths = market.read(root, ("query", "train")).lists["source"].paths
    assert [path.split("/")[0] for path in paths] == ["query", *["bounding_box_train"] * 2]


def test_counts_leave_out_what_was_not_read(root):
    assert market.count(market.read(root)) == ALL
    (root / "query" / FILES["query"][0]).unlink()
    (root / "query").rmdir()
    listing = market.read(root, ("train",))
    assert market.count(listing) == {"train": 2}
    assert verify.verify_counts(listing, market, ALL, allow_incomplete=False) == []
    with pytest.raises(UserError) as caught:
        verify.verify_counts(listing, market, market.COUNTS, allow_incomplete=False)
    message = str(caught.value)
    assert message.startswith("found 2 training images, Market-1501 has 12,936: copy")
    assert "gallery" not in message
    assert "query" not in message


def test_published_counts_sum_to_the_papers_number(root):
    assert sum(market.COUNTS.values()) == 36036  # CMAM-8
    assert market.COUNTS.keys() == market.NAMES.keys() == market.SPLITS.keys()
    assert verify.facts(root, market) == {"rendered": False, "counts": market.COUNTS}


def test_facts_of_rendered_people_are_read_and_other_layouts_refused(root):
    content = {"rendered": True, "layout": "Market-1501", "counts": ALL}
    (root / "rendered.json").write_text(json.dumps(content))
    assert verify.facts(root, market) == content
    (root / "rendered.json").write_text(json.dumps(content | {"layout": "RegDB"}))
    with pytest.raises(UserError, match="in the layout of RegDB, not of Market-1501"):
        verify.facts(root, market)


@pytest.mark.parametrize("splits", [(), ("train", "train"), ("train", "test")])
def test_unknown_splits_are_named(root, splits):
    with pytest.raises(UserError, match="expected some of train, gallery, query, each once"):
        market.read(root, splits)


def test_no_folder_and_a_folder_one_level_deeper(root):
    with pytest.raises(UserError, match=r"no folder .*nowhere, expected Market-1501 there"):
        market.read(root / "nowhere")
    (root / "outer").mkdir()
    for folder in FILES:
        (root / folder).rename(root / "outer" / folder)
    with pytest.raises(UserError, match=r"has no bounding_box_train, but .*outer has: give that"):
        market.read(root)


def test_missing_and_empty_splits_are_named(root):
    (root / "query" / FILES["query"][0]).unlink()
    with pytest.raises(UserError, match=r"query has no images: copy Market-1501 again"):
        market.read(root)
    (root / "query").rmdir()
    with pytest.raises(UserError, match=r"has no query, expected .*or read other splits"):
        market.read(root)


@pytest.mark.parametrize("name", ["0002_c1_000451.jpg", "0002_c1s1_000451_03.png", "x.jpg"])
def test_other_file_names_are_named_with_a_remedy(root, name):
    write_noise(root / "query" / name, 0)
    with pytest.raises(UserError, match=rf"query/{name} is not named like .*: remove it, or read"):
        market.read(root)
