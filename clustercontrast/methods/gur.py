"""GUR (ICCV 2023).

Towards Grand Unified Representation Learning for Unsupervised Visible-Infrared Person
Re-Identification.

One stage, "bottomup".  Every epoch learns bottom-up, in up to three steps; each extracts features,
clusters and trains on what it has found, with the same two losses::

    A  intra-camera     clusters within one visible and one infrared camera, pair by pair
    B  inter-camera     clusters within a modality
    C  inter-modality   clusters of both modalities together

What one step has learnt describes the images to the next: cross-memory association embedding (CAE)
replaces a feature by its resemblance to the rows of the cameras' memories (B), then to those of
both modalities' memories (C).  From a certain epoch on, cross-modality label unification (CLU)
gives visible images the labels of infrared clusters in B; both modalities then share the infrared
memory.

Without camera labels – RegDB, and GUR* elsewhere – there is no step A, and B clusters features.
The paper's text was not among the sources: what is here is what the released code does.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from scipy.sparse import csr_array

from clustercontrast.association.label_unification import unified_labels
from clustercontrast.clustering.association_embedding import association_embedding, released_sizes
from clustercontrast.clustering.centroids import centroids
from clustercontrast.clustering.jaccard import jaccard
from clustercontrast.data.batches import Batch
from clustercontrast.engine.stage import Terms
from clustercontrast.evaluation.diagnostics import clustering_quality
from clustercontrast.files import UserError
from clustercontrast.methods.clustering_stage import ClusteringStage, Labels, Pair
from clustercontrast.methods.clusters import can_contrast, cluster, neighbour_search, spread, taken
from clustercontrast.methods.stand_ins import UNIFYING
from clustercontrast.processes import ranks

MODALITIES = "visible", "infrared"
ByCamera = tuple[dict, dict]  # of visible and infrared cameras: number -> what is known of it


class BottomUp(ClusteringStage):
    """Bottom-up learning, from cameras to modalities to both modalities together.

    Attributes:
        step: that is at hand, as its flags and terms begin: "camera_" (A), "" (B) or "joint_" (C).
        camera_rows: memory rows (n, d) of the cameras as A has left them; empty without A.
        camera_labels: labels (n,) of the cameras' images.
        own_clusters: labels of B, before visible labels are unified.
        own_memories: of these clusters, visible and infrared.
        one_label_space: CLU has unified the labels of this epoch.
        is_smoothed: it has smoothed them, too.
    """

    name, stand_ins = "bottomup", UNIFYING
    step = ""
    one_label_space = is_smoothed = False

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        a = self.args
        self.one_label_space, self.is_smoothed = epoch >= a.unify_from, epoch >= a.smooth_from
        self.camera_rows, self.camera_labels = ({}, {}), ({}, {})
        if a.intra_camera:
            yield from self.intra_camera()
        yield from self.inter_camera()
        if epoch < a.joint_epochs:
            yield from self.inter_modality()
        self.export_labels(epoch)

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L = L_V + L_R, by the memories of the step at hand."""
        labels = batch.visible.labels, batch.infrared.labels
        features = self.encoder(batch.visible.images, batch.infrared.images)  # (2B, d), (B, d)
        terms = self.own_terms(features, labels)
        yield "encoder", {f"{self.step}{name}": term for name, term in terms.items()}

    @property
    def iterations(self) -> int:
        """Batches of the step at hand; of a flag that is 0, one pass over its clusters."""
        return getattr(self.args, f"{self.step}iters") or self.iterations_of_a_pass

    # --- A: intra-camera ---

    def intra_camera(self) -> Iterator[Iterator[Batch]]:
        """Every visible camera with every infrared one; what is kept of a camera is its last."""
        self.step, (of_visible, of_infrared) = "camera_", self.camera_rows
        for v, r in itertools.product(*self.cameras):
            yield self.batches_of_cameras((v, r))
            of_visible[v], of_infrared[r] = self.visible_memory.rows, self.infrared_memory.rows

    def batches_of_cameras(self, pair: tuple[int, int]) -> Iterator[Batch]:
        """Cluster the images of a visible and an infrared camera and train on them."""
        rows = tuple(own[c] for own, c in zip(self.cameras, pair, strict=True))
        features = self.extract(self.encoder, tuple(map(torch.from_numpy, rows)))
        labels = self.cluster_cameras(features, pair)
        means = self.centroids(features, labels)
        self.visible_memory, self.infrared_memory = self.build_memories(features, labels, means)
        self.use_labels(tuple(map(spread, labels, rows, map(len, self.image_lists()))))
        return self.batches()

    def cluster_cameras(self, features: Pair, pair: tuple[int, int]) -> Labels:
        """Clusters (n_v,), (n_r,) int64 of the images of two cameras, -1 for outliers."""
        a = self.args
        for f, name, k1, camera, found in zip(
            features, MODALITIES, (a.k1_visible, a.k1), pair, self.camera_labels, strict=True
        ):
            name = f"{name} camera {camera}"
            found[camera] = cluster(name, f, k1, a.eps_camera, self, "--eps-camera")
        return tuple(found[camera] for found, camera in zip(self.camera_labels, pair, strict=True))

    @property
    def cameras(self) -> ByCamera:
        """Rows (n,) int64 of the images of every camera that this epoch clusters."""
        rows = self.visible_rows, np.arange(len(self.data.infrared))
        numbers = (
            images.cameras[own] for images, own in zip(self.image_lists(), rows, strict=True)
        )
        return tuple(
            {int(c): own[number == c] for c in np.unique(number)}
            for own, number in zip(rows, numbers, strict=True)
        )

    # --- B: inter-camera ---

    def inter_camera(self) -> Iterator[Iterator[Batch]]:
        """Either modality with its own memory; unified, both with the infrared one."""
        self.step = ""
        features = self.extract(self.encoder)
        labels = self.pseudo_labels(features)
        means = self.centroids(features, self.own_clusters)  # of features, not of embeddings
        self.own_memories = self.build_memories(features, self.own_clusters, means)
        self.visible_memory, self.infrared_memory = self.own_memories
        if self.one_label_space:
            self.visible_memory = self.infrared_memory
        self.use_labels(labels)
        self.grade(labels)
        yield self.batches()

    def pseudo_labels(self, features: Pair) -> Labels:
        """Clusters of either modality, left in ``own_clusters``; then visible labels by CLU."""
        self.own_clusters = y_v, y_r = self.cluster_each(features)
        return (self.unify(features, y_r) if self.one_label_space else y_v), y_r

    def cluster_each(self, features: Pair) -> Labels:
        """Clusters of the association embeddings; without step A, of the features."""
        a, rows, size = self.args, self.visible_rows, len(features[0])
        features = taken(features[0], rows), features[1]
        if self.camera_rows[0]:
            regroup = released_sizes if a.released_groups else list
            groups = (list(bank.values()) for bank in self.camera_rows)
            features = tuple(
                self.embedded(f, own, regroup) for f, own in zip(features, groups, strict=True)
            )
        y_v = cluster("visible", features[0], a.k1_visible, a.eps_visible, self)
        y_r = cluster("infrared", features[1], a.k1, a.eps_infrared, self)
        return spread(y_v, rows, size), y_r

    def embedded(
        self,
        features: torch.Tensor,
        groups: Sequence[torch.Tensor],
        regroup: Callable[[list[int]], list[int]] = list,
    ) -> torch.Tensor:
        """CAE: features by their resemblance to groups of memory rows."""
        bank = torch.cat(list(groups))
        ranks.equalise((bank,))
        sizes = regroup([len(rows) for rows in groups])
        return association_embedding(features.to(bank.device), bank, sizes, self.args.temp)

    def unify(self, features: Pair, y_r: np.ndarray) -> np.ndarray:
        """CLU: an infrared label for every visible image, -1 for none."""
        k, rows = self.args.unify_neighbours, self.visible_rows
        f_v, f_r = (f.to(self.run.device) for f in (taken(features[0], rows), features[1]))
        with self.run.timed("association"):
            y = ranks.first(lambda: unified_labels(f_v, f_r, y_r, k, self.is_smoothed))
        if y.max(initial=-1) < 0:
            raise UserError(
                f"label unification left every visible image without a label {self.run.position}: "
                f"lower --unify-neighbours (now {k}), raise --eps-infrared (now "
                f"{self.args.eps_infrared}) so that fewer infrared images are outliers, or begin "
                "later (--unify-from, --smooth-from); the epochs before are saved"
            )
        return spread(y, rows, len(features[0]))

    # --- C: inter-modality ---

    def inter_modality(self) -> Iterator[Iterator[Batch]]:
        """Both modalities with one memory, of the clusters of all images."""
        self.step, labels = "joint_", self.labels
        features = self.extract(self.encoder)
        y = self.joint_labels(features)
        self.grade_joint_labels(y)
        y_v, y_r = np.split(y, [len(features[0])])
        if not can_contrast(y, len(features[0])):
            self.run.log.say(
                f"{self.run.position}: fewer than two joint clusters, or one modality has outliers "
                f"alone: no inter-modality step (--eps-joint, now {self.args.eps_joint})"
            )
            return
        c = centroids(torch.cat(features), y)  # every image counts alike
        self.visible_memory = self.infrared_memory = self.build_memory(c, c)
        self.use_labels((y_v, y_r))
        yield self.batches()
        self.labels = labels | {"joint_visible": y_v, "joint_infrared": y_r}  # to be saved

    @property
    def joint_rows(self) -> np.ndarray:
        """Visible images of the joint clustering: those of all steps."""
        return self.visible_rows

    def joint_distances(self, features: Pair) -> csr_array:
        """Jaccard distances of the association embeddings of all images, visible rows first."""
        a, search = self.args, neighbour_search(self)
        groups = [memory.rows for memory in self.own_memories]  # as B has left them
        rows = torch.cat([self.embedded(f, groups) for f in features])
        return jaccard(rows, a.k1, a.k2, a.eps_joint, search)

    # --- flags that do not go together; what is for the log alone ---

    def check_flags(self) -> None:
        super().check_flags()
        if not self.args.intra_camera:
            return
        for name, images in zip(MODALITIES, self.image_lists(), strict=True):
            if (images.cameras < 0).any():
                raise UserError(
                    f"some {name} training images have no camera number, which --intra-camera "
                    "needs: give --no-intra-camera, or cameras in the table of the images"
                )

    def grade(self, labels: Labels) -> None:
        """Grade the labels of A and B, and what CLU has made of them."""
        same = torch.arange(labels[1].max() + 1)
        self.grade_labels(labels, (same, same) if self.one_label_space else None)
        if self.one_label_space:
            rows = self.visible_rows
            own = clustering_quality(self.own_clusters[0][rows], self.identities[0][rows])
            self.facts["own_visible"] = own
        if self.camera_rows[0]:
            self.grade_cameras()

    def grade_cameras(self) -> None:
        """Grade the clusters within cameras, where an identity is another one in every camera."""
        for name, true, rows, labels in zip(
            MODALITIES, self.identities, self.cameras, self.camera_labels, strict=True
        ):
            number = np.repeat(np.arange(len(rows)), list(map(len, rows.values())))
            clusters = np.concatenate([labels[camera] for camera in rows])
            identities = true[np.concatenate(list(rows.values()))]
            apart = (
                np.where(own < 0, -1, own * len(rows) + number) for own in (clusters, identities)
            )
            self.facts[f"camera_{name}"] = clustering_quality(*apart)


STAGES = [BottomUp]
