"""Where a network's weights come from: ImageNet, an official checkpoint, or a run of our own.

Loading is strict: every tensor of the network is found with its shape or the load fails with the
names, and what a file holds beyond that is counted in the report.  Only weights are unpickled.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import nn
from torchvision.models import get_model_weights

from clustercontrast.files import UserError
from clustercontrast.models import vit_weights
from clustercontrast.models.modality_classifier import OFFICIAL_PARTS
from clustercontrast.models.naming import innermost, translated, unwrapped
from clustercontrast.models.part_resnet import PartResNet
from clustercontrast.models.saved import read_saved
from clustercontrast.models.single_stream_resnet import SingleStreamResNet
from clustercontrast.models.tensor_files import ENDING, is_exported, read_tensors
from clustercontrast.models.two_stream_resnet import AVERAGED, TwoStreamResNet
from clustercontrast.models.vision_transformer import TwoStreamViT

State = dict[str, torch.Tensor]
FRESH = ("neck", "trunk.non_local", "exponent", "part_necks", AVERAGED)
"""Parts of a ResNet for re-identification that ImageNet weights do not have."""

# Official name -> ours; what matches no row never runs in the official forward (COMMON-15).
OFFICIAL_NAMES = (
    (r"visible_module\.visible\.(conv1|bn1)\.", r"visible_stem.\1."),
    (r"thermal_module\.thermal\.(conv1|bn1)\.", r"infrared_stem.\1."),
    (r"base_resnet\.base\.(layer\d)\.", r"trunk.layers.\1."),
    (r"NL_(\d)\.(\d)\.(theta|phi)\.", r"trunk.non_local.layer\1.\2.\3."),
    (r"NL_(\d)\.(\d)\.g\.0\.", r"trunk.non_local.layer\1.\2.g."),
    (r"NL_(\d)\.(\d)\.W\.", r"trunk.non_local.layer\1.\2.out."),
    (r"bottleneck\.", r"neck."),
)

CLASSIFIER_NAMES = tuple((re.escape(theirs), ours) for ours, theirs in OFFICIAL_PARTS.items())


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What a load did: tensors taken and names left unused (dead parts, classifiers)."""

    source: str
    loaded: int
    unused: int

    def __str__(self) -> str:
        return f"{self.source}: {self.loaded} tensors loaded, {self.unused} not needed"


def our_name(official: str) -> str | None:
    """Our name of an official parameter or buffer; None for the parts that never run."""
    name = official.removeprefix("module.")
    return translated(name, OFFICIAL_NAMES)


def from_official(state: State) -> State:
    """Rename an official ADCA, PGM, PCLHD, RPNR, PCA or AGW state dict to ours."""
    return {our_name(name): tensor for name, tensor in state.items() if our_name(name)}


def from_resnet(state: State) -> State:
    """Spread a torchvision ResNet over a two-stream network: its stem twice, its layers once."""
    mapped = {}
    for name, tensor in state.items():
        if name.startswith(("conv1.", "bn1.")):
            mapped |= {f"{stem}.{name}": tensor for stem in ("visible_stem", "infrared_stem")}
        elif name.startswith("layer"):
            mapped[f"trunk.layers.{name}"] = tensor
    return mapped


def read(path: Path) -> State:
    """Read the weights in a file, under our names.

    Understands our own checkpoints (best_*.pth and last.pth) and exported folders, official ones
    (``state_dict``, or ``net`` of AGW and CAJ; SDCL's) and torchvision ResNets, however they are
    wrapped, saved by torch or as safetensors.

    Raises:
        UserError: no such file, not a checkpoint, or one without a network that we know.
    """
    return _named(read_checkpoint(path), path)


def _named(content: dict, path: Path) -> State:
    """The network in the content of a file, under our names."""
    if "networks" in content and content["retrieval"] is None:
        raise UserError(
            f"{path} is of stage {content['stage']}, which leaves no network for "
            "re-identification: give a checkpoint of another stage"
        )
    state = _tensors(content)
    if vit_weights.is_official(state):
        return vit_weights.from_official(state)
    if "bottleneck.weight" in state:
        return from_official(state)
    if "conv1.weight" in state:
        return from_resnet(state)
    if "neck.weight" in state or "exponent" in state:
        return state
    raise UserError(
        f"{path} does not hold weights that this project can read: give an official AGW checkpoint "
        "(.pth.tar), a torchvision ResNet or a checkpoint of this project"
    )


def _tensors(content: dict) -> State:
    """The tensors of a file by name, whatever they are wrapped in."""
    if "networks" in content:  # last.pth of a stage
        content = content["networks"][content["retrieval"]]
    return {name: t for name, t in unwrapped(content).items() if torch.is_tensor(t)}


