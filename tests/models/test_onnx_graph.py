"""What is exported is the feature that retrieval uses, and other features are noticed."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from networks import NETWORKS

from clustercontrast.commands import validating
from clustercontrast.data.augment import MEAN, STD
from clustercontrast.data.samples import MODALITIES
from clustercontrast.files import UserError
from clustercontrast.models.onnx_graph import FeatureGraph, write_graph

SIZE = (64, 32)
PEOPLE = validating.rendered_people(*SIZE)


def made(kind):
    """A network whose modalities, norms and channels are all different, some channels dead."""
    torch.manual_seed(4)
    network = NETWORKS[kind]().eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "bn" in name or "neck" in name or "stem" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
        for name, own in network.named_parameters():
            if "layer4" in name and name.endswith(("bn2.bias", "downsample.1.bias")):
                own[::3] = -30.0
    return network


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_graph_computes_what_retrieval_extracts(kind):
    network = made(kind)
    expected = validating.expected_features(network, PEOPLE)
    for modality in MODALITIES:
        graph = FeatureGraph(network, modality, MEAN, STD)
        with torch.no_grad():
            found = graph(torch.from_numpy(PEOPLE[modality].pixels))
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected[modality], rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["resnet", "transformer", "single"])
def test_a_runtime_computes_the_same_for_any_batch(kind, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    network, path = made(kind), tmp_path / "infrared.onnx"
    expected = validating.expected_features(network, PEOPLE)["infrared"].numpy()
    graph = FeatureGraph(network, "infrared", MEAN, STD).eval()
    write_graph(graph, SIZE, path, {"modality": "infrared"})
    assert [own.name for own in tmp_path.iterdir()] == ["infrared.onnx"]  # the weights are in it
    assert next(own.version for own in onnx.load(path).opset_import if not own.domain) == 18
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == {"modality": "infrared"}
    (given_, taken) = (*session.get_inputs(), *session.get_outputs())
    assert (given_.name, given_.type, given_.shape[1:]) == ("images", "tensor(uint8)", [*SIZE, 3])
    assert (taken.name, taken.type) == ("features", "tensor(float)")
    pixels = PEOPLE["infrared"].pixels
    for rows in (slice(0, 1), slice(3, 10), slice(0, 32)):
        (found,) = session.run(None, {"images": pixels[rows]})
        np.testing.assert_allclose(found, expected[rows], rtol=0, atol=2e-6)


def test_a_size_that_the_network_has_no_positions_for_is_one_line():
    with pytest.raises(UserError, match=r"have 32 patches .* positions for 8.*--height"):
        validating.expected_features(made("transformer"), validating.rendered_people(128, 64))


# --- rankings ---


def slow_twin(found, expected):
    """Queries for which an image stands before one that is better by more than a tie."""
    changed = 0
    for own, wanted in zip(found, expected, strict=True):
        order = sorted(range(len(own)), key=lambda image: -own[image])
        pairs = [(a, b) for place, a in enumerate(order) for b in order[place + 1 :]]
        changed += any(wanted[b] - wanted[a] > validating.TIE for a, b in pairs)
    return changed


@given(data=st.data())
def test_changed_rankings_as_pair_by_pair(data):
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 6)))
    values = st.sampled_from([0.0, 0.5, 0.5 + 5e-6, 0.5 + 2e-5, 1.0])
    found, expected = (data.draw(arrays(np.float64, shape, elements=values)) for _ in range(2))
    assert validating.changed_rankings(found, expected) == slow_twin(found, expected)


def test_ties_may_change_places_and_others_not():
    expected = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.5 - 9e-6]])
    assert validating.changed_rankings(np.array([[3, 2, 1], [3, 1, 2]]), expected) == 0
    assert validating.changed_rankings(np.array([[3, 1, 2], [2, 3, 1]]), expected) == 2
