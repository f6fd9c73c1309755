"""MMM (ECCV 2024, arXiv:2401.06825).

Multi-Memory Matching for Unsupervised Visible-Infrared Person Re-Identification.

The release is two programs joined by files; here they are three stages joined by one file:

* "intra": dual contrastive learning (:mod:`clustercontrast.methods.dcl`).
* "joint": the same plus cross-modality clustering (CMC), a joint memory with an optimiser step of
  its own.  After its last epoch it writes features and pseudo labels (``pseudo_labels.npz``).
* "final": reads them once, matches clusters by their sub-memories (multi-memory matching, MMLM),
  and trains a classifier from ImageNet on frozen labels: cross-entropy and pulls between
  modalities weighted by how clean each label looks (soft cluster-level alignment, SCA).

The paper's text was not among the sources; docs/methods/mmm.md#final-training has the equations of
the last stage.  ``--variant upstream`` (default) forgets the last cluster of either modality and
mishandles tiny ones, as the released code does; ``--variant paper`` does not.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from clustercontrast.association.choice import Clusters
from clustercontrast.association.multi_memory import relabel
from clustercontrast.clustering.centroids import centroids
from clustercontrast.clustering.confidence import class_prototypes, clean_probability
from clustercontrast.data import pseudo_labels
from clustercontrast.data.batches import Batch, StreamPlan, chosen_batches
from clustercontrast.data.sampler import check_batch_size, paired_rows, permuted_rows
from clustercontrast.engine.schedules import warm_steps
from clustercontrast.engine.stage import Terms
from clustercontrast.files import UserError
from clustercontrast.losses.confidence import confidence_weighted_cross_entropy, self_mimic
from clustercontrast.losses.mmd import alignment
from clustercontrast.losses.placing import beside
from clustercontrast.losses.triplet import batch_hard_triplet
from clustercontrast.methods import dcl
from clustercontrast.methods.clustering_stage import ClusteringStage
from clustercontrast.methods.stand_ins import WEIGHING
from clustercontrast.processes import ranks


class Joint(ClusteringStage):
    """Cross-modality clustering (CMC): a third clustering over both modalities, its own step."""

    name = "joint"
    starts_from: ClassVar = {"encoder": "intra.encoder"}

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        features = self.extract(self.encoder)
        labels = self.pseudo_labels(features)
        means = self.centroids(features, labels)
        self.visible_memory, self.infrared_memory = self.build_memories(features, labels, means)
        self.use_labels(labels)
        self.grade_labels(labels)
        self.cluster_jointly(features)  # CMC
        yield self.batches()
        self.export_labels(epoch)

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L = L_V + L_I; then L_joint, a step of its own."""
        features = self.encoder(batch.visible.images, batch.infrared.images)  # (2B, d), (B, d)
        yield "encoder", self.own_terms(features, (batch.visible.labels, batch.infrared.labels))
        if self.joint_memory is not None:
            yield "encoder", self.joint_terms(batch)


