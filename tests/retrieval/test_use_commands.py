"""The commands features and search on a small world: files, pages, skipped images, refusals."""

import csv
import errno
import shutil

import browser
import numpy as np
import pytest

import clustercontrast
from clustercontrast.__main__ import main
from clustercontrast.retrieval import blocks
from clustercontrast.retrieval import model as model_module
from clustercontrast.retrieval.features import Features
from clustercontrast.retrieval.index import Index
from clustercontrast.retrieval.search import Found

RUN = "logs/sysu/pclhd/seed1"
SIDES = ["--query", "queries", "--query-modality", "infrared",
         "--gallery", "gallery", "--gallery-modality", "visible"]  # fmt: skip


def refused(capsys, *words):
    """The one line of a command that is refused."""
    with pytest.raises(SystemExit) as leaving:
        main(list(words))
    assert leaving.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    return line


@pytest.fixture(params=["npz", "parquet"])
def ending(request):
    if request.param == "parquet":
        pytest.importorskip("pyarrow")
    return request.param


def test_features_of_a_folder_are_those_of_the_api(world, ending, capsys):
    main(["features", RUN, "queries", "--modality", "infrared", "--out", f"f.{ending}"])
    found, expected = (
        Features.load(f"f.{ending}"),
        clustercontrast.load(RUN).features("queries", "infrared"),
    )
    assert np.array_equal(found.rows, expected.rows)
    assert found.paths == expected.paths
    assert found.made_with["about"]["method"] == "pclhd"
    shown = capsys.readouterr().out
    assert "6 images, 512 numbers each" in shown
    assert "rendered identities" in shown
    assert not list(world.glob("*.partial"))


def test_flags_of_a_model_reach_it(world):
    main(["features", RUN, "queries", "--modality", "infrared", "--out", "f.npz", "--no-flip",
          "--model", "test", "--height", "64", "--width", "32", "--batch-size", "2"])  # fmt: skip
    model = clustercontrast.load(RUN, "test", height=64, width=32)
    expected = model.features("queries", "infrared", flip=False)
    np.testing.assert_allclose(Features.load("f.npz").rows, expected.rows, atol=1e-6)


def answers(path):
    return [tuple(row) for row in csv.reader(path.open())][1:]


def test_a_search_writes_the_answers_of_the_api(world, capsys):
    (world / "gallery/0000.jpg").write_bytes(b"no image")
    main(["search", RUN, *SIDES, "--top", "4", "--out", "r.csv"])
    assert "skipped gallery/0000.jpg: " in capsys.readouterr().out
    model = clustercontrast.load(RUN)
    queries, gallery = model.features("queries", "infrared"), model.features("gallery", "visible")
    clustercontrast.search(queries, gallery, 4).save("expected.csv")
    assert answers(world / "r.csv") == answers(world / "expected.csv")
    assert len(answers(world / "r.csv")) == 6 * 4


@pytest.mark.slow
def test_files_of_features_and_indexes_are_searched_like_the_images(world):
    pytest.importorskip("faiss")
    for name, modality in (("queries", "infrared"), ("gallery", "visible")):
        main(["features", RUN, name, "--modality", modality, "--out", f"{name}.npz"])
    main(["search", RUN, *SIDES, "--out", "images.csv"])
    main(["search", RUN, "--query", "queries.npz", "--gallery", "gallery.npz", "--out", "f.csv"])
    main(["search", RUN, "--query", "queries.npz", "--gallery", "gallery.npz", "--out", "i.csv",
          "--index", "flat", "--save-index", "index"])  # fmt: skip
    main(["search", RUN, *SIDES[:4], "--gallery", "index", "--out", "again.csv"])
    expected = answers(world / "images.csv")
    for name in ("f.csv", "i.csv", "again.csv"):
        found = answers(world / name)
        assert [row[:3] for row in found] == [row[:3] for row in expected]
    assert Index.load("index").recall == 1


@pytest.mark.slow
def test_a_reranked_search_has_a_file_and_a_list_of_its_own(world):
    main(["search", RUN, *SIDES, "--out", "plain.csv"])
    how = ["--rerank", "--rerank-k1", "5", "--rerank-k2", "2", "--rerank-weight", "0.5"]
    main(["search", RUN, *SIDES, "--out", "r.csv", "--html", "r.html", *how])
    assert answers(world / "r.csv") == answers(world / "plain.csv")
    assert answers(world / "r.reranked.csv") != answers(world / "plain.csv")
    text = (world / "r.html").read_text()
    assert "Re-ranked, k1 5, k2 2, λ 0.5" in text
    assert text.count('class="answer"') == 12


