"""Sampler and batches of CMAM-UDA (docs/methods/cmam.md#networks-and-circle-head)."""

import itertools

import numpy as np
import pytest
import tiny_cmam
import torch
from hypothesis import given
from hypothesis import strategies as st

from clustercontrast.data.augment import TwinView, augment_twins, normalise
from clustercontrast.data.batches import TwinPlan, plain_batches, twin_batches
from clustercontrast.data.sampler import ClassBatches, shuffled_rows
from clustercontrast.files import UserError
from clustercontrast.generation.fake_infrared import FakeSet

sizes = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def labels_of(counts):
    """Labels with so many images per class, shuffled, and some outliers."""
    y = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(0).permutation(np.concatenate([y, [-1, -1]]))


@given(sizes, sizes, st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_p_classes_with_k_images_of_every_list(first, second, people, k, number):
    both = labels_of(first), labels_of(second)
    rows = ClassBatches(both, people, k, seed=3)[number]
    drawn = [y[r.numpy()] for y, r in zip(both, rows, strict=True)]
    assert np.array_equal(*drawn)  # the same classes in the same order
    assert len(drawn[0]) == people * k
    for y, r in zip(both, rows, strict=True):
        blocks = r.numpy().reshape(people, k)
        assert (y[blocks] == y[blocks][:, :1]).all()
        assert (y[blocks] >= 0).all()
        for block in blocks:
            available = (y == y[block[0]]).sum()
            assert len(set(block)) == k if available >= k else True


def test_every_class_once_before_any_again():
    y = labels_of([4] * 10)
    sampler = ClassBatches((y,), people=5, num_instances=2, seed=1)
    for turn in range(3):
        met = [y[row] for batch in (0, 1) for row in sampler[2 * turn + batch][0][::2]]
        assert sorted(met) == list(range(10))
    orders = [tuple(y[sampler[i][0]]) for i in range(0, 6, 2)]
    assert len(set(orders)) > 1


def test_fewer_classes_than_asked_for_repeat():
    y = labels_of([5, 5])
    rows = ClassBatches((y,), people=5, num_instances=2, seed=1)[0][0]
    assert np.unique(y[rows], return_counts=True)[1].sum() == 10


def test_small_classes_repeat_images():
    """RegDB at k = 1000: two images per cluster and modality (Fig. 5)."""
    y = labels_of([2, 2, 2])
    rows = ClassBatches((y,), people=3, num_instances=4, seed=0)[0][0]
    assert all((y[rows] == c).sum() == 4 for c in range(3))


def test_a_batch_is_a_function_of_labels_seed_and_number():
    """Resuming at any iteration draws what the undisturbed run would have drawn."""
    both = labels_of([6] * 8), labels_of([6] * 8)
    first = ClassBatches(both, 3, 4, seed=7)
    whole = [first[i] for i in range(9)]
    again = ClassBatches(both, 3, 4, seed=7)
    for number in (8, 2, 5):
        for a, b in zip(again[number], whole[number], strict=True):
            assert torch.equal(a, b)
    other = ClassBatches(both, 3, 4, seed=8)
    assert not all(torch.equal(other[i][0], whole[i][0]) for i in range(9))


def test_shared_classes_are_those_of_every_list():
    first, second = np.array([0, 0, 1, 1, 2, 2]), np.array([1, 1, 2, 2, 3, 3])
    sampler = ClassBatches((first, second), 2, 2, seed=0)
    assert {c for i in range(5) for c in first[sampler[i][0]]} == {1, 2}
    own = ClassBatches((first, second), 3, 2, seed=0, shared=False)
    assert set(first[own[0][0]]) == {0, 1, 2}
    assert set(second[own[0][1]]) == {1, 2, 3}
    with pytest.raises(UserError, match="no class has images in every list"):
        ClassBatches((np.array([0, 0]), np.array([1, 1])), 1, 1, seed=0)


def test_shuffled_rows_meet_all_rows_equally_often():
    rows = torch.tensor([3, 5, 8, 9])
    drawn = list(itertools.islice(shuffled_rows(rows, 3, torch.Generator().manual_seed(0)), 8))
    assert torch.equal(torch.cat(drawn).sort()[0], rows.repeat(6).sort()[0])
    assert not torch.equal(torch.cat(drawn)[:4], torch.cat(drawn)[4:8])


# --- twins ---


def images(seed=0, count=64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 256, (count, 24, 12, 3), generator=generator, dtype=torch.uint8)


def test_twins_share_mirroring_and_rectangle_but_not_the_jitter():
    a = images()
    view = TwinView(flip=0.5, erasing=0.5, jitter=1.0)
    one, other = augment_twins((a, a), view, torch.Generator().manual_seed(1))
    erased = [(x == 0).all(1) for x in (one, other)]
    assert torch.equal(*erased)
    assert 0.3 < float(erased[0].flatten(1).any(1).float().mean()) < 0.7
    assert not torch.equal(one, other)
    still = TwinView(flip=0.5, erasing=0.5, jitter=0.0)
    one, other = augment_twins((a, a), still, torch.Generator().manual_seed(1))
    assert torch.equal(one, other)


def test_independent_twins_do_not():
    a, view = images(), TwinView(flip=0.5, erasing=0.5, jitter=0.0, shared=False)
    one, other = augment_twins((a, a), view, torch.Generator().manual_seed(1))
    assert not torch.equal((one == 0).all(1), (other == 0).all(1))


def test_without_any_probability_twins_are_the_normalised_images():
    a, b = images(0), images(1)
    view = TwinView(flip=0, erasing=0, jitter=0)
    found = augment_twins((a, b), view, torch.Generator().manual_seed(1))
    torch.testing.assert_close(found[0], normalise(a))
    torch.testing.assert_close(found[1], normalise(b))


def test_mild_jitter_stays_within_its_bounds():
    """6.4: brightness 0.8 to 1.2, contrast 0.85 to 1.15; here on gray images of one value."""
    gray = torch.full((500, 8, 4, 3), 100, dtype=torch.uint8)
    view = TwinView(flip=0, erasing=0, jitter=0.5)
    (found,) = augment_twins((gray,), view, torch.Generator().manual_seed(0))
    ratio = (found[:, 0, 0, 0] * 0.229 + 0.485) * 255 / 100
    assert 0.8 <= float(ratio.min()) < 0.83
    assert 1.17 < float(ratio.max()) <= 1.2
    assert 0.4 < float((ratio - 1).abs().lt(1e-4).float().mean()) < 0.6


def test_batches_keep_twins_aligned(tmp_path):
    data = tiny_cmam.world(tmp_path)
    fakes = FakeSet(data.places["generation"], "train_visible", data.visible.index)
    y_v, y_r = data.visible.index.identities, data.infrared.index.identities
    plans = [
        TwinPlan({"visible": data.visible, "fake": fakes.array(tiny_cmam.SIZE)}, y_v),
        TwinPlan({"infrared": data.infrared}, y_r),
    ]
    sampler = ClassBatches((y_v, y_r), 3, 2, seed=0)
    view = TwinView(flip=0, erasing=0, jitter=0)
    generator = torch.Generator().manual_seed(0)
    batches = list(twin_batches(plans, sampler, view, generator, 4))
    for number, batch in enumerate(batches):
        rows = sampler[number]
        assert torch.equal(batch.visible.rows, rows[0])
        assert torch.equal(batch.fake.rows, rows[0])
        assert torch.equal(batch.infrared.rows, rows[1])
        assert torch.equal(batch.visible.labels, batch.infrared.labels)
        expected = normalise(plans[0].arrays["fake"].gather(rows[0]))
        torch.testing.assert_close(batch.fake.images, expected)
        assert batch.number_of_images == 18


def test_plain_batches_are_the_pixels(tmp_path):
    array = tiny_cmam.patterns("infrared", 1)
    rows = [torch.tensor([3, 1]), torch.tensor([0, 0])]
    found = list(plain_batches(array, rows))
    for own, batch in zip(rows, found, strict=True):
        assert np.array_equal(batch.images.images.numpy(), array.pixels[own.numpy()])
        assert batch.images.labels.tolist() == [-1, -1]
