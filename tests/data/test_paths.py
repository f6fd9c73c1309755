"""Paths in one buffer behave as a tuple of str, whatever the names of files are."""

import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustercontrast.data.paths import Paths
from clustercontrast.data.samples import ImageList

names = st.text(st.characters(exclude_categories=[]), max_size=6)  # surrogates, too
lists_of_names = st.lists(names, max_size=8)


@given(lists_of_names, st.slices(8))
def test_all_that_a_tuple_says(texts, part):
    paths, twin = Paths(texts), tuple(texts)
    assert (len(paths), list(paths)) == (len(twin), texts)
    assert paths == twin
    assert twin == paths
    assert paths == texts
    assert paths[part] == twin[part]
    assert [paths[row] for row in range(-len(twin), len(twin))] == texts + texts
    assert all(text in paths and paths.index(text) == twin.index(text) for text in texts)
    assert pickle.loads(pickle.dumps(paths)) == paths


@given(lists_of_names, lists_of_names)
def test_equal_only_where_the_texts_are(one, other):
    assert (Paths(one) == Paths(other)) == (Paths(one) == tuple(other)) == (one == other)


@given(st.lists(names, min_size=1), st.data())
def test_rows_are_taken_in_their_order(texts, data):
    rows = data.draw(st.lists(st.integers(-len(texts), len(texts) - 1)))
    taken = Paths(texts).take(np.array(rows, dtype=np.int64))
    assert taken == [texts[row] for row in rows]
    assert taken == Paths(texts[row] for row in rows)


@pytest.mark.parametrize("row", [3, -4, 1 << 70])
def test_a_row_out_of_range_is_refused(row):
    with pytest.raises(IndexError):
        Paths("abc")[row]


def test_a_path_is_no_text_and_no_other_kind_of_thing():
    assert Paths("abc") != "abc"
    assert Paths() != 0


def test_bytes_that_are_no_text_come_back():
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    images = ImageList("visible", (name, "é.jpg"), *np.zeros((2, 2), np.int64))
    assert images.subset([1, 0]).paths == ("é.jpg", name)
    assert images.paths[0].encode("utf-8", "surrogateescape") == b"caf\xe9.jpg"


def test_an_image_takes_its_path_and_few_bytes_more():
    count, length = 20_000, len("cam1/0000000/0000000.jpg")
    numbers = np.zeros((2, count), np.int64)
    tracemalloc.start()
    images = ImageList("visible", (f"cam1/{i:07d}/{i:07d}.jpg" for i in range(count)), *numbers)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(images) == count
    assert held < count * (length + 8) + 20_000