def networks(path: Path) -> dict[str, State]:
    """Networks that a checkpoint of this project holds, by name.

    Of an official file PCA's modality classifier; none of any other.
    """
    content = read_checkpoint(path)
    if "networks" in content:  # last.pth of a stage
        return content["networks"]
    if isinstance(content.get("state_dict_modal"), dict):
        state = unwrapped({"state_dict": content["state_dict_modal"]})
        named = {translated(name, CLASSIFIER_NAMES) or name: t for name, t in state.items()}
        return {"modality_classifier": named}
    if "retrieval" not in content:
        return {}
    return {content["retrieval"]: content["weights"]} | content["companions"]  # a best model


def about(path: Path) -> dict:
    """What a checkpoint of this project says of itself, stage and epoch too; empty for others.

    Files that this project exported, for the official programs too, say the same of themselves.
    """
    content = read_checkpoint(path)
    found = content.get("about")
    if not isinstance(found, dict) or not found:
        return {}
    return {key: content[key] for key in ("stage", "epoch") if key in content} | found


def read_checkpoint(path: Path) -> dict:
    """The content of a checkpoint: tensors, plain values and what else is inert.

    Raises:
        UserError: the file is missing, damaged or holds anything else, or names that are no text.
    """
    remedy = "fetch or copy it again, or give another"
    is_safe = path.suffix == ENDING or is_exported(path)
    content = read_tensors(path, remedy) if is_safe else read_saved(path, remedy)
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a checkpoint: it holds a {type(content).__name__}")
    foreign = next((name for name in innermost(content) if not isinstance(name, str)), None)
    if foreign is not None:
        raise UserError(
            f"{path} is not a checkpoint: it has {foreign!r} as the name of a tensor, expected "
            "text; save the weights again: torch.save(network.state_dict(), PATH)"
        )
    return content


def load(network: nn.Module, state: State, source: str, fresh: tuple[str, ...] = ()) -> LoadReport:
    """Copy ``state`` into ``network``, strictly.

    Args:
        network: receives the weights in place.
        state: tensors under our names.
        source: what to call the origin in the report and in errors.
        fresh: prefixes of names that may be missing and keep their initialisation (a torchvision
            ResNet has no neck and no non-local block).

    Raises:
        UserError: a tensor is missing or has another shape – a checkpoint of another architecture –
            or is not finite, or not of floating-point numbers where the network's is.
    """
    own = network.state_dict()
    tracked = [n for n in own if n.endswith("num_batches_tracked")]  # absent from old files
    missing = [n for n in own if n not in state and n not in tracked and not n.startswith(fresh)]
    if AVERAGED in state and isinstance(network, TwoStreamResNet) and AVERAGED not in own:
        raise UserError(f"{source} was trained with --pooling average: say so, or give another")
    misshapen = [n for n in own if n in state and own[n].shape != state[n].shape]
    if missing or misshapen:
        raise UserError(_mismatch(source, own, state, missing, misshapen))
    taken = {name: state[name] for name in own if name in state}
    others = [
        f"{name} ({tensor.dtype})"
        for name, tensor in taken.items()
        if own[name].is_floating_point() and not tensor.is_floating_point()
    ]
    if others:
        raise UserError(
            f"{source} holds other than floating-point numbers in {len(others)} tensors, such as "
            f"{others[0]}: give a checkpoint whose weights were not converted"
        )
    broken = [name for name, t in taken.items() if not t.to(own[name].dtype).isfinite().all()]
    if broken:
        raise UserError(
            f"{source} holds NaN or infinity in {len(broken)} tensors, such as {broken[0]}: its "
            "training has failed; give a checkpoint of an earlier epoch"
        )
    network.load_state_dict(taken, strict=False)
    return LoadReport(source, len(taken), len(state) - len(taken))


KINDS = {
    "two_stream_resnet": TwoStreamResNet,
    "single_stream_resnet": SingleStreamResNet,
    "two_stream_vit": TwoStreamViT,
}
"""Networks that images are searched with."""


def described(state: State) -> dict[str, Any]:
    """The architecture that a state dict (our names) was saved from.

    Returns:
        "kind", a key of ``KINDS``, and the arguments that build it.

    Raises:
        UserError: the tensors fit none of the architectures.
    """
    if "exponent" in state:
        neck = "bnneck" if "neck.weight" in state else "none"
        return {"kind": "single_stream_resnet", "depth": architecture(state)[0], "neck": neck}
    if "class_token" not in state:
        depth, non_local = architecture(state)
        pooling = "average" if AVERAGED in state else "gem"
        said = {"depth": depth, "non_local": non_local, "pooling": pooling}
        return {"kind": "two_stream_resnet"} | said
    blocks = {name.split(".")[1] for name in state if name.startswith("blocks.")}
    tokens, width = state["positions"].shape[1] - 1, state["positions"].shape[2]
    said = {"tokens": tokens, "width": width, "depth": len(blocks) + 1}
    return {"kind": "two_stream_vit", **said, "shallow": "shallow_neck.weight" in state}


