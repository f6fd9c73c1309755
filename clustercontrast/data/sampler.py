"""Camera-diverse draw of cluster members: P clusters times K instances (common.md 5)."""

from collections.abc import Iterator

import numpy as np
import torch

from clustercontrast.files import UserError


def draw_pass(
    labels: np.ndarray,
    cameras: np.ndarray | None,
    num_instances: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """One pass over all clusters in random order, each a block of an anchor and K-1 companions.

    The anchor is drawn uniformly from its cluster. Companions come only from cameras other than
    the anchor's or, where the cluster has no other camera, from its other members; they are drawn
    without replacement exactly when there are at least K candidates (so K-1 candidates already
    repeat). A cluster of one image emits that image alone, which ends the K-alignment of the rest.

    Args:
        labels: (N,) int64 cluster of each image, -1 for outliers, which are never drawn.
        cameras: (N,) int64, or None to disregard cameras.
        num_instances: K, at least 1.
        generator: on the CPU; the number of its draws depends on the sizes alone.

    Returns:
        (at most C * K,) int64 rows, on the CPU.

    Raises:
        UserError: every image is an outlier.
    """
    labels = torch.as_tensor(labels)
    rows = (labels >= 0).nonzero().squeeze(1)
    if len(rows) == 0:
        raise UserError(
            f"all {len(labels):,} images are outliers, so there is no cluster to draw from: "
            "a larger eps joins more images"
        )
    _, cluster, sizes = labels[rows].unique(return_inverse=True, return_counts=True)
    camera = torch.zeros_like(rows) if cameras is None else torch.as_tensor(cameras)[rows]

    order = torch.randperm(len(sizes), generator=generator)
    anchors = _draw_anchors(cluster, sizes, generator)
    is_candidate = _candidates(cluster, camera, anchors)
    companions, available = _draw_companions(cluster, is_candidate, num_instances, generator)

    blocks = torch.cat([anchors[:, None], companions], dim=1)
    emitted = (available > 0)[:, None].expand_as(blocks).clone()
    emitted[:, 0] = True
    return rows[blocks[order][emitted[order]]]


def batches_of_rows(
    labels: np.ndarray,
    cameras: np.ndarray | None,
    num_instances: int,
    batch_size: int,
    generator: torch.Generator,
) -> Iterator[torch.Tensor]:
    """Cut passes into batches without end; what a pass leaves over is dropped.

    Passes too short for a single batch are joined until they fill one (upstream stops there).

    Args:
        labels: (N,) int64 cluster of each image, -1 for outliers.
        cameras: (N,) int64, or None to disregard cameras.
        num_instances: K.
        batch_size: rows per batch.
        generator: on the CPU; a pass is drawn when its first batch is asked for.

    Yields:
        (batch_size,) int64 rows, on the CPU.

    Raises:
        UserError: every image is an outlier.
    """
    while True:
        drawn = draw_pass(labels, cameras, num_instances, generator)
        while len(drawn) < batch_size:
            more = draw_pass(labels, cameras, num_instances, generator)
            drawn = torch.cat([drawn, more])
        whole = len(drawn) - len(drawn) % batch_size
        yield from drawn[:whole].split(batch_size)


def _uniform(*shape: int, generator: torch.Generator) -> torch.Tensor:
    # Double precision, so that u * n < n holds after rounding for every n that occurs.
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def _draw_anchors(cluster: torch.Tensor, sizes: torch.Tensor, generator: torch.Generator):
    """(C,) positions of one uniformly drawn member per cluster."""
    first = sizes.cumsum(0) - sizes
    offset = (_uniform(len(sizes), generator=generator) * sizes).long()
    return cluster.argsort(stable=True)[first + offset]


def _candidates(cluster: torch.Tensor, camera: torch.Tensor, anchors: torch.Tensor):
    """(n,) bool: may this member accompany the anchor of its cluster?"""
    is_elsewhere = camera != camera[anchors][cluster]
    has_elsewhere = torch.zeros(len(anchors), dtype=torch.bool)
    has_elsewhere[cluster[is_elsewhere]] = True
    is_other = torch.arange(len(cluster)) != anchors[cluster]
    return torch.where(has_elsewhere[cluster], is_elsewhere, is_other)


def _draw_companions(
    cluster: torch.Tensor, is_candidate: torch.Tensor, num_instances: int, generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """(C, K-1) positions, meaningless where the second result, (C,) candidates, is zero."""
    number = int(cluster.max()) + 1
    available = torch.bincount(cluster[is_candidate], minlength=number)
    # One sort shuffles every cluster and puts its candidates before its other members.
    keys = _uniform(len(cluster), generator=generator) + 2 * cluster + ~is_candidate
    shuffled = keys.argsort()
    sizes = torch.bincount(cluster, minlength=number)
    first = sizes.cumsum(0) - sizes
    repeating = _uniform(number, num_instances - 1, generator=generator) * available[:, None]
    place = torch.where(
        (available >= num_instances)[:, None], torch.arange(num_instances - 1), repeating.long()
    )
    return shuffled[first[:, None] + place], available
