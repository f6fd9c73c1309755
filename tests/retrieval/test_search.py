"""Searches against slow twins: exact ones, ties, indexes, re-ranked results, files."""

import contextlib
import csv
import json
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import clustercontrast
from clustercontrast.evaluation.reranking import Reranking
from clustercontrast.files import UserError
from clustercontrast.retrieval import search as search_module
from clustercontrast.retrieval.features import Features
from clustercontrast.retrieval.index import Index, is_index

MADE = {
    "digest": "a",
    "height": 32,
    "width": 16,
    "flip": True,
    "precision": "fp32",
    "source": "run",
    "about": {},
}


def features(rows, modality="visible", **made):
    rows = np.asarray(rows, np.float32)
    names = tuple(f"{modality}/{number}.jpg" for number in range(len(rows)))
    return Features(rows, names, modality, MADE | made)


def random_rows(count, length=8, seed=0):
    rows = np.random.default_rng(seed).standard_normal((count, length))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def twin(queries, gallery, top):
    """Rows by falling product, equal ones in gallery order."""
    return np.argsort(-(queries @ gallery.T), axis=1, kind="stable")[:, :top]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 23)),
    blocks=st.tuples(st.integers(1, 5), st.integers(1, 9)),
    top=st.integers(1, 30),
)
def test_an_exact_search_is_a_sort_whatever_the_blocks(seed, sizes, blocks, top):
    """Values of one decimal digit: products are exact, and many are equal."""
    generator = np.random.default_rng(seed)
    queries, gallery = (generator.integers(-2, 3, (n, 3)).astype(np.float32) for n in sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_module, "QUERIES", blocks[0])
        patch.setattr(search_module, "GALLERY", blocks[1])
        found = clustercontrast.search(features(queries, "infrared"), features(gallery), top)
    expected = twin(queries, gallery, top)
    assert np.array_equal(found.rows, expected)
    products = np.take_along_axis(queries @ gallery.T, expected, axis=1)
    assert np.array_equal(found.similarity, products)
    assert found.paths(0) == [f"visible/{row}.jpg" for row in expected[0]]


def test_a_reranked_result_stands_apart(monkeypatch):
    queries, gallery = random_rows(7, seed=1), random_rows(30, seed=2)
    monkeypatch.setattr(search_module, "CELLS", 60)  # two queries at a time
    both = features(queries, "infrared"), features(gallery)
    plain = clustercontrast.search(*both, top=5)
    found = clustercontrast.search(*both, top=5, rerank="k-reciprocal", k1=6, k2=3, weight=0.2)
    assert np.array_equal(found.rows, plain.rows)
    assert plain.reranked is None
    pair = (search_module.torch.from_numpy(rows) for rows in (queries, gallery))
    distances = Reranking(*pair, 6, 3, 0.2).distances(slice(None))
    expected = np.argsort(distances, axis=1, kind="stable")[:, :5]
    assert np.array_equal(found.reranked.rows, expected)
    kept = np.take_along_axis(distances, expected, axis=1)
    np.testing.assert_allclose(found.reranked.scores, kept, atol=1e-6)
    assert (found.reranked.measure, found.ranked.measure) == ("distance", "similarity")
    assert not np.array_equal(found.reranked.rows, found.rows)


