"""Camera-diverse draw of cluster members: P clusters times K instances.

The rules: docs/methods/common.md#sampler.
"""

from collections.abc import Iterator

import numpy as np
import torch

from clustercontrast.files import UserError


def check_batch_size(size: int, num_instances: int, flag: str = "--batch-size") -> None:
    """A batch is made of whole clusters' shares.

    Raises:
        UserError: K does not divide the images of a batch.
    """
    if size % num_instances:
        raise UserError(f"{flag} {size} is not a multiple of --num-instances {num_instances}")


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
            "other labels are needed; change the flags that make them"
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


# --- samplers of MMM's final stage ---


def permuted_rows(
    labels: tuple[np.ndarray, np.ndarray], batch_size: int, generator: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """One pass over both modalities, each in an order of its own (MMM-7, MMM-8).

    The longer list is filled up to whole batches with its own first rows, the shorter one is
    repeated to that length: every labelled image is met, none is dropped.

    Args:
        labels: visible (N_v,), infrared (N_r,) int64 labels, -1 is never drawn.
        batch_size: B.
        generator: source of the permutations, visible first.

    Yields:
        Rows of both modalities (B,), (B,) int64.
    """
    known = [torch.from_numpy(np.flatnonzero(y >= 0)) for y in labels]
    drawn = [rows[torch.randperm(len(rows), generator=generator)] for rows in known]
    total = -(-max(map(len, drawn)) // batch_size) * batch_size
    filled = [rows.repeat(-(-total // len(rows)))[:total] for rows in drawn]
    yield from zip(*(rows.split(batch_size) for rows in filled), strict=True)


def paired_rows(
    labels: tuple[np.ndarray, np.ndarray],
    people: int,
    num_instances: int,
    batches: int,
    generator: torch.Generator,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches in which both modalities show the same classes in the same order.

    Classes are drawn without repetition among those of the visible images; one with fewer than K
    images in either modality gives way to any class that has them, which may repeat another.

    Args:
        labels: visible (N_v,), infrared (N_r,) int64 labels of one space, -1 is never drawn.
        people: P, classes per batch.
        num_instances: K images of a class and modality, drawn with replacement.
        batches: number of batches.
        generator: source of all draws.

    Yields:
        Rows of both modalities (P * K,), (P * K,) int64.

    Raises:
        UserError: no class has K images in both modalities.
    """
    members = [_members_by_label(y) for y in labels]
    present = sorted(members[0])
    fit = [c for c in present if all(len(m.get(c, ())) >= num_instances for m in members)]
    is_fit = set(fit)
    if not fit:
        raise UserError(
            f"no class has {num_instances} images in both modalities: lower --num-instances or "
            "choose another --association"
        )
    for _ in range(batches):
        order = torch.randperm(len(present), generator=generator)[:people].tolist()
        spare = torch.randint(len(fit), (people,), generator=generator).tolist()
        order += [None] * (people - len(order))
        classes = [
            present[i] if i is not None and present[i] in is_fit else fit[j]
            for i, j in zip(order, spare, strict=True)
        ]
        yield tuple(_drawn(m, classes, num_instances, generator) for m in members)


def _members_by_label(labels: np.ndarray) -> dict[int, torch.Tensor]:
    """Label -> rows, without outliers."""
    rows = np.flatnonzero(labels >= 0)
    rows = rows[np.argsort(labels[rows], kind="stable")]
    names, starts = np.unique(labels[rows], return_index=True)
    parts = np.split(rows, starts[1:])
    return {int(name): torch.from_numpy(part) for name, part in zip(names, parts, strict=True)}


def _drawn(
    members: dict[int, torch.Tensor], classes: list[int], count: int, generator: torch.Generator
) -> torch.Tensor:
    """``count`` rows of every class, with replacement."""
    return torch.cat(
        [members[c][torch.randint(len(members[c]), (count,), generator=generator)] for c in classes]
    )


# --- sampler of CMAM-UDA ---


class ClassBatches:
    """Batches of P classes times K images of every list, as a pure function of their number.

    Classes are met once each, in random order, before any is met again; what is left over when P
    does not divide them is dropped, and fewer than P classes repeat.  Images of a class are drawn
    without replacement, unless it has fewer than K (A5).  Cameras are not looked at.

    Args:
        labels: per image list (N,) int64 labels of one space, -1 is never drawn.
        people: P.
        num_instances: K.
        seed: with the labels and a batch's number it decides everything.
        shared: all lists show the same classes, those that occur in each of them; else every list
            has classes of its own (Table III, row UDA3).

    Raises:
        UserError: there is no class to draw.
    """

    def __init__(
        self,
        labels: tuple[np.ndarray, ...],
        people: int,
        num_instances: int,
        seed: int,
        shared: bool = True,
    ) -> None:
        self.people, self.num_instances, self.seed = people, num_instances, seed
        self.members = [_members_by_label(y) for y in labels]
        common = set.intersection(*(set(m) for m in self.members))
        self.classes = [np.array(sorted(common if shared else m)) for m in self.members]
        self.shared = shared
        if not all(map(len, self.classes)):
            raise UserError(
                "no class has images in every list: all images may be outliers; if not, give "
                "--class-draw independent"
            )

    def __getitem__(self, number: int) -> tuple[torch.Tensor, ...]:
        """Rows of batch ``number``: (P * K,) int64 per list, class by class."""
        return tuple(self._rows(number, position) for position in range(len(self.members)))

    def _rows(self, number: int, position: int) -> torch.Tensor:
        members, k = self.members[position], self.num_instances
        draw = np.random.default_rng((self.seed, 1, number, position))
        chosen = [members[c] for c in self._classes(number, position)]
        return torch.cat([own[draw.choice(len(own), k, replace=len(own) < k)] for own in chosen])

    def _classes(self, number: int, position: int) -> np.ndarray:
        classes = self.classes[position]
        batches = max(1, len(classes) // self.people)
        turn, place = divmod(number, batches)
        stream = 0 if self.shared else position
        order = np.random.default_rng((self.seed, 0, turn, stream)).permutation(classes)
        return np.resize(order[place * self.people :], self.people)


def shuffled_rows(
    rows: torch.Tensor, batch_size: int, generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """Batches without end: every row once in random order, then again in another order.

    Args:
        rows: (N,) int64.
        batch_size: rows per batch; a batch may span two orders.
        generator: on the CPU.

    Yields:
        (batch_size,) int64.
    """
    waiting = rows[:0]
    while True:
        while len(waiting) < batch_size:
            waiting = torch.cat([waiting, rows[torch.randperm(len(rows), generator=generator)]])
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]
