"""BMIL (AAAI 2026, arXiv:2512.07760).

Modality-Aware Bias Mitigation and Invariance Learning for Unsupervised Visible-Infrared Person
Re-Identification.  No clusters are matched: one clustering of both modalities ties them.

Stage "intra" is dual contrastive learning (:mod:`clustercontrast.methods.dcl`) with the hybrid
memory.  On SYSU-MM01 both stages cluster half A of the visible images, drawn anew every epoch
(``--visible-share``): fewer images of a person are left to fall into several clusters.

Stage "invariance" adds, with an optimiser step of its own in every iteration,

* bias mitigation: half B and all infrared images are clustered together by a Jaccard distance that
  takes as many neighbours of an image from one modality as from the other
  (:mod:`clustercontrast.methods.joint_clusters`);
* invariance learning: every joint cluster is split into a visible and an infrared proxy, and an
  image is drawn to both (:mod:`clustercontrast.memories.split`).

``--joint-loss posed`` puts the losses of PoSeD, by the same authors, in its place.

The paper's text was not among the sources: what is here is what the released code does.
"""

from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import numpy as np
import torch

from clustercontrast.clustering.centroids import balanced_centroids, modality_proxies
from clustercontrast.data.batches import Batch
from clustercontrast.engine.stage import Terms
from clustercontrast.files import UserError
from clustercontrast.losses.placing import beside
from clustercontrast.losses.prototype_contrast import unified_contrast
from clustercontrast.losses.prototype_distillation import SelfDistillation
from clustercontrast.methods import dcl
from clustercontrast.methods.clustering_stage import Pair
from clustercontrast.methods.joint_clusters import JointClusters


class Invariance(JointClusters):
    """Joint clusters of both modalities, split into proxies, and a step of their own.

    Attributes:
        joint_targets: (2, C) int64 row of the joint memory for the visible and for the infrared
            members of every joint cluster, on the CPU.
    """

    name = "invariance"
    starts_from: ClassVar = {"encoder": "intra.encoder"}

    def setup(self) -> None:
        super().setup()
        a = self.args
        self.distillation = SelfDistillation(a.temp, a.teacher_temp, a.fusion)

    def check_flags(self) -> None:
        """Refuse, besides what joint clusters do, a memory that the modalities do not have."""
        super().check_flags()
        a = self.args
        if a.joint_memory == "hybrid" and a.memory != "hybrid":
            raise UserError(
                f"--joint-memory hybrid goes with --memory hybrid, which is {a.memory} here: leave "
                "one of them out"
            )

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        features = self.extract(self.encoder)
        labels = self.pseudo_labels(features)  # half A
        means = self.centroids(features, labels)
        self.visible_memory, self.infrared_memory = self.build_memories(features, labels, means)
        self.use_labels(labels)
        self.grade_labels(labels)
        self.cluster_jointly(features)  # half B and all infrared images
        yield self.batches()
        self.export_labels(epoch)

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L = L_V + L_I; then L = (J_V + J_I) / 2, a step of its own."""
        features = self.encoder(batch.visible.images, batch.infrared.images)  # (2B, d), (B, d)
        yield "encoder", self.own_terms(features, (batch.visible.labels, batch.infrared.labels))
        if self.joint_memory is None:
            return
        features, rows = self.joint_queries(batch)
        if self.args.joint_loss == "split":
            yield "encoder", self.invariance_terms(features, rows)
        else:
            yield "encoder", self.prototype_terms(features, rows, epoch)
            self.move_proxies(features, rows)

    # --- invariance learning ---

    def remember_jointly(self, features: Pair, y: np.ndarray) -> None:
        """Split the joint clusters into proxies; or one row for each of them, and no split."""
        if self.args.joint_memory == "hybrid":
            c = balanced_centroids(*features, y)
            self.joint_memory = self.build_memory(c, c)
            self.joint_targets = torch.arange(len(c)).repeat(2, 1)
            return
        proxies = modality_proxies(*features, y)
        if self.args.joint_loss == "posed":
            proxies = proxies.by_group()
        self.remember(proxies)
        self.joint_targets = proxies.rows

    def joint_queries(self, batch: Batch) -> tuple[Pair, Pair]:
        """Features of the joint batch, by the weights just stepped, and their rows."""
        visible, infrared = batch.joint_visible, batch.joint_infrared
        features = self.encoder(visible.images, infrared.images)  # (2B, d), (B, d)
        q_v, q_r = self.joint_targets
        return features, (q_v[visible.labels], q_r[infrared.labels])

    def invariance_terms(self, features: Pair, rows: Pair) -> Terms:
        """J_I and J_V.  Backward treats the visible call first (MEM-1): keep the order."""
        (f_v, f_r), (q_v, q_r) = features, rows
        infrared = self.joint_memory(f_r, q_r)
        return {
            "joint_infrared": (0.5, infrared),
            "joint_visible": (0.5, self.joint_memory(f_v, q_v)),
        }

    # --- PoSeD in its place (PoSeD-23) ---

    def prototype_terms(self, features: Pair, rows: Pair, epoch: int) -> Terms:
        """L_sd^v + L_sd^r + L_unified of PoSeD Eq. 11, over the proxies."""
        (f_v, f_r), (q_v, q_r) = features, rows
        mean, hard = self.joint_memory.halves
        distil = partial(self.distillation, rows=mean, groups=self.proxies.sizes)
        clusters = self.joint_memory.clusters
        is_positive = beside(clusters[:, None] == clusters, mean)
        side = (epoch - self.epochs[0]) % 2  # visible features first, then in turns
        unified = unified_contrast(features[side], rows[side], hard, is_positive, self.args.temp)
        return {
            "distil_infrared": (1.0, distil(f_r, q_r)),
            "distil_visible": (1.0, distil(f_v, q_v)),
            "unified": (1.0, unified),
        }

    def move_proxies(self, features: Pair, rows: Pair) -> None:
        """What the joint loss would have moved in its backward pass."""
        self.joint_memory.bank.move(features[1], rows[1])
        self.joint_memory.bank.move(features[0], rows[0])


STAGES = [dcl.Intra, Invariance]
