"""Dual contrastive learning: the intra-modality stage shared by ADCA, PGM, PCLHD and others.

Every modality is clustered on its own, each cluster is a row of that modality's memory, and both
modalities are contrasted with their own memory (ADCA, MM 2022; PCLHD Eq. 1-5).  What brings the
modalities together is the shared trunk and the channel-exchanged view of the visible images.

Later stages of the methods extend :class:`Intra`: its small methods are the vocabulary in which
their ``refresh`` and ``iteration`` are written.
"""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import nn

from clustercontrast.association.choice import Clusters, associate
from clustercontrast.clustering.centroids import (
    balanced_centroids,
    centroids,
    farthest_members,
)
from clustercontrast.clustering.dbscan import dbscan
from clustercontrast.clustering.jaccard import balanced_jaccard, jaccard
from clustercontrast.data import pseudo_labels
from clustercontrast.data.augment import View
from clustercontrast.data.batches import Batch, StreamPlan, labelled_batches
from clustercontrast.data.sampler import check_batch_size
from clustercontrast.engine.schedules import step_decay
from clustercontrast.engine.stage import HANDED_OVER, Stage, Terms
from clustercontrast.evaluation.diagnostics import (
    clustering_quality,
    joint_quality,
    match_accuracy,
)
from clustercontrast.evaluation.features import extract
from clustercontrast.files import UserError
from clustercontrast.losses.alternate import alternate_contrast
from clustercontrast.memories.cluster import ClusterMemory, HybridMemory
from clustercontrast.models import weights
from clustercontrast.models.two_stream_resnet import TwoStreamResNet
from clustercontrast.models.vision_transformer import TwoStreamViT

Pair = tuple[torch.Tensor, torch.Tensor]
Labels = tuple[np.ndarray, np.ndarray]
Memory = ClusterMemory | HybridMemory


def build_encoder(args: Namespace, shallow: bool = False) -> TwoStreamResNet | TwoStreamViT:
    """The network that the flags describe, with random weights.

    Args:
        args: flags.
        shallow: rows of two features, [deep; shallow], which the vision transformer has.

    Raises:
        UserError: no such network.
    """
    return _resnet(args, shallow) if args.arch == "resnet" else _vit(args, shallow)


def _resnet(a: Namespace, shallow: bool) -> TwoStreamResNet:
    if shallow:
        raise UserError("a ResNet has no shallow feature, which this method needs: say --arch vit")
    return TwoStreamResNet(a.depth, a.non_local, a.bn_groups, a.checkpoint_groups)


