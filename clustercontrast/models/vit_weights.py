"""Weights of the vision transformer under our names: TransReID-SSL's and the official SDCL's.

The self-supervised TransReID-SSL file has one stem, one last block and one last norm; SDCL starts
two copies of each from them (SDCL-10).  Its own checkpoints hold tensors that never run.
"""

import math
import re
from collections.abc import Iterable

import torch
import torch.nn.functional as F

from clustercontrast.models.naming import translated, unwrapped

State = dict[str, torch.Tensor]

# What an SDCL name starts with -> ours; what matches no row never runs.
OFFICIAL_NAMES = (
    (r"base\.patch_embed\.", "visible_stem."),
    (r"base\.patch_embed2\.", "infrared_stem."),
    (r"base\.(blocks\.\d+\.|cls_token$|pos_embed$)", r"\1"),
    (r"b1\.", "deep."),
    (r"b2\.", "shallow."),
    (r"bottleneck\.", "neck."),
    (r"bottlenecks\.", "shallow_neck."),
)

# Parts of a name that both layouts share -> ours, in this order.
PARTS = {
    "cls_token": "class_token",
    "pos_embed": "positions",
    "conv.": "layers.",
    ".IN.": ".instance.",
    ".BN.": ".batch.",
    "attn.proj.": "attention_out.",
    "attn.qkv.": "qkv.",
    "proj.": "projection.",
    "norm1.": "attention_norm.",
    "norm2.": "mlp_norm.",
    "mlp.fc1.": "mlp.0.",
    "mlp.fc2.": "mlp.2.",
}

NOT_BACKBONE = ("head", "dist", "pre_logits")


def our_name(official: str, depth: int = 12) -> str | None:
    """Our name of a parameter or buffer of SDCL's checkpoints; None for parts that never run.

    Args:
        official: name, with or without ``module.``.
        depth: blocks of the network, of which the last one in ``base`` is dead.
    """
    name = official.removeprefix("module.")
    if name.startswith(f"base.blocks.{depth - 1}."):
        return None
    ours = translated(name, OFFICIAL_NAMES)
    return ours and _renamed(ours)


def is_official(state: State) -> bool:
    """Whether a state dict was saved by the official SDCL code."""
    return bool({"base.cls_token", "module.base.cls_token"} & state.keys())


def from_official(state: State) -> State:
    """Rename an official SDCL state dict to ours; tensors that never run are dropped."""
    depth = _depth(name.removeprefix("module.").removeprefix("base.") for name in state)
    names = {name: our_name(name, depth) for name in state}
    return {ours: state[name] for name, ours in names.items() if ours}


def is_pretrained(content: dict) -> bool:
    """Whether a file's content, wrapped or flat, is a TransReID-SSL transformer with ICS stem."""
    return {"pos_embed", "patch_embed.conv.0.weight"} <= _backbone(content).keys()


def from_pretrained(content: dict, tokens: int, shallow: bool = True) -> State:
    """Spread a TransReID-SSL transformer over a two-stream one.

    Args:
        content: tensors by name, however they are wrapped.
        tokens: patches of our images, a grid twice as high as wide; positions are resized to it.
        shallow: whether the network has the shallow feature.

    Returns:
        Tensors under our names: the stem twice, the last block and norm once per feature; nothing
        for the necks, which pretraining does not have.

    Raises:
        ValueError: ``tokens`` or the file's positions do not fill a grid of height to width 2.
    """
    state = _backbone(content)
    heads = ("deep", "shallow") if shallow else ("deep",)
    copies = {
        "patch_embed.": ("visible_stem.", "infrared_stem."),
        f"blocks.{_depth(state) - 1}.": [f"{head}.0." for head in heads],
        "norm.": [f"{head}.1." for head in heads],
    }
    mapped = {}
    for name, tensor in state.items():
        prefix = next(filter(name.startswith, copies), "")
        for ours in copies.get(prefix, [""]):
            mapped[_renamed(ours + name.removeprefix(prefix))] = tensor
    return mapped | {"positions": resize_positions(mapped["positions"], _grid(tokens))}


def with_shallow(state: State) -> State:
    """Add the shallow feature to weights (our names) without it, as a copy of the deep one."""
    if "shallow_neck.weight" in state:
        return state
    copies = {
        ours + name.removeprefix(prefix): tensor
        for prefix, ours in (("deep.", "shallow."), ("neck.", "shallow_neck."))
        for name, tensor in state.items()
        if name.startswith(prefix)
    }
    return state | copies


def resize_positions(positions: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Interpolate position embeddings bilinearly to another grid of patches.

    Args:
        positions: (1, 1 + n, d), the class token's first; the n patches lie in rows on a grid of
            height to width 2.
        grid: rows and columns wanted.

    Returns:
        (1, 1 + rows x columns, d); the class token's is untouched.

    Raises:
        ValueError: the n patches do not fill such a grid.
    """
    class_token, patches = positions[:, :1], positions[:, 1:]
    maps = patches.unflatten(1, _grid(patches.shape[1])).permute(0, 3, 1, 2)
    maps = F.interpolate(maps, size=grid, mode="bilinear", align_corners=False)
    return torch.cat([class_token, maps.flatten(2).transpose(1, 2)], dim=1)


def _grid(patches: int) -> tuple[int, int]:
    """Rows and columns of patches on a grid of height to width 2."""
    columns = math.isqrt(patches // 2)
    if 2 * columns**2 != patches:
        raise ValueError(
            f"{patches} patches do not fill a grid twice as high as wide, which pretrained "
            "positions need: take images of such a size, 288x144 or 256x128"
        )
    return 2 * columns, columns


def _backbone(content: dict) -> State:
    """The tensors of a pretrained file, unwrapped, without prefixes and heads."""
    state = unwrapped(content)
    if any(name.startswith("backbone.") for name in state):  # DINO's student or teacher
        inside = (name for name in state if name.startswith("backbone."))
        state = {name.removeprefix("backbone."): state[name] for name in inside}
    return {n: t for n, t in state.items() if not any(word in n for word in NOT_BACKBONE)}


def _depth(names: Iterable[str]) -> int:
    """Number of blocks."""
    numbers = (re.match(r"blocks\.(\d+)\.", name) for name in names)
    return 1 + max(int(found[1]) for found in numbers if found)


def _renamed(name: str) -> str:
    for part, ours in PARTS.items():
        name = name.replace(part, ours)
    return name
