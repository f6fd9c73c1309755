"""What takes the place of an epoch's beginning in a rehearsal: features and clusters at once.

Every function stands in for a word of a stage, whose table ``stand_ins`` says which.  What it makes
has the true sizes – a row per image, a label per image, a plausible number of clusters – because
memories and losses have them.  Networks see one batch of the images, so that the time and the
memory of a forward are known, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from clustercontrast.association.choice import Clusters
from clustercontrast.engine.stage import Stage
from clustercontrast.evaluation.features import extract

MEMBERS = 20
"""Images of a cluster, about."""


def real(stage: Stage) -> type[Stage]:
    """The stage that is rehearsed, without its stand-ins."""
    return type(stage).__base__


def labels_of(stage: Stage, *counts: int) -> tuple[np.ndarray, ...]:
    """Labels (N,) int64 of lists of so many images, in one space and without outliers."""
    people = stage.args.batch_size // stage.args.num_instances
    fewest = min(counts)
    clusters = max(2, min(fewest // 2, max(fewest // MEMBERS, 2 * people)))
    return tuple(np.arange(count) % clusters for count in counts)


def features_of(labels: np.ndarray, width: int) -> torch.Tensor:
    """Features (N, d), norm 0.98: the images of a cluster have all the same."""
    generator = torch.Generator().manual_seed(0)
    people = torch.randn(labels.max() + 1, width, generator=generator)
    return 0.98 * F.normalize(people)[torch.from_numpy(labels)]


# --- stages that cluster both modalities ---


def target_labels(stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    """Of the training images of both modalities."""
    return labels_of(stage, *map(len, stage.image_lists()))


def extracted(
    stage: Stage, network: torch.nn.Module, rows: Sequence[torch.Tensor] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """One batch is extracted, the features of all, or of those at ``rows``, are planted."""
    extract_a_batch(stage, network, sum(map(len, rows or stage.image_lists())))
    features = (features_of(y, stage.encoder.width) for y in target_labels(stage))
    return tuple(f[own] for f, own in zip(features, rows or (..., ...), strict=True))


def extract_a_batch(stage: Stage, network: torch.nn.Module, of: float) -> None:
    """A forward of feature extraction is measured; so many images an epoch shows in such."""
    images, size = stage.data.visible, stage.args.test_batch
    some = torch.arange(min(size, len(images)))
    with stage.evaluating(network):
        stage.run.measure_forward(lambda: extract(network, images, size, some), len(some), of)


def clustered(stage: Stage, features: Any) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG001
    """Clusters of either modality."""
    return target_labels(stage)


def clustered_jointly(stage: Stage, features: Any) -> np.ndarray:  # noqa: ARG001
    """Clusters of both modalities together."""
    return np.concatenate(target_labels(stage))


def associated(stage: Stage, clusters: Clusters) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ARG001
    """Maps between the clusters of both modalities, which have the same numbers."""
    visible, infrared = map(len, clusters.means)
    return torch.arange(visible) % infrared, torch.arange(infrared) % visible


def agreed(stage: Stage, features: Any, y_r: np.ndarray) -> np.ndarray:  # noqa: ARG001
    """An infrared label for every visible image (SDCL)."""
    return target_labels(stage)[0]


def extracted_in_steps(stage: Stage, network: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of all images are planted; an epoch extracts them for every step (GUR)."""
    times = 1 + share_of_joint_epochs(stage)
    images = tuple(map(len, stage.image_lists()))
    shown = times * sum(images)
    if stage.args.intra_camera:
        shown += sum(n * len(others) for n, others in zip(images, stage.cameras[::-1], strict=True))
    extract_a_batch(stage, network, shown)
    return tuple(features_of(y, stage.encoder.width) for y in target_labels(stage))


@property
def iterations_of_all_steps(stage: Stage) -> int:
    """Of an epoch, its steps together, on average over the epochs (GUR)."""
    a, one_pass = stage.args, stage.iterations_of_a_pass
    pairs = len(stage.cameras[0]) * len(stage.cameras[1]) if a.intra_camera else 0
    within = pairs * (a.camera_iters or one_pass) if pairs else 0
    joint = share_of_joint_epochs(stage) * (a.joint_iters or one_pass)
    return round(within + (a.iters or one_pass) + joint)


def share_of_joint_epochs(stage: Stage) -> float:
    """Share of the epochs that have the inter-modality step (GUR)."""
    epochs = stage.epochs
    return sum(epoch < stage.args.joint_epochs for epoch in epochs) / len(epochs)


def no_cameras(stage: Stage) -> Iterator[Any]:  # noqa: ARG001
    """Nothing within cameras: steps between them are as large (GUR)."""
    yield from ()


def unified(stage: Stage, features: Any, y_r: np.ndarray) -> np.ndarray:  # noqa: ARG001
    """An infrared label for every visible image (GUR)."""
    return target_labels(stage)[0]


@property
def imported(stage: Stage) -> tuple[Any, Any]:
    """Labels and features of the file that a stage begins with (MMM)."""
    labels = target_labels(stage)
    return labels, tuple(features_of(y, 64) for y in labels)


def weighed(stage: Stage) -> None:
    """All labels are clean (MMM); what an epoch shows without gradients is measured."""
    batch = next(stage.permuted_batches())
    visible, infrared = map(len, stage.image_lists())
    views, size = 3, stage.args.batch_size

    def forward() -> None:
        with stage.watching():
            stage.classify(batch.to(stage.run.device))

    passes = views * (max(visible, infrared) + stage.iterations * size)  # weights, prototypes
    stage.run.measure_forward(forward, views * size, passes)
    stage.weights_v, stage.weights_r = torch.ones(2, visible), torch.ones(1, infrared)


CLUSTERING: Mapping[str, Any] = MappingProxyType(
    {
        "extract": extracted,
        "cluster_each": clustered,
        "joint_labels": clustered_jointly,
        "associate": associated,
    }
)
UNIFYING = CLUSTERING | {
    "intra_camera": no_cameras,
    "extract": extracted_in_steps,
    "unify": unified,
    "iterations": iterations_of_all_steps,
}
AGREEING = CLUSTERING | {"agree": agreed}
WEIGHING = CLUSTERING | {"imported": imported, "weigh_labels": weighed}
