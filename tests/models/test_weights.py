"""Weights from official checkpoints, torchvision and runs of our own, strictly and safely."""

from urllib.error import URLError

import numpy as np
import pytest
import torch
from official import official_shapes
from pickles import Opened, of_another_numpy
from torchvision.models import resnet

from clustercontrast.files import UserError
from clustercontrast.models import weights
from clustercontrast.models.two_stream_resnet import TwoStreamResNet


def small(**options):
    torch.manual_seed(2)
    return TwoStreamResNet(**{"depth": 18, "non_local": False} | options)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def save(path, content):
    torch.save(content, path)
    return path


def is_ours(name):
    return weights.our_name(name) is not None


def official_state(non_local, is_drawn=is_ours):
    """Random numbers under the official names, as DataParallel saves them; zeros take no place."""
    generator = torch.Generator().manual_seed(0)
    return {
        f"module.{name}": torch.randn(shape, generator=generator)
        if is_drawn(name)
        else torch.zeros(()).expand(shape)
        for name, shape in official_shapes(non_local).items()
    }


# --- official checkpoints ---


@pytest.mark.parametrize("pooling", ["gem", "average"])
def test_a_state_dict_says_how_its_network_pools(pooling):
    network = weights.network_for(small(pooling=pooling).state_dict())
    assert network.exponent == {"gem": 3, "average": 1}[pooling]
    others = small(pooling={"gem": "average", "average": "gem"}[pooling])
    with pytest.raises(UserError, match="--pooling"):
        weights.load(others, network.state_dict(), "a checkpoint")


def test_pooling_is_the_flag_s_beside_weights_for_other_tasks():
    network = small(pooling="average")
    state = weights.from_resnet(resnet.resnet18().state_dict())
    weights.load(network, state, "ImageNet", weights.FRESH)
    assert network.exponent == 1


@pytest.mark.parametrize("non_local", [False, True])
def test_official_names_cover_the_network_exactly(non_local):
    mapped = {weights.our_name(name) for name in official_shapes(non_local)} - {None}
    own = TwoStreamResNet(50, non_local).state_dict()
    assert mapped == own.keys()
    shapes = {weights.our_name(n): tuple(s) for n, s in official_shapes(non_local).items()}
    assert all(shapes[name] == tuple(tensor.shape) for name, tensor in own.items())


def test_official_checkpoint_round_trip(tmp_path):
    official = official_state(non_local=False)
    content = {"state_dict": official, "epoch": 43, "best_mAP": np.float64(51.36)}
    state = weights.read(save(tmp_path / "model_best.pth.tar", content))
    network = weights.network_for(state)
    own = network.state_dict()
    for name, tensor in official.items():
        ours = weights.our_name(name)
        if ours:
            assert torch.equal(own[ours], tensor.to(own[ours].dtype)), name
    report = weights.load(network, state, "it")
    assert report.loaded == len(own)


@pytest.mark.parametrize("key", ["state_dict", "net"])
def test_prefix_and_container_do_not_matter(tmp_path, key):
    official = official_state(non_local=False)
    bare = {name.removeprefix("module."): tensor for name, tensor in official.items()}
    a = weights.read(save(tmp_path / "a.pth", {key: official}))
    assert equal(a, weights.read(save(tmp_path / "b.pth", bare)))


WRAPPINGS = ["model", "model_state_dict", "state_dict", "net", "network", "module"]


@pytest.mark.parametrize("prefix", ["", "module.", "module.module."])
@pytest.mark.parametrize(
    "keys",
    [
        *([key] for key in WRAPPINGS),
        ["model", "state_dict"],
        ["network", "module"],
        ["state_dict", "model", "net"],
    ],
    ids=str,
)
def test_wrappers_of_any_depth_and_repeated_prefixes_do_not_matter(tmp_path, keys, prefix):
    official = official_state(non_local=False, is_drawn="bottleneck.weight".__eq__)
    bare = {name.removeprefix("module."): tensor for name, tensor in official.items()}
    content = {prefix + name: tensor for name, tensor in bare.items() if is_ours(name)}
    for key in keys:
        content = {key: content, "epoch": 3, "optimizer": {"state": {}}}
    read = weights.read(save(tmp_path / "a.pth", content))
    assert read.keys() == TwoStreamResNet(50, False).state_dict().keys()
    assert torch.equal(read["neck.weight"], bare["bottleneck.weight"])


