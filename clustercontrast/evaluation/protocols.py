"""Search protocols: the query and gallery sets, the pairs left out, and how ranks count.

SYSU-MM01: infrared queries (cameras 3 and 6) are searched among visible images; ten
single-shot galleries are drawn, and figures are averages over the ten draws of one model.
RegDB: all test images of one modality are searched among all of the other, in both
directions; figures are averages over ten trials, each a split of the identities with its own model.
SYSU-MM02 is searched as RegDB is, with one model and no trials.  LLCM's galleries are
single-shot draws in both directions, without the images of the query's identity and camera.
A custom dataset is searched under rules that its user chooses.
"""

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from clustercontrast.data.samples import ImageList
from clustercontrast.evaluation.metrics import Queries, Retrieval, evaluate, score_queries
from clustercontrast.evaluation.pairs import Pairs, cosines
from clustercontrast.files import UserError

RANKS = (1, 5, 10, 20)
"""Ranks of the CMC that are reported."""


QUERIES_AT_ONCE = 64
"""Queries that are looked at together for a right image in another camera."""


@dataclass(frozen=True, eq=False)
class Search:
    """One ranking task on the test images of a dataset.

    Attributes:
        query: modality of the queries.
        gallery: modality of the gallery.
        query_rows: (Q,) int64 rows of the test list of that modality; the first image of a track
            stands for the track.
        gallery_rows: (G,) int64 rows, likewise, in the order in which ties are ranked.
        excluded: (Q, G) bool, pairs left out of the ranking whatever their identity; None for none;
            ``Pairs`` where galleries may be large.
        cmc: what a rank counts, distinct identities or images.
    """

    query: str
    gallery: str
    query_rows: np.ndarray
    gallery_rows: np.ndarray
    excluded: np.ndarray | Pairs | None
    cmc: Literal["identity", "image"]


@dataclass(frozen=True)
class Protocol:
    """How a dataset is searched.

    Attributes:
        modes: searches by name, with the heading that papers give them.
        selection: the mode whose scores choose a model during training.
        draws: searches per mode that one model is tested on.
        search: (visible test images, infrared test images, mode, draw) -> the search.
        variants: further searches, made when they are asked for, whose figures are not comparable
            with those of ``modes``; named likewise.
        note: what must be read with its figures; empty where the dataset has one protocol.
    """

    modes: Mapping[str, str]
    selection: str
    draws: int
    search: Callable[[ImageList, ImageList, str, int], Search]
    variants: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def headings(self) -> dict[str, str]:
        """Headings of modes and variants."""
        return {**self.modes, **self.variants}

    def searches(
        self, visible: ImageList, infrared: ImageList, modes: Sequence[str], draws: int
    ) -> dict[str, list[Search]]:
        """Searches of every mode, or variant.

        Raises:
            UserError: an unknown mode, or one without a query that can be found.
        """
        unknown = [mode for mode in modes if mode not in self.headings]
        if unknown:
            raise UserError(f"unknown mode {unknown[0]!r}: choose from {', '.join(self.headings)}")
        return {
            mode: [self.search(visible, infrared, mode, draw) for draw in range(draws)]
            for mode in modes
        }


Similarity = Callable[[np.ndarray, np.ndarray], np.ndarray | Pairs]
"""Unit rows of queries (Q, d) and gallery (G, d) -> (Q, G), growing with likeness."""


def score(
    search: Search,
    images: Mapping[str, ImageList],
    features: Mapping[str, np.ndarray],
    similarity: Similarity = cosines,
) -> Retrieval:
    """Rank the gallery for every query by the likeness of their features.

    Args:
        search: what to rank.
        images: test images by modality.
        features: (N, d) unit rows by modality, in the order of the images; rows that the search
            does not use are not read.
        similarity: what the gallery is ranked by.

    Raises:
        ValueError: features and images differ in number.
    """
    return evaluate(*_ranked(search, images, features, similarity))


def score_each(
    search: Search, images: Mapping[str, ImageList], features: Mapping[str, np.ndarray]
) -> Queries:
    """The scores of :func:`score` query by query."""
    return score_queries(*_ranked(search, images, features, cosines))


