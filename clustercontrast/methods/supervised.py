"""Supervised classification: true identities, one linear classifier per modality.

Not a method of any paper and not unsupervised.  Trained on other people it is the warm start of the
demo, where it plays the part of ImageNet: features that tell people apart within each modality,
with nothing said about who is who across modalities.
"""

from collections.abc import Iterator

import numpy as np
import torch.nn.functional as F
from torch import nn

from clustercontrast.data.batches import Batch
from clustercontrast.engine.stage import Terms
from clustercontrast.methods import dcl


class Supervised(dcl.Intra):
    """Classes are people."""

    name = "supervised"

    def setup(self) -> None:
        super().setup()
        lists = {"visible": self.data.visible.list, "infrared": self.data.infrared.list}
        self.classes = {
            name: np.unique(images.identities, return_inverse=True)[1]
            for name, images in lists.items()
        }
        heads = {
            name: nn.Linear(self.encoder.width, int(y.max()) + 1)
            for name, y in self.classes.items()
        }
        self.heads = self.add("heads", nn.ModuleDict(heads))
        self.optimise_with_adam(self.encoder, self.heads)

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        self.note_labels((self.classes["visible"], self.classes["infrared"]))
        yield self.batches()

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        f_v, f_r = self.encoder(batch.visible.images, batch.infrared.images)
        infrared = F.cross_entropy(self.heads["infrared"](f_r), batch.infrared.labels)
        visible = F.cross_entropy(self.heads["visible"](f_v), batch.visible.labels)
        yield "encoder", {"infrared": (1.0, infrared), "visible": (1.0, visible)}


STAGES = [Supervised]
