"""SDCL (CVPR 2024).

Shallow-Deep Collaborative Learning for Unsupervised Visible-Infrared Person Re-Identification.

A vision transformer gives two features per image: deep D, and shallow S, whose patch tokens have
passed no block of the trunk.  Everything below is done with both.

Stage "intra": either modality is clustered by norm([D; S]).  L_id contrasts D and S with memories
of cluster centroids; the neighbour losses contrast them with the *images* that are near by D and
by S, in the own modality (HOM) and, from a later epoch on, in the other one (HET), through
instance memories.

Stage "agreed": every visible image takes the label of an infrared cluster.  Its nearest infrared
images by D propose, those by S vote (collaborative ranking association, CRA), and its nearest
visible images smooth the outcome.  One memory per feature then serves both modalities::

    L = L_id + a HOM + b HET        a, b = 1, 0.5 ("intra"), 0.1, 0.1 ("agreed")

The paper's text was not among the sources beyond its abstract: what is here is what the released
code does.  Stage "agreed" goes on with epochs and optimiser where "intra" ended, from its best
weights.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from clustercontrast.association.ranking_agreement import agreed_labels
from clustercontrast.clustering.centroids import centroids
from clustercontrast.data.batches import Batch, Stream
from clustercontrast.engine.schedules import step_decay
from clustercontrast.engine.stage import Terms
from clustercontrast.losses.neighbours import neighbour_contrast, shared_neighbours
from clustercontrast.memories.cluster import ClusterMemory
from clustercontrast.memories.instance import InstanceMemory
from clustercontrast.methods.clustering_stage import ClusteringStage, Labels, Pair
from clustercontrast.methods.stand_ins import AGREEING
from clustercontrast.processes import ranks

MODALITIES = "visible", "infrared"
DEEP, SHALLOW = 0, 1
Halves = tuple[torch.Tensor, torch.Tensor]  # deep, shallow


def halves(features: torch.Tensor) -> Halves:
    """D and S of rows [D; S]: (N, 2d) -> (N, d), (N, d)."""
    return features.chunk(2, dim=1)


def rows_of(stream: Stream) -> torch.Tensor:
    """Row of every image of a stream in its instance memories, all views."""
    return stream.rows.repeat(len(stream.labels) // len(stream.rows))


class Collaborative(ClusteringStage):
    """Cluster each modality by both features; contrast with clusters and with neighbours."""

    name = "intra"

    def setup(self) -> None:
        self.check_flags()
        self.encoder = self.add("encoder", self.build_encoder(shallow=True))
        self.load_initial_weights()
        a = self.args
        trained = [p for p in self.encoder.parameters() if p.requires_grad]
        sgd = torch.optim.SGD(trained, a.lr, momentum=0.9, weight_decay=a.weight_decay, fused=True)
        self.optimise("encoder", sgd, step_decay(a.step_size))

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        features = self.extract(self.encoder)  # [D; S] of both modalities, not normalised
        labels = self.pseudo_labels(features)
        self.remember_images(features)
        self.use_labels(labels)
        self.grade_labels(labels)
        self.remember_clusters(features, labels, epoch)
        yield self.batches()
        self.export_labels(epoch)

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L = L_id + L_HOM + 0.5 L_HET, each of deep and shallow features."""
        features = self.both_features(batch)
        terms = self.cluster_terms(features, batch)
        terms |= self.neighbour_terms(features, batch, epoch)
        self.update_instances(features, batch)  # before backward reads them (SDCL-2)
        yield "encoder", terms

    def pseudo_labels(self, features: Pair) -> Labels:
        """Clusters of the rows norm([D; S]) of either modality."""
        return self.cluster_each(tuple(map(F.normalize, features)))

    def both_features(self, batch: Batch) -> dict[str, Halves]:
        """Deep and shallow features of a batch, by modality."""
        both = self.encoder(batch.visible.images, batch.infrared.images)
        return dict(zip(MODALITIES, map(halves, both), strict=True))

    # --- memories ---

    def remember_images(self, features: Pair) -> None:
        """A row per image and feature, outliers included."""
        a = self.args
        self.instances = {
            name: [
                InstanceMemory(
                    half.to(self.run.device),
                    a.temp,
                    a.instance_momentum,
                    a.raw_instances,
                    a.memory_gradient,
                )
                for half in halves(f)
            ]
            for name, f in zip(MODALITIES, features, strict=True)
        }

    def remember_clusters(self, features: Pair, labels: Labels, epoch: int) -> None:
        """A row per cluster, feature and modality."""
        momentum = self.args.first_momentum if epoch == 0 else self.args.momentum
        self.clusters = {
            name: [self.cluster_memory(half, y, momentum) for half in halves(f)]
            for name, f, y in zip(MODALITIES, features, labels, strict=True)
        }

    def cluster_memory(
        self, features: torch.Tensor, y: np.ndarray, momentum: float
    ) -> ClusterMemory:
        """A memory over the means of clusters."""
        a, means = self.args, centroids(features, y).to(self.run.device)
        ranks.equalise((means,))
        return ClusterMemory(
            means, a.temp, momentum, a.memory, a.memory_gradient, a.smooth, a.unit_prototypes
        )

    def update_instances(self, features: dict[str, Halves], batch: Batch) -> None:
        """Rows of the batch's images move towards their features."""
        for name, own in features.items():
            for memory, f in zip(self.instances[name], own, strict=True):
                memory.update(f, rows_of(getattr(batch, name)))

    # --- losses ---

    def cluster_terms(self, features: dict[str, Halves], batch: Batch) -> Terms:
        """L_id.  Backward runs the call made last first and rewrites rows: keep the order."""
        terms = {}
        for depth, suffix in ((SHALLOW, "_shallow"), (DEEP, "")):
            for name in ("infrared", "visible"):
                memory, f = self.clusters[name][depth], features[name][depth]
                terms[name + suffix] = (1.0, memory(f, getattr(batch, name).labels))
        return terms

    def neighbour_terms(self, features: dict[str, Halves], batch: Batch, epoch: int) -> Terms:
        """HOM and HET: the neighbours of an image by both features, found by both features."""
        terms = {}
        for own, bank, weight in self.directions(epoch):
            rows = rows_of(getattr(batch, own))
            near = shared_neighbours(
                *(memory.rows_of(rows) for memory in self.instances[own]),
                *(memory.rows for memory in self.instances[bank]),
                self.args.neighbour_threshold,
            )
            for depth, suffix, factor in (
                (DEEP, "", 1.0),
                (SHALLOW, "_shallow", self.args.shallow_weight),
            ):
                logits = self.instances[bank][depth].similarity(features[own][depth])
                loss = neighbour_contrast(logits, near)
                terms[f"{own}_in_{bank}{suffix}"] = (weight * factor, loss)
        return terms

    def directions(self, epoch: int) -> Iterator[tuple[str, str, float]]:
        """Modality of the queries, of their neighbours, and the weight, for an epoch (SDCL-3)."""
        a = self.args
        if epoch >= a.homogeneous_from:
            yield "visible", "visible", a.homogeneous_weight
            yield "infrared", "infrared", a.homogeneous_weight
        if epoch < a.heterogeneous_from:
            return
        if epoch % 2 == 0:
            yield "visible", "infrared", a.heterogeneous_weight * a.visible_to_infrared
        else:
            yield "infrared", "visible", a.heterogeneous_weight