def build_for(state: State) -> nn.Module:
    """A network of the architecture that a state dict (our names) was saved from.

    Raises:
        UserError: the tensors fit none of the architectures.
    """
    arguments = described(state)
    return KINDS[arguments.pop("kind")](**arguments)


def architecture(state: State) -> tuple[int, bool]:
    """Depth, and whether there are non-local blocks, of the network a state dict was saved from.

    Raises:
        UserError: the tensors fit none of the architectures.
    """
    blocks = len({name.split(".")[3] for name in state if name.startswith("trunk.layers.layer3.")})
    bottlenecks = "trunk.layers.layer3.0.conv3.weight" in state
    depth = {(1, False): 10, (2, False): 18, (6, False): 34, (6, True): 50}.get(
        (blocks, bottlenecks)
    )
    if depth is None:
        raise UserError("the checkpoint is not a ResNet-10, 18, 34 or 50 of this project")
    return depth, any(name.startswith("trunk.non_local.") for name in state)


def network_for(state: State) -> nn.Module:
    """A network with the weights and the architecture of a state dict (our names)."""
    network = build_for(state)
    load(network, state, "the checkpoint")
    return network


def untrained(state: State) -> State:
    """Random weights, the same ones every time, for the architecture of a state dict."""
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(torch.Generator().manual_seed(0).get_state())
        return build_for(state).state_dict()


def imagenet(depth: int) -> State:
    """ImageNet weights of torchvision's first release (IMAGENET1K_V1), as upstream used.

    Raises:
        UserError: they are not in the cache and cannot be fetched.
    """
    if depth == 10:
        raise UserError(
            "there are no ImageNet weights of ResNet-10: give --pretrained PATH or random"
        )
    weights = get_model_weights(f"resnet{depth}").IMAGENET1K_V1
    try:
        return from_resnet(weights.get_state_dict(progress=False, check_hash=True))
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"the ImageNet weights of ResNet-{depth} could not be fetched ({error}): download "
            f"{weights.url} elsewhere and give --pretrained PATH"
        ) from error


def start(network: nn.Module, pretrained: str) -> LoadReport | None:
    """Give a new network its initial weights.

    Args:
        network: freshly built, on any device.
        pretrained: "imagenet", "random" (only when this value is given) or a file.

    Returns:
        The load report; None for a random start.

    Raises:
        UserError: the weights cannot be had or do not fit.
    """
    if pretrained == "random":
        return None
    if isinstance(network, TwoStreamViT):
        return _start_vit(network, pretrained)
    if pretrained == "imagenet":
        depth, _ = architecture(network.state_dict())
        state, source = imagenet(depth), f"ImageNet ResNet-{depth}"
    else:
        state, source = read(Path(pretrained)), pretrained
    if isinstance(network, PartResNet) or (
        isinstance(network, SingleStreamResNet) and "exponent" not in state
    ):
        state = one_stream(state)
    return load(network, state, source, () if "neck.weight" in state else FRESH)


def one_stream(state: State) -> State:
    """Stem and trunk of a network for visible images; of a two-stream one the visible half."""
    return {
        name.replace("visible_stem.", "stem."): tensor
        for name, tensor in state.items()
        if name.startswith(("visible_stem.", "stem.", "trunk.layers."))
    }


def _start_vit(network: TwoStreamViT, pretrained: str) -> LoadReport:
    """Initial weights of a vision transformer."""
    path = Path(pretrained)
    if not path.is_file():
        raise UserError(
            f"--pretrained {pretrained}: there is no such file, and a vision transformer starts "
            "from one: fetch vit_base_ics_cfs_lup.pth (ViT-B/16+ICS, released with TransReID-SSL) "
            "and give its PATH, or give random"
        )
    content = read_checkpoint(path)
    if not vit_weights.is_pretrained(content):
        return load(network, vit_weights.with_shallow(_named(content, path)), pretrained)
    try:
        tokens, has_shallow = network.positions.shape[1] - 1, network.shallow is not None
        mapped = vit_weights.from_pretrained(content, tokens, has_shallow)
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} does not hold ViT-B/16+ICS weights: {error}") from error
    return load(network, mapped, pretrained, ("neck", "shallow_neck"))


def _mismatch(source: str, own: State, state: State, missing: list, misshapen: list) -> str:
    parts = []
    if missing:
        parts.append(f"{len(missing)} tensors missing, such as {missing[0]}")
    if misshapen:
        name = misshapen[0]
        here, there = tuple(own[name].shape), tuple(state[name].shape)
        parts.append(f"{len(misshapen)} of another shape, such as {name} ({there}, not {here})")
    return (
        f"{source} holds another architecture ({'; '.join(parts)}): use the --depth, "
        "--non-local/--no-non-local and --pooling it was trained with"
    )
