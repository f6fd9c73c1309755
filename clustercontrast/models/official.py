"""Networks written as the official programs save theirs, who then load them strictly.

Official networks hold parts that never run (COMMON-15, SDCL-10).  A part that is a copy of one that
runs is filled with this one; the others are zero.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch

from clustercontrast.files import UserError
from clustercontrast.models.modality_classifier import OFFICIAL_PARTS
from clustercontrast.models.two_stream_resnet import AVERAGED

State = dict[str, torch.Tensor]

# What one of our names starts with -> official ones.
AGW = (
    (r"visible_stem\.", ("visible_module.visible.", "base_resnet.base.")),
    (r"infrared_stem\.", ("thermal_module.thermal.",)),
    (
        r"trunk\.layers\.",
        ("base_resnet.base.", "visible_module.visible.", "thermal_module.thermal."),
    ),
    (r"trunk\.non_local\.layer(\d)\.(\d)\.g\.", (r"NL_\1.\2.g.0.",)),
    (r"trunk\.non_local\.layer(\d)\.(\d)\.out\.", (r"NL_\1.\2.W.",)),
    (r"trunk\.non_local\.layer(\d)\.(\d)\.", (r"NL_\1.\2.",)),
    (r"neck\.", ("bottleneck.",)),
)
SDCL = (
    (r"visible_stem\.", ("base.patch_embed.",)),
    (r"infrared_stem\.", ("base.patch_embed2.",)),
    (r"deep\.0\.", ("b1.0.", "base.blocks.{last}.")),
    (r"deep\.1\.", ("b1.1.", "base.norm.")),
    (r"shallow\.", ("b2.",)),
    (r"neck\.", ("bottleneck.",)),
    (r"shallow_neck\.", ("bottlenecks.",)),
    (r"", ("base.",)),
)
PCA_CLASSIFIER = tuple((re.escape(ours), (theirs,)) for ours, theirs in OFFICIAL_PARTS.items())
# Parts of names in a transformer, ours -> official.
TRANSFORMER_PARTS = {
    "class_token": "cls_token",
    "positions": "pos_embed",
    ".layers.": ".conv.",
    ".instance.": ".IN.",
    ".batch.": ".BN.",
    ".qkv.": ".attn.qkv.",
    ".attention_out.": ".attn.proj.",
    ".projection.": ".proj.",
    ".attention_norm.": ".norm1.",
    ".mlp_norm.": ".norm2.",
    ".mlp.0.": ".mlp.fc1.",
    ".mlp.2.": ".mlp.fc2.",
}


def official_checkpoint(
    state: State,
    companions: Mapping[str, State],
    epoch: int,
    about: Mapping[str, Any] | None = None,
) -> dict:
    """The content of an official file: names of the network as data parallelism gives them.

    Args:
        state: all tensors of the network that is searched with, under our names.
        companions: further networks that were saved with it; PCA's modality classifier is written.
        epoch: that it was saved after, from 0.
        about: what the model says of itself, its stage and epoch too; the official programs do not
            look at it.

    Returns:
        ``state_dict``, ``epoch`` (the next one), ``best_mAP`` (0: it is not known), ``about`` where
        it is given, and ``state_dict_modal`` where there is such a classifier.

    Raises:
        UserError: the official programs have no such network.
    """
    content = {"state_dict": {f"module.{name}": t for name, t in to_official(state).items()}}
    if "modality_classifier" in companions:  # which the official program does not parallelise
        content["state_dict_modal"] = _spread(companions["modality_classifier"], PCA_CLASSIFIER)
    rest = {"epoch": epoch + 1, "best_mAP": 0.0} | ({"about": dict(about)} if about else {})
    return content | rest


def to_official(state: State) -> State:
    """A state dict of an official AGW or SDCL network, every tensor that it has.

    Raises:
        UserError: the official programs have no such network.
    """
    if "shallow_neck.weight" in state:
        return _transformer(state)
    parts = {"trunk.layers.layer3.5.conv3.weight", "infrared_stem.conv1.weight"}
    if parts - state.keys() or AVERAGED in state:
        raise UserError(
            "the official programs have a two-stream ResNet-50 with GeM pooling, or SDCL's vision "
            "transformer with its shallow feature: this network cannot be written for them"
        )
    found = _spread(state, AGW)
    return found | {"classifier.weight": torch.zeros(1000, len(state["neck.weight"]))}


def _transformer(state: State) -> State:
    """SDCL's network: a last block, a norm and a head more than run."""
    blocks = {name.split(".")[1] for name in state if name.startswith("blocks.")}
    table = [
        (pattern, tuple(copy.replace("{last}", str(len(blocks))) for copy in copies))
        for pattern, copies in SDCL
    ]
    found = {_transformer_name(name): tensor for name, tensor in _spread(state, table).items()}
    width, zero, one = len(state["neck.weight"]), torch.zeros(1), torch.ones(1)
    norm = {"weight": one, "bias": zero, "running_mean": zero, "running_var": one}
    norm |= {"num_batches_tracked": torch.tensor(0)}
    head = {"base.fc.weight": torch.zeros(1000, width), "base.fc.bias": torch.zeros(1000)}
    return found | head | {f"base.decoder_norm.{name}": t for name, t in norm.items()}


def _transformer_name(name: str) -> str:
    for ours, official in TRANSFORMER_PARTS.items():
        name = name.replace(ours, official)
    return name


def _spread(state: State, table: tuple | list) -> State:
    """Every tensor under each of the names that the first fitting row of a table gives it."""
    found = {}
    for name, tensor in state.items():
        for pattern, copies in table:
            if match := re.match(pattern, name):
                rest = name[match.end() :]
                found |= {match.expand(copy) + rest: tensor for copy in copies}
                break
    return found
