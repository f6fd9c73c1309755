"""Clusters of both modalities together, by a distance that keeps one of them from filling them.

The words that BMIL and "united" share; nobody's stage.
"""

import numpy as np
import torch
from scipy.sparse import csr_array

from clustercontrast.clustering import approximate_search
from clustercontrast.clustering.centroids import Proxies
from clustercontrast.clustering.jaccard import jaccard, modality_jaccard
from clustercontrast.files import UserError
from clustercontrast.memories.split import SplitMemory
from clustercontrast.methods.clustering_stage import ClusteringStage, Pair
from clustercontrast.methods.clusters import can_contrast, mixed_clusters, neighbour_search
from clustercontrast.processes import ranks

OF_EITHER_MODALITY = ("modality", "camera")
"""Distances by as many neighbours of one modality as of the other."""


class JointClusters(ClusteringStage):
    """A stage that clusters both modalities together, and remembers the proxies of these clusters.

    Attributes:
        proxies: of the joint clusters, in the order of the joint memory's rows.
    """

    proxies: Proxies

    def setup(self) -> None:
        super().setup()
        a = self.args
        if a.joint_distance in OF_EITHER_MODALITY and a.neighbours in approximate_search.KINDS:
            self.run.log.say(
                f"--neighbours {a.neighbours} is of the clusterings of one modality; neighbours of "
                "the joint one are searched exactly, among the images of either modality"
            )

    def check_flags(self) -> None:
        """Refuse, besides what every stage refuses, neighbours that are not there."""
        super().check_flags()
        a = self.args
        if a.joint_distance in OF_EITHER_MODALITY and a.joint_k1 < 2:
            raise UserError(
                f"--joint-k1 {a.joint_k1} leaves no neighbour of either modality, which have half "
                "of them each: give 2 or more"
            )
        if a.joint_distance == "modality" and a.joint_k2 > a.joint_k1 // 2:
            raise UserError(
                f"--joint-k2 {a.joint_k2} is more than half of --joint-k1 {a.joint_k1}, the "
                "neighbours of either modality: the expansion is part of them"
            )

    def joint_distances(self, features: Pair) -> csr_array:
        """Modality-aware Jaccard distance, or what ``--joint-distance`` puts in its place."""
        a, search = self.args, neighbour_search(self)
        if a.joint_distance == "balanced":
            return super().joint_distances(features)
        if a.joint_distance == "plain":
            return jaccard(torch.cat(features), a.joint_k1, a.joint_k2, a.eps_joint, search)
        return modality_jaccard(*features, a.joint_k1, a.joint_k2, a.eps_joint, a.joint_rank)

    def cluster_jointly(self, features: Pair) -> None:
        """Cluster both modalities together; remember and train on what is no outlier."""
        self.joint_memory = None
        y, split = self.joint_labels(features), len(features[0])
        self.grade_joint_labels(y)
        y = self.trained_clusters(y, split)
        visible, infrared = y[:split], y[split:]
        if not can_contrast(y, split):
            self.run.log.say(
                "fewer than two joint clusters, or one modality has outliers alone: joint step "
                f"left out of this epoch (change --eps-joint, now {self.args.eps_joint}, if that "
                "goes on)"
            )
            return
        self.remember_jointly(features, y)
        self.labels |= {"joint_visible": visible, "joint_infrared": infrared}

    def trained_clusters(self, y: np.ndarray, split: int) -> np.ndarray:
        """Joint labels without gaps; ``--joint-mixed-only`` makes outliers of the other clusters.

        Clusters of one modality are kept in the released code (BMIL-13).
        """
        if not self.args.joint_mixed_only:
            return y
        mixed = mixed_clusters(y, split)
        return np.where(np.isin(y, mixed), np.searchsorted(mixed, y), -1)

    def remember_jointly(self, features: Pair, y: np.ndarray) -> None:
        """Make the joint memory of clusters y (N_v + N_r,) without gaps, -1 = outlier."""
        raise NotImplementedError

    def remember(self, proxies: Proxies, asked: str = "both") -> None:
        """A joint memory of mean and hard rows over proxies; ``asked``: see ``SplitMemory``."""
        a, means = self.args, proxies.means.to(self.run.device)
        ranks.equalise((means,))
        self.proxies = proxies
        self.joint_memory = SplitMemory(
            means,
            proxies.clusters,
            a.temp,
            a.momentum,
            a.joint_negatives,
            a.memory_gradient,
            a.unit_prototypes,
            asked,
        )
        self.facts["proxies"] = len(means)
