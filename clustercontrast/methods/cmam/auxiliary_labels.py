"""CMAM-UDA, stage 0: pseudo labels of the source images by PPLR.

Step by step: docs/methods/cmam.md#source-labels.

Only one thing leaves this stage: a label per source image, in ``labels.npz``.  PPLR (Cho et al.,
CVPR 2022) clusters the images every epoch, trains a global feature and features of horizontal
stripes on the clusters, and lets both correct each other.  True identities are read for the log
alone.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from clustercontrast.clustering.agreement import cross_agreement, neighbours_without_self
from clustercontrast.clustering.centroids import centroids
from clustercontrast.clustering.kmeans import kmeans
from clustercontrast.data.augment import View, normalise
from clustercontrast.data.batches import Batch, Stream, StreamPlan, labelled_batches
from clustercontrast.data.label_files import compacted
from clustercontrast.data.sampler import check_batch_size
from clustercontrast.data.source_labels import FILE, import_labels, load_labels, save_labels
from clustercontrast.engine.schedules import step_decay
from clustercontrast.engine.stage import Stage, Terms
from clustercontrast.evaluation.diagnostics import clustering_quality
from clustercontrast.evaluation.features import finite, in_chunks
from clustercontrast.files import UserError
from clustercontrast.losses.part_refinement import (
    agreement_aware_smoothing,
    part_guided_loss,
    refined_targets,
)
from clustercontrast.losses.placing import beside
from clustercontrast.losses.triplet import soft_margin_triplet
from clustercontrast.methods.clusters import cluster, neighbour_search
from clustercontrast.methods.cmam import readings
from clustercontrast.methods.cmam.images import TransferImages
from clustercontrast.methods.cmam.stand_ins import AUXILIARY
from clustercontrast.models import weights
from clustercontrast.models.part_resnet import PartResNet
from clustercontrast.processes import ranks

__all__ = ["FILE", "AuxiliaryLabels", "load_labels"]  # what the later stages need

TRAINED = ("pplr", "baseline")
"""Label methods that train and cluster in turn; the others make their labels at once."""


class AuxiliaryLabels(Stage):
    """Cluster the source images, train on the clusters; leave the last labels as a file.

    Attributes:
        classifiers: (1 + P, C, d) rows of the classifiers of g and of every part.
        agreement: (N, P) cross-agreement of g and the parts.
    """

    name, retrieval, made_from = "auxiliary", None, ("source",)
    opens, stand_ins = TransferImages, AUXILIARY
    reads = (
        "label_method",
        "source_labels",
        "source_clusters",
        "source_outliers",
        "source_cameras",
        "parts",
        "refinement",
        "agreement_neighbours",
        "agreement_from",
        "smooth",
        "depth",
        "bn_groups",
        "pretrained",
        "k1",
        "k2",
        "eps",
        "min_samples",
        "neighbours",
        "batch_size",
        "num_instances",
        "lr",
        "weight_decay",
        "step_size",
        "first_epoch",
        "epochs",
        "iters",
        "flip",
        "padding",
        "erasing",
        "precision",
        "seed",
    )

    def setup(self) -> None:
        self.run.log.say(readings.said(self.name, self.args))
        self.check_flags()
        if self.args.label_method == "import":
            return
        self.encoder = self.add("encoder", self.build_network())
        self.load_initial_weights()
        if self.args.label_method in TRAINED:
            self.optimise_with_adam()

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        if self.args.label_method in TRAINED:
            features = self.extract()
            labels = self.clusters(features[0])
            self.agreement = self.agree(features)
            self.renew_classifiers(features, labels)
            self.note(labels)
            yield self.batches(labels)
        if epoch == self.epochs[-1]:
            self.leave(self.final_labels())

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L = L_global + L_part + L_triplet (PPLR)."""
        g, q = (features.float() for features in self.encoder(batch.source.images))
        with torch.autocast(g.device.type, enabled=False):  # logits and targets in float32
            terms = self.terms(g, q, batch.source, epoch)
        yield "encoder", terms

    def terms(self, g: torch.Tensor, q: torch.Tensor, source: Stream, epoch: int) -> Terms:
        """PPLR's losses of g (B, d) and q (P, B, d)."""
        labels, agreement = source.labels, self.agreement[beside(source.rows, g)]
        part_logits = q @ self.classifiers[1:].mT  # (P, B, C)
        beta = self.args.refinement if self.parts else 1.0
        targets = refined_targets(labels, part_logits, agreement, beta)
        terms = {
            "global": (1.0, part_guided_loss(g @ self.classifiers[0].T, targets)),
            "triplet": (1.0, soft_margin_triplet(g, labels)),
        }
        if self.parts:
            terms["part"] = (1.0, self.part_loss(part_logits, labels, agreement, epoch))
        return terms

    @property
    def epochs(self) -> range:
        """Epochs of the stage; a single one when nothing is trained."""
        epochs = super().epochs
        return epochs if self.args.label_method in TRAINED else epochs[:1]

    @property
    def images_of_a_pass(self) -> int:
        """All source images."""
        return len(self.data.source)

    @property
    def parts(self) -> int:
        """Stripes P of the network."""
        return self.args.parts if self.args.label_method == "pplr" else 0

    def build_network(self) -> PartResNet:
        """The network that the flags describe, with random weights."""
        return PartResNet(self.args.depth, self.parts, self.args.bn_groups)

    def load_initial_weights(self) -> None:
        """Initial weights of the network: ImageNet's, those of a file, or random ones."""
        report = weights.start(self.encoder, self.args.pretrained)
        self.run.log.say(f"{self.name}: {report or 'random weights (--pretrained random)'}")

    def optimise_with_adam(self) -> None:
        """One Adam for the network and, as a second group, the classifiers of the epoch."""
        self.classifiers = nn.Parameter(torch.empty(0, device=self.run.device))
        trained = [p for p in self.encoder.parameters() if p.requires_grad]
        groups = [{"params": trained}, {"params": [self.classifiers]}]
        a = self.args
        adam = torch.optim.Adam(groups, a.lr, weight_decay=a.weight_decay, fused=True)
        self.optimise("encoder", adam, step_decay(a.step_size))

    # --- features and labels ---

    def extract(self, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Unit features of the source images, or those at ``rows``: (1 + P, N, d), g first."""

        def embed(pixels: torch.Tensor) -> torch.Tensor:
            g, q = self.encoder(normalise(pixels))
            return F.normalize(torch.cat([g[None], q]).float(), dim=2).transpose(0, 1)

        with self.run.timed("features"), self.evaluating(self.encoder):
            features = in_chunks(embed, self.data.source, self.args.test_batch, rows)
        return finite(features, "source").transpose(0, 1)

    def agree(self, features: torch.Tensor) -> torch.Tensor:
        """Cross-agreement (N, P) on the device of features (1 + P, N, d)."""
        a, device = self.args, self.run.device
        agreement = torch.empty(features.shape[1], self.parts, device=device)
        search = neighbour_search(self)
        with self.run.timed("agreement"):
            ranked = (
                neighbours_without_self(f.to(device), a.agreement_neighbours, search)
                for f in (features if self.parts else ())
            )
            whole = next(ranked, None)
            for part, neighbours in enumerate(ranked):
                agreement[:, part] = torch.from_numpy(cross_agreement(whole, neighbours))
        return agreement

    def renew_classifiers(self, features: torch.Tensor, labels: np.ndarray) -> None:
        """Make the unit means of the clusters the classifiers, new to the optimiser.

        The optimiser forgets the old ones, whose number of classes was another.  What it remembers
        at the end of an epoch is dropped here alike, whether the run was resumed or not.
        """
        means = torch.stack([F.normalize(centroids(f, labels), dim=1) for f in features])
        means = means.to(self.run.device)
        ranks.equalise((means,))
        adam = self.optimisers["encoder"].optimiser
        group = adam.param_groups[1]
        for old in group["params"]:
            adam.state.pop(old, None)
        self.classifiers = nn.Parameter(means)
        group["params"] = [self.classifiers]

    def part_loss(
        self, logits: torch.Tensor, labels: torch.Tensor, agreement: torch.Tensor, epoch: int
    ) -> torch.Tensor:
        """Loss of the parts' logits (P, B, C): smoothed evenly at first, then by agreement."""
        if epoch >= self.args.agreement_from:
            return agreement_aware_smoothing(logits, labels, agreement)
        repeated = beside(labels, logits).repeat(self.parts)
        return F.cross_entropy(logits.flatten(0, 1), repeated, label_smoothing=self.args.smooth)

    def batches(self, labels: np.ndarray) -> Iterator[Batch]:
        """The epoch's batches, drawn by labels (N,)."""
        a = self.args
        view = View(erasing=a.erasing, padding=a.padding, flip=a.flip)
        sizes = a.batch_size, a.num_instances
        plan = StreamPlan(self.data.source, labels, (view,), *sizes, a.source_cameras)
        return labelled_batches({"source": plan}, self.run.generator, self.iterations)

    # --- what the stage leaves ---

    def final_labels(self) -> np.ndarray:
        """Labels (N,) int64 of the finished stage, -1 for images without a cluster."""
        a, images = self.args, self.data.source.index
        if a.label_method == "import":
            return import_labels(Path(a.source_labels), images, self.run.log.say)
        if a.label_method == "kmeans":
            features = self.extract()[0].to(self.run.device)
            generator = self.run.generator
            return ranks.first(lambda: kmeans(features, a.source_clusters, generator).labels)
        return self.clusters(self.extract()[0])

    def clusters(self, g: torch.Tensor) -> np.ndarray:
        """Clusters (N,) int64 of the source images by their global features, -1 for outliers."""
        return cluster("source", g, self.args.k1, self.args.eps, self)

    def leave(self, labels: np.ndarray) -> None:
        """Write the labels that later stages train with, and grade them for the log.

        Raises:
            UserError: fewer than two classes.
        """
        labels = compacted(labels, smallest=2)
        if self.args.source_outliers == "singleton":
            labels = with_singletons(labels)
        if labels.max(initial=-1) < 1:
            raise UserError(
                f"the labels of the source images hold {labels.max(initial=-1) + 1} cluster(s) of "
                "two images or more, and at least two are needed: give another --source-labels or "
                "--label-method"
            )
        self.note(labels)
        flags = {name: getattr(self.args, name) for name in self.reads}
        meta = {"method": flags.pop("label_method"), "seed": flags.pop("seed"), "flags": flags}
        path = self.run.folder / self.name / FILE
        if ranks.is_first():
            save_labels(path, self.data.source.index, labels, meta)

    def note(self, labels: np.ndarray) -> None:
        """Keep the epoch's labels for the checkpoint; true identities grade them for the log.

        The last epoch's are those that the stage leaves.
        """
        self.labels = {"source": labels}
        self.facts = {"source": clustering_quality(labels, self.data.source.index.identities)}

    def check_flags(self) -> None:
        """Refuse what the label method cannot do."""
        a = self.args
        if a.label_method == "import":
            return
        if a.label_method == "kmeans" and not 2 <= a.source_clusters <= len(self.data.source):
            raise UserError(
                f"--source-clusters {a.source_clusters} is not a possible number of clusters for "
                f"{len(self.data.source)} source images: give at least 2, at most all images"
            )
        if a.label_method in TRAINED and a.k2 > a.k1:
            raise UserError(f"--k2 {a.k2} is larger than --k1 {a.k1}: lower --k2")
        if a.label_method in TRAINED:
            check_batch_size(a.batch_size, a.num_instances)


def with_singletons(labels: np.ndarray) -> np.ndarray:
    """Labels (N,) whose outliers are classes of their own, behind the others (A29)."""
    outliers = labels < 0
    own = labels.max(initial=-1) + np.cumsum(outliers)
    return np.where(outliers, own, labels)
