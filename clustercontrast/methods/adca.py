"""ADCA (ACM MM 2022, doi:10.1145/3503161.3548198).

Augmented Dual-Contrastive Aggregation Learning for Unsupervised Visible-Infrared Person
Re-Identification.

Stage "intra" is dual contrastive learning (:mod:`clustercontrast.methods.dcl`).  Stage "cross" goes
on with the same losses but blends, at the start of every epoch, the visible memory rows with the
infrared rows they are matched to by the votes of similar images (cross-modality memory
aggregation, CMA).  Only visible rows move, as in the released code (quirk ADCA-2).
"""

from collections.abc import Iterator
from typing import ClassVar

import torch

from clustercontrast.association.instance_votes import aggregate
from clustercontrast.data.batches import Batch
from clustercontrast.engine.stage import Terms
from clustercontrast.methods import dcl
from clustercontrast.methods.clustering_stage import ClusteringStage


class Aggregation(ClusteringStage):
    """Dual contrastive learning on aggregated memories."""

    name = "cross"
    starts_from: ClassVar = {"encoder": "intra.encoder"}

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        features = self.extract(self.encoder)
        labels = self.pseudo_labels(features)
        means = self.centroids(features, labels)
        self.visible_memory, self.infrared_memory = self.build_memories(features, labels, means)
        self.match_clusters(features, labels, means)  # votes of similar images
        self.use_labels(labels)
        self.grade_labels(labels, self.maps)
        if self.maps is not None:
            self.aggregate_memories(self.maps[0])  # CMA
        yield self.batches()
        self.export_labels(epoch)

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L = L_V + L_I."""
        features = self.encoder(batch.visible.images, batch.infrared.images)  # (2B, d), (B, d)
        yield "encoder", self.own_terms(features, (batch.visible.labels, batch.infrared.labels))

    def aggregate_memories(self, to_infrared: torch.Tensor) -> None:
        """Blend visible rows with those of their infrared partners."""
        matched = (to_infrared >= 0).nonzero()[:, 0]
        pairs = torch.stack([matched, to_infrared[matched]], dim=1)
        visible, infrared = self.visible_memory.rows, self.infrared_memory.rows
        pairs = pairs.to(visible.device)
        weight = self.args.aggregation_weight  # λ
        self.visible_memory.rows = aggregate(visible, infrared, pairs, weight)
        self.facts["aggregated"] = len(pairs)


STAGES = [dcl.Intra, Aggregation]
