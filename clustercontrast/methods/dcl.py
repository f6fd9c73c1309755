"""Dual contrastive learning: the first stage that ADCA, PGM, RPNR and MMM have in common.

Every modality is clustered on its own, each cluster is a row of that modality's memory, and both
modalities are contrasted with their own memory (ADCA, MM 2022; PCLHD Eq. 1-5).  What brings the
modalities together is the shared trunk and the channel-exchanged view of the visible images.
"""

from collections.abc import Iterator

from clustercontrast.data.batches import Batch
from clustercontrast.engine.stage import Terms
from clustercontrast.methods.clustering_stage import ClusteringStage


class Intra(ClusteringStage):
    """Cluster each modality, contrast it with its own memory."""

    name = "intra"

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        features = self.extract(self.encoder)
        labels = self.pseudo_labels(features)
        means = self.centroids(features, labels)
        self.visible_memory, self.infrared_memory = self.build_memories(features, labels, means)
        self.use_labels(labels)
        self.grade_labels(labels)
        yield self.batches()
        self.export_labels(epoch)

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L = L_V + L_I."""
        features = self.encoder(batch.visible.images, batch.infrared.images)  # (2B, d), (B, d)
        yield "encoder", self.own_terms(features, (batch.visible.labels, batch.infrared.labels))
