"""What torch has saved: inert content is read, all else is named, damage is noticed."""

import argparse
import collections
import datetime
import decimal
import fractions
import io
import pathlib
import pickle
import types

import numpy as np
import pytest
import torch
from pickles import Opened, of_another_numpy, run, with_pickle

from clustercontrast.files import UserError
from clustercontrast.models.saved import read_saved


def read(path):
    return read_saved(path, "fetch it again")


def through(tmp_path, content, **options):
    path = tmp_path / "file.pth"
    torch.save(content, path, **options)
    return read(path)


TODAY = datetime.datetime(2024, 5, 17, 12, 30, tzinfo=datetime.timezone.utc)
INERT = [
    argparse.Namespace(lr=0.1, stages=["intra"], nested=argparse.Namespace(a=1)),
    types.SimpleNamespace(a=1),
    collections.OrderedDict(a=1),
    collections.Counter("aab"),
    {1, 2},
    frozenset({1}),
    slice(1, 2),
    3 + 4j,
    b"bytes",
    bytearray(b"bytes"),
    range(1, 9, 2),
    2**100,
    TODAY,
    TODAY.date(),
    TODAY.time(),
    datetime.timedelta(seconds=3),
    decimal.Decimal("0.1"),
    fractions.Fraction(1, 3),
    torch.Size([2, 3]),
    torch.device("cpu"),
    torch.float32,
    torch.__version__,
]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("value", INERT, ids=lambda value: type(value).__name__)
def test_inert_values_are_read_as_they_are(tmp_path, value, legacy):
    content = {"value": value, "weights": {"a": torch.arange(3.0)}}
    found = through(tmp_path, content, _use_new_zipfile_serialization=not legacy)
    assert found["value"] == value
    assert type(found["value"]) is type(value)
    assert torch.equal(found["weights"]["a"], torch.arange(3.0))


@pytest.mark.parametrize(
    ("filled", "plain"),
    [
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
        (collections.defaultdict(int), {}),
        (collections.deque([1, 2], maxlen=3), [1, 2]),
    ],
)
def test_containers_of_a_special_kind_are_read_as_plain_ones(tmp_path, filled, plain):
    assert through(tmp_path, {"x": filled})["x"] == plain


@pytest.mark.parametrize(
    ("path", "pure"),
    [
        (pathlib.Path("logs/x"), pathlib.PurePosixPath("logs/x")),
        (pathlib.PurePosixPath("/a/b"), pathlib.PurePosixPath("/a/b")),
        (pathlib.PureWindowsPath("C:/a"), pathlib.PureWindowsPath("C:/a")),
    ],
)
def test_paths_are_read_as_paths_that_touch_no_disk(tmp_path, path, pure):
    assert through(tmp_path, {"path": path})["path"] == pure


def test_a_path_of_windows_is_read_anywhere(tmp_path):
    torch.save({"path": pathlib.PureWindowsPath("C:/a")}, tmp_path / "a.pth")
    path = with_pickle(tmp_path / "a.pth", b"PureWindowsPath", b"WindowsPath")
    assert read(path)["path"] == pathlib.PureWindowsPath("C:/a")


DTYPES = [
    *(np.dtype(code) for code in "?bhilqpBHILQPefdgFDG"),
    *map(np.dtype, ("U3", "S3", "V4", "M8[s]", "m8[ms]", ">f4", "<i2", [("a", "f4"), ("b", "i8")])),
]


@pytest.mark.parametrize("other", [False, True], ids=["own names", "other names"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_numpy_scalars_and_arrays_of_every_dtype(tmp_path, dtype, other):
    array = np.array([(1, 2), (3, 4)], dtype) if dtype.names else np.array(["1", "2"]).astype(dtype)
    torch.save({"array": array, "scalar": array[0]}, tmp_path / "a.pth")
    path = tmp_path / "a.pth"
    if other:
        path = of_another_numpy(path)
    found = read(path)
    assert found["array"].dtype.newbyteorder("=") == dtype.newbyteorder("=")
    assert (found["array"] == array).all()
    assert found["scalar"] == array[0]
    assert isinstance(found["scalar"], np.generic)


# --- what may run code ---


class Network(torch.nn.Linear):
    """A network saved whole, as many scripts do."""


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Opened(), "pickles.run"),
        ({"deep": [(Opened(),)]}, "pickles.run"),
        (np.array([Opened()], dtype=object), "pickles.run"),
        (collections.defaultdict(run), "pickles.run"),
        (Network(1, 1), "test_saved.Network"),
        (print, "print"),
        (eval, "eval"),
        (pathlib.Path.unlink, "getattr"),
    ],
)
def test_other_classes_are_refused_by_name(tmp_path, value, name, legacy):
    with pytest.raises(UserError, match=rf"holds more than weights: \S*{name}, ") as error:
        through(tmp_path, {"x": value}, _use_new_zipfile_serialization=not legacy)
    assert "\n" not in str(error.value)
    assert not Opened.ran


def test_a_plain_pickle_that_runs_code_is_not_run(tmp_path):
    (tmp_path / "file.pth").write_bytes(pickle.dumps(Opened(), protocol=2))
    with pytest.raises(UserError, match=r"file\.pth"):
        read(tmp_path / "file.pth")
    assert not Opened.ran


# --- damage ---


def test_a_flipped_bit_anywhere_in_a_tensor_is_noticed(tmp_path):
    path = tmp_path / "file.pth"
    values = torch.randn(4096, generator=torch.Generator().manual_seed(1))
    torch.save({"weights": values}, path)
    content = path.read_bytes()
    start = content.index(values.numpy().tobytes())
    for place in (start, start + 9000, start + 4 * 4096 - 1):
        flipped = bytearray(content)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(UserError, match=r"damaged.*checksum.*fetch it again") as error:
            read(path)
        assert "\n" not in str(error.value)
    path.write_bytes(content)
    assert torch.equal(read(path)["weights"], values)


@pytest.mark.parametrize("keep", [0, 10, 200, -1])
@pytest.mark.parametrize("legacy", [False, True])
def test_files_cut_short_are_named(tmp_path, keep, legacy):
    path, buffer = tmp_path / "file.pth", io.BytesIO()
    torch.save({"a": torch.ones(99)}, buffer, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(buffer.getvalue()[:keep])
    with pytest.raises(UserError, match=r"file\.pth is damaged, or no checkpoint"):
        read(path)


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read(tmp_path / "none.pth")
    with pytest.raises(UserError, match="damaged, or no checkpoint"):
        read(tmp_path)
