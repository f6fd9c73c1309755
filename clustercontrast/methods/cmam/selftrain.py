"""Stage 3 of CMAM-UDA: mutual self-training on the target, without a label.

Step by step: docs/methods/cmam.md#self-training.

M_joint reads visible (j1) and infrared images (j3), M_gray the fakes of the visible ones (g2) and
the infrared ones (g3).  Both describe every image together; the images of each modality are
clustered, the clusters matched one to one (Eq. 16), and both networks learn the classes found
(Eq. 17) and, in both directions, from each other (Eq. 18, 19).  M_joint alone is the result.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F

from clustercontrast.association.graph_matching import maximum_matching, shared_labels
from clustercontrast.clustering.centroids import balanced_centroids, centroids
from clustercontrast.clustering.kmeans import KMeans, kmeans
from clustercontrast.data import pseudo_labels
from clustercontrast.data.batches import Batch, TwinPlan, twin_batches
from clustercontrast.data.sampler import ClassBatches
from clustercontrast.data.samples import ImageList
from clustercontrast.engine.schedules import warm_flat_cosine
from clustercontrast.engine.stage import HANDED_OVER, Terms
from clustercontrast.evaluation.diagnostics import clustering_quality
from clustercontrast.files import UserError
from clustercontrast.memories.proxy import ProxyMemory
from clustercontrast.methods.cmam.mutual import Mutual, Relation, View, streams_of, visible_input
from clustercontrast.methods.cmam.stand_ins import SELF_TRAINING
from clustercontrast.processes import ranks

Labels = tuple[np.ndarray, np.ndarray]


class SelfTrain(Mutual):
    """Cluster, match, classify with proxies, fuse the knowledge of both networks."""

    name, is_last_epoch, stand_ins = "selftrain", False, SELF_TRAINING

    @property
    def starts_from(self) -> dict[str, str]:
        """The networks of stage 2."""
        return {name: f"pretrain.{name}" for name in self.names}

    def setup(self) -> None:
        self.views = [
            (name, stream)
            for name in self.names
            for stream in (visible_input(self.args, name), "infrared")
        ]
        self.relations = self._relations()
        self.setup_networks()
        a = self.args
        total = (a.epochs - 1) * self.iterations + self.last_iterations
        shape = (a.warm_iterations, a.first_lr / a.lr, a.flat_iterations, total, a.last_lr / a.lr)
        schedule = warm_flat_cosine(self.iterations, *shape)
        first = self.epochs[0]
        self.optimise_with_adam(lambda epoch, iteration: schedule(epoch - first, iteration))
        self.arrays = self._arrays()

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        self.step = (epoch - self.epochs[0]) * super().iterations
        self.is_last_epoch = epoch == self.epochs[-1]
        features = self.features_of_views()
        with self.run.timed("clustering"):
            labels = self.pseudo_labels(features, epoch)  # Eq. 16
        self.use_labels(labels)
        self.grade_labels(labels)
        self.banks = self.memories(self.proxies(features, labels))
        yield self.batches(labels)
        self.export_labels(epoch)

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L_uda = λ_BPP L_BPP + λ_BSP L_BSP + L_PID of every view (Eq. 20)."""
        self.freeze_trunk(self.step)
        seen = self.see(batch, self.views)
        terms = self.identification(seen, batch)  # Eq. 17
        terms |= self.preservation(seen, self.relations, True)  # Eq. 18, 19
        yield "both", terms | self.exponents()
        self.step += 1
        for name, bank in self.banks.items():
            own = [view for view in seen if self._bank(view) == name]
            bank.update([(seen[v].features.detach(), batch.streams[v[1]].labels) for v in own])

    # --- pseudo labels ---

    def pseudo_labels(self, features: dict[View, torch.Tensor], epoch: int) -> Labels:
        """Labels (N_v,), (N_r,) int64 of one space, from k-means and matching."""
        return ranks.first(lambda: self._matched_clusters(features, epoch))

    def _matched_clusters(self, features: dict[View, torch.Tensor], epoch: int) -> Labels:
        a = self.args
        visible, infrared = self.described(features)
        if a.matching == "joint-kmeans":
            y = self._kmeans(torch.cat([visible, infrared]), a.clusters, epoch).labels
            return _compact(y[: len(visible)], y[len(visible) :])
        found_v = self._kmeans(visible, a.clusters, epoch)
        found_r = self._kmeans(infrared, a.clusters_infrared, epoch)
        _, to_visible = maximum_matching(found_v.centres, found_r.centres, a.match_similarity)
        return _compact(*shared_labels(found_v.labels, found_r.labels, to_visible, a.clusters))

    def features_of_views(self) -> dict[View, torch.Tensor]:
        """Features f of all training images in every view."""
        return {view: self.features_of(view[0], self.arrays[view[1]]) for view in self.views}

    def export_labels(self, epoch: int) -> None:
        """After the last epoch: the labels that another one would train on, and features."""
        if not self.args.export_labels or epoch != self.epochs[-1]:
            return
        features = self.features_of_views()
        labels = self.pseudo_labels(features, epoch + 1)
        path, described = self.run.folder / self.name / pseudo_labels.FILE, self.described(features)
        if ranks.is_first():
            pseudo_labels.save(path, self.image_lists(), labels, described, one_label_space=True)

    def image_lists(self) -> tuple[ImageList, ImageList]:
        """The lists of both modalities' training images, visible first."""
        return self.data.visible.index, self.data.infrared.index

    def described(self, features: dict[View, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of both networks side by side, [f^j1; f^g2] and [f^j3; f^g3] (Section V)."""
        parts: dict[bool, list[torch.Tensor]] = {False: [], True: []}
        for (_, stream), f in features.items():
            halves = F.normalize(f) if self.args.concatenation == "each" else f
            parts[stream == "infrared"].append(halves)
        both = torch.cat(parts[False], dim=1), torch.cat(parts[True], dim=1)
        return tuple(map(F.normalize, both)) if self.args.concatenation == "whole" else both

    def _kmeans(self, rows: torch.Tensor, clusters: int, epoch: int) -> KMeans:
        if clusters > len(rows):
            raise UserError(
                f"--clusters {clusters} is more than the {len(rows)} images of a modality: lower "
                "it, or --clusters-infrared"
            )
        generator = torch.Generator().manual_seed(self.args.seed + epoch)
        return kmeans(rows.to(self.run.device), clusters, generator)

    def use_labels(self, labels: Labels) -> None:
        """Train on these labels in this epoch; they are saved with the checkpoint."""
        self.labels = dict(zip(("visible", "infrared"), labels, strict=True))

    def grade_labels(self, labels: Labels) -> None:
        """Grade the labels, for the log alone."""
        lists = self.image_lists()
        self.facts = {
            name: clustering_quality(y, images.identities)
            for (name, y), images in zip(self.labels.items(), lists, strict=True)
        }
        identities = np.concatenate([images.identities for images in lists])
        self.facts["joint"] = clustering_quality(np.concatenate(labels), identities)

    # --- proxies ---

    def proxies(
        self, features: dict[View, torch.Tensor], labels: Labels
    ) -> dict[str, torch.Tensor]:
        """First rows (C, d) of every bank, from the features that were clustered."""
        banks = {}
        for network, stream in self.views:
            own = [F.normalize(f) for (name, _), f in features.items() if name == network]
            rows = _proxies(own, labels, self.args.proxy_init)
            if self.args.bank == "per-modality":
                number = int(stream == "infrared")
                rows = _replaced(rows, own[number], labels[number])
            banks[self._bank((network, stream))] = rows
        return banks

    def memories(self, proxies: dict[str, torch.Tensor]) -> dict[str, ProxyMemory]:
        """C_j' and C_g': classifiers whose rows follow the features they classify."""
        a, rows = self.args, {n: own.to(self.run.device) for n, own in proxies.items()}
        ranks.equalise(rows.values())
        return {n: ProxyMemory(own, a.momentum, a.proxy_update) for n, own in rows.items()}

    def _bank(self, view: View) -> str:
        """The bank that scores a view: one per network, or one per network and modality (A16)."""
        return view[0] if self.args.bank == "shared" else "_".join(view)

    def cosines(self, view: View, features: torch.Tensor) -> torch.Tensor:
        return self.banks[self._bank(view)].cosines(features)

    def classify(self, cosines: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Logits (B, C): the circle head, or cosines over a temperature (A27)."""
        if self.args.head == "cosine":
            return cosines / self.args.temp
        return super().classify(cosines, labels)

    # --- batches and views ---

    @property
    def iterations(self) -> int:
        """Batches of the epoch at hand."""
        return self.last_iterations if self.is_last_epoch else super().iterations

    @property
    def last_iterations(self) -> int:
        """Batches after the last re-clustering (A19)."""
        return self.args.last_iters or super().iterations

    @property
    def images_of_a_pass(self) -> int:
        """Half of all, rounded up: a batch has as many visible as infrared images."""
        return -(-(len(self.data.visible) + len(self.data.infrared)) // 2)

    def batches(self, labels: Labels) -> Iterator[Batch]:
        """P classes with K images per modality; visible images come with their fakes."""
        a = self.args
        people = a.batch_size // a.num_instances
        is_shared = a.class_draw == "shared"
        sampler = ClassBatches(labels, people, a.num_instances, self.batch_seed(), is_shared)
        visible = {name: self.arrays[name] for name in self.arrays if name != "infrared"}
        plans = [
            TwinPlan(visible, labels[0]),
            TwinPlan({"infrared": self.arrays["infrared"]}, labels[1]),
        ]
        view, generator = self.twin_view(), self.run.generator
        return twin_batches(plans, sampler, view, generator, self.iterations)

    def triplet_groups(self, seen: Iterable[View]) -> dict[str, list[View]]:
        """Each view on its own, or both modalities of a network together (--cross-triplet)."""
        if not self.args.cross_triplet:
            return super().triplet_groups(seen)
        return {name: [view for view in seen if view[0] == name] for name in self.names}

    def _arrays(self) -> dict[str, object]:
        """The target's training images by stream."""
        known = {"visible": self.data.visible, "infrared": self.data.infrared}
        return {
            stream: known[stream]
            if stream in known
            else self.fakes("train_visible", self.data.visible)
            for stream in streams_of(self.views)
        }

    def _relations(self) -> list[Relation]:
        """The two networks on one modality, each learning from the other (Eq. 18, 19)."""
        if len(self.names) < 2:
            return []
        joint, gray = ([view for view in self.views if view[0] == name] for name in self.names)
        modalities = ("visible", "infrared")
        pairs = zip(modalities, joint, gray, strict=True)
        return [Relation(name, one, other, False) for name, one, other in pairs]

    def initial_weights(self) -> str | None:
        """Stage 2's, which the pipeline hands over; or those that --start-from names."""
        source = self.args.start_from
        if source in HANDED_OVER:
            return None
        return self.args.pretrained if source == "pretrained" else source


def _compact(visible: np.ndarray, infrared: np.ndarray) -> Labels:
    """Labels without gaps; k-means leaves one where more clusters than different images exist."""
    _, labels = np.unique(np.concatenate([visible, infrared]), return_inverse=True)
    return labels[: len(visible)], labels[len(visible) :]


def _proxies(features: list[torch.Tensor], labels: Labels, kind: str) -> torch.Tensor:
    """Initial proxies (C, d): means of modality means, or of all images (A20)."""
    joint = np.concatenate(labels)
    if kind == "pooled":
        return centroids(torch.cat(features), joint)
    return balanced_centroids(*features, joint)


def _replaced(rows: torch.Tensor, features: torch.Tensor, labels: np.ndarray) -> torch.Tensor:
    """``rows`` with the mean of ``features`` wherever a class has any."""
    present, compact = np.unique(labels, return_inverse=True)
    replaced = rows.clone()
    replaced[torch.from_numpy(present)] = centroids(features, compact)
    return replaced
