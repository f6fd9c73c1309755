"""A model loaded and used: the features of the tests, whatever form images come in."""

import doctest
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_runs
import torch
from PIL import Image

import clustercontrast
from clustercontrast.commands import loading
from clustercontrast.data.images import open_prepared
from clustercontrast.evaluation.features import extract
from clustercontrast.files import UserError
from clustercontrast.models.official import official_checkpoint
from clustercontrast.models.single_stream_resnet import SingleStreamResNet
from clustercontrast.models.two_stream_resnet import TwoStreamResNet
from clustercontrast.models.vision_transformer import TwoStreamViT
from clustercontrast.retrieval import blocks
from clustercontrast.retrieval import model as model_module
from clustercontrast.retrieval import search as search_module

RUN = "logs/sysu/pclhd/seed1"


def pictures_in(folder):
    return [Image.open(path) for path in sorted(folder.glob("*.jpg"))]


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, clustercontrast; dir(clustercontrast); "
        "print([n for n in ('torch', 'numpy', 'PIL', 'matplotlib') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_offered_is_there_and_nothing_else():
    assert callable(clustercontrast.load)
    assert {"load", "search", "Index", "Features", "Model"} <= set(dir(clustercontrast))
    with pytest.raises(AttributeError, match="nothing"):
        clustercontrast.nothing  # noqa: B018


@pytest.mark.parametrize("module", [loading, model_module, search_module])
def test_the_examples_of_the_docstrings(world, module):
    failed, tried = doctest.testmod(module)
    assert (failed, tried > 0) == (0, True)


def test_features_are_those_of_the_test_command(world):
    """The prepared test images of a dataset and the files they come from give the same rows."""
    people = tiny_runs.dataset()
    prepared = open_prepared(people.with_name(f"{people.name}-32x16"), "sysu")
    model = clustercontrast.load(RUN)
    for modality in ("visible", "infrared"):
        images = prepared[f"test_{modality}"]
        with torch.no_grad():
            expected = extract(model.network, images, unit=True).numpy()
        found = model.features([people / path for path in images.index.paths], modality)
        assert found.paths == tuple(str(people / path) for path in images.index.paths)
        np.testing.assert_allclose(found.rows, expected, atol=1e-6)


def test_every_form_of_images_gives_the_same_rows(world):
    model = clustercontrast.load(RUN)
    expected = model.features("queries", "infrared")
    pictures = pictures_in(world / "queries")
    arrays = [np.asarray(picture.convert("RGB")) for picture in pictures]
    for given in (
        world / "queries",
        sorted((world / "queries").iterdir()),
        [str(path) for path in sorted((world / "queries").iterdir())],
        pictures,
        arrays,
        [pictures[:3], arrays[3:]],
    ):
        np.testing.assert_allclose(model.features(given, "infrared").rows, expected.rows, atol=1e-6)
    found = model.features(np.stack([arrays[0]] * 2), "infrared")
    assert found.paths == ("image 0", "image 1")
    np.testing.assert_allclose(found.rows, expected.rows[[0, 0]], atol=1e-6)
    (single,) = model.features(pictures[0], "infrared").rows
    np.testing.assert_allclose(single, expected.rows[0], atol=1e-6)


def test_rows_are_of_unit_length_and_modalities_have_their_own_stem(world):
    model = clustercontrast.load(RUN)
    own, other = (model.features("queries", name).rows for name in ("infrared", "visible"))
    np.testing.assert_allclose(np.linalg.norm(own, axis=1), 1, atol=1e-6)
    assert np.abs(own - other).max() > 1e-3


def test_the_flip_is_averaged_unless_it_is_switched_off(world):
    model = clustercontrast.load(RUN)
    picture = pictures_in(world / "queries")[0]
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    both = [model.features(one, "infrared", flip=False).rows[0] for one in (picture, mirrored)]
    mean = sum(both)
    found = model.features(picture, "infrared").rows[0]
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean), atol=1e-5)
    assert np.abs(both[0] - both[1]).max() > 1e-4


