"""PCLHD (NeurIPS 2024, arXiv:2402.19026).

Learning Commonality, Divergence and Variety for Unsupervised Visible-Infrared Person
Re-identification.

Stage "intra" learns commonality: centroid prototypes, Eq. 1-5.  Stage "progressive" adds
divergence – hard prototypes, Eq. 6-15 – and variety – dynamic prototypes from a momentum encoder,
Eq. 16-22 – with clusters tied across modalities by graph matching (PGM).

Paper and released code differ.  ``--variant upstream`` (default) is the code, ``--variant paper``
follows the equations as far as flags go, one for every difference; docs/methods/pclhd.md lists
what still differs.

=========================  =====================================  ===============================
difference                 upstream                               paper
=========================  =====================================  ===============================
stage-1 memory             hybrid                                 centroids (Eq. 3-5)
hard prototypes begin as   centroids                              farthest members (Eq. 6-7)
hard prototypes move to    the hardest query, once per call       every query (Eq. 14-15)
prototypes                 unit length                            as printed (Eq. 1, 6, 14)
gradient of a memory       rows that other calls have rewritten   rows of the iteration before
centroid loss in stage 2   kept, 0.5 max(CE - 0.2, 0)             none (Eq. 23)
λ in the cross contrast    part of it                             0.25 CE, whatever λ is
dynamic loss               momentum encoder, hence no gradient    selects by it (Eq. 19), contrasts
                                                                  the online encoder
joint branch               a third clustering and optimiser step  none
stage 2 starts from        the best model on the test set         the last epoch
=========================  =====================================  ===============================
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import ClassVar

import torch

from clustercontrast.data.batches import Batch
from clustercontrast.engine.stage import Terms
from clustercontrast.files import UserError
from clustercontrast.memories.cluster import HybridMemory
from clustercontrast.memories.dynamic import DynamicMemory, draw_members, instance_rows
from clustercontrast.methods.clustering_stage import ClusteringStage, Labels, Memory, Pair
from clustercontrast.models.momentum import MomentumEncoder


class Prototypes(ClusteringStage):
    """What both stages share: without HPCL, a hybrid memory has no hard prototypes."""

    @property
    def memory_kind(self) -> str:
        """``--memory``; with ``--no-hpcl`` a sequential memory in place of a hybrid one."""
        kind = self.args.memory
        return "sequential" if kind == "hybrid" and not self.args.hpcl else kind


class Commonality(Prototypes):
    """Contrast each modality with its own prototypes (CPCL)."""

    name = "intra"

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        features = self.extract(self.encoder)
        labels = self.pseudo_labels(features)
        means = self.centroids(features, labels)  # Eq. 1-2
        self.visible_memory, self.infrared_memory = self.build_memories(features, labels, means)
        self.use_labels(labels)
        self.grade_labels(labels)
        yield self.batches()
        self.export_labels(epoch)

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L = L_V + L_I (Eq. 3-5)."""
        features = self.encoder(batch.visible.images, batch.infrared.images)  # (2B, d), (B, d)
        yield "encoder", self.own_terms(features, (batch.visible.labels, batch.infrared.labels))


class Progressive(Prototypes):
    """Contrast with hard and dynamic prototypes; the joint branch is the released code's alone."""

    name = "progressive"
    starts_from: ClassVar = {"encoder": "intra.encoder", "momentum_encoder": "intra.encoder"}

    def setup(self) -> None:
        super().setup()
        momentum = MomentumEncoder(self.encoder, self.args.ema_decay)
        self.momentum_encoder = self.add("momentum_encoder", momentum)
        self.retrieval = self.args.retrieval

    def check_flags(self) -> None:
        """Refuse, besides what every stage refuses, a matching that never begins."""
        super().check_flags()
        a = self.args
        if a.association != "none" and a.match_from > self.epochs[-1]:
            raise UserError(
                f"--match-from {a.match_from} is beyond the last epoch, {self.epochs[-1]}: lower "
                "it, or say --association none"
            )

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        features = self.extract(self.encoder)
        labels = self.pseudo_labels(features)
        means = self.centroids(features, labels)  # Eq. 1-2
        memories = self.build_memories(features, labels, means)  # Eq. 6-7
        self.visible_memory, self.infrared_memory = memories
        if epoch >= self.args.match_from:
            self.match_clusters(features, labels, means)
        self.use_labels(labels)
        self.grade_labels(labels, self.maps)
        if self.args.dpcl:
            self.draw_dynamic_prototypes(labels)  # Eq. 17-18
        if self.args.joint_branch:
            self.cluster_jointly(features)
        yield self.batches()
        self.export_labels(epoch)

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L = L_HPCL + L_DPCL + 0.25 L_cross (Eq. 23: λ L_HPCL + (1 - λ) L_DPCL); then L_joint."""
        labels = batch.visible.labels, batch.infrared.labels
        images = batch.visible.images, batch.infrared.images
        features = self.encoder(*images)  # (2B, d), (B, d)
        terms = self.own_terms(features, labels)  # Eq. 11-15
        terms |= self.cross_term(features, labels, epoch)
        momentum_features = self.momentum_encoder(*images)  # moves its BatchNorm statistics
        if self.args.dpcl:
            terms |= self.dynamic_terms(features, momentum_features, labels)
        yield "encoder", terms
        if self.joint_memory is not None:
            yield "encoder", self.joint_terms(batch)
        self.momentum_encoder.update(self.encoder)  # Eq. 16

    def across(self, memory: Memory) -> Memory | Callable:
        """A hybrid memory with the cross-modality contrast's own weight, if it has one."""
        weight = self.args.cross_hard_weight
        if weight is None or not isinstance(memory, HybridMemory):
            return memory
        return partial(memory, hard_weight=weight)

    # Variety: dynamic prototypes

    def draw_dynamic_prototypes(self, labels: Labels) -> None:
        """M random members per cluster, seen by the momentum encoder (Eq. 17-18)."""
        a, rows, members = self.args, [], []
        for y in labels:
            drawn = draw_members(torch.from_numpy(y), a.num_instances, self.run.generator)
            distinct, places = drawn.unique(return_inverse=True)  # about 42 % of the images
            rows.append(distinct)
            members.append(places)
        features = self.extract(self.momentum_encoder, rows)
        self.visible_dynamic, self.infrared_dynamic = (
            DynamicMemory(instance_rows(f, own).to(self.run.device), len(own), a.temp)
            for f, own in zip(features, members, strict=True)
        )

    def dynamic_terms(self, features: Pair, momentum_features: Pair, labels: Pair) -> Terms:
        """L_DPCL of both modalities (Eq. 19-22).

        "both": prototypes are selected by φ_m(v) (Eq. 19) and φ_o(v) is contrasted with them.
        Queries φ_m(v), as Eq. 20-21 print them, carry no gradient: the loss is a constant.
        """
        a, (y_v, y_r) = self.args, labels
        q_v, q_r = momentum_features if a.dynamic_query == "momentum" else features
        s_v, s_r = momentum_features if a.dynamic_query == "both" else (None, None)
        weight = 1 - a.hard_weight if a.dynamic_weight is None else a.dynamic_weight  # Eq. 23
        return {
            "dynamic_infrared": (weight, self.infrared_dynamic(q_r, y_r, s_r)),
            "dynamic_visible": (weight, self.visible_dynamic(q_v, y_v, s_v)),
        }


STAGES = [Commonality, Progressive]
