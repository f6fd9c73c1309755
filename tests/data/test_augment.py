"""Augmentation against recorded branches, slow twins, torchvision, and its distributions.

Mutations tried once, each made a test fail: luminance weights exchanged; `<=` in the fitting test;
hue offsets permuted; two fill constants exchanged; erasing before normalisation; margin of ones;
one crop position, one rectangle position and one channel more or less; other factors and orders.
"""

import random

import golden_set
import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms.v2 import functional as reference

from clustercontrast.data import augment as module
from clustercontrast.data.augment import View, augment

CASES = golden_set.load_json("channel_aug/cases.json")["cases"]
ARRAYS = golden_set.load("channel_aug/channel_aug.npz")
TOLERANCE = float(golden_set.entry("channel_aug/channel_aug.npz")["tolerance"])


def cases_of(cls: str) -> list:
    return [pytest.param(case, id=case["array"]) for case in CASES if case["cls"] == cls]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def source(case: dict) -> torch.Tensor:
    return torch.from_numpy(ARRAYS[case["input"]])[None]


def check(case: dict, found: torch.Tensor) -> None:
    np.testing.assert_allclose(found[0].numpy(), ARRAYS[case["array"]], rtol=0, atol=TOLERANCE)


# --- recorded branches


@pytest.mark.parametrize("case", cases_of("ChannelExchange"))
def test_exchange_as_recorded(case):
    choice = torch.tensor([case["draws"][0]["value"]])
    check(case, module.exchange(source(case), choice))


@pytest.mark.parametrize("case", cases_of("Gray"))
def test_gray_as_recorded(case):
    """No class of its own: always-gray is the exchange with its fourth choice."""
    check(case, module.exchange(source(case), torch.tensor([3])))


@pytest.mark.parametrize("case", cases_of("ChannelAdap") + cases_of("ChannelAdapGray"))
def test_adaptive_gray_as_recorded(case):
    """ChannelAdap has no user among the methods; its arrays are adaptive gray that never grays.

    ChannelT (channelT_*) has no user either and no counterpart here, hence no test.
    """
    choice, *more = case["draws"]
    gray = bool(more) and more[0]["value"] <= case["ctor"]["probability"]
    found = module.adaptive_gray(
        source(case), torch.tensor([choice["value"]]), torch.tensor([gray])
    )
    check(case, found)


@pytest.mark.parametrize("case", cases_of("ChannelRandomErasing"))
def test_erasing_as_recorded(case):
    image = source(case)
    height, width = image.shape[2:]
    first, *attempts = case["draws"]
    if isinstance(case["draws"][-1], str):  # "the same two draws, 100 attempts in all"
        attempts = attempts[:2] * module.ATTEMPTS
    uniforms = [draw["value"] for draw in attempts if draw["call"] == "uniform"]
    places = [draw for draw in attempts if draw["call"] == "randint"]
    rectangle = torch.zeros(1, 4, dtype=torch.int64)
    if first["value"] <= case["ctor"]["probability"]:
        areas, aspects = torch.tensor(uniforms, dtype=torch.float64).reshape(1, -1, 2).unbind(2)
        heights, widths, found = module.first_fitting(areas, aspects, height, width)
        assert found.item() == bool(places)
        if places:
            highest = [draw["high"] for draw in places]
            assert highest == [height - heights.item(), width - widths.item()]
            top, left = (draw["value"] for draw in places)
            rectangle = torch.tensor([[top, left, heights.item(), widths.item()]])
    check(case, module.erase(image, rectangle))


def upstream_rectangle(rng: random.Random, height: int, width: int) -> list[int]:
    """The recorded chain's draws in their order: gate, then area and aspect until they fit."""
    case = next(case for case in CASES if case["array"] == "erase_plain")
    areas, aspects = ((draw["low"], draw["high"]) for draw in case["draws"][1:3])
    if rng.uniform(0, 1) > case["ctor"]["probability"]:
        return [0, 0, 0, 0]
    for _ in range(module.ATTEMPTS):
        area, aspect = rng.uniform(*areas), rng.uniform(*aspects)
        attempt = (torch.tensor([[value]], dtype=torch.float64) for value in (area, aspect))
        high, wide, found = module.first_fitting(*attempt, height, width)
        if found:
            top = rng.randint(0, height - high.item())
            return [top, rng.randint(0, width - wide.item()), high.item(), wide.item()]
    return [0, 0, 0, 0]


def mixed(name: str, image: torch.Tensor, rng: random.Random) -> torch.Tensor:
    if name == "chain_rgb":
        return image
    if name == "chain_rgb_ca":
        return module.exchange(image, torch.tensor([rng.randint(0, 2)]))
    choice = rng.randint(0, 3)
    gray = choice == 3 and rng.uniform(0, 1) <= 0.5
    return module.adaptive_gray(image, torch.tensor([choice]), torch.tensor([gray]))