def test_the_csv_holds_every_answer_and_the_reranked_one_has_its_own(tmp_path):
    queries, gallery = random_rows(3, seed=1), random_rows(9, seed=2)
    both = features(queries, "infrared"), features(gallery)
    found = clustercontrast.search(*both, 4, "k-reciprocal", k1=3, k2=2)
    found.save(tmp_path / "result.csv")
    for name, ranked in (("result.csv", found.ranked), ("result.reranked.csv", found.reranked)):
        header, *rows = csv.reader((tmp_path / name).open())
        assert header == ["query", "rank", "gallery", ranked.measure]
        assert [row[0] for row in rows] == [f"infrared/{q}.jpg" for q in range(3) for _ in range(4)]
        assert [int(row[1]) for row in rows] == [1, 2, 3, 4] * 3
        assert [row[2] for row in rows] == [f"visible/{row}.jpg" for row in ranked.rows.ravel()]
        read = np.array([float(row[3]) for row in rows])
        np.testing.assert_allclose(read, ranked.scores.ravel(), atol=5e-7)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda q, g: clustercontrast.search(q, g, 0), "top is 0"),
        (lambda q, g: clustercontrast.search(q, g, rerank="k"), "k-reciprocal"),
        (lambda q, g: clustercontrast.search(q, features(np.zeros((0, 8)))), "empty"),
        (lambda q, g: clustercontrast.search(q, features(g.rows, digest="b")), "digest differs, a"),
        (lambda q, g: clustercontrast.search(q, features(g.rows, flip=False)), "flip"),
        (lambda q, g: clustercontrast.search(q, features(g.rows, precision="bf16")), "precision"),
        (lambda q, g: clustercontrast.search(q, g, 2.5), "top is 2.5"),
        (lambda q, g: clustercontrast.search(q, g, None), "top is None"),
        (lambda q, g: clustercontrast.search(q.rows, g), "ndarray"),
        (lambda q, g: clustercontrast.search(q, g.rows), "ndarray"),
        (lambda q, g: clustercontrast.search(q, g, k1=5), "k1: read with rerank alone"),
        (lambda q, g: clustercontrast.search(q, g, rerank="k-reciprocal", k1=3, k2=6), "k1 is 3"),
        (lambda q, g: clustercontrast.search(q, g, rerank="k-reciprocal", weight=2), "weight is 2"),
    ],
)
def test_searches_that_make_no_sense_are_one_line(call, words):
    both = features(random_rows(2), "infrared"), features(random_rows(5))
    with pytest.raises(UserError, match=words) as caught:
        call(*both)
    assert "\n" not in str(caught.value)


# --- files of features ---


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_features_come_back_as_they_were(tmp_path, ending):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    own = features(random_rows(5), "infrared", about={"method": "pgm", "epoch": 3})
    own = Features(
        own.rows, ("ä b/1.jpg", *own.paths[1:]), own.modality, own.made_with, (("x", "y"),)
    )
    own.save(tmp_path / f"f.{ending}")
    again = Features.load(tmp_path / f"f.{ending}")
    assert np.array_equal(again.rows, own.rows)
    assert (again.paths, again.modality, again.skipped) == (own.paths, own.modality, own.skipped)
    assert again.made_with == own.made_with
    again.rows[0] = 0  # they can be written to


def test_a_csv_holds_every_number_exactly(tmp_path):
    own = features(random_rows(5))
    own.save(tmp_path / "f.csv")
    header, *rows = csv.reader((tmp_path / "f.csv").open())
    assert header[:3] == ["path", "f0", "f1"]
    assert [row[0] for row in rows] == list(own.paths)
    assert np.array_equal(np.array([row[1:] for row in rows], np.float32), own.rows)
    with pytest.raises(UserError, match=r"\.npz or \.parquet"):
        Features.load(tmp_path / "f.csv")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("f.npz", b"nothing", "damaged"),
        ("f.npz", None, "does not exist"),
        ("f.parquet", b"nothing", "damaged"),
        ("f.txt", b"", r"\.npz or \.parquet"),
    ],
)
def test_files_that_hold_no_features_are_one_line(tmp_path, name, content, words):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        Features.load(tmp_path / name)
    assert "\n" not in str(caught.value)


def rewritten(path, **changes):
    """The same file with other arrays."""
    with np.load(path) as file:
        content = {name: file[name] for name in file.files} | changes
    np.savez(path, **content)


@pytest.mark.parametrize(
    "change",
    [
        {"features": random_rows(3)},
        {"features": np.full((5, 8), np.nan, np.float32)},
        {"features": random_rows(5, length=7)},
        {"features": random_rows(5).astype(np.float64)},
        {"paths": np.arange(5)},
        {"paths": np.array("a")},
        {"said": np.array("{}")},
        {"said": np.array("no JSON")},
    ],
    ids=lambda change: " ".join(change),
)
def test_content_that_was_not_written_by_this_program_is_refused(tmp_path, change):
    features(random_rows(5)).save(tmp_path / "f.npz")
    Features.load(tmp_path / "f.npz")
    rewritten(tmp_path / "f.npz", **change)
    with pytest.raises(UserError, match="damaged") as caught:
        Features.load(tmp_path / "f.npz")
    assert "\n" not in str(caught.value)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), ending=st.sampled_from(["npz", "parquet"]))
