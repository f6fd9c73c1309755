"""The vocabulary of stages that cluster: what they extract, cluster, remember, match and draw.

:class:`ClusteringStage` is nobody's stage.  The stages of the papers are written in its words; each
shows its own ``refresh`` and ``iteration``, in the order of its paper.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import nn

from clustercontrast.association.choice import Clusters, associate
from clustercontrast.association.graph_matching import rewrites
from clustercontrast.association.unified import rows_of_partners
from clustercontrast.clustering.centroids import (
    balanced_centroids,
    centroids,
    farthest_members,
)
from clustercontrast.clustering.dbscan import dbscan
from clustercontrast.clustering.jaccard import balanced_jaccard
from clustercontrast.data import pseudo_labels
from clustercontrast.data.augment import View
from clustercontrast.data.batches import Batch, StreamPlan, labelled_batches
from clustercontrast.data.parts import disjoint_parts
from clustercontrast.engine.schedules import step_decay
from clustercontrast.engine.stage import HANDED_OVER, Stage, Terms
from clustercontrast.evaluation.diagnostics import (
    association_recall,
    clustering_quality,
    matching_quality,
)
from clustercontrast.evaluation.features import extract
from clustercontrast.losses.alternate import alternate_contrast
from clustercontrast.memories.cluster import ClusterMemory, HybridMemory
from clustercontrast.methods import refusals
from clustercontrast.methods.clusters import (
    cluster,
    mixed_clusters,
    neighbour_search,
    spread,
    taken,
)
from clustercontrast.methods.encoder import Encoder, build_encoder
from clustercontrast.methods.stand_ins import CLUSTERING
from clustercontrast.models import weights
from clustercontrast.processes import ranks

Pair = tuple[torch.Tensor, torch.Tensor]
Labels = tuple[np.ndarray, np.ndarray]
Memory = ClusterMemory | HybridMemory


class ClusteringStage(Stage):
    """Words of the stages that cluster the training images of both modalities.

    Attributes:
        encoder: the trained network.
        visible_memory, infrared_memory: of the clusters of either modality.
        joint_memory: of the clusters that hold both; None while there are none.
        maps: to_infrared (C_v,), to_visible (C_r,), on the CPU; None without matching.
        one_label_space: equal labels of both modalities mean one identity.
    """

    retrieval = "encoder"
    stand_ins = CLUSTERING
    one_label_space: ClassVar[bool] = False
    joint_memory: Memory | None = None
    maps: Pair | None = None
    _parts_of: tuple[int, tuple[np.ndarray, ...]] | None = None  # epoch, parts
    _extracting: nn.Module | None = None  # the network that every refresh extracts with
    _extracted: Pair | None = None  # its features, while its weights stand

    def setup(self) -> None:
        self.check_flags()
        self.encoder = self.add("encoder", self.build_encoder())
        self.load_initial_weights()
        self.optimise_with_adam(self.encoder)

    # --- network and optimiser ---

    def build_encoder(self, shallow: bool = False) -> Encoder:
        """The network that the flags describe; ``shallow``: with the ViT's shallow feature."""
        return build_encoder(self.args, shallow)

    def load_initial_weights(self) -> None:
        """Initial weights of the encoder; a later stage may take them from an earlier one."""
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
        a = self.args
        adam = torch.optim.Adam(trained, a.lr, weight_decay=a.weight_decay, fused=True)
        self.optimise("encoder", adam, step_decay(a.step_size))

    # --- features, labels, centroids ---

    @property
    def clusterer(self) -> nn.Module:
        """The network whose features are clustered."""
        return self.encoder

    def extract(self, network: nn.Module, rows: Sequence[torch.Tensor] | None = None) -> Pair:
        """Clustering features of the training images: (N_v, d), (N_r, d), norm at most 1.

        Those of all images are remembered until training goes on: evaluation and the next
        ``refresh`` share them.

        Args:
            network: extracts.
            rows: of the visible and the infrared images (n,) int64; all by default.
        """
        if rows is None and self._extracting is network and self._extracted is not None:
            return self._extracted
        images = self.data.visible, self.data.infrared
        with self.run.timed("features"), self.evaluating(network):
            features = tuple(
                extract(network, own, self.args.test_batch, some)
                for own, some in zip(images, rows or (None, None), strict=True)
            )
        if rows is None:
            self._extracting, self._extracted = network, features
        return features

    def features_at(self, rows: Pair) -> Pair | None:
        network, is_last = self.networks[self.retrieval], self.epoch == self.epochs[-1]
        if self._extracting is not network or (is_last and self._extracted is None):
            return None
        return tuple(f[own] for f, own in zip(self.extract(network), rows, strict=True))

    def pseudo_labels(self, features: Pair) -> Labels:
        """The labels that the stage trains on: (N_v,), (N_r,) int64, -1 for outliers.

        Here those of the clusters; a stage that makes others of them says so.  ``refresh`` trains
        on them and :meth:`export_labels` writes them.
        """
        return self.cluster_each(features)

    def cluster_each(self, features: Pair) -> Labels:
        """Clusters of either modality, or those that ``--pseudo-labels`` names in their place.

        Returns:
            (N_v,), (N_r,) int64 without gaps, -1 for outliers and for visible images that are not
            in this epoch's part; clusters are numbered in the order of the part.
        """
        a, (f_v, f_r) = self.args, features
        if a.pseudo_labels:
            return self.imported[0]
        rows = self.visible_rows
        y_v = cluster("visible", taken(f_v, rows), a.k1_visible, a.eps_visible, self)
        y_r = cluster("infrared", f_r, a.k1, a.eps_infrared, self)
        return spread(y_v, rows, len(f_v)), y_r

    @property
    def visible_parts(self) -> tuple[np.ndarray, ...]:
        """Disjoint parts of the visible images, drawn once per epoch (``--visible-share``)."""
        if self._parts_of is None or self._parts_of[0] != self.epoch:
            share, images = self.args.visible_share, len(self.data.visible)
            self._parts_of = self.epoch, disjoint_parts(images, share, self.run.generator)
        return self._parts_of[1]

    @property
    def visible_rows(self) -> np.ndarray:
        """Visible images that are clustered in this epoch, (n,) int64 in the order drawn."""
        return self.visible_parts[0]

    @property
    def joint_rows(self) -> np.ndarray:
        """Those of the joint clustering: another part than ``visible_rows`` (``--joint-half``)."""
        if self.args.visible_share == 1 or self.args.joint_half == "all":
            return np.arange(len(self.data.visible))
        return self.visible_parts[self.args.joint_half == "other"]

    @property
    def labels_file(self) -> Path:
        """The file of ``--pseudo-labels``."""
        return Path(self.args.pseudo_labels)

    @cached_property
    def imported(self) -> tuple[Labels, Pair | None]:
        """Labels and, if there are any, features of ``labels_file``, which is read once."""
        return ranks.first(
            lambda: pseudo_labels.load(self.labels_file, self.image_lists(), self.run.log.say)
        )

    def centroids(self, features: Pair, labels: Labels) -> Pair:
        """Cluster means of both modalities: (C_v, d), (C_r, d), not normalised."""
        return tuple(map(centroids, features, labels))

    def image_lists(self) -> tuple:
        """The lists of both modalities' training images, visible first."""
        return self.data.visible.index, self.data.infrared.index

    def use_labels(self, labels: Labels) -> None:
        """Train on these labels in this epoch; they are saved with the checkpoint."""
        self.labels = dict(zip(("visible", "infrared"), labels, strict=True))
        a = vars(self.args)
        is_part = a.get("visible_share", 1) < 1 and not a.get("pseudo_labels")
        self.clustered = {"visible_rows": self.visible_rows} if is_part else {}

    def export_labels(self, epoch: int) -> None:
        """After a stage's last epoch: features and labels of its final weights, as a file.

        Labels are those of all images, whatever ``--visible-share`` leaves out of an epoch.
        """
        if not self.args.export_labels or epoch != self.epochs[-1]:
            return
        self._parts_of = self.epoch, (np.arange(len(self.data.visible)),)
        features = self.extract(self.clusterer)
        labels = self.pseudo_labels(features)
        path = self.run.folder / self.name / pseudo_labels.FILE
        if ranks.is_first():
            pseudo_labels.save(path, self.image_lists(), labels, features, self.one_label_space)

    # --- memories and the modality's own contrast ---

    @property
    def memory_kind(self) -> str:
        """Kind of the memories: sequential, hard or hybrid (``--memory``)."""
        return self.args.memory

    def build_memories(self, features: Pair, labels: Labels, means: Pair) -> tuple[Memory, Memory]:
        """Memories of both modalities over the cluster means."""
        return tuple(
            self.build_memory(c, self.hard_prototypes(f, y, c))
            for f, y, c in zip(features, labels, means, strict=True)
        )

    def build_memory(self, c: torch.Tensor, hard: torch.Tensor) -> Memory:
        """A memory over centroids (C, d) and, if it is hybrid, hard prototypes (C, d)."""
        a, kind = self.args, self.memory_kind
        c, hard = (rows.to(self.run.device) for rows in (c, hard))
        ranks.equalise((c, hard))
        if kind != "hybrid":
            return ClusterMemory(
                c,
                a.temp,
                a.momentum,
                kind,
                a.memory_gradient,
                a.smooth,
                a.unit_prototypes,
            )
        return HybridMemory(
            c,
            hard,
            a.temp,
            a.momentum,
            hard_weight=a.hard_weight,
            centroid_weight=a.centroid_weight,
            hinge=a.hinge,
            gradient=a.memory_gradient,
            smoothing=a.smooth,
            unit=a.unit_prototypes,
            hard_update=a.hard_update,
            update_k=a.hard_update_k,
            against=a.hardest_against if "hardest_against" in a else "centroid",
        )

    def hard_prototypes(
        self, features: torch.Tensor, y: np.ndarray, c: torch.Tensor
    ) -> torch.Tensor:
        """Initial hard prototypes: centroids (released code), or farthest members (PCLHD Eq. 6)."""
        if self.memory_kind != "hybrid" or self.args.hard_init == "centroid":
            return c
        return farthest_members(features, y, c, self.args.hard_k)

    def own_terms(self, features: Pair, labels: Pair) -> Terms:
        """L_V and L_I: every modality against its own memory.

        Memories are rewritten during backward, the call made last first (divergence MEM-1): keep
        the order infrared, visible, and any cross-modality call after them.
        """
        (f_v, f_r), (y_v, y_r) = features, labels
        infrared = self.infrared_memory(f_r, y_r)
        return {"infrared": (1.0, infrared), "visible": (1.0, self.visible_memory(f_v, y_v))}

    # --- matching, and contrast across modalities ---

    def associate(self, clusters: Clusters) -> Pair:
        """Maps between the clusters of both modalities, as ``--association`` says.

        What the matching warns of is said in the log.
        """
        a = self.args
        options = a.vote_threshold, a.ot_regularisation, a.forget_last, a.matching_rounds
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            maps = ranks.first(lambda: associate(a.association, clusters, *options))
        for warning in found:
            self.run.log.say(f"warning, {self.run.position}: {warning.message}")
        return maps

    def match_clusters(self, features: Pair, labels: Labels, means: Pair) -> None:
        """Match the clusters of both modalities, or leave ``maps`` at None."""
        a, self.maps = self.args, None
        if a.association == "none" or not self.is_matched(*map(len, means)):
            return
        with self.run.timed("association"):
            if a.association == "cma":  # votes of all pairs of images
                features = tuple(f.to(self.run.device) for f in features)
            maps = self.associate(Clusters(features, labels, means))
        # MMM's released code may point beyond the last cluster of the other side (MMM-1).
        self.maps = tuple(
            torch.where(m < len(other), m, -1) for m, other in zip(maps, means[::-1], strict=True)
        )

    def is_matched(self, visible: int, infrared: int) -> bool:
        """Whether so many clusters are matched; the log says where official codes part ways."""
        counts = f"{self.run.position}: {visible} visible and {infrared} infrared clusters"
        if not self.args.match_always and visible < infrared:
            self.run.log.say(
                f"{counts}: not matched, no cross-modality contrast in this epoch (--match-always)"
            )
            return False
        if self.args.association == "pgm" and max(visible, infrared) >= 2 * min(visible, infrared):
            rewritten = rewrites(visible, infrared, self.args.matching_rounds)
            which = "a later round, as released" if rewritten else "round 1"
            self.run.log.say(
                f"{counts}, a ratio of two or more: the smaller side's partners are those of "
                f"{which} (--matching-rounds, PGM-4)"
            )
        return True

    def maps_between(self, means: Pair) -> Pair:
        """``maps``; without matching, -1 for every cluster of both modalities."""
        return self.maps or tuple(torch.full((len(own),), -1) for own in means)

    def partners(self, labels: Pair) -> Pair:
        """The other modality's cluster of every image of a batch, -1 without one; on the CPU."""
        return tuple(to_other[y] for to_other, y in zip(self.maps, labels, strict=True))

    def cross_term(self, features: Pair, labels: Pair, epoch: int) -> Terms:
        """L_cross: each cluster against the other modality's memory, sides changing by epoch."""
        if self.maps is None:
            return {}
        memories = tuple(map(self.across, (self.visible_memory, self.infrared_memory)))
        cross = alternate_contrast(epoch, memories, features, self.partners(labels))
        return {"cross": (self.args.cross_weight, cross)}

    def across(self, memory: Memory) -> Memory | Callable:
        """A memory as the other modality's features are contrasted with it; here as it is."""
        return memory

    # --- both modalities clustered together ---

    def joint_distances(self, features: Pair) -> csr_array:
        """Jaccard distances of both modalities, visible rows first, expanded evenly over them.

        Features (n_v, d), (N_r, d) are those of the images that are clustered.
        """
        a = self.args
        search = neighbour_search(self)
        return balanced_jaccard(*features, a.joint_k1, a.joint_k2, a.eps_joint, search)

    def joint_labels(self, features: Pair) -> np.ndarray:
        """Labels (N_v + N_r,) of both modalities clustered together, -1 for outliers.

        Visible images that are not in the part of the joint clustering count as outliers.
        """
        a, (f_v, f_r), rows = self.args, features, self.joint_rows
        with self.run.timed("clustering"):
            some = taken(f_v, rows), f_r
            distances = self.joint_distances(tuple(f.to(self.run.device) for f in some))
            y = ranks.first(lambda: dbscan(distances, a.eps_joint, a.min_samples))
        return np.concatenate([spread(y[: len(rows)], rows, len(f_v)), y[len(rows) :]])

    def cluster_jointly(self, features: Pair) -> None:
        """Cluster both modalities together; remember and train on clusters that hold both."""
        self.joint_memory = None
        y, split = self.joint_labels(features), len(features[0])
        self.grade_joint_labels(y)
        mixed = mixed_clusters(y, split)
        if len(mixed) < 2:
            self.run.log.say(
                "fewer than two joint clusters hold both modalities: joint step left out of this "
                f"epoch (raise --eps-joint, now {self.args.eps_joint}, if that goes on)"
            )
            return
        c = balanced_centroids(*features, y)
        self.joint_memory = self.build_memory(c, c)
        y = np.where(np.isin(y, mixed), y, -1)
        self.labels |= {"joint_visible": y[:split], "joint_infrared": y[split:]}

    def joint_terms(self, batch: Batch) -> Terms:
        """L_joint: both modalities against the joint memory, seen by the weights just stepped."""
        visible, infrared = batch.joint_visible, batch.joint_infrared
        f_v, f_r = self.encoder(visible.images, infrared.images)
        joint_infrared = self.joint_memory(f_r, infrared.labels)
        joint_visible = self.joint_memory(f_v, visible.labels)
        return {"joint_infrared": (1.0, joint_infrared), "joint_visible": (1.0, joint_visible)}

    # --- batches ---

    def batches(self) -> Iterator[Batch]:
        """The epoch's batches, drawn by the labels in use; the weights move from here on."""
        self._extracted = None
        return labelled_batches(self.plans(), self.run.generator, self.iterations)

    @property
    def iterations(self) -> int:
        """Batches of an epoch: ``--iters``, or, where that is 0, one pass over the clusters.

        A pass shows K images of every infrared cluster that is trained on; what does not fill a
        batch is left over (COMMON-24).  It is known when the epoch's labels are in use.
        """
        return self.args.iters or self.iterations_of_a_pass

    @property
    def iterations_of_a_pass(self) -> int:
        """Batches of one pass over the infrared clusters in use."""
        a, y = self.args, self.labels["infrared"]
        clusters = len(np.unique(y[y >= 0]))
        return max(1, clusters * a.num_instances // a.batch_size)

    def plans(self) -> dict[str, StreamPlan]:
        """How to make a stream of batches for every list of labels in use."""
        a, found = self.args, {}
        for name, labels in self.labels.items():
            is_visible = name.endswith("visible")
            images = self.data.visible if is_visible else self.data.infrared
            size = a.batch_visible if is_visible else a.batch_size
            views = self.views(is_visible)
            found[name] = StreamPlan(images, labels, views, size, a.num_instances, a.cam)
        return found

    def views(self, is_visible: bool) -> tuple[View, ...]:
        """Views of the images of a modality: two of visible images, one of infrared ones."""
        a = self.args
        shared = {"erasing": a.erasing, "padding": a.padding, "flip": a.flip}
        if not is_visible:
            return (View(jitter=a.jitter_infrared, channels="adaptive_gray", **shared),)
        exchanged = View(jitter=a.jitter_exchanged, channels="exchange", **shared)
        return View(jitter=a.jitter_visible, **shared), exchanged

    # --- flags that do not go together ---

    def check_flags(self) -> None:
        """Refuse what the stage cannot do."""
        refusals.check_batches(self.args)
        refusals.check_neighbours(self.args)
        refusals.check_share(self.args, len(self.data.visible))

    # --- for the log alone; here and nowhere else, true identities are read in training ---

    def grade_labels(self, labels: Labels, maps: Pair | None = None) -> None:
        """Grade labels and, where clusters are matched, the maps between them."""
        (y_v, y_r), (true_v, true_r) = labels, self.identities
        seen = y_v >= 0
        seen[self.clustered.get("visible_rows", ...)] = True  # the others were not clustered
        y_v, true_v = y_v[seen], true_v[seen]
        self.facts = {
            "visible": clustering_quality(y_v, true_v),
            "infrared": clustering_quality(y_r, true_r),
        }
        if maps is not None:
            maps = tuple(m.numpy() for m in maps)
            self.facts |= matching_quality((y_v, y_r), (true_v, true_r), maps)

    def grade_candidates(self, labels: Labels, likely: np.ndarray) -> None:
        """Grade the matching and rows (C, n), visible ones first, that a teacher finds likely."""
        partners = self.maps and rows_of_partners(*self.maps).numpy()[:, None]
        self.facts["association"] = association_recall(labels, self.identities, partners, likely)

    @property
    def identities(self) -> Labels:
        """True identities of both modalities' training images, -1 where they are unknown."""
        return tuple(images.identities for images in self.image_lists())

    def grade_joint_labels(self, y: np.ndarray) -> None:
        """Grade labels (N_v + N_r,) of both modalities clustered together."""
        seen = np.concatenate([self.joint_rows, np.arange(len(self.data.visible), len(y))])
        mixed = len(mixed_clusters(y, len(self.data.visible)))
        self.facts |= {
            "joint_clusters": clustering_quality(y[seen], np.concatenate(self.identities)[seen]),
            "mixed_clusters": mixed,
            "association_rate": mixed / max(1, y.max(initial=-1) + 1),
        }
