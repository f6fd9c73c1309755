"""People in place of SYSU-MM02 and LLCM: plans, tables, labels and cameras."""

import collections
import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clustercontrast.data import llcm, sysu02, verify
from clustercontrast.data.samples import PARTS
from clustercontrast.files import UserError
from clustercontrast.rendering import __main__ as command
from clustercontrast.rendering.cameras import INFRARED, VISIBLE
from clustercontrast.rendering.manifests import (
    LLCM,
    LLCM_SIZES,
    SYSU02,
    SYSU02_SIZES,
    LLCMSize,
    SYSU02Size,
    manifest,
    plan,
    render_llcm,
    render_sysu02,
)

KINDS = {"sysu02": (sysu02, SYSU02_SIZES, render_sysu02), "llcm": (llcm, LLCM_SIZES, render_llcm)}
FEW = {
    "sysu02": SYSU02Size("few", 4, 2, 9, 16, 4, 8, 64, 28),
    "llcm": LLCMSize("few", 2, 2, 12, 12, 12, 12, 64, 28),
}


def files_of(root: Path) -> dict[str, bytes]:
    paths = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module", params=KINDS)
def tiny(request, tmp_path_factory):
    reader, sizes, render = KINDS[request.param]
    root = tmp_path_factory.mktemp("manifests") / "tiny"
    render(root, sizes["tiny"], seed=0)
    return root, reader, sizes["tiny"]


@pytest.mark.parametrize("kind", KINDS)
def test_full_size_has_exactly_the_published_counts(kind):
    reader, sizes, _ = KINDS[kind]
    assert sizes["full"].counts == reader.COUNTS
    assert sizes["full"].layout == reader.TITLE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["tiny", "demo", "full"])
def test_the_plan_holds_exactly_the_images_of_the_size(kind, name):
    size = KINDS[kind][1][name]
    images, people = collections.Counter(), collections.defaultdict(set)
    numbers = collections.defaultdict(list)
    for track in plan(size, seed=0):
        assert track.images == len(track.names) > 0
        images[f"{track.split}_{track.modality}"] += track.images
        people[track.split] |= {track.person}
        numbers[track.place] += track.names
    assert images == {part: getattr(size, part) for part in PARTS}
    assert len(people["train"]) == size.train_identities
    assert len(people["test"]) == size.test_identities
    assert not people["train"] & people["test"]
    for names in numbers.values():
        assert names == [f"{k:06d}.jpg" for k in range(1, len(names) + 1)]


def test_some_training_people_of_sysu02_are_seen_in_one_modality_only():
    by_part = people_by_part(SYSU02_SIZES["full"])
    visible, infrared = by_part["train", "visible"], by_part["train", "infrared"]
    assert len(visible - infrared) == len(infrared - visible) == 60  # 15 % of 400, either way
    assert by_part["test", "visible"] == by_part["test", "infrared"]


def test_everybody_of_llcm_is_seen_in_both_modalities():
    by_part = people_by_part(LLCM_SIZES["demo"])
    for split in ("train", "test"):
        assert by_part[split, "visible"] == by_part[split, "infrared"]


def people_by_part(size) -> dict[tuple[str, str], set[int]]:
    found = collections.defaultdict(set)
    for track in plan(size, seed=0):
        found[track.split, track.modality].add(track.person)
    return found


def test_cameras_are_played_on_different_visits():
    assert {m: set(cameras) for m, cameras in SYSU02.cameras.items()} == {
        "visible": {1},
        "infrared": {2, 3},
    }
    for network in (SYSU02, LLCM):
        for modality, players in (("visible", VISIBLE), ("infrared", INFRARED)):
            stand_ins = network.cameras[modality].values()
            assert {stand_in.camera for stand_in in stand_ins} <= set(players)
            assert len({(s.camera, s.visit) for s in stand_ins}) == len(stand_ins)
    assert all(set(cameras) == set(range(1, 10)) for cameras in LLCM.cameras.values())


def test_the_reader_finds_the_counts_of_the_marker(tiny):
    root, reader, size = tiny
    known = verify.facts(root, reader)
    assert (known["layout"], known["counts"]) == (reader.TITLE, size.counts)
    listing = reader.read(root)
    assert verify.verify_counts(listing, reader, known["counts"], allow_incomplete=False) == []
    for part, images in listing.lists.items():
        assert len(images) == getattr(size, part)
        cameras = size.network.cameras[images.modality]
        assert set(images.cameras.tolist()) <= set(cameras)
        is_labelled = size.network.labelled or part.startswith("test")
        assert (images.identities > 0).all() if is_labelled else (images.identities == -1).all()


def test_the_table_lists_every_image_once_ascending(tiny):
    root, _, size = tiny
    content = files_of(root)
    rows = list(csv.reader(content["manifest.csv"].decode().splitlines()))[1:]
    paths = [row[0] for row in rows]
    assert paths == sorted(paths)
    assert {*paths, "manifest.csv", "rendered.json"} == set(content)
    assert len({content[path] for path in paths}) == len(paths) == size.images
    assert content["manifest.csv"].decode() == manifest(plan(size, 0), size.network.labelled)


def test_infrared_images_have_hardly_any_colour(tiny):
    root, reader, _ = tiny
    lists = reader.read(root).lists
    spread = {
        part: max(colour_of(root / path) for path in images.paths[::8])
        for part, images in lists.items()
    }
    assert max(spread["train_infrared"], spread["test_infrared"]) < 2
    assert min(spread["train_visible"], spread["test_visible"]) > 5


def colour_of(path: Path) -> float:
    """Mean difference of the channels, each less its own mean."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), np.float32)
    return float(np.ptp(pixels - pixels.mean(axis=(0, 1)), axis=2).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(kind, tmp_path):
    render = KINDS[kind][2]
    render(tmp_path / "one", FEW[kind], seed=2)
    seen = []
    render(tmp_path / "two", FEW[kind], seed=2, workers=2, progress=seen.append)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert sum(seen) == FEW[kind].images


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_training_people_can_be_changed(kind):
    size = KINDS[kind][1]["demo"]
    more = size.with_training_identities(2 * size.train_identities)
    assert type(more) is type(size)
    assert more.name == "demo-120"
    assert more.train_infrared == 2 * size.train_infrared
    assert more.test_visible == size.test_visible
    assert sum(track.images for track in plan(more, 0)) == more.images
    with pytest.raises(UserError, match="1 training identities asked for"):
        size.with_training_identities(1)


@pytest.mark.parametrize(
    ("kind", "people"),
    [("sysu02", "2 test identities, 37"), ("llcm", "2 training and 2 test identities, 48")],
)
def test_the_command_renders_either_layout(kind, people, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(KINDS[kind][1], "tiny", FEW[kind])
    root = tmp_path / "set"
    place = ["--layout", kind, "--out", str(root), "--size", "tiny", "--workers", "1"]
    assert command.main(place) == 0
    assert f"set: {people} rendered images" in capsys.readouterr().err
    assert json.loads((root / "rendered.json").read_text())["layout"] == KINDS[kind][0].TITLE
