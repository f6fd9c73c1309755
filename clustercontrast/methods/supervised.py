"""Supervised contrast: dual contrastive learning with true identities in place of pseudo labels.

Not a method of any paper and not unsupervised: an upper bound for the others on the same data, and,
trained on other people, the warm start of the demo, where it plays the part of ImageNet.
"""

from collections.abc import Iterator

import numpy as np

from clustercontrast.data.batches import Batch
from clustercontrast.methods import dcl


class Supervised(dcl.Intra):
    """Clusters are people."""

    name = "supervised"

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        lists = self.data.visible.list, self.data.infrared.list
        labels = tuple(np.unique(images.identities, return_inverse=True)[1] for images in lists)
        self.memory_v, self.memory_r = self.memories(self.extract(self.encoder), labels)
        self.note_labels(labels)
        yield self.batches()


STAGES = [Supervised]