@pytest.mark.parametrize("which", ["last", "test"])
def test_the_model_of_a_run_is_the_one_asked_for(world, which):
    seed = {"last": 1, "test": 2}[which]
    model = clustercontrast.load(RUN, which)
    assert model.about["epoch"] == {"last": 1, "test": 0}[which]
    torch.manual_seed(seed)
    first = next(iter(TwoStreamResNet(10, non_local=False).parameters()))
    assert torch.equal(next(model.network.parameters()).cpu(), first)


def test_what_a_model_knows_of_itself(world):
    model = clustercontrast.load(RUN)
    assert (model.size, model.length) == ((32, 16), 512)
    assert model.normalisation["mean"] == (0.485, 0.456, 0.406)
    assert model.provenance.rendered
    assert "seed1" in repr(model)
    assert len(repr(model)) < 200


@pytest.mark.slow
def test_official_checkpoints_load_the_same_way(world):
    """An official file holds the same network under other names, and says nothing of itself."""
    torch.manual_seed(3)
    network = TwoStreamResNet(50).eval()
    torch.save(official_checkpoint(network.state_dict(), {}, 4), world / "official.pth.tar")
    model = clustercontrast.load(world / "official.pth.tar", height=32, width=16)
    assert (model.about, model.provenance, model.length) == ({}, None, 2048)
    assert clustercontrast.load(world / "official.pth.tar").size == (288, 144)
    own = model.features("queries", "infrared").rows
    model = model_module.Model(network, 32, 16, {}, "", torch.device("cpu"))
    np.testing.assert_allclose(own, model.features("queries", "infrared").rows, atol=1e-6)


def test_one_stem_serves_both_modalities_of_a_single_stream():
    network = SingleStreamResNet(10).eval()
    model = model_module.Model(network, 32, 16, {}, "m", torch.device("cpu"))
    assert model.stems == {"visible": "stem", "infrared": "stem"}
    image = np.random.default_rng(0).integers(0, 256, (32, 16, 3), np.uint8)
    rows = [model.features(image, name, flip=flip).rows
            for name in ("visible", "infrared") for flip in (True, False)]  # fmt: skip
    assert all(np.array_equal(one, rows[0]) for one in rows)


def test_fakes_in_place_of_visible_images_are_not_made_up():
    network = SingleStreamResNet(10).eval()
    model = model_module.Model(network, 32, 16, {"fakes": "there"}, "m", torch.device("cpu"))
    image = np.zeros((32, 16, 3), np.uint8)
    assert len(model.features(image, "infrared")) == 1
    with pytest.raises(UserError, match="fake infrared images"):
        model.features(image, "visible")


# --- what goes wrong ---


def test_bad_images_are_named_and_the_others_go_on(world):
    model = clustercontrast.load(RUN)
    expected = model.features("gallery", "visible")
    (world / "gallery/0003.5.jpg").write_bytes(b"no image")
    shutil.copy(world / "gallery/0001.jpg", world / "gallery/cut.png")
    with (world / "gallery/cut.png").open("r+b") as file:
        file.truncate(300)
    found = model.features("gallery", "visible")
    assert found.paths == expected.paths
    assert np.array_equal(found.rows, expected.rows)
    assert [name for name, _ in found.skipped] == ["gallery/0003.5.jpg", "gallery/cut.png"]
    assert "0003.5.jpg" in found.skipped[0][1]


