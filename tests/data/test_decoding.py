"""Image files as pixels: exactly Pillow's where it can, by a rule or refused where it cannot."""

import zlib

import numpy as np
import pytest
from PIL import Image

from clustercontrast.data.decoding import Rules, decode
from clustercontrast.data.preparation import READERS, SOURCES
from clustercontrast.files import UserError

BICUBIC = Image.Resampling.BICUBIC
SIZE = (6, 12)
NOISE = np.random.default_rng(0).integers(0, 256, (20, 10, 3), np.uint8)


def pixels_of(path, rules=Rules(), size=SIZE):  # noqa: B008 - frozen
    return decode(path, size, BICUBIC, rules)[0]


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.tif"])
def test_ordinary_files_are_decoded_as_pillow_does_and_their_bytes_are_summed(tmp_path, name):
    path = tmp_path / name
    Image.fromarray(NOISE).save(path)
    found, checksum = decode(path, SIZE, BICUBIC, Rules())
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB").resize(SIZE, BICUBIC))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    assert checksum == zlib.crc32(path.read_bytes())


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("1", "a.png"), ("L", "a.png"), ("LA", "a.png"), ("P", "a.png"), ("P", "a.gif"),
        ("RGBA", "a.png"), ("CMYK", "a.jpg"), ("CMYK", "a.tif"), ("YCbCr", "a.jpg"),
        ("LAB", "a.tif"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("transparent", [False, True])
def test_every_8_bit_mode_is_converted_by_pillow(tmp_path, mode, name, transparent):
    path, source = tmp_path / name, Image.fromarray(NOISE)
    image = source.convert(mode) if mode != "LAB" else Image.merge("LAB", source.split())
    image.save(path, **({"transparency": 3} if transparent and mode == "P" else {}))
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB").resize(SIZE, BICUBIC))
    assert expected.std() > 0
    np.testing.assert_array_equal(pixels_of(path), expected)
    # the range of intensities is for others
    np.testing.assert_array_equal(pixels_of(path, Rules((10, 20))), expected)


def test_of_several_frames_the_first_is_taken(tmp_path):
    frames = [Image.fromarray(NOISE), Image.new("RGB", (10, 20), "red")]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "one.png")
    np.testing.assert_array_equal(pixels_of(tmp_path / "a.png"), pixels_of(tmp_path / "one.png"))


DEEP = {
    "16.png": np.uint16, "16.tif": np.uint16, "big.tif": ">u2", "32.tif": np.int32,
    "float.tif": np.float32, "16.jp2": np.uint16,
}  # fmt: skip


def write_deep(path, values):
    kind = DEEP[path.name]
    if kind == ">u2":
        image = Image.new("I;16B", values.shape[::-1])
        image.frombytes(values.astype(">u2").tobytes())
        image.save(path)
    else:
        Image.fromarray(values.astype(kind)).save(path)
    return path


@pytest.mark.parametrize("name", DEEP)
def test_deep_images_are_refused_without_a_range_and_mapped_with_one(tmp_path, name):
    """Of 8000 ... 8510, LOW 8100 and HIGH 8355: v - 8100, clipped, is the value; no resizing."""
    values = 8000 + 2 * np.arange(256).reshape(16, 16)
    path = write_deep(tmp_path / name, values)
    with pytest.raises(
        UserError, match=r"has more than 8 bits per pixel .*values 8000 to 8510"
    ) as e:
        pixels_of(path)
    assert "--intensity-range LOW HIGH" in str(e.value)
    found = pixels_of(path, Rules((8100, 8355)), (16, 16))
    expected = np.clip(values - 8100, 0, 255)
    np.testing.assert_array_equal(found, np.repeat(expected[..., None], 3, axis=2))


def test_values_are_rounded_to_the_nearest(tmp_path):
    path = write_deep(tmp_path / "float.tif", np.array([[-1.0, 0.0, 0.5, 0.997, 1.0, 7.0]]))
    found = pixels_of(path, Rules((0, 1)), (6, 1))
    assert found[0, :, 0].tolist() == [0, 0, 128, 254, 255, 255]  # 127.5 to the even number


def test_values_that_are_not_finite_are_refused(tmp_path):
    path = write_deep(tmp_path / "float.tif", np.array([[0.0, np.nan]]))
    with pytest.raises(UserError, match=r"float\.tif holds values that are not finite"):
        pixels_of(path, Rules((0, 1)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_images_where_the_rules_say_so(tmp_path, orientation):
    """The EXIF standard's eight orientations, undone by NumPy."""
    upright = NOISE
    undo = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2), 8: lambda a: np.rot90(a),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(upright).save(path, exif=exif)
    turned = undo(upright)
    size = turned.shape[1::-1]
    np.testing.assert_array_equal(pixels_of(path, Rules(turned=True), size), turned)
    np.testing.assert_array_equal(pixels_of(path, size=(10, 20)), upright)


def test_images_from_anywhere_are_turned_and_those_of_official_codes_are_not():
    readers = READERS | SOURCES
    assert {name for name, reader in readers.items() if reader.TURNED} == {
        "sysu02",
        "custom",
        "folder",
    }


@pytest.mark.parametrize(
    "content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(40), b"II*\0\xff"]
)
def test_damaged_files_are_one_line(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read the image .*a\.png \(") as caught:
        pixels_of(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"cannot read the image .*gone\.png"):
        pixels_of(tmp_path / "gone.png")
