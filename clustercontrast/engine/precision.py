"""How a run rounds: TF32 or bfloat16 in training steps and feature extraction, nowhere else.

Clustering, matching and scores are always computed in full float32 (COMMON-19).
"""

import contextlib
from collections.abc import Iterator

import torch

TF32 = {"tf32": (True, True), "tf32-conv": (False, True)}
"""Precision -> whether products and whether convolutions of float32 take TF32 on CUDA.

In bf16 none do: what is left in float32 there is left so on purpose.
"""


@contextlib.contextmanager
def tensor_cores(precision: str) -> Iterator[None]:
    """Inside the block, products and convolutions of float32 round as a precision says."""
    places = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [place.allow_tf32 for place in places]
    for place, allowed in zip(places, TF32.get(precision, (False, False)), strict=True):
        place.allow_tf32 = allowed
    try:
        yield
    finally:
        for place, allowed in zip(places, before, strict=True):
            place.allow_tf32 = allowed


@contextlib.contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """The context in which networks and losses are evaluated.

    Args:
        device: where they are.
        precision: "fp32", "tf32" (products and convolutions), "tf32-conv" (convolutions alone), or
            "bf16" (autocast; weights and memories stay float32).
    """
    half = torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
    with tensor_cores(precision), half:
        yield