@pytest.mark.parametrize(
    ("given", "modality", "words"),
    [
        ("queries", "thermal", "visible or infrared"),
        ("nowhere", "visible", "nowhere does not exist"),
        ("empty", "visible", "empty has no image"),
        ([], "visible", "no images"),
        (None, "visible", "NoneType"),
        (b"bytes", "visible", "bytes"),
        (np.zeros((4, 4, 3), np.float32), "visible", "float32"),
        (np.zeros((4, 4, 7), np.uint8), "visible", "4, 4, 7"),
        (["broken.jpg"], "visible", "none of 1 images"),
        (torch.zeros(4, 4, 3), "visible", "Tensor"),
        ("", "visible", "empty name"),
    ],
    ids=str,
)
def test_images_that_are_none_are_one_line(world, given, modality, words):
    (world / "empty").mkdir()
    (world / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=words) as caught:
        clustercontrast.load(RUN).features(given, modality)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "options", "words"),
    [
        ("logs/none", {}, "does not exist"),
        ("queries", {}, "queries is no folder of a run: give one, such as logs/sysu/pclhd/seed1"),
        ("logs/sysu/pclhd", {}, "give one, such as logs/sysu/pclhd/seed1"),
        (RUN, {"which": "best"}, "last, test, cycle"),
        (RUN, {"which": "cycle"}, "no model 'cycle'"),
        (RUN, {"precision": "fp16"}, "fp32, tf32, bf16"),
        (RUN, {"device": "cuda:77"}, "GPU"),
        (RUN, {"height": 0}, "height is 0"),
        (RUN, {"width": 32.5}, "width is 32.5"),
        (None, {}, "NoneType"),
        ("queries/0001.jpg", {}, "no checkpoint"),
    ],
)
def test_a_model_that_cannot_be_had_is_one_line(world, path, options, words):
    with pytest.raises(UserError, match=words) as caught:
        clustercontrast.load(path, **options)
    assert "\n" not in str(caught.value)


def test_a_size_that_a_network_has_no_positions_for_is_one_line(tmp_path):
    torch.save(TwoStreamViT(8, 64, 2, shallow=True).state_dict(), tmp_path / "vit.pth")
    assert clustercontrast.load(tmp_path / "vit.pth", height=64, width=32).length == 128
    with pytest.raises(UserError, match="64x64 pixels") as caught:
        clustercontrast.load(tmp_path / "vit.pth", height=64, width=64)
    assert "\n" not in str(caught.value)


def test_deep_images_need_their_range(world):
    deep = np.random.default_rng(1).integers(0, 4096, (20, 10)).astype(np.uint16)
    Image.fromarray(deep).save(world / "deep.png")
    model = clustercontrast.load(RUN)
    with pytest.raises(UserError, match="intensity-range"):
        model.features("deep.png", "infrared")
    found = model.features("deep.png", "infrared", intensities=(0, 4095))
    shallow = np.rint(deep / 4095 * 255).astype(np.uint8)
    expected = model.features(shallow, "infrared")
    np.testing.assert_allclose(found.rows, expected.rows, atol=1e-6)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"workers": 0}, "workers is 0"),
        ({"intensities": "ab"}, "two numbers"),
        ({"intensities": (5, 1)}, "smaller one first"),
    ],
    ids=str,
)
def test_values_that_make_no_sense_are_one_line(world, flags, words):
    with pytest.raises(UserError, match=words):
        clustercontrast.load(RUN).features("queries", "infrared", **flags)


def test_a_device_may_be_one_of_torch(world):
    assert clustercontrast.load(RUN, device=torch.device("cpu")).device.type == "cpu"


def test_every_image_that_can_be_read_is_and_the_rest_is_named(world):
    (world / "mixed/sub").mkdir(parents=True)
    image = Image.open(world / "queries/0001.jpg")
    for name in ("a.jpg", "b.webp", "c.gif", "d.jfif", "E.PPM", "sub/f.png"):
        image.save(world / "mixed" / name, "JPEG" if name == "d.jfif" else None)
    (world / "mixed/notes.txt").touch()
    (world / "mixed/.hidden.jpg").touch()
    (world / "mixed/sub/back").symlink_to(world / "mixed")
    (world / "mixed/gone.jpg").symlink_to(world / "nowhere.jpg")
    found = clustercontrast.load(RUN).features("mixed", "infrared")
    names = [path.removeprefix("mixed/") for path in found.paths]
    assert names == ["E.PPM", "a.jpg", "b.webp", "c.gif", "d.jfif", "sub/f.png"]
    assert [name for name, _ in found.skipped] == ["mixed/gone.jpg"]
    passed = " ".join(found.passed_over)
    assert len(found.passed_over) == 3
    assert all(word in passed for word in ("notes.txt", ".hidden.jpg", "sub/back"))


