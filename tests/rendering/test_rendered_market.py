"""Market-1501's layout: its plan, its folders, its junk and distractors."""

import collections
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clustercontrast.data import market as reader
from clustercontrast.data import verify
from clustercontrast.files import UserError
from clustercontrast.rendering import __main__ as command
from clustercontrast.rendering.cameras import VISIBLE
from clustercontrast.rendering.market import (
    CAMERAS,
    DISTRACTOR,
    JUNK,
    MARKET_SIZES,
    MarketSize,
    plan,
    render_market,
)

FEW = MarketSize("few", 2, 2, 8, 8, 4, 5, 3, 64, 28)
FOLDERS = {folder: split for split, folder in reader.SPLITS.items()}


def files_of(root: Path) -> dict[str, bytes]:
    paths = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("market") / "tiny"
    render_market(root, MARKET_SIZES["tiny"], seed=0)
    return root


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("market") / "few"
    render_market(root, FEW, seed=2)
    return root


def test_full_size_has_exactly_the_counts_of_market():
    assert MARKET_SIZES["full"].counts == reader.COUNTS
    assert MARKET_SIZES["full"].images == 36036
    assert (MARKET_SIZES["full"].junk, MARKET_SIZES["full"].distractors) == (3819, 2793)


@pytest.mark.parametrize("size", MARKET_SIZES.values(), ids=MARKET_SIZES)
def test_the_plan_holds_exactly_the_images_of_the_size(size):
    tracks = plan(size, seed=0)
    images, people = collections.Counter(), collections.defaultdict(set)
    for track in tracks:
        assert track.images > 0
        images[FOLDERS[track.folder]] += track.images
        if track.identity in (JUNK, DISTRACTOR):
            images[track.identity] += track.images
        people[FOLDERS[track.folder]] |= {track.identity} - {JUNK, DISTRACTOR}
    assert images == size.counts | {JUNK: size.junk, DISTRACTOR: size.distractors}
    assert len(people["train"]) == size.train_identities
    assert people["query"] == people["gallery"]
    assert len(people["query"]) == size.test_identities
    assert not people["train"] & people["query"]
    names = [
        (track.folder, track.name(track.first + k)) for track in tracks for k in range(track.images)
    ]
    assert len(set(names)) == size.images


def test_everybody_has_one_query_in_every_camera_that_saw_them():
    tracks = plan(MARKET_SIZES["full"], seed=1)
    seen = {(t.identity, t.camera): t for t in tracks if t.folder == "bounding_box_test"}
    for query in (track for track in tracks if track.folder == "query"):
        others = seen.pop((query.identity, query.camera))
        assert query.images == 1
        assert query.first == others.first + others.images
        assert query.person == others.person
    assert {identity for identity, _ in seen} == {JUNK, DISTRACTOR}
    cameras = collections.Counter(track.identity for track in tracks if track.folder == "query")
    assert min(cameras.values()) >= 2


def test_passers_by_are_nobody_of_the_lists():
    tracks = plan(MARKET_SIZES["full"], seed=0)
    nobody = {t.person: t.identity for t in tracks if t.identity in (JUNK, DISTRACTOR)}
    assert not nobody.keys() & {t.person for t in tracks if t.identity > 0}
    assert len(nobody) == sum(t.identity in (JUNK, DISTRACTOR) for t in tracks)


def test_six_cameras_are_played_by_the_visible_ones_on_different_visits():
    assert CAMERAS.keys() == set(range(1, 7))
    assert [stand_in.camera for stand_in in CAMERAS.values()] == [*VISIBLE, *VISIBLE[:2]]
    assert len({(stand_in.camera, stand_in.visit) for stand_in in CAMERAS.values()}) == 6


def named(path):
    """The identity in a file's name."""
    return int(path.rpartition("/")[2].partition("_")[0])


def test_the_reader_finds_the_counts_of_the_marker(tiny):
    known = verify.facts(tiny, reader)
    assert (known["layout"], known["rendered"]) == ("Market-1501", True)
    assert known["counts"] == {"train": 120, "gallery": 52, "query": 18}
    listing = reader.read(tiny)
    assert verify.verify_counts(listing, reader, known["counts"], allow_incomplete=False) == []
    found = collections.Counter(map(named, listing.lists["source"].paths))
    assert (found[JUNK], found[DISTRACTOR], len(found)) == (8, 8, 12 + 6 + 2)
    people = collections.Counter(listing.lists["source"].identities.tolist())
    assert (people[-1], len(people)) == (16, 12 + 6 + 1)
    assert set(listing.lists["source"].cameras.tolist()) == set(CAMERAS)


def test_images_are_coloured_different_and_of_one_size(tiny):
    content = files_of(tiny)
    paths = reader.read(tiny).lists["source"].paths
    assert set(content) == {*paths, "rendered.json"}
    assert len({content[path] for path in paths}) == len(paths)
    for path in paths[::10]:
        with Image.open(tiny / path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (28, 64))
            assert np.ptp(np.asarray(image, np.int16), axis=2).max() > 20


def test_a_junk_crop_shows_less_of_the_person_than_a_distractor(tiny):
    """The background of one scene is smoother than a person in front of it."""
    columns = {JUNK: [], DISTRACTOR: []}
    for path in reader.read(tiny).lists["source"].paths:
        if named(path) in columns:
            with Image.open(tiny / path) as image:
                middle = np.asarray(image, np.float32)[8:56, 10:18]
            columns[named(path)].append(middle.std(axis=0).mean())
    assert np.mean(columns[JUNK]) < np.mean(columns[DISTRACTOR])


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(few, tmp_path):
    seen = []
    counts = render_market(tmp_path / "again", FEW, seed=2, workers=2, progress=seen.append)
    assert files_of(tmp_path / "again") == files_of(few)
    assert sum(seen) == FEW.images == 28
    assert counts == FEW.counts


def test_another_seed_shares_no_image(few, tmp_path):
    render_market(tmp_path / "other", FEW, seed=3)
    first, second = (
        {content for path, content in files_of(root).items() if path.endswith(".jpg")}
        for root in (few, tmp_path / "other")
    )
    assert len(first) == FEW.images
    assert not first & second


def test_the_number_of_training_people_can_be_changed():
    more = MARKET_SIZES["tiny"].with_training_identities(30)
    assert (more.name, more.train_identities, more.train) == ("tiny-30", 30, 300)
    assert more.counts == {"train": 300, "gallery": 52, "query": 18}
    assert sum(track.images for track in plan(more, 0)) == more.images
    with pytest.raises(UserError, match="1 training identities asked for"):
        more.with_training_identities(1)


def test_the_command_renders_the_layout(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(MARKET_SIZES, "tiny", FEW)
    place = ["--layout", "market", "--out", str(tmp_path / "set"), "--size", "tiny"]
    assert command.main([*place, "--workers", "1"]) == 0
    assert "set: 28 rendered images" in capsys.readouterr().err
    content = json.loads((tmp_path / "set" / "rendered.json").read_text())
    assert content["counts"] == FEW.counts
    assert "no number measured on them is a Market-1501 result" in content["note"]