@pytest.mark.parametrize("name", ["chain_rgb", "chain_rgb_ca", "chain_ir"])
def test_chains_as_recorded(name):
    rng = random.Random(
        golden_set.load_json("channel_aug/cases.json")["python_random_seed_of_chains"]
    )
    image = torch.from_numpy(ARRAYS["input"])[None]
    for expected in ARRAYS[name]:
        rectangle = torch.tensor([upstream_rectangle(rng, *image.shape[2:])])
        found = mixed(name, module.erase(image, rectangle), rng)
        np.testing.assert_allclose(found[0].numpy(), expected, rtol=0, atol=TOLERANCE)


# --- forced draws against slow twins


def noise(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    shape = (count, height, width, 3)
    return torch.randint(256, shape, generator=seeded(seed), dtype=torch.uint8)


def test_normalise_is_torchvisions():
    pixels = noise(3, 5, 4)
    for image, found in zip(pixels, module.normalise(pixels), strict=True):
        expected = reference.to_dtype(image.permute(2, 0, 1), torch.float32, scale=True)
        expected = reference.normalize(expected, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert module.normalise(pixels).is_contiguous(memory_format=torch.channels_last)


def slow_crop(image: np.ndarray, padding: int, top: int, left: int, mirrored: bool) -> np.ndarray:
    height, width = image.shape[:2]
    result = np.zeros_like(image)
    for i in range(height):
        for j in range(width):
            row = i + top - padding
            column = (width - 1 - j if mirrored else j) + left - padding
            if 0 <= row < height and 0 <= column < width:
                result[i, j] = image[row, column]
    return result


@pytest.mark.parametrize("padding", [0, 1, 3])
def test_crop_is_the_slow_twins(padding):
    pixels, view = noise(40, 6, 5), View(padding=padding)
    tops, lefts, mirrored = module.draw_crops(40, view, seeded(1))
    found = module.crop(pixels, padding, tops, lefts, mirrored)
    for row in range(40):
        draws = tops[row].item(), lefts[row].item(), bool(mirrored[row])
        expected = slow_crop(pixels[row].numpy(), padding, *draws)
        np.testing.assert_array_equal(found[row].numpy(), expected)


def test_erase_by_hand():
    images = torch.full((2, 3, 3, 4), 9.0)
    found = module.erase(images, torch.tensor([[1, 2, 2, 1], [1, 1, 0, 3]]))
    inside = torch.zeros(3, 4, dtype=torch.bool)
    inside[1:3, 2] = True
    for channel, fill in enumerate((0.4914, 0.4822, 0.4465)):
        assert torch.equal(found[0, channel], torch.where(inside, fill, 9.0))
    assert torch.equal(found[1], images[1])
    assert torch.equal(images, torch.full((2, 3, 3, 4), 9.0))


def test_first_fitting_by_hand():
    # 10 x 10, area .25, aspect 1: 5 x 5.  Area .4, aspect 1/.3: round(sqrt(133)) = 12 > 10, no fit.
    areas = torch.tensor([[0.4, 0.25, 0.04], [0.4, 0.4, 0.4], [0.04, 0.25, 0.25]]).double()
    aspects = torch.tensor([[1 / 0.3, 1, 1], [1 / 0.3, 0.3, 1 / 0.3], [1, 1, 1]]).double()
    heights, widths, found = module.first_fitting(areas, aspects, 10, 10)
    assert heights.tolist() == [5, 0, 2]
    assert widths.tolist() == [5, 0, 2]
    assert found.tolist() == [True, False, True]


def test_fitting_is_strict_and_rounds_halves_to_even():
    one = torch.ones(1, 1, dtype=torch.float64)
    # 10 x 3 and 3 x 10 do not fit into 10 x 10, 9 x 3 does.
    assert not module.first_fitting(one * 0.3, one * 10 / 3, 10, 10)[2]
    assert not module.first_fitting(one * 0.3, one * 3 / 10, 10, 10)[2]
    assert module.first_fitting(one * 0.27, one * 9 / 3, 10, 10)[2]
    # Exactly 2.5 x 2.5 becomes 2 x 2, as Python rounds.
    heights, widths, _ = module.first_fitting(one * (6.25 / 25), one, 5, 5)
    assert (heights.item(), widths.item()) == (2, 2)


OPERATIONS = [
    (module.brightness, reference.adjust_brightness),
    (module.contrast, reference.adjust_contrast),
    (module.saturation, reference.adjust_saturation),
    (module.hue, reference.adjust_hue),
]


COLOUR_CASES = [
    (*pair, factor)
    for pair in OPERATIONS
    for factor in ([-0.5, -0.21, 0.0, 0.13, 0.5] if pair[0] is module.hue else [0.5, 0.9, 1.0, 1.5])
]


@pytest.mark.parametrize(("ours", "theirs", "factor"), COLOUR_CASES)
def test_colour_operations_are_torchvisions(ours, theirs, factor):
    images = torch.rand(4, 3, 9, 7, generator=seeded(2))
    images[0, :, :3] = images[0, :1, :3]  # gray, black and pure pixels
    images[1, :, :3] = 0
    images[1, 0, :3] = 1
    found = ours(images, torch.full((4, 1, 1, 1), factor))
    torch.testing.assert_close(found, theirs(images, factor), rtol=0, atol=2e-6)


def test_jitter_is_torchvisions_image_by_image():
    images = torch.rand(30, 3, 8, 6, generator=seeded(3))
    factors, orders = module.draw_jitter(30, seeded(4))
    found = module.jitter(images, factors, orders)
    before = images.clone()
    for row in range(30):
        expected = images[row]
        for number in orders[row].tolist():
            expected = OPERATIONS[number][1](expected, factors[row, number].item())
        torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-5)
    assert torch.equal(images, before)


def test_the_whole_chain_from_its_draws():
    """Order: crop, mirror, jitter, normalise, erase, channels; draws in the order of the code."""
    pixels, view = noise(12, 20, 10), View(jitter=True, channels="adaptive_gray", padding=2)
    generator = seeded(5)
    draws = module.draw_crops(12, view, generator)
    factors, orders = module.draw_jitter(12, generator)
    rectangles = module.draw_rectangles(12, 20, 10, view.erasing, generator)
    choice = torch.randint(4, (12,), generator=generator)
    gray = torch.rand(12, generator=generator, dtype=torch.float64) <= 0.5
    images = module.crop(pixels, 2, *draws).permute(0, 3, 1, 2) / 255
    images = module.jitter(images, factors, orders)
    images = reference.normalize(images, module.MEAN, module.STD)
    images = module.erase(images, rectangles)
    expected = module.adaptive_gray(images, choice, gray)
    found = augment(pixels, view, seeded(5))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert found.dtype == torch.float32


def test_without_randomness_augmentation_is_normalisation():
    pixels = noise(3, 6, 4)
    found = augment(pixels, View(erasing=-1.0, padding=0, flip=0.0), seeded())
    assert torch.equal(found, module.normalise(pixels))


def test_margin_is_black_before_normalisation():
    white = torch.full((200, 6, 4, 3), 255, dtype=torch.uint8)
    found = augment(white, View(erasing=-1.0, padding=3), seeded())
    values = module.normalise(torch.tensor([[[[0] * 3, [255] * 3]]], dtype=torch.uint8))[0, :, 0]
    for channel in range(3):
        assert set(found[:, channel].unique().tolist()) == set(values[channel].tolist())


def test_same_generator_same_images_and_other_state_others():
    pixels, view = noise(6, 12, 8), View(jitter=True, channels="exchange", padding=2)
    assert torch.equal(augment(pixels, view, seeded(1)), augment(pixels, view, seeded(1)))
    assert not torch.equal(augment(pixels, view, seeded(1)), augment(pixels, view, seeded(2)))


@pytest.mark.parametrize("channels", ["keep", "exchange", "adaptive_gray"])
@pytest.mark.parametrize("jitter", [False, True])
def test_number_of_draws_does_not_depend_on_what_is_drawn(channels, jitter):
    # Probabilities and pixels change the outcome; the generator must end in the same state.
    states = []
    for erasing, flip, seed in ((0.0, 0.0, 0), (1.0, 1.0, 1)):
        generator = seeded(9)
        view = View(jitter=jitter, channels=channels, erasing=erasing, flip=flip, padding=2)
        augment(noise(5, 12, 8, seed), view, generator)
        states.append(generator.get_state())
    assert torch.equal(*states)


def test_unknown_channel_operation_is_refused():
    with pytest.raises(ValueError, match="adap"):
        View(channels="adap")


# --- distributions, significance 1e-3 with fixed seeds

DRAWS = 8000


def uniform_p_value(values: torch.Tensor, size: int) -> float:
    return stats.chisquare(torch.bincount(values, minlength=size).numpy()).pvalue


def test_erasing_rate_and_area():
    """Measured of the official code on 8 000 draws: a rate of .51, a mean fraction of .198."""
    height, width = 288, 144
    rectangles = module.draw_rectangles(DRAWS, height, width, 0.5, seeded(11))
    top, left, high, wide = rectangles.unbind(1)
    erased = high > 0
    assert stats.binomtest(int(erased.sum()), DRAWS, 0.5).pvalue > 1e-3
    fractions = (high * wide)[erased].double() / (height * width)
    # The standard error of either mean is about .0018.
    assert abs(fractions.mean().item() - 0.198) < 0.006
    assert fractions.min() > 0.019
    assert fractions.max() < 0.403
    assert (high < height).all()
    assert (wide < width).all()
    assert (top + high <= height).all()
    assert (left + wide <= width).all()


def test_erasing_always_and_never():
    assert (module.draw_rectangles(200, 288, 144, 1.0, seeded())[:, 2] > 0).all()
    assert (module.draw_rectangles(200, 288, 144, -1.0, seeded()) == 0).all()


def test_rectangles_are_placed_uniformly_with_both_ends():
    rectangles = module.draw_rectangles(DRAWS, 288, 144, 1.0, seeded(12)).double()
    top, left, high, wide = rectangles.unbind(1)
    for start, room in ((top, 288 - high), (left, 144 - wide)):
        # Continuity: a uniform integer on 0 ... n plus U(0, 1), divided by n + 1, is U(0, 1).
        place = (start + torch.rand(DRAWS, generator=seeded(13))) / (room + 1)
        assert stats.kstest(place.numpy(), "uniform").pvalue > 1e-3
        assert (start == 0).any()
        assert (start == room).any()


def test_sizes_follow_the_rejection_rule():
    """Two-sample test against a loop over single attempts."""
    rng, height, width = np.random.default_rng(14), 64, 32
    slow = []
    while len(slow) < 4000:
        area = rng.uniform(0.02, 0.4) * height * width
        aspect = rng.uniform(0.3, 1 / 0.3)
        size = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if size[0] < height and size[1] < width:
            slow.append(size)
    fast = module.draw_rectangles(4000, height, width, 1.0, seeded(15))[:, 2:].numpy()
    for axis in (0, 1):
        assert stats.ks_2samp(np.array(slow)[:, axis], fast[:, axis]).pvalue > 1e-3


def test_crops_are_uniform_on_the_whole_grid_and_half_are_mirrored():
    tops, lefts, mirrored = module.draw_crops(21 * 21 * 40, View(), seeded(16))
    assert (tops.max(), lefts.max()) == (20, 20)
    assert uniform_p_value(tops * 21 + lefts, 21 * 21) > 1e-3
    assert stats.binomtest(int(mirrored.sum()), len(mirrored), 0.5).pvalue > 1e-3
    joint = np.histogram2d(tops.numpy(), mirrored.numpy(), bins=(21, 2))[0]
    assert stats.chi2_contingency(joint).pvalue > 1e-3


def channel_outcomes(channels: str) -> torch.Tensor:
    """0, 1, 2: that channel copied; 3: luminance; 4: unchanged."""
    images = torch.tensor([1.0, 2.0, 4.0])[None, :, None, None].repeat(DRAWS, 1, 1, 1)
    luminance = 0.2989 * 1 + 0.5870 * 2 + 0.1140 * 4
    draw, mix = module.CHANNELS[channels]
    found = mix(images, *draw(DRAWS, seeded(17)))[:, :, 0, 0]
    unchanged = (found == images[:, :, 0, 0]).all(1)
    values = torch.tensor([1.0, 2.0, 4.0, luminance])
    assert (unchanged | (found == found[:, :1]).all(1)).all()
    nearest = (found[:, :1] - values).abs().argmin(1)
    return torch.where(unchanged, 4, nearest)


def test_exchange_takes_each_channel_equally():
    outcomes = channel_outcomes("exchange")
    assert outcomes.max() == 2
    assert uniform_p_value(outcomes, 3) > 1e-3


def test_adaptive_gray_splits_its_last_quarter():
    counts = torch.bincount(channel_outcomes("adaptive_gray"), minlength=5).numpy()
    expected = DRAWS * np.array([1 / 4, 1 / 4, 1 / 4, 1 / 8, 1 / 8])
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_jitter_factors_and_orders():
    factors, orders = module.draw_jitter(DRAWS, seeded(18))
    for column in range(3):
        assert stats.kstest(factors[:, column].numpy() - 0.5, "uniform").pvalue > 1e-3
    assert stats.kstest(factors[:, 3].numpy() + 0.5, "uniform").pvalue > 1e-3
    codes = (orders * torch.tensor([64, 16, 4, 1])).sum(1)
    permutations, counts = codes.unique(return_counts=True)
    assert len(permutations) == 24
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    assert (orders.sort(1).values == torch.arange(4)).all()


@pytest.mark.gpu
def test_the_device_changes_nothing():
    pixels, view = noise(16, 24, 12), View(jitter=True, channels="adaptive_gray", padding=3)
    here, there = (augment(pixels.to(device), view, seeded(6)) for device in ("cpu", "cuda"))
    torch.testing.assert_close(there.cpu(), here, rtol=0, atol=1e-4)
