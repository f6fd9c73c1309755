"""What takes the place of an epoch's beginning in a rehearsal of CMAM-UDA's stages.

See :mod:`clustercontrast.methods.stand_ins`.  Fakes are stood in for by the images that they will
be made from, which are as large.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from clustercontrast.data.images import ImageArray
from clustercontrast.engine.stage import Stage
from clustercontrast.methods.cmam.diffusion import build_generator
from clustercontrast.methods.stand_ins import features_of, labels_of, real, target_labels

STEPS = 2
"""Of the sampler, in a rehearsal: the others take as long."""


# --- auxiliary ---


def source_labels(stage: Stage, *features: torch.Tensor) -> np.ndarray:  # noqa: ARG001
    """Of the source's images."""
    return labels_of(stage, len(stage.data.source))[0]


def part_features(stage: Stage) -> torch.Tensor:
    """(1 + P, N, d): one batch is extracted, the features of all are planted."""
    count = len(stage.data.source)
    some = torch.arange(min(stage.args.test_batch, count))
    stage.run.measure_forward(lambda: real(stage).extract(stage, some), len(some), count)
    planted = features_of(source_labels(stage), stage.encoder.width)
    return planted.expand(1 + stage.parts, -1, -1)


def part_agreement(stage: Stage, features: torch.Tensor) -> torch.Tensor:
    """Cross-agreement (N, P): half of the neighbours are the same."""
    return torch.full((features.shape[1], stage.parts), 0.5, device=stage.run.device)


def final_source_labels(stage: Stage) -> np.ndarray:
    """Where labels are made at once, features are extracted, too, unless labels are imported."""
    if stage.networks:
        part_features(stage)
    return source_labels(stage)


AUXILIARY = {
    "extract": part_features,
    "clusters": source_labels,
    "agree": part_agreement,
    "final_labels": final_source_labels,
}


# --- generation ---


def random_generator(stage: Stage) -> None:
    """In place of the trained one."""
    stage.generator = build_generator(stage.args).to(stage.run.device).eval()


def one_batch(stage: Stage, epoch: int) -> Iterator:  # noqa: ARG001
    """A batch of fakes, drawn in a few steps of the sampler."""
    a, sets = stage.args, [stage.data.small[name] for name in stage.names_of_sets()]
    images, size = sets[0], a.batch_size
    rows = np.arange(min(size, len(images)))

    def draw() -> None:
        with torch.no_grad(), stage.run.autocast():
            stage.draw(images, rows, STEPS)

    number = sum(map(len, sets))
    stage.run.file_bytes = number * a.fake_height * a.fake_width * a.fake_channels
    last = 0.5 if a.solver == "heun" else 0.0  # 2 n - 1 evaluations in place of n
    longer = (a.sampling_steps - last) / (STEPS - last)
    stage.run.measure_forward(draw, len(rows), longer * number)
    yield from ()


DRAWING = {"setup": random_generator, "refresh": one_batch}


# --- mutual learning ---


def some_features(
    stage: Stage, network: str, array: ImageArray, rows: torch.Tensor | None = None
) -> torch.Tensor:
    """(N, d) of images, or of those at ``rows``: a batch is extracted, all are planted."""
    count = len(array) if rows is None else len(rows)
    some = torch.arange(min(stage.args.test_batch, len(array)))
    stage.run.measure_forward(
        lambda: real(stage).features_of(stage, network, array, some), len(some), count
    )
    return features_of(labels_of(stage, count)[0], stage.networks[network].width)


def originals(
    stage: Stage, name: str, images: ImageArray, rows: Any = None  # noqa: ARG001
) -> ImageArray:  # fmt: skip
    """Images in place of their fakes."""
    return images


def shared_labels(
    stage: Stage, features: Any, epoch: int  # noqa: ARG001
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Of the training images of both modalities, in one space."""
    return target_labels(stage)


MUTUAL = {"features_of": some_features, "fakes": originals}
PRETRAINING = MUTUAL | {"_source_labels": source_labels}
SELF_TRAINING = MUTUAL | {"pseudo_labels": shared_labels}
