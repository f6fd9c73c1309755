"""People in place of SYSU-MM02 and LLCM: plans, tables, index files, labels and cameras."""

import collections
import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clustercontrast.data import llcm, sysu02, verify
from clustercontrast.data.samples import PARTS
from clustercontrast.files import UserError
from clustercontrast.rendering import __main__ as command
from clustercontrast.rendering.cameras import INFRARED, VISIBLE
from clustercontrast.rendering.llcm import (
    LLCM_SIZES,
    NETWORK,
    LLCMSize,
    index_files,
    pictures,
    render_llcm,
)
from clustercontrast.rendering.manifests import (
    SYSU02,
    SYSU02_SIZES,
    SYSU02Size,
    manifest,
    plan,
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
    for network in (SYSU02, NETWORK):
        for modality, players in (("visible", VISIBLE), ("infrared", INFRARED)):
            stand_ins = network.cameras[modality].values()
            assert {stand_in.camera for stand_in in stand_ins} <= set(players)
            assert len({(s.camera, s.visit) for s in stand_ins}) == len(stand_ins)
    assert set(NETWORK.cameras["visible"]) == set(range(1, 10))
    assert set(NETWORK.cameras["infrared"]) == set(range(1, 10)) - {3}


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


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    """Content of a tiny set of either kind by path."""
    place = tmp_path_factory.mktemp("layouts")
    for kind, (_, _, render) in KINDS.items():
        render(place / kind, FEW[kind], seed=0)
    return {kind: files_of(place / kind) for kind in KINDS}


def test_the_table_lists_every_image_once_ascending(layouts):
    size, content = FEW["sysu02"], layouts["sysu02"]
    rows = list(csv.reader(content["manifest.csv"].decode().splitlines()))[1:]
    paths = [row[0] for row in rows]
    assert paths == sorted(paths)
    assert {*paths, "manifest.csv", "rendered.json"} == set(content)
    assert len({content[path] for path in paths}) == len(paths) == size.images
    assert content["manifest.csv"].decode() == manifest(plan(size, 0))


NAME = re.compile(r"(vis|nir)/(\d{4})/(\d{4})_c(\d{2})_s(\d{6})_f(\d{4,})_(vis|nir)\.jpg")


def test_llcm_has_every_image_once_and_copies_of_the_test_images(layouts):
    size, content = FEW["llcm"], layouts["llcm"]
    images = {path for path in content if path.startswith(("vis/", "nir/"))}
    assert len({content[path] for path in images}) == len(images) == size.images
    copies = {path for path in content if path.startswith("test_")}
    assert len(copies) == size.test_visible + size.test_infrared
    for path in copies:
        folder, camera, person, name = path.removeprefix("test_").split("/")
        assert content[path] == content[f"{folder}/{person}/{name}"]
        assert name.startswith(f"{person}_c0{camera.removeprefix('cam')}_")
    for path in images:
        folder, person, again, _, _, _, modality = NAME.fullmatch(path).groups()
        assert (folder, person) == (modality, again)
    assert not [path for path in content if "_c03_" in path and "nir" in path]
    assert not [path for path in content if path.startswith("test_nir/cam3/")]


def test_index_files_of_llcm_name_images_of_their_part_and_number_the_people(layouts):
    content = layouts["llcm"]
    expected = index_files(pictures(FEW["llcm"], seed=0))
    lists = {path: content[path].decode() for path in content if path.startswith("idx/")}
    assert lists == expected
    people = lists.pop("idx/test_id.txt").split(",")
    assert people == sorted(people, key=int)
    listed = []
    for path, text in lists.items():
        rows = [line.split(" ") for line in text.splitlines()]
        listed += [image for image, _ in rows]
        persons = sorted({image.split("/")[1] for image, _ in rows})
        assert all(int(label) == persons.index(image.split("/")[1]) for image, label in rows)
        is_test = {int(person) for person in persons} <= set(map(int, people))
        assert is_test == path.startswith("idx/test")
    assert set(listed) == {path for path in content if path.startswith(("vis/", "nir/"))}
    assert len(listed) == len(set(listed))


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