def _vit(a: Namespace, shallow: bool) -> TwoStreamViT:
    if a.vit_width % 64 or a.depth < 2 or a.height % 16 or a.width % 16:
        raise UserError(
            f"a ViT needs images of whole 16x16 patches (--height {a.height}, --width {a.width}), "
            f"a token length in multiples of 64 (--vit-width {a.vit_width}) and two blocks or more "
            f"(--depth {a.depth})"
        )
    tokens = (a.height // 16) * (a.width // 16)
    sizes = tokens, a.vit_width, a.depth
    return TwoStreamViT(*sizes, a.drop_path, shallow, a.bn_groups, a.checkpoint_groups)


def match_clusters(args: Namespace, clusters: Clusters) -> Pair:
    """Maps between the clusters of both modalities, as ``--association`` and its flags say."""
    a = args
    options = a.vote_threshold, a.ot_regularisation, a.forget_last
    return associate(a.association, clusters, *options)


class Intra(Stage):
    """Cluster each modality, contrast it with its own memory."""

    name, retrieval = "intra", "encoder"

    def setup(self) -> None:
        self._check_flags()
        self.encoder = self.add("encoder", build_encoder(self.args))
        self.start_weights()
        self.optimise_with_adam(self.encoder)

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        features = self.extract(self.encoder)
        labels = self.cluster_each(features)
        means = self.centroids(features, labels)  # Eq. 1-2
        self.memory_v, self.memory_r = self.memories(features, labels, means)
        self.note_labels(labels)
        self.associate(features)
        yield self.batches()
        self.export_labels(epoch)

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        features = self.encoder(batch.visible.images, batch.infrared.images)  # (2B, d), (B, d)
        yield "encoder", self.own_terms(features, (batch.visible.labels, batch.infrared.labels))

    def associate(self, features: Pair) -> None:
        """Tie the modalities, each clustered on its own before; nothing in this stage."""

    # --- first weights ---

    def start_weights(self) -> None:
        """First weights of the encoder; a later stage may take them from an earlier one instead."""
        source = self.args.pretrained
        if self.starts_from and self.args.start_from != "pretrained":
            if self.args.start_from in HANDED_OVER:
                return  # the pipeline hands them over
            source = self.args.start_from
        report = weights.start(self.encoder, source)
        self.run.log.say(f"{self.name}: {report or 'random weights, as asked for'}")

    def optimise_with_adam(self, *networks: nn.Module) -> None:
        """One Adam over all trained parameters, its rate falling every ``step_size`` epochs."""
        trained = [p for network in networks for p in network.parameters() if p.requires_grad]
        adam = torch.optim.Adam(trained, self.args.lr, weight_decay=self.args.weight_decay)
        self.optimise("encoder", adam, step_decay(self.args.step_size))

    # --- features and labels ---

    def extract(self, network: nn.Module) -> Pair:
        """Clustering features of all training images: (N_v, d), (N_r, d), norm at most 1."""
        with self.run.timed("features"), self.evaluating(network):
            return tuple(
                extract(network, images, self.args.test_batch)
                for images in (self.data.visible, self.data.infrared)
            )

    def cluster_each(self, features: Pair) -> Labels:
        """Pseudo labels of both modalities, (N_v,), (N_r,) int64, -1 for outliers."""
        a, labels = self.args, []
        if a.pseudo_labels:
            lists = self.data.visible.index, self.data.infrared.index
            return pseudo_labels.load(Path(a.pseudo_labels), lists)[0]
        settings = (("visible", a.k1_visible, a.eps_visible), ("infrared", a.k1, a.eps_infrared))
        for f, (name, k1, eps) in zip(features, settings, strict=True):
            with self.run.timed("clustering"):
                distances = jaccard(f.to(self.run.device), k1, a.k2, eps, a.neighbours)
                labels.append(self.cluster(name, distances, eps))
        return tuple(labels)

    def export_labels(self, epoch: int) -> None:
        """After a stage's last epoch: features and labels of its final weights, as a file."""
        if not self.args.export_labels or epoch != self.epochs[-1]:
            return
        features = self.extract(self.encoder)
        pseudo_labels.save(
            self.run.folder / self.name / pseudo_labels.FILE,
            (self.data.visible.index, self.data.infrared.index),
            self.cluster_each(features),
            features,
        )

    def cluster(self, name: str, distances: csr_array, eps: float) -> np.ndarray:
        """DBSCAN labels, refused when there is nothing to contrast.

        Raises:
            UserError: fewer than two clusters; says which flag to change.
        """
        y = dbscan(distances, eps, self.args.min_samples)
        clusters, outliers = y.max(initial=-1) + 1, np.count_nonzero(y < 0)
        if clusters < 2:
            advice = "lower" if clusters == 1 and outliers < len(y) / 2 else "raise"
            raise UserError(
                f"the {name} images fell into {clusters} cluster(s) with {outliers} of {len(y)} as "
                f"outliers {self.run.position}, and contrast needs two: {advice} --eps-{name} "
                f"(now {eps}), or change --min-samples ({self.args.min_samples}), --k1 "
                f"({self.args.k1}) or --pretrained; the epochs before are saved"
            )
        return y

    def hard_prototypes(self, features: torch.Tensor, y: np.ndarray, c: torch.Tensor):
        """First hard prototypes: centroids (released code) or farthest members (Eq. 6-7)."""
        if self.args.hard_init == "centroid":
            return c
        return farthest_members(features, y, c, self.args.hard_k)

    # --- memories and their losses ---

    def centroids(self, features: Pair, labels: Labels) -> Pair:
        """Cluster means of both modalities: (C_v, d), (C_r, d), not normalised (Eq. 1-2)."""
        return tuple(map(centroids, features, labels))

    def memories(self, features: Pair, labels: Labels, means: Pair) -> tuple[Memory, Memory]:
        """Memories of both modalities, of the kind that ``--memory`` names, over the means."""
        return tuple(
            self.memory(c, self.hard_prototypes(f, y, c))
            for f, y, c in zip(features, labels, means, strict=True)
        )

    def memory(self, c: torch.Tensor, hard: torch.Tensor) -> Memory:
        """A memory over centroids (C, d) and, if it is hybrid, hard prototypes (C, d)."""
        a, device = self.args, self.run.device
        if a.memory != "hybrid":
            return ClusterMemory(
                c.to(device), a.temp, a.momentum, a.memory, a.memory_gradient, a.smooth
            )
        return HybridMemory(
            c.to(device),
            hard.to(device),
            a.temp,
            a.momentum,
            hard_weight=a.hard_weight,
            centroid_weight=a.centroid_weight,
            hinge=a.hinge,
            gradient=a.memory_gradient,
            smoothing=a.smooth,
        )

    def own_terms(self, features: Pair, labels: Pair) -> Terms:
        """Every modality against its own memory.

        Memories are rewritten during backward, the call made last first (quirk MEM-1): keep the
        order infrared, visible, and any cross-modality call after them.
        """
        (f_v, f_r), (y_v, y_r) = features, labels
        infrared = self.memory_r(f_r, y_r)
        return {"infrared": (1.0, infrared), "visible": (1.0, self.memory_v(f_v, y_v))}

    # --- batches ---

    def batches(self) -> Iterator[Batch]:
        """The epoch's batches, drawn by the labels noted for it."""
        return labelled_batches(self.plans(), self.run.generator, self.iterations)

    @property
    def images_of_a_pass(self) -> int:
        """All infrared images."""
        return len(self.data.infrared)

    def plans(self) -> dict[str, StreamPlan]:
        """How to make a stream of batches of every list of labels noted for the epoch."""
        return {name: self._plan(name, labels) for name, labels in self.labels.items()}

    def _plan(self, name: str, labels: np.ndarray) -> StreamPlan:
        a, is_visible = self.args, name.endswith("visible")
        images = self.data.visible if is_visible else self.data.infrared
        size = a.batch_visible if is_visible else a.batch_size
        return StreamPlan(images, labels, self._views(is_visible), size, a.num_instances, a.cam)

    def _views(self, is_visible: bool) -> tuple[View, ...]:
        a = self.args
        shared = {"erasing": a.erasing, "padding": a.padding, "flip": a.flip}
        if not is_visible:
            return (View(jitter=a.jitter_infrared, channels="adaptive_gray", **shared),)
        exchanged = View(jitter=a.jitter_exchanged, channels="exchange", **shared)
        return View(jitter=a.jitter_visible, **shared), exchanged

    def _check_flags(self) -> None:
        a = self.args
        for flag, k1 in (("--k1", a.k1), ("--k1-visible", a.k1_visible)):
            if a.k2 > k1:
                raise UserError(
                    f"--k2 {a.k2} is larger than {flag} {k1}: the expansion is part of it"
                )
        for flag, size, images in (
            ("--batch-size", a.batch_size, a.batch_size),
            ("--batch-visible", a.batch_visible, 2 * a.batch_visible),
        ):
            check_batch_size(size, a.num_instances, flag)
            if images % a.bn_groups:
                raise UserError(f"{flag} {size} does not divide by --bn-groups {a.bn_groups}")

    # --- what the log is told; true identities are read here and nowhere else in training ---

    def note_labels(self, labels: Labels, maps: Pair | None = None) -> None:
        """Keep the epoch's labels for batches and checkpoint, and grade them for the log."""
        y_v, y_r = labels
        self.labels = {"visible": y_v, "infrared": y_r}
        true_v, true_r = (
            self.data.visible.index.identities,
            self.data.infrared.index.identities,
        )
        self.facts = {
            "visible": clustering_quality(y_v, true_v),
            "infrared": clustering_quality(y_r, true_r),
        }
        if maps is not None:
            to_infrared, to_visible = (m.cpu().numpy() for m in maps)
            self.facts["joint"] = joint_quality(y_v, y_r, to_infrared, true_v, true_r)
            if (true_v >= 0).any() and (true_r >= 0).any():
                self.facts["match_accuracy"] = {
                    "visible": match_accuracy(y_v, true_v, y_r, true_r, to_infrared),
                    "infrared": match_accuracy(y_r, true_r, y_v, true_v, to_visible),
                }


def mixed_clusters(y: np.ndarray, split: int) -> np.ndarray:
    """Clusters of joint labels (N_v + N_r,) that hold both modalities; ``split`` is N_v."""
    visible, infrared = y[:split], y[split:]
    return np.intersect1d(visible[visible >= 0], infrared[infrared >= 0])


class Joint(Intra):
    """Vocabulary of stages that also cluster both modalities together (PCLHD-4, CMC, CNE)."""

    def joint_distances(self, features: Pair) -> csr_array:
        """Jaccard distances of both modalities, visible rows first, expanded evenly over them."""
        a = self.args
        return balanced_jaccard(*features, a.joint_k1, a.joint_k2, a.eps_joint, a.neighbours)

    def joint_labels(self, features: Pair) -> np.ndarray:
        """Labels (N_v + N_r,) of both modalities clustered together, -1 for outliers."""
        with self.run.timed("clustering"):
            distances = self.joint_distances(tuple(f.to(self.run.device) for f in features))
            y = dbscan(distances, self.args.eps_joint, self.args.min_samples)
        lists = self.data.visible.index, self.data.infrared.index
        mixed = len(mixed_clusters(y, len(features[0])))
        self.facts |= {
            "joint_clusters": clustering_quality(y, np.concatenate([x.identities for x in lists])),
            "mixed_clusters": mixed,
            "association_rate": mixed / max(1, y.max(initial=-1) + 1),
        }
        return y

    def associate(self, features: Pair) -> None:
        self.cluster_jointly(features)

    def cluster_jointly(self, features: Pair) -> None:
        """Cluster both modalities together; train on clusters that hold both."""
        y, split = self.joint_labels(features), len(features[0])
        mixed = mixed_clusters(y, split)
        if len(mixed) < 2:
            self.run.log.say(
                "fewer than two joint clusters hold both modalities: joint step left out of this "
                f"epoch (raise --eps-joint, now {self.args.eps_joint}, if that goes on)"
            )
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

    def _check_flags(self) -> None:
        super()._check_flags()
        if self.args.joint_k2 > self.args.joint_k1:
            raise UserError("--joint-k2 is larger than --joint-k1: the expansion is part of it")


class Matched(Intra):
    """Vocabulary of stages that match clusters and contrast across modalities."""

    maps: Pair | None = None  # to_infrared (C_v,), to_visible (C_r,); None without matching

    def match(self, features: Pair, labels: Labels, means: Pair) -> None:
        """Match the clusters of both modalities (``--association``)."""
        a, self.maps = self.args, None
        if a.association == "none" or (not a.match_always and len(means[0]) < len(means[1])):
            return
        clusters = Clusters(tuple(f.cpu() for f in features), labels, means)
        with self.run.timed("association"):
            maps = match_clusters(a, clusters)
        # A quirk of MMM's code may point beyond the other side (MMM-1): nobody is there.
        self.maps = tuple(
            torch.where(m < len(other), m, -1).to(self.run.device)
            for m, other in zip(maps, means[::-1], strict=True)
        )

    def partners(self, labels: Pair) -> Pair:
        """The other modality's cluster of every image of a batch, -1 without a partner."""
        return tuple(to_other[y] for to_other, y in zip(self.maps, labels, strict=True))

    def cross_term(self, features: Pair, labels: Pair, epoch: int) -> Terms:
        """Every cluster against the other modality's memory, sides changing with the epoch."""
        if self.maps is None:
            return {}
        targets = self.partners(labels)
        memories = self.memory_v, self.memory_r
        cross = alternate_contrast(epoch, memories, features, targets)
        return {"cross": (self.args.cross_weight, cross)}
