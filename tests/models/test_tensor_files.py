"""Safetensors: bit for bit, with what a model says of itself, and damage is noticed."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import NETWORKS
from safetensors.torch import load_file, save_file
from torchvision.models import resnet

from clustercontrast.files import UserError
from clustercontrast.models import weights
from clustercontrast.models.tensor_files import is_exported, read_tensors, write_tensors

ABOUT = {"method": "pgm", "images": {"dataset": "sysu", "rendered": True}}
CONFIG = {
    "format": "clustercontrast",
    "version": 1,
    "architecture": {"kind": "two_stream_resnet", "depth": 10},
    "input": {"height": 64, "width": 32},
    "stage": "cross",
    "epoch": 7,
    "retrieval": "encoder",
    "about": ABOUT,
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A few tensors of every kind that a network has."""
    state = {
        "neck.weight": torch.tensor([1.5, float("nan"), -0.0]),
        "conv": torch.arange(24.0)
        .reshape(1, 2, 3, 4)
        .contiguous(memory_format=torch.channels_last),
        "count": torch.tensor(3),
        "flag": torch.tensor(True),
        "half": torch.ones(2, dtype=torch.bfloat16),
    }
    path = tmp_path_factory.mktemp("tensors") / "model.safetensors"
    write_tensors(path, state, CONFIG)
    return state, path


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).tolist()


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_comes_back_bit_for_bit(kind, tmp_path):
    state, path = NETWORKS[kind]().state_dict(), tmp_path / "model.safetensors"
    write_tensors(path, state, CONFIG)
    found = weights.read(path)
    assert found.keys() == state.keys()
    for name in state:
        assert found[name].dtype == state[name].dtype
        assert found[name].shape == state[name].shape
        assert bits(found[name]) == bits(state[name])
    rebuilt = weights.network_for(found)
    assert type(rebuilt) is type(NETWORKS[kind]())
    assert weights.described(rebuilt.state_dict()) == weights.described(state)
    assert load_file(path).keys() == state.keys()


def test_it_says_what_the_model_says(small):
    _, path = small
    assert weights.about(path) == {"stage": "cross", "epoch": 7, **ABOUT}
    assert read_tensors(path, "")["config"] == CONFIG
    assert weights.networks(path).keys() == {"encoder"}


def test_what_is_not_known_is_left_out(tmp_path):
    unknown = CONFIG | dict.fromkeys(("stage", "epoch", "retrieval")) | {"about": {}}
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"neck.weight": torch.ones(2)}, unknown)
    assert weights.about(path) == {}
    assert weights.networks(path) == {}
    assert weights.read(path).keys() == {"neck.weight"}


def test_a_folder_is_read_as_the_file_in_it(small, tmp_path):
    state, path = small
    (tmp_path / "model.safetensors").write_bytes(path.read_bytes())
    assert not is_exported(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert is_exported(tmp_path)
    assert weights.read(tmp_path).keys() == state.keys()
    assert weights.about(tmp_path) == weights.about(path)


def test_a_folder_of_graphs_alone_is_not_loaded_and_other_graphs_do_not_matter(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "visible.onnx").write_bytes(b"a graph")
    assert not is_exported(tmp_path)  # a run, into which somebody has copied a graph
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"graphs": {"opset": 18}}))
    for read in (is_exported, weights.read, weights.about):
        with pytest.raises(UserError, match="graphs of ONNX alone"):
            read(tmp_path)


@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_no_flipped_bit_changes_what_is_read(small, place, bit):
    state, path = small
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << bit
    damaged = path.with_name("damaged.safetensors")
    damaged.write_bytes(content)
    found = read_or_refused(damaged)
    if found:
        assert found["config"] == CONFIG
        assert {name: bits(own) for name, own in found["weights"].items()} == {
            name: bits(own) for name, own in state.items()
        }


def read_or_refused(path):
    """The content of a file; None if it is refused in one line."""
    try:
        return read_tensors(path, "fetch it again")
    except UserError as error:
        return None if str(error).endswith(": fetch it again") else pytest.fail(str(error))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is damaged, or no safetensors"),
        (b"\x08\0\0\0\0\0\0\0{}      ", "does not hold weights"),
        (b"PK\3\4 a zip", "is damaged, or no safetensors"),
        (b"\xff" * 64, "is damaged, or no safetensors"),
    ],
)
def test_a_foreign_file_is_one_line(content, says, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says) as error:
        weights.read(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        weights.read(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (CONFIG | {"version": 2}, "later version: update"),
        ({k: v for k, v in CONFIG.items() if k != "input"}, "input is missing"),
        (CONFIG | {"epoch": "last"}, "epoch is 'last'"),
        ([], "expected"),
    ],
)
def test_a_header_of_another_kind_is_one_line(config, says, tmp_path):
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"neck.weight": torch.ones(2)}, config)
    with pytest.raises(UserError, match=says):
        weights.about(path)


def test_tensors_of_others_are_read_as_those_of_torch(tmp_path):
    state = resnet.resnet18().state_dict()
    path = tmp_path / "resnet18.safetensors"
    save_file(state, path, {"format": "pt"})
    assert weights.about(path) == {}
    found, expected = weights.read(path), weights.from_resnet(state)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_the_header_is_json_that_others_read(small):
    _, path = small
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert json.loads(header["__metadata__"]["clustercontrast"])["about"]["method"] == "pgm"
