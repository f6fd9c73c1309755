"""Digests: what has the same one is the same."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np


def digest_of(parts: Iterable[bytes | np.ndarray]) -> str:
    """Digest of bytes and arrays in their order, 32 letters."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(_bytes(part))
    return found.hexdigest()


def _bytes(part: Any) -> Any:
    return part if isinstance(part, bytes) else np.ascontiguousarray(part).view(np.uint8).data
