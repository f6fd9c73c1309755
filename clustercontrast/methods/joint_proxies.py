"""The proxies of joint clusters: one per modality or camera, of clusters or of matches, and graded.

What :mod:`clustercontrast.methods.united` contrasts images with, and what its log says of it.
"""

from collections.abc import Iterator

import numpy as np
import torch
from scipy.sparse import csr_array

from clustercontrast.association.unified import rows_of_partners, unified_labels
from clustercontrast.clustering.centroids import (
    Proxies,
    balanced_centroids,
    group_proxies,
    modality_proxies,
)
from clustercontrast.clustering.jaccard import camera_groups, camera_jaccard
from clustercontrast.data.batches import Stream
from clustercontrast.evaluation.diagnostics import (
    association_recall,
    majority,
    modality_gap,
    teacher_quality,
)
from clustercontrast.files import UserError
from clustercontrast.methods.clustering_stage import Labels, Pair
from clustercontrast.methods.joint_clusters import JointClusters

Streams = tuple[Stream, Stream]  # visible, infrared
GRADED_ROWS = 4096  # images whose distributions over the proxies are held at a time


class JointProxies(JointClusters):
    """Joint clusters, whose proxies may be those of cameras, or clusters that are matched.

    Attributes:
        groups: (N_v,), (N_r,) int64 group of every image: its modality, or camera of a modality.
            Rows of the proxies of a group lie side by side.
    """

    def setup(self) -> None:
        super().setup()
        self.groups = self.groups_of_images()

    def joint_distances(self, features: Pair) -> csr_array:
        """Those of BMIL, or with an expansion that is even over cameras."""
        a = self.args
        if a.joint_distance != "camera":
            return super().joint_distances(features)
        of_visible, of_infrared = self.cameras
        cameras = of_visible[self.joint_rows], of_infrared
        return camera_jaccard(
            *features, cameras, a.joint_k1, a.camera_cap, a.eps_joint, a.joint_rank
        )

    def remember_jointly(self, features: Pair, y: np.ndarray) -> None:
        """A proxy of every joint cluster and group, or one row pair for each cluster."""
        if self.args.joint_memory == "hybrid":
            c, clusters = balanced_centroids(*features, y), torch.arange(y.max() + 1)
            proxies = Proxies(c, clusters, clusters[None])
        else:
            groups = np.concatenate(self.groups)
            proxies = group_proxies(torch.cat(features), y, groups).by_group()
        self.remember(proxies, self.args.joint_halves)
        self.grade_gap(features, y)
        self.grade_proxies(features, (y[: len(features[0])], y[len(features[0]) :]))

    def remember_matches(self, features: Pair, labels: Labels, means: Pair) -> None:
        """Clusters of either modality as proxies, joined by their matches (PoSeD)."""
        maps = self.maps_between(means)
        visible, infrared = map(len, means)
        rows = torch.full((2, max(visible, infrared)), -1)
        rows[0, :visible] = torch.arange(visible)
        rows[1, :infrared] = visible + torch.arange(infrared)
        proxies = Proxies(torch.cat(means), unified_labels(*maps), rows)
        self.remember(proxies, self.args.joint_halves)
        self.grade_proxies(features, labels)

    def groups_of_images(self) -> Labels:
        """Group of every image of both modalities, counted from 0, visible ones first."""
        a, (visible, infrared) = self.args, self.image_lists()
        split, size = len(visible.paths), len(visible.paths) + len(infrared.paths)
        if a.ties == "clusters" and a.joint_memory == "hybrid":
            groups = np.zeros(size, dtype=np.int64)
        elif a.ties == "clusters" and a.proxies == "camera":
            groups, _ = camera_groups(*self.cameras)
        else:
            groups = np.repeat([0, 1], [split, size - split])
        return groups[:split], groups[split:]

    @property
    def cameras(self) -> Labels:
        """(N_v,), (N_r,) camera of every image."""
        return tuple(images.cameras for images in self.image_lists())

    def proxies_of(self, streams: Streams) -> Pair:
        """Row q (2B,), (B,) of every image of a batch, every view counted; on the CPU."""
        return tuple(
            self.proxies.rows[groups_of(stream, own), stream.labels]
            for stream, own in zip(streams, self.groups, strict=True)
        )

    # --- flags that do not go together ---

    def check_flags(self) -> None:
        """Refuse, besides what joint clusters do, cameras that are not there."""
        super().check_flags()
        self.check_cameras()

    def check_cameras(self) -> None:
        """Refuse a distance or proxies by camera where each modality has a single one."""
        a = self.args
        by_camera = {"--joint-distance": a.joint_distance, "--proxies": a.proxies}
        flags = [name for name, value in by_camera.items() if value == "camera"]
        if not flags:
            return
        if a.ties == "matches" or (a.joint_memory == "hybrid" and a.proxies == "camera"):
            other = "--ties matches" if a.ties == "matches" else "--joint-memory hybrid"
            raise UserError(
                f"--variant {a.variant} says {flags[-1]} camera, which {other} leaves unread: "
                "leave one of them out"
            )
        unknown = sum(np.count_nonzero(own < 0) for own in self.cameras)
        if unknown:
            raise UserError(
                f"{flags[0]} camera needs the camera of every training image, and {unknown} have "
                f"none: fill them in, or leave {flags[0]} camera out"
            )
        if max(camera_groups(*self.cameras)[1]) < 2:
            raise UserError(
                f"{flags[0]} camera needs a modality with two cameras or more, and each has one "
                f"here: leave {flags[0]} camera, or the variant that says it, out"
            )

    # --- for the log alone ---

    def grade_gap(self, features: Pair, y: np.ndarray) -> None:
        """How far apart the two modalities of a joint cluster are."""
        proxies = modality_proxies(*features, y)
        mixed = proxies.rows[:, (proxies.rows >= 0).all(0)]
        means = (proxies.means[rows].numpy() for rows in mixed)
        self.facts["modality_gap"] = modality_gap(*means)

    def grade_proxies(self, features: Pair, labels: Labels) -> None:
        """What the teacher says of proxies and images, and which true pairs it finds."""
        a, rows = self.args, self.proxies.rows.numpy()
        if a.distil == "none" or len(rows) < 2:  # one row pair has no modality
            return
        own = tuple(
            np.where(y >= 0, rows[groups, y], -1)
            for groups, y in zip(self.groups, labels, strict=True)
        )
        self.facts["association"] = self.recall_of_proxies(own)
        self.facts["teacher"] = self.grade_teacher(features, own)

    def recall_of_proxies(self, own: Labels) -> dict[str, float]:
        """True pairs of a visible and an infrared proxy that clusters and teacher find."""
        c, _ = self.joint_memory.halves
        likely = self.distillation.likely(c, self.proxies.sizes).cpu().numpy()
        infrared = np.where(own[1] >= 0, own[1] - self.visible_proxies, -1)
        labels = own[0], infrared
        return association_recall(labels, self.identities, self.partners_of_proxies, likely)

    @property
    def partners_of_proxies(self) -> np.ndarray | None:
        """Rows (P, n) that clusters or matches tie to every proxy, -1 for none; None: no match."""
        if self.args.ties == "clusters":
            return self.proxies.rows[:, self.proxies.clusters].T.numpy()
        return self.maps and rows_of_partners(*self.maps).numpy()[:, None]

    def grade_teacher(self, features: Pair, own: Labels) -> dict[str, float]:
        """Means over the images of joint clusters, and over those of clusters of one modality."""
        rows, identities = np.concatenate(own), np.concatenate(self.identities)
        images = np.flatnonzero(rows >= 0)
        clusters = self.proxies.clusters.numpy()
        is_infrared = np.arange(len(clusters)) >= self.visible_proxies
        people = majority(rows, identities, len(clusters))
        parts = [
            teacher_quality(targets, rows[some], clusters, is_infrared, people, identities[some])
            for some, targets in self.targets(torch.cat(features), rows, images)
        ]
        quality = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        sides = [np.isin(clusters, clusters[is_infrared == side]) for side in (False, True)]
        is_mixed = np.logical_and(*sides)[rows[images]]
        quality |= {"right_mixed": quality["right"][is_mixed]}
        quality |= {"right_single": quality["right"][~is_mixed]}
        known = {name: values[~np.isnan(values)] for name, values in quality.items()}
        return {name: float(values.mean()) for name, values in known.items() if len(values)}

    def targets(
        self, features: torch.Tensor, rows: np.ndarray, images: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Some of the images (n,) after the other, and their Q̄ (n, P) as self-taught images."""
        c, _ = self.joint_memory.halves
        for first in range(0, len(images), GRADED_ROWS):
            some = images[first : first + GRADED_ROWS]
            f, own = features[torch.from_numpy(some)].to(c), torch.from_numpy(rows[some])
            yield some, self.distillation.targets(f, own, c, self.proxies.sizes).cpu().numpy()

    @property
    def visible_proxies(self) -> int:
        """How many of the proxies are visible: those of the first groups."""
        of_visible = self.groups[0].max() + 1
        return sum(self.proxies.sizes[:of_visible])


def groups_of(stream: Stream, groups: np.ndarray) -> torch.Tensor:
    """Group (V B,) of every image of a batch's stream, every view counted."""
    own = torch.from_numpy(groups)[stream.rows]
    return own.repeat(len(stream.labels) // len(own))
