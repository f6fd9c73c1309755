"""GUR's association embedding against the recorded one, loops and hand-made cases."""

import golden_set
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from clustercontrast.clustering.association_embedding import association_embedding, released_sizes

(FILE,) = [f for f in golden_set.files_b("gur") if "cae_" in f]
TOLERANCE = 2e-6


@pytest.fixture(scope="module")
def vectors():
    return golden_set.load(FILE)


def embedded(vectors, features, banks, sizes):
    scale = golden_set.entry_b(FILE)["params"]["scale"]
    bank = torch.cat([torch.from_numpy(vectors[name]) for name in banks])
    rows = torch.from_numpy(vectors[features])
    return association_embedding(rows, bank, sizes, 1 / scale).numpy()


def test_embedding_by_the_visible_cameras_is_the_official_one(vectors):
    sizes = released_sizes(vectors["bank_rgb_sizes"].tolist())
    offsets = golden_set.entry_b(FILE)["params"]["group_offsets_used"]
    assert np.cumsum([0, *sizes]).tolist() == offsets
    found = embedded(vectors, "features_rgb", ["bank_rgb"], sizes)
    np.testing.assert_allclose(found, vectors["emb_rgb_stageB"], rtol=0, atol=TOLERANCE)


def test_embedding_by_the_infrared_cameras_is_the_official_one(vectors):
    sizes = vectors["bank_ir_sizes"].tolist()
    assert released_sizes(sizes) == sizes  # two cameras are grouped as they are
    found = embedded(vectors, "features_ir", ["bank_ir"], sizes)
    np.testing.assert_allclose(found, vectors["emb_ir_stageB"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("modality", ["rgb", "ir"])
def test_embedding_by_both_modalities_is_the_official_one(vectors, modality):
    banks = "memory_rgb", "memory_ir"
    sizes = [len(vectors[name]) for name in banks]
    found = embedded(vectors, f"features_{modality}", banks, sizes)
    np.testing.assert_allclose(found, vectors[f"emb_{modality}_stageC"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([7], [7]),
        ([3, 9], [3, 9]),
        ([4, 5, 6], [4, 9, 2]),  # the second group takes 4 + 5 rows
        ([4, 5, 60], [4, 9, 56]),
        ([10, 10, 10, 10], [10, 20, 10, 0]),
        ([1, 1, 1, 9], [1, 2, 3, 6]),
        ([20, 1, 1, 1], [20, 3, 0, 0]),
    ],
)
def test_groups_of_the_released_code_by_hand(sizes, expected):
    """Cumulative sizes taken for sizes of their own (GUR-1)."""
    assert released_sizes(sizes) == expected


def slow_groups(sizes):
    """Columns of every group, by slices that Python cuts at the end."""
    rows, stored = list(range(sum(sizes))), np.cumsum(sizes)[:-1]
    groups, start = [], 0
    for size in stored:
        groups.append(rows[start : start + size])
        start += size
    return [*groups, rows[start:]]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.booleans(), st.integers(0, 99))
def test_it_is_what_loops_make_of_it(sizes, released, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(3, 5, generator=generator)
    bank = torch.randn(sum(sizes), 5, generator=generator)
    groups = slow_groups(sizes)
    used = released_sizes(sizes) if released else sizes
    if released:
        assert used == list(map(len, groups))
    else:
        groups = [list(map(int, part)) for part in torch.arange(sum(sizes)).split(sizes)]
    found = association_embedding(features, bank, used, 0.05)
    for row, f in zip(found, features, strict=True):
        cosines = [float(F.cosine_similarity(f, b, dim=0)) for b in bank]
        for group in filter(None, groups):
            powers = np.exp(20 * np.array([cosines[j] for j in group]))
            np.testing.assert_allclose(row[group], powers / powers.sum(), atol=1e-5)
    filled = sum(bool(group) for group in groups)
    torch.testing.assert_close(found.sum(dim=1), torch.full((3,), float(filled)))


def test_rows_of_four_equal_cameras_sum_up_to_three_as_released():
    features, bank = torch.randn(4, 6), torch.randn(20, 6)
    sums = [
        association_embedding(features, bank, sizes, 0.05).sum(dim=1)
        for sizes in (released_sizes([5] * 4), [5] * 4)
    ]
    torch.testing.assert_close(sums, [torch.full((4,), 3.0), torch.full((4,), 4.0)])


def test_groups_that_are_not_the_bank_are_refused():
    with pytest.raises(ValueError, match=r"\[2, 2\] rows are not the 5 rows"):
        association_embedding(torch.ones(1, 3), torch.ones(5, 3), [2, 2], 0.05)