def test_a_folder_may_be_called_like_a_file_of_features(world):
    shutil.copytree(world / "queries", world / "shots.npz")
    main(["search", RUN, "--query", "shots.npz", *SIDES[2:], "--out", "r.csv"])
    main(["search", RUN, *SIDES, "--out", "expected.csv"])
    found, expected = (answers(world / name) for name in ("r.csv", "expected.csv"))
    assert [row[1:] for row in found] == [row[1:] for row in expected]


def test_a_reranked_file_of_an_earlier_search_is_named(world, capsys):
    main(["search", RUN, *SIDES, "--out", "r.csv", "--rerank", "--rerank-k1", "5",
          "--rerank-k2", "2"])  # fmt: skip
    assert "earlier search" not in capsys.readouterr().out
    main(["search", RUN, *SIDES, "--out", "r.csv"])
    assert "note: r.reranked.csv is of an earlier search" in capsys.readouterr().out


@pytest.mark.slow
def test_an_interrupted_search_says_how_to_go_on_and_does(world, monkeypatch, capsys):
    monkeypatch.setattr(blocks, "BLOCK", 5)  # before: the images of a batch decide the rounding
    main(["search", RUN, *SIDES, "--out", "expected.csv"])
    real, calls = model_module.Model.embed, []

    def stops(self, pixels, modality, flip=True):
        calls.append(modality)
        if calls.count("visible") == 2:
            raise KeyboardInterrupt
        return real(self, pixels, modality, flip)

    with monkeypatch.context() as patch:
        patch.setattr(model_module.Model, "embed", stops)
        with pytest.raises(SystemExit) as leaving:
            main(["search", RUN, *SIDES, "--out", "r.csv"])
    assert leaving.value.code == 130
    said = capsys.readouterr().err
    assert "r.csv.gallery.partial" in said
    assert "the same command goes on" in said
    assert not (world / "r.csv").exists()
    main(["search", RUN, *SIDES, "--out", "r.csv"])
    assert answers(world / "r.csv") == answers(world / "expected.csv")
    assert not list(world.glob("*.partial"))


def test_a_result_that_cannot_be_written_loses_no_features(world, monkeypatch, capsys):
    full = OSError(errno.ENOSPC, "No space left on device")

    def fails(*_):
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(Found, "save", fails)
        assert "no space left" in refused(capsys, "search", RUN, *SIDES, "--out", "r.csv")
    assert len(list(world.glob("r.csv.*.partial/*.npz"))) == 2
    calls, embed = [], model_module.Model.embed
    counted = lambda self, pixels, *rest: calls.append(len(pixels)) or embed(self, pixels, *rest)  # noqa: E731
    monkeypatch.setattr(model_module.Model, "embed", counted)
    main(["search", RUN, *SIDES, "--out", "r.csv"])
    assert calls == [1]  # of the trial when the model is loaded
    assert not list(world.glob("*.partial"))


# --- the page ---

LAYOUT = """(document) => ({
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  images: [...document.images].map((image) => [image.complete, image.naturalWidth]),
  rows: [...document.querySelectorAll(".list")].map((list) =>
    [...list.querySelectorAll("li img")].map((image) => {
      const box = image.getBoundingClientRect();
      return [box.left, box.top, box.right, box.height].map(Math.round);
    })),
  letters: Math.min(...[...document.querySelectorAll("figcaption, p, h3, dd")].map((node) =>
    parseFloat(getComputedStyle(node).fontSize))),
})"""


@pytest.fixture
def page(world):
    main(["search", RUN, *SIDES, "--html", "r.html", "--html-queries", "4", "--activations"])
    return (world / "r.html").read_text()


def test_the_page_says_what_was_searched_and_shows_the_first_queries(page):
    assert page.count('class="answer"') == 4
    assert page.count('class="pair"') == 4
    for words in ("12 visible images", "6 infrared queries", "the first 4 are shown", "32x16",
                  "rendered identities", "queries/0001.jpg"):  # fmt: skip
        assert words in page
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")


@pytest.mark.slow
@pytest.mark.parametrize(("width", "columns"), [(390, 3), (1400, 10)])
def test_the_page_is_laid_out_for_phones_and_screens(page, tmp_path, width, columns):
    found = browser.probe(tmp_path, page, LAYOUT, width)
    assert found["overflow"] == 0
    assert len(found["images"]) == page.count("<img ")
    assert all(whole and pixels > 0 for whole, pixels in found["images"])
    assert found["letters"] >= 12
    for row in found["rows"]:
        tops = [box[1] for box in row]
        assert tops.count(tops[0]) == columns
        assert max(box[2] for box in row) <= width
        assert {box[3] for box in row} == {128}
    _, console = browser.load(tmp_path, page)
    assert console == []


