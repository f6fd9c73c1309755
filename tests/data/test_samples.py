import numpy as np
import pytest

from clustercontrast.data.samples import ImageList


def make(n: int = 4) -> ImageList:
    paths = tuple(f"cam1/0001/{i:04d}.jpg" for i in range(n))
    return ImageList("visible", paths, np.arange(n) * 10, np.arange(n) % 2 + 1)


def test_subset_keeps_the_asked_order_in_every_column():
    some = make().subset([3, 1, 1])
    assert some.modality == "visible"
    assert some.paths == ("cam1/0001/0003.jpg", "cam1/0001/0001.jpg", "cam1/0001/0001.jpg")
    np.testing.assert_array_equal(some.identities, [30, 10, 10])
    np.testing.assert_array_equal(some.cameras, [2, 2, 2])
    assert len(some) == 3
    assert len(make().subset([])) == 0


def test_unequal_lengths_and_unknown_modality_are_refused():
    with pytest.raises(ValueError, match="lengths"):
        ImageList("visible", ("a", "b"), np.zeros(2, np.int64), np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="thermal"):
        ImageList("thermal", (), np.zeros(0, np.int64), np.zeros(0, np.int64))
