"""Supervised classification: one linear classifier over the true identities of both modalities.

Not a method of any paper and not unsupervised.  Trained on *other* identities it is the warm start
of the demo, where it plays the part that ImageNet plays in a real run.
"""

from collections.abc import Iterator

import numpy as np
import torch.nn.functional as F
from torch import nn

from clustercontrast.data.batches import Batch
from clustercontrast.engine.stage import Terms
from clustercontrast.files import UserError
from clustercontrast.losses.placing import beside
from clustercontrast.methods import refusals
from clustercontrast.methods.clustering_stage import ClusteringStage


class Supervised(ClusteringStage):
    """Classes are identities."""

    name = "supervised"

    def setup(self) -> None:
        super().setup()
        visible, infrared = (images.identities for images in self.image_lists())
        if min(visible.min(initial=0), infrared.min(initial=0)) < 0:
            raise UserError(
                "supervised learns true identities, and some training images have none (-1): train "
                "another method on this dataset"
            )
        identities, classes = np.unique(np.concatenate([visible, infrared]), return_inverse=True)
        self.classes = classes[: len(visible)], classes[len(visible) :]
        self.classifier = self.add("classifier", nn.Linear(self.encoder.width, len(identities)))
        self.optimise_with_adam(self.encoder, self.classifier)

    def check_flags(self) -> None:
        """Nothing is clustered here: batches alone are checked."""
        refusals.check_batches(self.args)

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        self.use_labels(self.classes)
        self.grade_labels(self.classes)
        yield self.batches()

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L = CE(visible) + CE(infrared)."""
        f_v, f_r = self.encoder(batch.visible.images, batch.infrared.images)
        y_v, y_r = (beside(stream.labels, f_v) for stream in (batch.visible, batch.infrared))
        infrared = F.cross_entropy(self.classifier(f_r), y_r)
        visible = F.cross_entropy(self.classifier(f_v), y_v)
        yield "encoder", {"infrared": (1.0, infrared), "visible": (1.0, visible)}


STAGES = [Supervised]
