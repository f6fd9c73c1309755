"""PCLHD (NeurIPS 2024, arXiv:2402.19026).

Learning Commonality, Divergence and Variety for Unsupervised Visible-Infrared Person
Re-identification.

Stage "intra" learns commonality: centroid prototypes, Eq. 1-5 (:mod:`clustercontrast.methods.dcl`).
Stage "progressive" adds divergence – hard prototypes, Eq. 6-15 – and variety – dynamic prototypes
from a momentum encoder, Eq. 16-22 – with clusters tied across modalities by graph matching (PGM).

Paper and released code differ; ``--variant upstream`` (default) is the code, ``--variant paper``
the equations, and every difference is a flag of its own (docs/divergences.md):

=========================  =====================================  ===============================
difference                 upstream                               paper
=========================  =====================================  ===============================
stage-1 memory             hybrid                                 centroids (Eq. 3-5)
hard prototypes begin as   centroids                              farthest members (Eq. 6-7)
centroid loss in stage 2   kept, 0.5 max(CE - 0.2, 0)             none (Eq. 23)
query of the dynamic loss  momentum encoder, hence no gradient    online encoder
joint branch               a third clustering and optimiser step  none
=========================  =====================================  ===============================
"""

from collections.abc import Iterator
from typing import ClassVar

import torch

from clustercontrast.data.batches import Batch
from clustercontrast.engine.stage import Terms
from clustercontrast.memories.dynamic import DynamicMemory, draw_members, instance_rows
from clustercontrast.methods import dcl
from clustercontrast.models.momentum import MomentumEncoder


class Progressive(dcl.Matched, dcl.Joint):
    """Contrast with hard and dynamic prototypes; the joint branch is the released code's alone."""

    name = "progressive"
    starts_from: ClassVar = {"encoder": "intra.encoder", "momentum_encoder": "intra.encoder"}

    def setup(self) -> None:
        super().setup()
        momentum = MomentumEncoder(self.encoder, self.args.ema_decay)
        self.momentum_encoder = self.add("momentum_encoder", momentum)
        self.retrieval = self.args.retrieval

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        features = self.extract(self.encoder)
        labels = self.cluster_each(features)
        means = self.centroids(features, labels)  # Eq. 1-2
        self.memory_v, self.memory_r = self.memories(features, labels, means)  # Eq. 6-7
        self.match(features, labels, means)
        self.note_labels(labels, self.maps)
        if self.args.dpcl:
            self.draw_dynamic_prototypes(labels)
        if self.args.joint_branch:
            self.cluster_jointly(features)
        yield self.batches()
        self.export_labels(epoch)

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        labels = batch.visible.labels, batch.infrared.labels
        images = batch.visible.images, batch.infrared.images
        features = self.encoder(*images)  # (2B, d), (B, d)
        terms = self.own_terms(features, labels)  # Eq. 11-15
        terms |= self.cross_term(features, labels, epoch)
        momentum_features = self.momentum_encoder(*images)  # moves its BatchNorm statistics
        if self.args.dpcl:
            online = self.args.dynamic_query == "online"
            terms |= self.dynamic_terms(features if online else momentum_features, labels)
        yield "encoder", terms
        if "joint_visible" in self.labels:
            yield "encoder", self.joint_terms(batch)
        self.momentum_encoder.update(self.encoder)  # Eq. 16

    # Variety: dynamic prototypes

    def draw_dynamic_prototypes(self, labels: dcl.Labels) -> None:
        """M random members per cluster, seen by the momentum encoder (Eq. 17-18)."""
        a, memories = self.args, []
        for f, y in zip(self.extract(self.momentum_encoder), labels, strict=True):
            members = draw_members(torch.from_numpy(y), a.num_instances, self.run.generator)
            rows = instance_rows(f, members).to(self.run.device)
            memories.append(DynamicMemory(rows, len(members), a.temp))
        self.dynamic_v, self.dynamic_r = memories

    def dynamic_terms(self, queries: dcl.Pair, labels: dcl.Pair) -> Terms:
        """L_DPCL of both modalities (Eq. 19-22); constants when the queries carry no gradient."""
        weight = self.args.dynamic_weight
        (q_v, q_r), (y_v, y_r) = queries, labels
        return {
            "dynamic_infrared": (weight, self.dynamic_r(q_r, y_r)),
            "dynamic_visible": (weight, self.dynamic_v(q_v, y_v)),
        }


STAGES = [dcl.Intra, Progressive]
