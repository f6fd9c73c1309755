"""Disjoint random parts of a list of images (BMIL's halves of the visible images)."""

import numpy as np
import torch


def disjoint_parts(images: int, share: float, generator: torch.Generator) -> tuple[np.ndarray, ...]:
    """Cut one random order of the images into ⌊1 / share⌋ parts of ⌊images · share⌋.

    What is left over belongs to no part.  All images, share 1, are one part in their own order,
    for which nothing is drawn.

    Args:
        images: how many there are, N.
        share: of the images that a part holds, in (0, 1].
        generator: on the CPU; one permutation is drawn.

    Returns:
        Rows of every part (n,) int64, in the order drawn.
    """
    if share == 1:
        return (np.arange(images),)
    order = torch.randperm(images, generator=generator).numpy()
    size, count = int(images * share), int(1 / share)
    return tuple(order[part * size : (part + 1) * size] for part in range(count))
