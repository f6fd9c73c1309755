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

import numpy as np
import torch

from clustercontrast.clustering.centroids import balanced_centroids
from clustercontrast.clustering.dbscan import dbscan
from clustercontrast.clustering.jaccard import balanced_jaccard
from clustercontrast.data.batches import Batch
from clustercontrast.engine.stage import Terms
from clustercontrast.files import UserError
from clustercontrast.memory import DynamicMemory, draw_members, instance_rows
from clustercontrast.methods import dcl
from clustercontrast.models.momentum import MomentumEncoder


class Progressive(dcl.Matched):
    """Contrast with hard and dynamic prototypes."""

    name = "progressive"
    starts_from: ClassVar = {"encoder": "intra.encoder", "momentum_encoder": "intra.encoder"}

    def setup(self) -> None:
        super().setup()
        if self.args.joint_k2 > self.args.joint_k1:
            raise UserError("--joint-k2 is larger than --joint-k1: the expansion is part of it")
        momentum = MomentumEncoder(self.encoder, self.args.ema_decay)
        self.momentum_encoder = self.add("momentum_encoder", momentum)
        self.retrieval = self.args.retrieval

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        features = self.extract(self.encoder)
        labels = self.cluster_each(features)
        means = self.centroids(features, labels)  # Eq. 1-2
        self.memory_v, self.memory_r = self.memories(features, labels, means)  # Eq. 6-7
        self.match(means)
        self.note_labels(labels, self.maps)
        if self.args.dpcl:
            self.draw_dynamic_prototypes(labels)
        if self.args.joint_branch:
            self.cluster_jointly(features)
        yield self.batches()

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

    # The released code's joint branch, which the paper does not mention (quirk PCLHD-4)

    def cluster_jointly(self, features: dcl.Pair) -> None:
        """Cluster both modalities together; train on clusters that hold both."""
        a, split = self.args, len(features[0])
        with self.run.timed("clustering"):
            both = (f.to(self.run.device) for f in features)
            distances = balanced_jaccard(*both, a.joint_k1, a.joint_k2, a.eps_joint, a.neighbours)
            y = dbscan(distances, a.eps_joint, a.min_samples)
        mixed = np.intersect1d(y[:split][y[:split] >= 0], y[split:][y[split:] >= 0])
        self.facts["mixed_clusters"] = len(mixed)
        if len(mixed) < 2:
            self.run.log.say("no joint cluster holds both modalities: joint step left out")
            return
        c = balanced_centroids(*features, y)
        self.memory_joint = self.memory(c, c)
        y = np.where(np.isin(y, mixed), y, -1)
        self.labels |= {"joint_visible": y[:split], "joint_infrared": y[split:]}

    def joint_terms(self, batch: Batch) -> Terms:
        """Both modalities against the joint memory, seen by the weights just stepped."""
        visible, infrared = batch.joint_visible, batch.joint_infrared
        f_v, f_r = self.encoder(visible.images, infrared.images)
        joint_infrared = self.memory_joint(f_r, infrared.labels)
        joint_visible = self.memory_joint(f_v, visible.labels)
        return {"joint_infrared": (1.0, joint_infrared), "joint_visible": (1.0, joint_visible)}


STAGES = [dcl.Intra, Progressive]