class Prototypes(nn.Module):
    """Confidence-weighted class means of every view, (3, C, d): they outlive an epoch."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(3, classes, width))


class Final(ClusteringStage):
    """Classification on matched, frozen pseudo labels, weighted by their confidence."""

    name, stand_ins = "final", WEIGHING

    def setup(self) -> None:
        self.check_flags()
        self.y_v, self.y_r, classes = self.matched_labels()
        self.encoder = self.add("encoder", self.build_encoder())
        self.load_initial_weights()
        self.classifier = self.add("classifier", nn.Linear(self.encoder.width, classes, bias=False))
        nn.init.normal_(self.classifier.weight, std=0.001)
        self.prototypes = self.add("prototypes", Prototypes(classes, self.encoder.width))
        self.optimise_with_sgd()

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        identity = torch.arange(self.classifier.out_features)
        self.use_labels((self.y_v, self.y_r))
        self.grade_labels((self.y_v, self.y_r), (identity, identity))
        self.is_warm = epoch >= self.args.warm_epochs
        if not self.is_warm:
            yield self.permuted_batches()
            return
        self.weigh_labels()
        rows = list(self.paired_rows())
        yield chosen_batches(self.plans(), rows, self.run.generator)
        self.renew_prototypes(chosen_batches(self.plans(), rows, self.run.generator))

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L = L_id + L_tri + 0.5 L_SM + 0.05 L_MMD; in the warm epochs L = L_id alone."""
        pooled, logits = self.classify(batch)  # (3B, d), (3B, C): [plain; exchanged; infrared]
        y = torch.cat([batch.visible.labels, batch.infrared.labels])
        if not self.is_warm:
            yield "encoder", {"identity": (1.0, F.cross_entropy(logits, beside(y, logits)))}
            return
        w = beside(self.confidence(batch), logits)
        yield "encoder", self.weighted_terms(pooled, logits, y, w)

    def weighted_terms(
        self, pooled: torch.Tensor, logits: torch.Tensor, y: torch.Tensor, w: torch.Tensor
    ) -> Terms:
        """L_id, L_tri, L_SM and L_MMD of a batch with confidences w (3B,)."""
        a, size = self.args, len(y) // 3
        views = [v.split(size) for v in (pooled, y, w)]
        mimic = [
            self_mimic(g, own, weight, rows)
            for g, own, weight, rows in zip(*views, self.prototypes.rows, strict=True)
        ]
        plain, exchanged, infrared = views[0]
        aligned = [alignment(v, infrared, y[:size]) for v in (plain, exchanged)]
        return {
            "identity": (1.0, confidence_weighted_cross_entropy(logits, y, w)),
            "triplet": (1.0, batch_hard_triplet(pooled, y, a.margin)),
            "mimic_visible": (a.mimic_weight, (mimic[0] + mimic[1]) / 2),
            "mimic_infrared": (a.mimic_weight, mimic[2]),
            "alignment": (a.alignment_weight, aligned[0] + aligned[1]),
        }

    def classify(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Features before the neck and logits of [plain; exchanged; infrared]."""
        pooled, features = self.encoder.pooled(batch.visible.images, batch.infrared.images)
        return pooled, self.classifier(features)

    # --- labels: multi-memory matching ---

    @property
    def labels_file(self) -> Path:
        """The file of ``--pseudo-labels``, or that of the stage before."""
        return Path(self.args.pseudo_labels or self.run.folder / Joint.name / pseudo_labels.FILE)

    def matched_labels(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Visible labels in the space of the infrared ones, infrared labels, number of classes."""
        (y_v, y_r), features = self.imported
        if features is None:
            raise UserError(f"{self.labels_file} has no features, and clusters are matched by them")
        means = tuple(centroids(f, y) for f, y in zip(features, (y_v, y_r), strict=True))
        maps = self.associate(Clusters(features, (y_v, y_r), means))
        y_v = relabel(y_v, maps[0])
        return y_v, y_r, 1 + max(y_v.max(initial=0), y_r.max(initial=0))

    # --- confidence and prototypes ---

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Train mode without gradients: BatchNorm's running statistics move (MMM-9)."""
        for network in self.networks.values():
            network.train()
        with torch.no_grad(), self.run.autocast():
            yield

    def weigh_labels(self) -> None:
        """W of every view: how likely a label is clean, by the loss of its image."""
        count_v, count_r = len(self.y_v), len(self.y_r)
        losses = torch.full((2, count_v), torch.nan), torch.full((1, count_r), torch.nan)
        for batch in self.permuted_batches():
            with self.watching():
                _, logits = self.classify(batch.to(self.run.device))
            streams = batch.visible, batch.infrared
            y = beside(torch.cat([stream.labels for stream in streams]), logits)
            loss = F.cross_entropy(logits, y, reduction="none").float().cpu()
            visible = len(batch.visible.labels)
            losses[0][:, batch.visible.rows] = loss[:visible].view(2, -1)
            losses[1][:, batch.infrared.rows] = loss[visible:].view(1, -1)
        self.weights_v, self.weights_r = (self._clean(loss) for loss in losses)

    def _clean(self, losses: torch.Tensor) -> torch.Tensor:
        """Posteriors (views, N) of losses (views, N); 0 for images without a loss."""
        known = ~losses[0].isnan()
        weights = torch.zeros_like(losses)
        clean = ranks.first(lambda: clean_probability([view[known].numpy() for view in losses]))
        weights[:, known] = torch.from_numpy(np.stack(clean)).float()
        return weights

    def confidence(self, batch: Batch) -> torch.Tensor:
        """W (3B,) of the images of a batch, on the CPU."""
        visible = self.weights_v[:, batch.visible.rows].flatten()
        infrared = self.weights_r[:, batch.infrared.rows].flatten()
        return torch.cat([visible, infrared])

    def renew_prototypes(self, batches: Iterator[Batch]) -> None:
        """Confidence-weighted sums over counts, of the pass's own images (MMM-8)."""
        parts: list[tuple] = []
        for batch in batches:
            with self.watching():
                pooled, _ = self.classify(batch.to(self.run.device))
            known = torch.cat([batch.visible.labels, batch.infrared.labels]), self.confidence(batch)
            parts.append((pooled.float(), *(beside(values, pooled) for values in known)))
        size = [len(y) // 3 for _, y, _ in parts]
        for view in range(3):
            chosen = [
                [tensor[view * n : (view + 1) * n] for tensor in part]
                for n, part in zip(size, parts, strict=True)
            ]
            g, y, w = (torch.cat(tensors) for tensors in zip(*chosen, strict=True))
            self.prototypes.rows[view] = class_prototypes(g, y, w, self.prototypes.rows[view])

    # --- batches ---

    def check_flags(self) -> None:
        """Refuse batches that do not divide by K or by the BatchNorm groups."""
        a = self.args
        check_batch_size(a.batch_size, a.num_instances)
        if a.batch_size % a.bn_groups:
            raise UserError(
                f"--batch-size {a.batch_size} does not divide by --bn-groups {a.bn_groups}"
            )

    def plans(self) -> dict[str, StreamPlan]:
        """How to make the streams; their rows are chosen here, batch by batch."""
        sizes = self.args.batch_size, self.args.num_instances
        images = {"visible": self.data.visible, "infrared": self.data.infrared}
        return {
            name: StreamPlan(images[name], labels, self.views(name == "visible"), *sizes)
            for name, labels in self.labels.items()
        }

    @property
    def iterations(self) -> int:
        """Batches of an epoch; with --iters 0 one pass over the larger modality."""
        images = max(np.count_nonzero(y >= 0) for y in (self.y_v, self.y_r))
        return self.args.iters or images // self.args.batch_size + 1

    def permuted_batches(self) -> Iterator[Batch]:
        """Every labelled image at least once, the modalities unrelated."""
        rows = permuted_rows((self.y_v, self.y_r), self.args.batch_size, self.run.generator)
        return chosen_batches(self.plans(), rows, self.run.generator)

    def paired_rows(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batches of P classes with K images of either modality, in the same order."""
        identities = self.args.batch_size // self.args.num_instances
        shape = identities, self.args.num_instances, self.iterations
        return paired_rows((self.y_v, self.y_r), *shape, self.run.generator)

    def optimise_with_sgd(self) -> None:
        """Nesterov SGD, the backbone at a tenth of the rate."""
        a = self.args
        neck = list(self.encoder.neck.parameters())
        known = set(map(id, neck))
        backbone = [p for p in self.encoder.parameters() if id(p) not in known]
        groups = [
            {"params": backbone, "lr": 0.1 * a.lr},
            {"params": [p for p in neck if p.requires_grad]},
            {"params": self.classifier.parameters()},
        ]
        sgd = torch.optim.SGD(
            groups, a.lr, 0.9, weight_decay=a.weight_decay, nesterov=True, fused=True
        )
        self.optimise("encoder", sgd, warm_steps(10, (20, 40)))


STAGES = [dcl.Intra, Joint, Final]