class Agreed(Collaborative):
    """The same losses on visible labels in the space of the infrared clusters."""

    name = "agreed"
    starts_from: ClassVar = {"encoder": "intra.encoder"}
    continues, stand_ins = "intra", AGREEING
    one_label_space = True

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        features = self.extract(self.encoder)  # [D; S] of both modalities, not normalised
        labels = self.pseudo_labels(features)  # CRA
        self.remember_images(features)
        identity = torch.arange(labels[1].max() + 1)
        self.use_labels(labels)
        self.grade_labels(labels, (identity, identity))
        self.remember_shared_clusters(features, (self.agreed, labels[1]))
        yield self.batches()
        self.export_labels(epoch)

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L = L_id + 0.1 L_HOM + 0.1 L_HET, each of deep and shallow features."""
        features = self.both_features(batch)
        terms = self.cluster_terms(features, batch)
        terms |= self.neighbour_terms(features, batch, epoch)
        self.update_instances(features, batch)  # before backward reads them (SDCL-2)
        yield "encoder", terms

    def pseudo_labels(self, features: Pair) -> Labels:
        """Visible labels by CRA, infrared ones by clustering; visible outliers stay outliers.

        They are not trained on, but their labels, which are left in ``agreed`` (N_v,), count in the
        memories (SDCL-6).
        """
        y_v, y_r = super().pseudo_labels(features)
        self.agreed = self.agree(features, y_r)
        return np.where(y_v >= 0, self.agreed, -1), y_r

    def remember_shared_clusters(self, features: Pair, labels: Labels) -> None:
        """One memory per feature for both modalities: means of an infrared cluster's images."""
        both, y = torch.cat(features), np.concatenate(labels)
        shared = [self.cluster_memory(half, y, self.args.momentum) for half in halves(both)]
        self.clusters = {"visible": shared, "infrared": shared}

    def agree(self, features: Pair, y_r: np.ndarray) -> np.ndarray:
        """CRA and smoothing: an infrared label for every visible image, -1 for none."""
        a = self.args
        sides = (tuple(half.to(self.run.device) for half in halves(f)) for f in features)
        with self.run.timed("association"):
            return ranks.first(
                lambda: agreed_labels(*sides, y_r, a.candidates, a.smoothing_neighbours)
            )


STAGES = [Collaborative, Agreed]
