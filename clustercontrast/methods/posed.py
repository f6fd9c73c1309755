"""PoSeD (ACM MM 2026, arXiv:2609.11514).

Prototype Matters: Modality-unified Prototype Self-distillation (PoSeD).

Stage "intra" is dual contrastive learning (:mod:`clustercontrast.methods.dcl`) with a centroid row
and a hard row per cluster, M and P (Eq. 1-3).  Stage "unified" matches the clusters of both
modalities every epoch (Eq. 4) and adds

* a unified contrast: the hard prototypes of both modalities that share a unified label are
  positives of a feature, all the others its negatives; one modality per epoch (Eq. 6);
* self-distillation: a feature learns, over the centroids of both modalities at once, how alike its
  own prototype and itself are to them (Eq. 7-10).

No code was released.  Where the paper is silent the defaults are those of BMIL, by the same
authors; docs/methods/posed.md lists what is open, with a flag for every reading.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import ClassVar

import numpy as np
import torch

from clustercontrast.association.unified import positives
from clustercontrast.data.batches import Batch
from clustercontrast.engine.stage import Terms
from clustercontrast.files import UserError
from clustercontrast.losses.prototype_contrast import partner_contrast, unified_contrast
from clustercontrast.losses.prototype_distillation import SelfDistillation
from clustercontrast.memories.cluster import rows_of
from clustercontrast.methods import dcl
from clustercontrast.methods.clustering_stage import ClusteringStage, Memory, Pair


class Unified(ClusteringStage):
    """Unified contrast with hard prototypes, self-distillation by centroids."""

    name = "unified"
    starts_from: ClassVar = {"encoder": "intra.encoder"}

    def setup(self) -> None:
        super().setup()
        a = self.args
        self.distillation = SelfDistillation(
            temperature=a.temp,
            teacher_temperature=a.teacher_temp,
            fusion=a.fusion,
            is_separate=a.distil == "separate",
            is_grouped=a.teacher_groups == "modality",
            has_gradient=a.teacher_gradient,
        )

    def check_flags(self) -> None:
        """Refuse, besides what every stage refuses, a stage that may be without any loss."""
        super().check_flags()
        a = self.args
        if a.intra_weight or a.distil != "none":
            return
        if a.cross == "none":
            raise UserError(
                "--intra-weight 0 with --cross none and --distil none leaves no loss to train on: "
                "keep one of the three"
            )
        if a.cross == "contrast" and not a.match_always:
            raise UserError(
                "--cross contrast alone is no loss in an epoch in which nothing is matched: leave "
                "out --no-match-always, or keep --intra-weight or --distil"
            )

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        features = self.extract(self.encoder)
        labels = self.pseudo_labels(features)
        means = self.centroids(features, labels)
        self.visible_memory, self.infrared_memory = self.build_memories(features, labels, means)
        if self.args.cross != "none":
            self.match_clusters(features, labels, means)  # Eq. 4
        self.unify_clusters(means)  # z of Sec. 3.3
        self.use_labels(labels)
        self.grade_labels(labels, self.maps)
        if self.args.distil != "none":
            self.grade_candidates(labels, self.likely_rows())
        yield self.batches()
        self.export_labels(epoch)

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L = L_V + L_I + L_sd^v + L_sd^r + L_unified, whose side changes by epoch (Eq. 11)."""
        labels = batch.visible.labels, batch.infrared.labels
        features = self.encoder(batch.visible.images, batch.infrared.images)  # (2B, d), (B, d)
        centroids, hard = rows_of(self.visible_memory, self.infrared_memory)  # M, P
        rows = labels[0], self.clusters_of[0] + labels[1]  # u(y)
        terms = self.intra_terms(features, labels)  # Eq. 3
        terms |= self.distil_terms(features, rows, centroids)  # Eq. 7-10
        if self.args.cross == "unified":
            terms |= self.unified_term(features, rows, hard, epoch)  # Eq. 6
        elif self.args.cross == "contrast":
            terms |= self.cross_term(features, labels, epoch - self.epochs[0])  # Eq. 5
        yield "encoder", terms
        if not self.args.intra_weight and self.args.unified_updates == "own":
            self.move_rows(features, labels)  # Eq. 1-2

    def unify_clusters(self, means: Pair) -> None:
        """Which rows are positives of which; without matching every row is alone."""
        self.clusters_of = tuple(map(len, means))
        maps = self.maps_between(means)
        self.is_positive = positives(*maps, self.args.unified_labels).to(self.run.device)

    def intra_terms(self, features: Pair, labels: Pair) -> Terms:
        """L_V and L_I, whose backward pass moves the rows; none with ``--intra-weight 0``."""
        weight = self.args.intra_weight
        own = self.own_terms(features, labels) if weight else {}
        return {name: (weight, term) for name, (_, term) in own.items()}

    def distil_terms(self, features: Pair, rows: Pair, centroids: torch.Tensor) -> Terms:
        """L_sd of both modalities, over the centroids of both (Eq. 7-10)."""
        a, (f_v, f_r), (u_v, u_r) = self.args, features, rows
        if a.distil == "none":
            return {}
        distil = partial(self.distillation, rows=centroids, groups=self.clusters_of)
        return {
            "distil_infrared": (a.distil_weight, distil(f_r, u_r)),
            "distil_visible": (a.distil_weight, distil(f_v, u_v)),
        }

    def unified_term(self, features: Pair, rows: Pair, hard: torch.Tensor, epoch: int) -> Terms:
        """L_unified of visible features in the stage's first epoch, then in turns (Eq. 6)."""
        side = (epoch - self.epochs[0]) % 2
        contrast = unified_contrast(
            features[side], rows[side], hard, self.is_positive, self.args.temp
        )
        return {"unified": (self.args.cross_weight, contrast)}

    def across(self, memory: Memory) -> Callable:
        """Both halves of the other modality's memory, which stay as they are (Eq. 5)."""
        return partial(partner_contrast, prototypes=memory.halves, temperature=self.args.temp)

    def move_rows(self, features: Pair, labels: Pair) -> None:
        """Move the rows where no intra loss does so."""
        self.infrared_memory.bank.move(features[1], labels[1])
        self.visible_memory.bank.move(features[0], labels[0])

    def likely_rows(self) -> np.ndarray:
        """Two rows (C, 2) that the teacher finds most likely for every row's cluster."""
        centroids, _ = rows_of(self.visible_memory, self.infrared_memory)
        return self.distillation.likely(centroids, self.clusters_of).cpu().numpy()


STAGES = [dcl.Intra, Unified]
