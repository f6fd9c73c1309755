"""Our networks as the official programs load them: every recorded key, and the same features."""

import golden_set
import pytest
import torch
from official import official_classifier_name, official_shapes
from torch import nn

from clustercontrast.files import UserError
from clustercontrast.models import weights
from clustercontrast.models.modality_classifier import ModalityClassifier
from clustercontrast.models.official import official_checkpoint, to_official
from clustercontrast.models.single_stream_resnet import SingleStreamResNet
from clustercontrast.models.two_stream_resnet import TwoStreamResNet
from clustercontrast.models.vision_transformer import TwoStreamViT

VIT_KEYS = {
    "sdcl/vit_keys.json": {"tokens": 162, "depth": 12},
    "sdcl/vit_keys_depth3_64x32.json": {"tokens": 8, "depth": 3},
}


class Recorded(nn.Module):
    """A network of recorded names and shapes, as data parallelism wraps it."""

    def __init__(self, shapes, prefix="module."):
        super().__init__()
        for name, shape in shapes.items():
            *parts, last = f"{prefix}{name}".split(".")
            place = self
            for part in parts:
                if part not in dict(place.named_children()):
                    place.add_module(part, nn.Module())
                place = place.get_submodule(part)
            place.register_buffer(last, torch.empty(shape, device="meta"))


def recorded_vit(file):
    keys = golden_set.load_json(file)
    return keys.get("state_dict", keys)


def on_no_device(make, **sizes):
    with torch.device("meta"):
        return make(**sizes)


@pytest.mark.parametrize("non_local", [True, False])
def test_a_resnet_is_loaded_strictly_by_the_recorded_keys(non_local):
    state = on_no_device(TwoStreamResNet, depth=50, non_local=non_local).state_dict()
    written = official_checkpoint(state, {}, epoch=4)
    official = Recorded(official_shapes(non_local))
    official.load_state_dict(written["state_dict"], strict=True, assign=True)
    assert written["epoch"] == 5


@pytest.mark.parametrize("file", VIT_KEYS)
def test_a_transformer_is_loaded_strictly_by_the_recorded_keys(file):
    state = on_no_device(TwoStreamViT, shallow=True, width=768, **VIT_KEYS[file]).state_dict()
    written = official_checkpoint(state, {}, epoch=0)["state_dict"]
    Recorded(recorded_vit(file)).load_state_dict(written, strict=True, assign=True)


def networks():
    torch.manual_seed(3)
    return [
        TwoStreamResNet(50, non_local=False),
        TwoStreamResNet(50, non_local=True),
        TwoStreamViT(8, 64, 3, shallow=True),
    ]


@pytest.mark.parametrize("kind", [0, 1, 2], ids=["plain", "non-local", "transformer"])
def test_what_is_written_is_read_again_with_the_same_features(kind, tmp_path):
    network = networks()[kind]
    for name, tensor in network.state_dict().items():  # no two parts alike
        if tensor.is_floating_point():
            drawn = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(len(name)))
            tensor.mul_(1 + 0.1 * drawn)
    path = tmp_path / "model_best.pth.tar"
    torch.save(official_checkpoint(network.state_dict(), {}, 0), path)
    again = weights.network_for(weights.read(path)).eval()
    images = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(1))
    network.eval()
    with torch.no_grad():
        for modality in ("visible", "infrared"):
            assert torch.equal(again.embed(images, modality), network.embed(images, modality))


def test_what_a_model_says_of_itself_goes_along(tmp_path):
    state = TwoStreamResNet(50, non_local=False).state_dict()
    images = {"dataset": "sysu", "rendered": True}
    about = {"method": "pgm", "images": images, "stage": "cross", "epoch": 4}
    path = tmp_path / "model.pth.tar"
    torch.save(official_checkpoint(state, {}, 4, about), path)
    assert weights.about(path) == about
    torch.save(official_checkpoint(state, {}, 4), path)
    assert weights.about(path) == {}


def test_copies_that_never_run_hold_what_runs():
    state = on_no_device(TwoStreamResNet, depth=50, non_local=False).state_dict()
    written = to_official(state)
    name = "layer3.2.bn2.running_var"
    for copy in ("base_resnet.base", "visible_module.visible", "thermal_module.thermal"):
        assert written[f"{copy}.{name}"] is state[f"trunk.layers.{name}"]
    assert written["base_resnet.base.conv1.weight"] is state["visible_stem.conv1.weight"]
    assert written["thermal_module.thermal.conv1.weight"] is state["infrared_stem.conv1.weight"]


def test_the_modality_classifier_goes_along():
    classifier = ModalityClassifier()
    state = on_no_device(TwoStreamResNet, depth=50, non_local=False).state_dict()
    companions = {"modality_classifier": classifier.state_dict(), "momentum_encoder": {}}
    written = official_checkpoint(state, companions, 0)
    assert set(written) == {"state_dict", "state_dict_modal", "epoch", "best_mAP"}
    shapes = golden_set.entry_b("pca/modal_classifier.npz")["params"]["key_shapes"]
    official = Recorded(shapes, prefix="")
    official.load_state_dict(written["state_dict_modal"], strict=True, assign=True)
    for name, tensor in written["state_dict_modal"].items():
        assert torch.equal(tensor, classifier.state_dict()[official_classifier_name(name)])


@pytest.mark.parametrize(
    "network",
    [
        lambda: TwoStreamResNet(18, non_local=False),
        lambda: TwoStreamResNet(34, non_local=True),
        lambda: SingleStreamResNet(50),
        lambda: TwoStreamResNet(50, pooling="average"),
        lambda: TwoStreamViT(8, 64, 3, shallow=False),
    ],
)
def test_networks_that_the_official_programs_do_not_have_are_refused(network):
    with pytest.raises(UserError, match="cannot be written for them"):
        official_checkpoint(on_no_device(network).state_dict(), {}, 0)