def test_a_changed_or_cut_file_is_refused_or_reads_the_same(tmp_path, data, ending):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    path, own = tmp_path / f"f.{ending}", features(random_rows(5))
    own.save(path)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content = content[:place]
    else:
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with contextlib.suppress(UserError):
        again = Features.load(path)
        assert np.array_equal(again.rows, own.rows)
        assert (again.paths, again.said()) == (own.paths, own.said())


def test_an_unknown_ending_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match=r"\.npz, \.csv, \.parquet"):
        features(random_rows(2)).save(tmp_path / "f.xlsx")
    assert not list(tmp_path.iterdir())


# --- indexes ---


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_an_index_finds_what_an_exact_search_finds_and_is_saved(tmp_path, kind):
    pytest.importorskip("faiss")
    queries, gallery = random_rows(6, seed=1), random_rows(80, seed=2)
    own = features(queries, "infrared")
    index = Index.build(features(gallery), kind)
    assert index.recall > 0.5
    if kind == "flat":
        assert index.recall == 1
    found = clustercontrast.search(own, index, 5)
    overlap = [len({*a} & {*b}) for a, b in zip(found.rows, twin(queries, gallery, 5), strict=True)]
    assert sum(overlap) >= (30 if kind != "ivf" else 8)
    products = np.take_along_axis(queries @ gallery.T, found.rows, axis=1)
    np.testing.assert_allclose(found.similarity, products, atol=1e-6)
    index.save(tmp_path / "index")
    again = Index.load(tmp_path / "index")
    assert (again.paths, again.made_with, again.recall) == (index.paths, MADE, index.recall)
    assert np.array_equal(clustercontrast.search(own, again, 5).rows, found.rows)
    with pytest.raises(UserError, match="re-ranking"):
        clustercontrast.search(own, again, 5, rerank="k-reciprocal")


@pytest.mark.parametrize("change", ["cut", "a bit", "missing", "recall", "kind", "paths"])
def test_a_damaged_index_is_one_line(tmp_path, change):
    pytest.importorskip("faiss")
    place = tmp_path / "index"
    Index.build(features(random_rows(20)), "flat").save(place)
    file, said = place / "gallery.faiss", json.loads((place / "gallery.json").read_text())
    content = bytearray(file.read_bytes())
    if change == "cut":
        content = content[:100]
    content[-5] ^= change == "a bit"
    file.write_bytes(content)
    if change == "missing":
        file.unlink()
    others = {"recall": "good", "kind": "hnsw", "paths": said["paths"][::-1]}
    (place / "gallery.json").write_text(json.dumps(said | {change: others.get(change)}))
    assert is_index(place)
    with pytest.raises(UserError, match=r"build (it|the index) again") as caught:
        Index.load(place)
    assert "\n" not in str(caught.value)


def test_an_index_has_a_folder_of_its_own(tmp_path):
    pytest.importorskip("faiss")
    index = Index.build(features(random_rows(20)), "flat")
    (tmp_path / "images").mkdir()
    (tmp_path / "images/1.jpg").touch()
    (tmp_path / "file").touch()
    for name, words in (("images", "1.jpg"), ("file", "is a file")):
        with pytest.raises(UserError, match=words):
            index.save(tmp_path / name)
    for _ in range(2):  # the second one replaces the first
        index.save(tmp_path / "own")


def test_a_small_gallery_is_indexed_without_a_remark(capfd):
    pytest.importorskip("faiss")
    Index.build(features(random_rows(50)), "ivf")
    assert capfd.readouterr() == ("", "")


def test_an_unknown_index_is_one_line():
    with pytest.raises(UserError, match="hnsw, ivf, flat"):
        Index.build(features(random_rows(5)), "tree")


@pytest.mark.parametrize(
    ("name", "work"),
    [
        ("faiss", lambda place: Index.build(features(random_rows(5)))),
        ("pyarrow.parquet", lambda place: features(random_rows(5)).save(place / "f.parquet")),
    ],
)
def test_a_missing_package_is_one_line_with_its_extra(name, work, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"pip install 'clustercontrast\[") as caught:
        work(tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