@pytest.mark.parametrize("other", [False, True])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_numpy_scalars_are_let_through_under_both_names(tmp_path, other, kind):
    """NumPy 2 pickles a scalar as numpy._core..., NumPy 1 did as numpy.core..."""
    content = {"weights": small().state_dict(), "best_mAP": kind(0.5), "curve": np.arange(3.0)}
    path = save(tmp_path / "model.pth", content)
    if other:
        path = of_another_numpy(path)
    read = weights.read_checkpoint(path)
    assert read["best_mAP"] == pytest.approx(0.5)
    assert read["curve"].tolist() == [0, 1, 2]


def test_pickled_code_is_not_run(tmp_path):
    path = save(tmp_path / "evil.pth", {"weights": small().state_dict(), "x": Opened()})
    with pytest.raises(UserError, match=r"evil\.pth .*holds more than weights"):
        weights.read(path)
    assert not Opened.ran


def test_numpy_objects_do_not_open_a_door(tmp_path):
    path = save(tmp_path / "evil.pth", {"x": np.array([Opened()], dtype=object)})
    with pytest.raises(UserError, match=r"evil\.pth"):
        weights.read_checkpoint(path)
    assert not Opened.ran


# --- files that are none ---


@pytest.mark.parametrize("content", [b"", b"these are my notes", b"\x80\x02}q\x00.", b"PK\x03\x04"])
def test_foreign_bytes_are_named(tmp_path, content):
    path = tmp_path / "notes.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"notes\.pth"):
        weights.read(path)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.pth does not exist"):
        weights.read(tmp_path / "nothing.pth")
    with pytest.raises(UserError, match=tmp_path.name):
        weights.read(tmp_path)


@pytest.mark.parametrize("content", [{"weights": {}}, {"a": torch.ones(2)}, {}])
def test_files_without_a_network_are_named(tmp_path, content):
    with pytest.raises(UserError, match="does not hold weights that this project can read"):
        weights.read(save(tmp_path / "other.pth", content))


def test_stages_without_a_network_for_matching_are_named(tmp_path):
    content = {"stage": "diffusion", "retrieval": None, "networks": {"average": {}}}
    torch.save(content, tmp_path / "last.pth")
    with pytest.raises(UserError, match="of stage diffusion, which leaves no network"):
        weights.read(tmp_path / "last.pth")


def test_networks_of_a_file_by_name(tmp_path):
    last = {"retrieval": "joint", "networks": {"joint": {"a": 1}, "gray": {"a": 2}}}
    best = {"retrieval": "joint", "weights": {"a": 1}, "companions": {"gray": {"a": 2}}}
    trained_nothing = {"retrieval": None, "networks": {}}  # --label-method import
    for content, expected in (
        (last, last["networks"]),
        (best, last["networks"]),
        (trained_nothing, {}),
        ({"state_dict": {}}, {}),
    ):
        torch.save(content, tmp_path / "file.pth")
        assert weights.networks(tmp_path / "file.pth") == expected


def test_a_single_tensor_is_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match="holds a Tensor"):
        weights.read(save(tmp_path / "tensor.pth", torch.ones(2)))


# --- strictness ---


def test_missing_tensors_are_named():
    network = small()
    state = network.state_dict()
    name = "trunk.layers.layer2.0.conv1.weight"
    del state[name]
    with pytest.raises(UserError, match="1 tensors missing, such as " + name):
        weights.load(small(), state, "it")


