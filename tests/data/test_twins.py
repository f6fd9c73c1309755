"""Files of training that are in test, too: the pairs that a search by hand finds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clustercontrast.data.samples import PARTS, ImageList, Listing
from clustercontrast.data.writing import twins_of

contents = st.lists(st.tuples(st.integers(1, 2), st.integers(0, 3)), max_size=5)


def listed(part, files):
    none = np.full(len(files), -1)
    paths = tuple(f"{part}/{row}" for row in range(len(files)))
    images = ImageList(part.partition("_")[2], paths, none, none)
    entry = {
        "paths": list(paths),
        "sizes": [size for size, _ in files],
        "files": [checksum for _, checksum in files],
    }
    return images, entry


@given(st.tuples(contents, contents, contents, contents))
def test_pairs_are_those_of_a_loop(files):
    own = {part: listed(part, some) for part, some in zip(PARTS, files, strict=True)}
    listing = Listing({part: images for part, (images, _) in own.items()})
    found = twins_of(listing, {part: entry for part, (_, entry) in own.items()})
    of = {
        path: content
        for (images, _), some in zip(own.values(), files, strict=True)
        for path, content in zip(images.paths, some, strict=True)
    }
    learned, tested = (
        [path for part in PARTS if part.startswith(which) for path in own[part][0].paths]
        for which in ("train", "test")
    )
    last = {of[path]: path for path in learned}
    assert found == [(last[of[path]], path) for path in tested if of[path] in last]


def test_a_trial_looks_at_its_own_rows():
    images, entry = listed("every_visible", [(1, 5), (1, 5), (1, 6), (1, 7)])
    rows = {"train_visible": [0], "train_infrared": [2], "test_visible": [3], "test_infrared": [1]}
    trial = {part: ("every", np.array(own)) for part, own in rows.items()}
    listing = Listing({"every": images}, {1: trial})
    assert twins_of(listing, {"every": entry}) == [("every_visible/0", "every_visible/1")]