def test_what_may_not_be_read_is_passed_over(world, monkeypatch):
    """Rights, as a user without those of root meets them."""
    (world / "queries/closed").mkdir()
    shutil.copy(world / "queries/0001.jpg", world / "queries/0000.jpg")
    scandir, read, stat = os.scandir, Path.read_bytes, Path.stat

    def no_folder(path):
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    def no_file(work):
        def limited(path, *args, **more):
            if path.name == "0000.jpg":
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return work(path, *args, **more)

        return limited

    monkeypatch.setattr(os, "scandir", no_folder)
    monkeypatch.setattr(Path, "read_bytes", no_file(read))
    model = clustercontrast.load(RUN)
    monkeypatch.setattr(Path, "stat", no_file(stat))
    found = model.features("queries", "infrared", keep="kept")
    assert len(found) == 6
    assert "Permission denied" in dict(found.skipped)["queries/0000.jpg"]
    assert found.passed_over == ("queries/closed (Permission denied)",)


def test_a_closed_image_is_skipped(world):
    pictures = pictures_in(world / "queries")
    pictures[2].close()
    found = clustercontrast.load(RUN).features(pictures, "infrared")
    assert [name for name, _ in found.skipped] == ["image 2"]
    assert len(found) == 5


# --- work that goes on ---


def test_an_interrupted_extraction_goes_on_and_ends_as_if_it_had_not_been(world, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 5)
    (world / "gallery/0003.5.jpg").write_bytes(b"no image")
    model = clustercontrast.load(RUN)
    expected = model.features("gallery", "visible")
    calls, embed = [], model_module.Model.embed

    def stops(self, pixels, modality, flip=True):
        calls.append(len(pixels))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return embed(self, pixels, modality, flip)

    monkeypatch.setattr(model_module.Model, "embed", stops)
    with pytest.raises(KeyboardInterrupt):
        model.features("gallery", "visible", keep="kept")
    assert len(list((world / "kept").glob("*.npz"))) == 2
    calls[:] = [0, 0, 0]  # the first two blocks are not made again
    found = model.features("gallery", "visible", keep="kept")
    assert sum(calls[3:]) == 3
    assert np.array_equal(found.rows, expected.rows)
    assert (found.paths, found.skipped) == (expected.paths, expected.skipped)
    made = len(calls)
    again = model.features("gallery", "visible", keep="kept")
    assert len(calls) == made
    assert np.array_equal(again.rows, expected.rows)


def test_a_damaged_block_is_made_again(world, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 5)
    model = clustercontrast.load(RUN)
    expected = model.features("gallery", "visible", keep="kept")
    first, second, third = sorted((world / "kept").glob("*.npz"))
    first.write_bytes(first.read_bytes()[:200])
    second.write_bytes(b"PK\x03\x04 garbage")
    np.savez(third, rows=np.zeros((1, 512), np.float32), reasons=np.array(["", ""]))
    found = model.features("gallery", "visible", keep="kept")
    np.testing.assert_allclose(found.rows, expected.rows, atol=1e-6)


@pytest.mark.parametrize("change", ["an image", "the flip", "the model"])
def test_kept_features_of_other_work_are_not_taken(world, monkeypatch, change):
    monkeypatch.setattr(blocks, "BLOCK", 5)
    model = clustercontrast.load(RUN)
    real = model_module.Model.embed
    made = []

    def stops(self, pixels, modality, flip=True):
        made.append(len(pixels))
        if len(made) == 3:
            raise KeyboardInterrupt
        return real(self, pixels, modality, flip)

    with monkeypatch.context() as patch:
        patch.setattr(model_module.Model, "embed", stops)
        with pytest.raises(KeyboardInterrupt):
            model.features("gallery", "visible", keep="kept")
    flip = change != "the flip"
    if change == "an image":
        shutil.copy(world / "gallery/0002.jpg", world / "gallery/0001.jpg")
    if change == "the model":
        model = clustercontrast.load(RUN, "test")
    found = model.features("gallery", "visible", flip=flip, keep="kept")
    assert np.array_equal(found.rows, model.features("gallery", "visible", flip=flip).rows)