def test_misshapen_tensors_are_named_with_both_shapes():
    state = small().state_dict()
    state["neck.weight"] = torch.ones(7)
    with pytest.raises(UserError, match=r"such as neck\.weight \(\(7,\), not \(512,\)\)"):
        weights.load(small(), state, "it")


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, torch.complex64])
def test_tensors_of_other_numbers_are_named(dtype):
    network = small()
    before = network.neck.weight.detach().clone()
    state = network.state_dict()
    name = "trunk.layers.layer1.0.conv1.weight"
    state |= {name: state[name].to(dtype), "neck.weight": torch.zeros(512)}
    with pytest.raises(UserError, match=rf"in 1 tensors, such as {name} \({dtype}\)"):
        weights.load(network, state, "it")
    assert torch.equal(network.neck.weight, before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float8_e4m3fn])
def test_floating_point_numbers_of_another_width_are_taken(dtype):
    network, state = small(), small().state_dict()
    state["neck.weight"] = torch.full((512,), 0.5, dtype=dtype)
    weights.load(network, state, "it")
    assert (network.neck.weight == 0.5).all()


def test_numbers_beyond_the_range_of_the_network_are_named():
    state = small().state_dict()
    state["neck.weight"] = torch.full((512,), 1e300, dtype=torch.float64)
    with pytest.raises(UserError, match=r"NaN or infinity in 1 tensors, such as neck\.weight"):
        weights.load(small(), state, "it")


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state}])
def test_names_that_are_no_text_are_named(tmp_path, wrap):
    path = save(tmp_path / "odd.pth", wrap(small().state_dict() | {7: torch.ones(1)}))
    with pytest.raises(UserError, match=r"odd\.pth .* it has 7 as the name of a tensor"):
        weights.read(path)


def test_a_failed_load_changes_nothing():
    network = small()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = {name: tensor + 1 for name, tensor in before.items()}
    del state["neck.bias"]
    with pytest.raises(UserError):
        weights.load(network, state, "it")
    assert equal(network.state_dict(), before)


@pytest.mark.parametrize("other", [{"depth": 34}, {"non_local": True}])
def test_another_architecture_names_the_flags(other):
    with pytest.raises(UserError, match="--depth, --non-local/--no-non-local and --pooling"):
        weights.load(small(**other), small().state_dict(), "it")


def test_counters_of_old_files_may_be_missing_and_surplus_is_counted():
    state = small().state_dict()
    counters = [name for name in state if name.endswith("num_batches_tracked")]
    kept = {name: tensor for name, tensor in state.items() if name not in counters}
    report = weights.load(small(), kept | {"classifier.weight": torch.ones(2)}, "it")
    assert (report.loaded, report.unused) == (len(kept), 1)
    assert str(report) == f"it: {len(kept)} tensors loaded, 1 not needed"


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_a_tensor_that_is_not_finite_is_named(broken):
    network = small()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state["trunk.layers.layer1.0.conv1.weight"][0, 0, 0, 0] = broken
    state["neck.running_var"][1] = broken
    with pytest.raises(UserError, match=r"2 tensors, such as trunk\.layers\.layer1\.0\.conv1") as e:
        weights.load(network, state, "best_test.pth")
    assert str(e.value).startswith("best_test.pth holds NaN or infinity")
    assert all(t.isfinite().all() for t in network.state_dict().values())


# --- own checkpoints ---


def test_own_files_read_as_they_were_saved(tmp_path):
    state = small().state_dict()
    best = {"stage": "intra", "epoch": 3, "weights": state, "about": {}}
    other = {name: tensor + 1 for name, tensor in state.items()}
    last = {"networks": {"encoder": other, "momentum_encoder": state}}
    last["retrieval"] = "momentum_encoder"
    for content in (best, last):
        assert equal(weights.read(save(tmp_path / "x.pth", content)), state)


@pytest.mark.parametrize("depth", [18, 34, 50])
@pytest.mark.parametrize("non_local", [False, True])
def test_the_architecture_is_read_off_the_tensors(depth, non_local):
    state = small(depth=depth, non_local=non_local).state_dict()
    assert equal(weights.network_for(state).state_dict(), state)


