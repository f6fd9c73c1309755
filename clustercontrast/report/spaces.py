"""What the features of a model look like: distances of pairs, and a map of a few identities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.manifold import TSNE

from clustercontrast.data.samples import MODALITIES, ImageList
from clustercontrast.files import UserError
from clustercontrast.report.retrievals import Ranking

BINS = 60
PEOPLE = 10
IMAGES = 15
"""Images of one identity and modality on the map, at most."""

PERPLEXITY = 30.0


@dataclass(frozen=True, eq=False)
class Distances:
    """Cosine distances between the queries and the gallery of a search, excluded pairs left out.

    Attributes:
        same: (n,) of pairs that show one identity.
        different: (m,) of pairs that show two.
    """

    same: np.ndarray
    different: np.ndarray

    @property
    def means(self) -> tuple[float, float]:
        """Mean distance of each kind, NaN for one that has no pair."""
        return tuple(
            float(kind.mean()) if len(kind) else float("nan")
            for kind in (self.same, self.different)
        )

    @property
    def gap(self) -> float:
        """How much farther apart images of two identities are than images of one, on average."""
        same, different = self.means
        return different - same


def distances(ranking: Ranking) -> Distances:
    """Cosine distances, 1 - similarity, of the pairs that a search ranks."""
    kept, distance = ~ranking.excluded, 1 - ranking.similarity
    return Distances(distance[ranking.same & kept], distance[~ranking.same & kept])


def common_edges(models: Sequence[Distances]) -> np.ndarray:
    """(BINS + 1,) edges of equal bins over the distances of all models."""
    ends = [
        end(kind)
        for model in models
        for kind in (model.same, model.different)
        if len(kind)
        for end in (np.min, np.max)
    ]
    return np.histogram_bin_edges(ends, BINS)


def density(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(bins,) heights of a histogram of area 1; 0 when there is no value."""
    counts, _ = np.histogram(values, edges)
    return counts / (np.diff(edges) * max(1, len(values)))


@dataclass(frozen=True, eq=False)
class People:
    """Test images of a few identities, to be shown on a map.

    Attributes:
        rows: by modality, (n,) int64 rows of its test images.
        identities: by modality, (n,) int64 identities that they show.
        chosen: the identities, ascending.
    """

    rows: Mapping[str, np.ndarray]
    identities: Mapping[str, np.ndarray]
    chosen: np.ndarray


def choose_people(images: Mapping[str, ImageList], usable: Mapping[str, np.ndarray]) -> People:
    """Ten identities, evenly spaced among those with most images, and images of them likewise.

    Args:
        images: test images by modality.
        usable: by modality, (N,) bool: the image may be shown.

    Returns:
        At most ``PEOPLE`` identities with images of both modalities, at most ``IMAGES`` of each.
    """
    known = {name: np.where(usable[name], images[name].identities, -1) for name in MODALITIES}
    both = _in_both(known)
    counts = [(known[name][:, None] == both).sum(axis=0) for name in MODALITIES]
    fewest = np.minimum(np.minimum(*counts), IMAGES)
    # Enough images: as many as the identity with the tenth most has.
    enough = both[fewest >= np.sort(fewest)[::-1][:PEOPLE].min()]
    return _people(known, _evenly(enough, PEOPLE))


def draw_people(images: Mapping[str, ImageList], seed: int) -> People:
    """Ten identities drawn at random, as PCLHD's Fig. 3 shows them, and images of them.

    Args:
        images: test images by modality.
        seed: of the draw.

    Returns:
        At most ``PEOPLE`` identities with images of both modalities, at most ``IMAGES`` of each.

    Raises:
        UserError: no identity has images of both modalities.
    """
    known = {name: images[name].identities for name in MODALITIES}
    both = _in_both(known)
    if not len(both):
        raise UserError("no test identity has images of both modalities: there is none to show")
    order = np.random.default_rng(seed).permutation(both)
    return _people(known, np.sort(order[:PEOPLE]))


def _in_both(known: Mapping[str, np.ndarray]) -> np.ndarray:
    """Identities with images of both modalities, ascending; -1 is nobody."""
    both = np.intersect1d(known["visible"], known["infrared"])
    return both[both >= 0]


def _people(known: Mapping[str, np.ndarray], chosen: np.ndarray) -> People:
    """Images of the chosen identities, evenly spaced among all of each."""
    rows = {
        name: np.concatenate([_evenly(np.flatnonzero(own == one), IMAGES) for one in chosen])
        for name, own in known.items()
    }
    return People(rows, {name: known[name][own] for name, own in rows.items()}, chosen)


def _evenly(items: np.ndarray, count: int) -> np.ndarray:
    """At most ``count`` of the items, first and last among them, evenly spaced."""
    return items[np.unique(np.linspace(0, len(items) - 1, count).round().astype(np.int64))]


def embed(features: Mapping[str, np.ndarray], seed: int = 0) -> dict[str, np.ndarray]:
    """Positions of images in the plane, by t-SNE (van der Maaten and Hinton, 2008).

    Args:
        features: (n, d) unit rows by modality, of the images to show.
        seed: of t-SNE, for features that give it no start of their own.

    Returns:
        (n, 2) float32 by modality, in the order of the rows; the same at every call.
    """
    points = np.concatenate([features[name] for name in MODALITIES])
    # The exact gradient is a sum in a fixed order, that of Barnes and Hut depends on the threads.
    plane = TSNE(
        method="exact",
        init="pca" if np.ptp(points, axis=0).any() else "random",
        perplexity=min(PERPLEXITY, (len(points) - 1) / 3),
        random_state=seed,
    ).fit_transform(points)
    parts = np.split(plane, [len(features["visible"])])
    return dict(zip(MODALITIES, parts, strict=True))
