"""PGM (CVPR 2023).

Unsupervised Visible-Infrared Person Re-Identification via Progressive Graph Matching and Alternate
Learning.

Stage "intra" is dual contrastive learning (:mod:`clustercontrast.methods.dcl`).  Stage "cross"
matches visible and infrared clusters every epoch (progressive graph matching) and contrasts, in
even epochs, visible features with the infrared memory and, in odd epochs, infrared features with
the visible memory (alternate cross contrastive learning).

``--variant v2023`` is the released code that the published logs come from, ``v2024`` the later one
with jittered infrared images in stage 1 and the hardest-sample update in stage 2; what differs is
listed in docs/divergences.md.
"""

from collections.abc import Iterator
from typing import ClassVar

from clustercontrast.data.batches import Batch
from clustercontrast.engine.stage import Terms
from clustercontrast.methods import dcl
from clustercontrast.methods.clustering_stage import ClusteringStage


class AlternateLearning(ClusteringStage):
    """Progressive graph matching and alternate learning."""

    name = "cross"
    starts_from: ClassVar = {"encoder": "intra.encoder"}

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        features = self.extract(self.encoder)
        labels = self.pseudo_labels(features)
        means = self.centroids(features, labels)
        self.visible_memory, self.infrared_memory = self.build_memories(features, labels, means)
        self.match_clusters(features, labels, means)  # progressive graph matching
        self.use_labels(labels)
        self.grade_labels(labels, self.maps)
        yield self.batches()
        self.export_labels(epoch)

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L = L_V + L_I + 0.25 L_cross."""
        labels = batch.visible.labels, batch.infrared.labels
        features = self.encoder(batch.visible.images, batch.infrared.images)  # (2B, d), (B, d)
        terms = self.own_terms(features, labels)
        terms |= self.cross_term(features, labels, epoch)  # alternate cross contrastive learning
        yield "encoder", terms


STAGES = [dcl.Intra, AlternateLearning]