def test_unknown_architectures_are_refused():
    state = small().state_dict()
    renamed = {n.replace("layer3.1", "layer3.7"): t for n, t in state.items()}
    renamed |= {"trunk.layers.layer3.2.conv1.weight": torch.ones(1)}
    with pytest.raises(UserError, match="not a ResNet-10, 18, 34 or 50"):
        weights.network_for(renamed)


# --- torchvision and initial weights ---


def test_torchvision_resnet_goes_to_both_stems_and_the_trunk(tmp_path):
    torch.manual_seed(0)
    source = resnet.resnet18(weights=None).state_dict()
    path = save(tmp_path / "resnet18.pth", source)
    network = small()
    neck = network.neck.weight.clone()
    weights.start(network, str(path))
    own = network.state_dict()
    for name, tensor in source.items():
        if name.startswith(("conv1", "bn1")):
            assert torch.equal(own[f"visible_stem.{name}"], tensor)
            assert torch.equal(own[f"infrared_stem.{name}"], tensor)
        elif name.startswith("layer"):
            assert torch.equal(own[f"trunk.layers.{name}"], tensor)
        else:
            assert name.startswith("fc.")
    assert torch.equal(network.neck.weight, neck)


def test_a_network_started_from_torchvision_computes_its_features(tmp_path):
    """With a stride of 2 put back into layer4, the trunk is torchvision's own."""
    torch.manual_seed(0)
    source = resnet.resnet18(weights=None).eval()
    network = small().eval()
    weights.start(network, str(save(tmp_path / "r.pth", source.state_dict())))
    block = network.trunk.layers["layer4"][0]
    block.conv1.stride = block.downsample[0].stride = (2, 2)
    x = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(1))
    maps = source.maxpool(source.relu(source.bn1(source.conv1(x))))
    for layer in (source.layer1, source.layer2, source.layer3, source.layer4):
        maps = layer(maps)
    torch.testing.assert_close(network.trunk(network.visible_stem(x)), maps)


def test_our_own_file_must_fill_the_neck_too(tmp_path):
    """Only a torchvision ResNet may leave the neck and the non-local blocks as they are."""
    path = save(tmp_path / "own.pth", {"weights": small().state_dict()})
    with pytest.raises(UserError, match="non_local"):
        weights.start(small(non_local=True), str(path))


def test_random_is_said_in_so_many_words():
    network = small()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert weights.start(network, "random") is None
    assert equal(network.state_dict(), before)


class Source:
    """Stands in for torchvision's weight enumeration."""

    url = "https://example.org/resnet18.pth"

    def __init__(self, answer):
        self.answer = answer

    def get_state_dict(self, **_):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def answer_with(monkeypatch, answer):
    holder = type("Weights", (), {"IMAGENET1K_V1": Source(answer)})
    monkeypatch.setattr(weights, "get_model_weights", lambda name: holder)


@pytest.mark.parametrize(
    "failure", [URLError("no route"), OSError("disk"), RuntimeError("invalid hash value")]
)
def test_imagenet_that_cannot_be_had_is_an_error_with_a_remedy(monkeypatch, failure):
    answer_with(monkeypatch, failure)
    with pytest.raises(UserError) as error:
        weights.start(small(), "imagenet")
    for words in ("ResNet-18", Source.url, "--pretrained PATH"):
        assert words in str(error.value)


def test_imagenet_fills_all_but_neck_and_non_local(monkeypatch):
    answer_with(monkeypatch, resnet.resnet18(weights=None).state_dict())
    network = small(non_local=True)
    fresh = [n for n in network.state_dict() if n.startswith(("neck", "trunk.non_local"))]
    report = weights.start(network, "imagenet")
    assert report.loaded == len(network.state_dict()) - len(fresh)
    assert report.source == "ImageNet ResNet-18"
