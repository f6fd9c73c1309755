"""Random parts of a list of images."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from clustercontrast.data.parts import disjoint_parts


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 400), st.sampled_from([0.5, 1 / 3, 0.25, 0.7, 0.999]), st.integers(0, 99))
def test_parts_are_disjoint_and_of_one_size(images, share, seed):
    parts = disjoint_parts(images, share, generator(seed))
    assert [len(part) for part in parts] == [int(images * share)] * int(1 / share)
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together)
    assert set(together) <= set(range(images))


def test_all_images_are_one_part_for_which_nothing_is_drawn():
    source = generator(5)
    before = source.get_state()
    (part,) = disjoint_parts(7, 1.0, source)
    assert part.tolist() == list(range(7))
    assert torch.equal(source.get_state(), before)


def test_every_image_is_in_the_first_half_sooner_or_later():
    """In ten epochs with probability 1 - 2^-10 each."""
    source, seen = generator(1), np.zeros(4000, dtype=bool)
    for _ in range(10):
        seen[disjoint_parts(4000, 0.5, source)[0]] = True
    assert 4000 - seen.sum() < 4000 * 2**-10 + 4 * np.sqrt(4000 * 2**-10)