def _ranked(
    search: Search,
    images: Mapping[str, ImageList],
    features: Mapping[str, np.ndarray],
    similarity: Similarity,
) -> tuple:
    """What is ranked, as :mod:`clustercontrast.evaluation.metrics` takes it."""
    if any(len(features[name]) != len(images[name]) for name in images):
        raise ValueError("as many features as test images are needed, in the same order")
    queries = _taken(features[search.query], search.query_rows)
    gallery = _taken(features[search.gallery], search.gallery_rows)
    return (
        similarity(queries, gallery),
        images[search.query].identities[search.query_rows],
        images[search.gallery].identities[search.gallery_rows],
        search.excluded,
        search.cmc,
    )


def _taken(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Features at ``rows``, not copied where these are all rows in order."""
    return features if np.array_equal(rows, np.arange(len(features))) else features[rows]


# --- SYSU-MM01 ---

SYSU_CAMERAS = {"all": (1, 2, 4, 5), "indoor": (1, 2)}
"""Gallery cameras of the two searches, in the order of the draw; queries are the same for both."""


def sysu_search(visible: ImageList, infrared: ImageList, mode: str, draw: int) -> Search:
    """All infrared test images against the single-shot gallery of one draw.

    Args:
        visible: every visible test image, the pool of the draws.
        infrared: test images of cameras 3 and 6.
        mode: "all" or "indoor".
        draw: 0..9 in the protocol.

    Raises:
        UserError: no gallery image, or no query identity among them.
    """
    rows = draw_gallery(visible, SYSU_CAMERAS[mode], draw)
    if not np.isin(infrared.identities, visible.identities[rows]).any():
        raise UserError(
            f"none of the {len(infrared)} query images shows an identity of the {len(rows)} "
            f"gallery images ({mode} search): check that both belong to the same test split"
        )
    excluded = same_place(infrared.cameras, visible.cameras[rows])
    return Search("infrared", "visible", np.arange(len(infrared)), rows, excluded, "identity")


def draw_gallery(gallery: ImageList, cameras: Sequence[int], draw: int) -> np.ndarray:
    """Draw a single-shot gallery, exactly as in SYSU-MM01's literature (COMMON-3).

    A private generator seeded with ``draw`` chooses one image per existing (identity, camera)
    folder: identities ascending, cameras in the order listed, files sorted by path. The indoor
    gallery is therefore not a part of the all-search gallery of the same draw.

    Args:
        gallery: every test image of the gallery's modality, in any order; other cameras may be
            among them.
        cameras: gallery cameras, see ``SYSU_CAMERAS``.
        draw: 0..9 in the protocol.

    Returns:
        (G,) int64 rows of ``gallery``, in the order of the draw.

    Raises:
        UserError: no image comes from one of the cameras.
    """
    rows = np.flatnonzero(np.isin(gallery.cameras, list(cameras)))
    if not len(rows):
        raise UserError(
            f"no gallery image of the cameras {tuple(cameras)} among {len(gallery.paths)} "
            f"{gallery.modality} test images: check that the dataset is complete"
        )
    turns = (gallery.cameras[rows, None] == np.array(cameras)).argmax(axis=1)
    paths = np.array(gallery.paths.take(rows))
    by_folder = np.lexsort((paths, turns, gallery.identities[rows]))
    rows, turns = rows[by_folder], turns[by_folder]
    changes = (np.diff(gallery.identities[rows]) != 0) | (np.diff(turns) != 0)
    folders = np.split(rows, np.flatnonzero(changes) + 1)
    generator = random.Random(draw)
    return np.array([generator.choice(folder.tolist()) for folder in folders], dtype=np.int64)


def same_place(query_cameras: np.ndarray, gallery_cameras: np.ndarray) -> np.ndarray:
    """(Q, G) bool: gallery camera 2 for a query of camera 3, the two share a place.

    The pairs are left out of the ranking whatever their identity.
    """
    return (np.asarray(query_cameras)[:, None] == 3) & (np.asarray(gallery_cameras)[None] == 2)


# --- RegDB, SYSU-MM02 and LLCM ---

DIRECTIONS = {
    "visible_to_infrared": "Visible to infrared",
    "infrared_to_visible": "Infrared to visible",
}
"""Modes of datasets that are searched in both directions."""


def exhaustive_search(visible: ImageList, infrared: ImageList, mode: str, draw: int) -> Search:
    """All test images of one modality against all of the other (RegDB, SYSU-MM02).

    Args:
        visible: visible test images; an identity of -1 is a bystander, in the gallery only.
        infrared: infrared test images.
        mode: a key of ``DIRECTIONS``.
        draw: nothing is drawn; 0.

    Raises:
        UserError: no identity is in both lists.
    """
    if draw:
        raise ValueError("there are no galleries to draw")
    query, gallery = _directed(visible, infrared, mode)
    rows = np.flatnonzero(query.identities >= 0), np.arange(len(gallery))
    return Search(query.modality, gallery.modality, *rows, None, "image")


SWAPPED = {
    "swapped_visible_to_infrared": "Visible to infrared, roles swapped as the official script does "
    "(LLCM-1)"
}


def llcm_search(visible: ImageList, infrared: ImageList, mode: str, draw: int) -> Search:
    """All test images of one modality against one draw of the other (LLCM).

    A gallery holds one random image of every (identity, camera), drawn as SYSU-MM01's are.  Images
    of the query's identity and camera are left out: a camera is one place for both modalities.

    Args:
        visible: visible test images.
        infrared: infrared test images.
        mode: a key of ``DIRECTIONS``, or of ``SWAPPED``: the images of the draw are then the
            queries, and all images of the other modality the gallery.
        draw: 0..9.

    Raises:
        UserError: no identity is in both lists, or none of them in two cameras.
    """
    direction = mode.removeprefix("swapped_")
    whole, drawn = _directed(visible, infrared, direction)
    rows = draw_gallery(drawn, np.unique(drawn.cameras).tolist(), draw)
    sides = [(whole, np.flatnonzero(whole.identities >= 0)), (drawn, rows)]
    (query, query_rows), (gallery, gallery_rows) = sides if direction == mode else sides[::-1]
    excluded = _own_camera(query.subset(query_rows), gallery.subset(gallery_rows))
    if excluded is None:
        raise UserError(
            "no test identity is seen by one camera in visible and by another in infrared light: "
            "there is nothing to search for; check that the dataset is complete"
        )
    return Search(query.modality, gallery.modality, query_rows, gallery_rows, excluded, "identity")


def _own_camera(query: ImageList, gallery: ImageList) -> Pairs | None:
    """Pairs (Q, G) of one identity and one known camera; None where no other right pair is left."""

    def seen_alike(queries: slice) -> tuple[np.ndarray, np.ndarray]:
        cameras = query.cameras[queries, None]
        same = query.identities[queries, None] == gallery.identities
        return same, same & (cameras == gallery.cameras) & (cameras >= 0)

    for start in range(0, len(query), QUERIES_AT_ONCE):
        same, own = seen_alike(slice(start, start + QUERIES_AT_ONCE))
        if (same & ~own).any():
            return Pairs((len(query), len(gallery)), lambda queries: seen_alike(queries)[1])
    return None


def _directed(visible: ImageList, infrared: ImageList, mode: str) -> tuple[ImageList, ImageList]:
    """Query and gallery images of a direction."""
    known = visible.identities[visible.identities >= 0]
    if not np.isin(known, infrared.identities).any():
        raise UserError(
            "no test identity has both visible and infrared images: prepare the dataset again"
        )
    lists = {"visible": visible, "infrared": infrared}
    query, gallery = mode.split("_to_")
    return lists[query], lists[gallery]


# --- custom datasets ---


@dataclass(frozen=True)
class Rules:
    """How a custom dataset is searched: what its user chose.

    Attributes:
        queries: whose images are searched for among those of the other modality, or "both".
        gallery_shots: "all" items of the gallery, or a "single" one of every identity and camera.
        skip_own_camera: leave out the gallery items of the query's identity and camera.
    """

    queries: str = "both"
    gallery_shots: str = "all"
    skip_own_camera: bool = True

    @property
    def words(self) -> str:
        """The rules as a reader of figures needs them."""
        queries = "visible and infrared" if self.queries == "both" else self.queries
        gallery = "all items of the other modality"
        if self.is_drawn:
            gallery = "one item of every identity and camera of the other modality, drawn"
        left_out = "the query's own camera left out" if self.skip_own_camera else "all cameras"
        counted = "identities" if self.is_drawn else "items"
        return (
            f"search rules of this dataset: {queries} queries; gallery: {gallery}; {left_out}; "
            f"ranks count {counted}; a track is one item"
        )

    @property
    def name(self) -> str:
        """The rules as part of a file's name."""
        cameras = "other-cameras" if self.skip_own_camera else "all-cameras"
        return f"{self.queries}-{self.gallery_shots}-{cameras}"

    @property
    def is_drawn(self) -> bool:
        """Whether galleries are drawn."""
        return self.gallery_shots == "single"


RULES = {
    "queries": frozenset(("visible", "infrared", "both")),
    "gallery_shots": frozenset(("all", "single")),
    "skip_own_camera": bool,
}
"""What has to be in rules that are read from a file (:func:`clustercontrast.files.fault`)."""


def custom_search(
    rules: Rules, visible: ImageList, infrared: ImageList, mode: str, draw: int
) -> Search:
    """Test items of one modality against items of the other, under rules.

    An item is a track, or an image outside of tracks.  Items of unknown identity are bystanders:
    in every gallery, never a query.  A camera is one place for both modalities; an unknown camera
    is nobody's own.

    Args:
        rules: of the search.
        visible: visible test images.
        infrared: infrared test images.
        mode: a key of ``DIRECTIONS``.
        draw: 0 but for drawn galleries.

    Raises:
        UserError: no identity is in both lists, or none of them in two cameras where that counts.
    """
    query, gallery = _directed(visible, infrared, mode)
    query_rows, gallery_rows = (np.unique(images.items()) for images in (query, gallery))
    query_rows = query_rows[query.identities[query_rows] >= 0]
    if rules.is_drawn:
        gallery_rows = _drawn(gallery, gallery_rows, draw)
    excluded = None
    if rules.skip_own_camera:
        excluded = _own_camera(query.subset(query_rows), gallery.subset(gallery_rows))
        if excluded is None:
            raise UserError(
                f"no test identity is seen by a {query.modality} camera and by another "
                f"{gallery.modality} one, and gallery items of the query's own camera are left "
                "out: correct the cameras, or pass --no-skip-own-camera"
            )
    cmc = "identity" if rules.is_drawn else "image"
    return Search(query.modality, gallery.modality, query_rows, gallery_rows, excluded, cmc)


def _drawn(gallery: ImageList, items: np.ndarray, draw: int) -> np.ndarray:
    """One of the items of every identity and camera, and all bystanders."""
    known = items[gallery.identities[items] >= 0]
    pool = gallery.subset(known)
    drawn = known[draw_gallery(pool, np.unique(pool.cameras).tolist(), draw)]
    return np.concatenate([drawn, items[gallery.identities[items] < 0]])


def custom_protocol(rules: Rules) -> Protocol:
    """The protocol of a custom dataset under rules."""
    asked = [mode for mode in DIRECTIONS if rules.queries in ("both", mode.partition("_")[0])]
    modes = {mode: DIRECTIONS[mode] for mode in asked}
    search = functools.partial(custom_search, rules)
    return Protocol(modes, asked[0], 10 if rules.is_drawn else 1, search, note=rules.words)


PROTOCOLS = {
    "sysu": Protocol({"all": "All search", "indoor": "Indoor search"}, "all", 10, sysu_search),
    "regdb": Protocol(DIRECTIONS, "visible_to_infrared", 1, exhaustive_search),
    "sysu02": Protocol(DIRECTIONS, "visible_to_infrared", 1, exhaustive_search),
    "llcm": Protocol(DIRECTIONS, "visible_to_infrared", 10, llcm_search, SWAPPED),
    "custom": custom_protocol(Rules()),
}
"""Protocol of every dataset, that of a custom one under the usual rules."""


def protocol_of(dataset: str, rules: Mapping[str, Any] | None) -> Protocol:
    """How a dataset is searched.

    Args:
        dataset: a key of ``PROTOCOLS``.
        rules: of :class:`Rules`, where its user chooses them; None for the usual ones.
    """
    return custom_protocol(Rules(**rules)) if rules else PROTOCOLS[dataset]


def percents(retrieval: Retrieval) -> dict[str, float]:
    """Scores of one search in percent: "rank1", "rank5", "rank10", "rank20", "mAP" and "mINP"."""
    shares = {f"rank{rank}": retrieval.cmc[rank - 1] for rank in RANKS}
    shares |= {"mAP": retrieval.mAP, "mINP": retrieval.mINP}
    return {name: 100 * float(share) for name, share in shares.items()}


def summarise(retrievals: Sequence[Retrieval]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of the scores of several searches, in percent.

    The deviation is that of the population (ddof = 0): the draws, or trials, of a protocol are all
    there is, not a sample of more.

    Returns:
        The names of :func:`percents`, each with "mean" and "std".

    Raises:
        ValueError: no search.
    """
    if not retrievals:
        raise ValueError("no search to summarise")
    found = [percents(one) for one in retrievals]
    values = {name: [own[name] for own in found] for name in found[0]}
    return {
        name: {"mean": float(np.mean(own)), "std": float(np.std(own))}
        for name, own in values.items()
    }
