"""RPNR (ACM MM 2024, arXiv:2405.05613).

Robust Pseudo-label Learning with Neighbor Relation for Unsupervised Visible-Infrared Person
Re-Identification.

Stage "intra" is dual contrastive learning (:mod:`clustercontrast.methods.dcl`) with the hybrid
memory.  For SYSU-MM01 the released scripts lack its training, which is inferred (quirk RPNR-1), and
load the weights that the authors' README links: ``--stage1 PATH`` takes them, or any other
checkpoint, in its place.  Stage "robust" adds

* NPC, noisy pseudo-label calibration: every image goes to the cluster whose dense core it is
  nearest to; centroids, memories and matching keep the raw labels;
* OTPM, optimal-transport prototype matching (``--association ot``), many to one on both sides;
* MHL, memory hybrid learning: a memory of the means of matched centroids, by infrared cluster;
* NRL, neighbour relation learning on the batch's distances, without labels.

The paper's text was not among the sources: what is here is what the released code does.
"""

from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F

from clustercontrast.clustering.calibration import calibrated_labels
from clustercontrast.data.batches import Batch
from clustercontrast.engine.stage import Terms
from clustercontrast.losses.alternate import contrast_matched
from clustercontrast.losses.neighbours import relation_contrast
from clustercontrast.methods import dcl
from clustercontrast.methods.clustering_stage import ClusteringStage, Labels, Memory, Pair
from clustercontrast.processes import ranks


class Robust(ClusteringStage):
    """Calibrated labels, transport matching, hybrid memory, neighbour relations."""

    name = "robust"
    starts_from: ClassVar = {"encoder": "intra.encoder"}

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        features = self.extract(self.encoder)
        labels = self.pseudo_labels(features)  # NPC
        raw = self.raw_labels
        means = self.centroids(features, raw)
        self.visible_memory, self.infrared_memory = self.build_memories(features, raw, means)
        self.match_clusters(features, raw, means)  # OTPM
        if self.mixes_memories:
            self.hybrid_memory = self.build_hybrid_memory(means, labels)  # MHL
        self.use_labels(labels)
        self.grade_labels(labels, self.maps)
        yield self.batches()
        self.export_labels(epoch)

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L = L_V + L_I + 0.25 L_cross + 0.5 L_hybrid + 10 L_NRL."""
        labels = batch.visible.labels, batch.infrared.labels
        features = self.encoder(batch.visible.images, batch.infrared.images)  # (2B, d), (B, d)
        terms = self.own_terms(features, labels)
        terms |= self.cross_term(features, labels, epoch)
        if self.mixes_memories:
            terms |= self.hybrid_term(features, labels, epoch)  # MHL
        if self.args.nrl:
            terms |= self.relation_terms(features)  # NRL
        yield "encoder", terms

    def pseudo_labels(self, features: Pair) -> Labels:
        """NPC: labels by the densest T members of every cluster; outliers stay outliers.

        The clusters before calibration are left in ``raw_labels``.
        """
        self.raw_labels = self.cluster_each(features)
        if not self.args.npc:
            return self.raw_labels
        return ranks.first(
            lambda: tuple(
                calibrated_labels(f, y, self.args.npc_members, self.args.npc_threshold)
                for f, y in zip(features, self.raw_labels, strict=True)
            )
        )

    @property
    def mixes_memories(self) -> bool:
        """MHL needs matched clusters."""
        return self.args.mhl and self.maps is not None

    def build_hybrid_memory(self, means: Pair, labels: Labels) -> Memory:
        """Rows norm((c_r + c_v of its partner) / 2) by infrared cluster.

        A cluster that calibration has emptied has a row of zeros until a batch writes it (RPNR-7).
        """
        visible, infrared = means
        partner = self.maps[1]
        mixed = torch.where((partner >= 0)[:, None], (infrared + visible[partner]) / 2, infrared)
        kept = torch.zeros(len(infrared), dtype=torch.bool)
        kept[torch.from_numpy(labels[1][labels[1] >= 0])] = True
        rows = F.normalize(mixed) * kept[:, None]
        return self.build_memory(rows, rows)

    def hybrid_term(self, features: Pair, labels: Pair, epoch: int) -> Terms:
        """MHL: visible images by their partners in even epochs, infrared ones in odd epochs."""
        if epoch % 2 == 0:
            hybrid = contrast_matched(self.hybrid_memory, features[0], self.partners(labels)[0])
        else:
            hybrid = self.hybrid_memory(features[1], labels[1])
        return {"hybrid": (self.args.mhl_weight, hybrid)}

    def relation_terms(self, features: Pair) -> Terms:
        """NRL of either modality; with upstream's unnormalised weights it only repels (RPNR-2)."""
        a, (f_v, f_r) = self.args, features
        return {
            "relation_visible": (a.nrl_weight, relation_contrast(f_v, normalise=a.nrl_normalise)),
            "relation_infrared": (a.nrl_weight, relation_contrast(f_r, normalise=a.nrl_normalise)),
        }


STAGES = [dcl.Intra, Robust]