def test_images_that_are_gone_since_are_said_to_be(world):
    main(["features", RUN, "gallery", "--modality", "visible", "--out", "g.npz"])
    shutil.rmtree(world / "gallery")
    main(["search", RUN, *SIDES[:4], "--gallery", "g.npz", "--html", "r.html", "--activations"])
    text = (world / "r.html").read_text()
    assert text.count("not found") == 6 * 10
    assert 'class="pair"' not in text


# --- refusals ---


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["features", RUN, "queries", "--out", "f.npz"], "--modality"),
        (["features", RUN, "queries", "--modality", "thermal", "--out", "f.npz"], "thermal"),
        (["features", RUN, "queries", "--modality", "infrared", "--out", "f.txt"], ".npz"),
        (["features", RUN, "nowhere", "--modality", "infrared", "--out", "f.npz"], "nowhere"),
        (["features", RUN, "empty", "--modality", "infrared", "--out", "f.npz"], "empty has no"),
        (["features", "nowhere", "queries", "--modality", "infrared", "--out", "f.npz"], "nowhere"),
        (["search", RUN, *SIDES], "--out"),
        (["search", RUN, *SIDES, "--out", "r.txt"], ".csv"),
        (["search", RUN, *SIDES, "--html", "r.htm"], ".html"),
        (["search", RUN, *SIDES[:2], *SIDES[4:], "--out", "r.csv"], "--query-modality"),
        (["search", RUN, *SIDES[:6], "--out", "r.csv"], "--gallery-modality"),
        (["search", RUN, *SIDES, "--out", "r.csv", "--top", "0"], "top"),
        (["search", RUN, *SIDES, "--out", "r.csv", "--html-queries", "3"], "--html alone"),
        (["search", RUN, *SIDES, "--out", "r.csv", "--activations"], "--html alone"),
        (["search", RUN, *SIDES, "--out", "r.csv", "--rerank-k1", "3"], "without --rerank"),
        (["search", RUN, *SIDES, "--out", "r.csv", "--save-index", "i"], "--index alone"),
        (["search", RUN, *SIDES, "--out", "r.csv", "--rerank", "--index", "flat"], "leave one"),
        (["search", RUN, *SIDES[:4], "--gallery", "index", "--index", "flat", "--out", "r.csv"],
         "already"),
        (["search", RUN, *SIDES[:4], "--gallery", "index", "--rerank", "--out", "r.csv"],
         "already"),
        (["search", RUN, "--query", "index", *SIDES[4:], "--out", "r.csv"], "is an index"),
        (["search", RUN, *SIDES, "--out", "r.csv", "--rerank", "--rerank-k1", "2",
          "--rerank-k2", "3"], "k2"),
        (["search", RUN, *SIDES[:4], "--gallery", "infrared.npz", "--gallery-modality", "visible",
          "--out", "r.csv"], "infrared images"),
        (["search", RUN, *SIDES[:4], "--gallery", "infrared.npz", "--no-flip", "--out", "r.csv"],
         "flip"),
        (["search", RUN, *SIDES[:4], "--gallery", "infrared.npz", "--model", "test",
          "--out", "r.csv"], "digest"),
        (["search", RUN, *SIDES, "--out", "r.csv", "--tpo", "3"], "did you mean --top"),
        (["search", RUN, "--query", "infrared.npz", "--gallery", "infrared.npz", "--out", "r.csv",
          "--batch-size", "3"], "both sides are features"),
        (["search", RUN, "--query", "infrared.npz", "--gallery", "infrared.npz", "--out", "r.csv",
          "--precision", "bf16"], "precision"),
        (["search", RUN, *SIDES, "--index", "flat", "--save-index", "gallery", "--out", "r.csv"],
         "a folder of its own"),
        (["features", RUN, "queries", "--modality", "infrared", "--out", "empty.npz/"], "folder"),
    ],
    ids=lambda words: words if isinstance(words, str) else " ".join(words[:1]),
)  # fmt: skip
def test_what_cannot_be_done_is_one_line_and_writes_nothing(world, capsys, words, said):
    (world / "empty").mkdir()
    (world / "empty.npz").mkdir()
    if "infrared.npz" in words:
        main(["features", RUN, "queries", "--modality", "infrared", "--out", "infrared.npz"])
    if "index" in words:
        pytest.importorskip("faiss")
        gallery = clustercontrast.load(RUN).features("gallery", "visible")
        Index.build(gallery, "flat").save("index")
    before = sorted(path.name for path in world.iterdir())
    capsys.readouterr()
    assert said in refused(capsys, *words)
    assert sorted(path.name for path in world.iterdir()) == before


def test_the_table_of_methods_names_all_and_what_they_need(capsys):
    main(["methods"])
    shown = capsys.readouterr().out
    for words in ("pclhd", "sdcl", "vit_base_ics_cfs_lup.pth", "--source FOLDER", "LLCM",
                  "data/RegDB"):  # fmt: skip
        assert words in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 120
