"""The SYSU-MM01 search protocol: who is a query, who is in the gallery, what is left out.

Infrared queries (cameras 3 and 6) are searched among visible images; ten single-shot galleries are
drawn, and the figures are averages over the ten draws of one model (common.md 2.2).
"""

import random
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from clustercontrast.data.samples import ImageList
from clustercontrast.evaluation.metrics import Retrieval, evaluate
from clustercontrast.files import UserError

SYSU_MODES = {"all": (1, 2, 4, 5), "indoor": (1, 2)}
"""Gallery cameras of the two searches, in the order of the draw; queries are the same for both."""

RANKS = (1, 5, 10, 20)
"""Ranks of the CMC that are reported."""


def draw_gallery(gallery: ImageList, cameras: Sequence[int], trial: int) -> np.ndarray:
    """Draw the single-shot gallery of one trial, exactly as in the literature (common.md 2.2).

    A private generator seeded with ``trial`` chooses one image per existing (identity, camera)
    folder: identities ascending, cameras in the order listed, files sorted by path. The indoor
    gallery is therefore not a part of the all-search gallery of the same trial.

    Args:
        gallery: every visible test image, in any order; other cameras may be among them.
        cameras: gallery cameras, see ``SYSU_MODES``.
        trial: 0..9 in the protocol.

    Returns:
        (G,) int64 rows of ``gallery``, in the order of the draw.

    Raises:
        UserError: no image comes from one of the cameras.
    """
    rows = np.flatnonzero(np.isin(gallery.cameras, list(cameras)))
    if not len(rows):
        raise UserError(
            f"no gallery image of the cameras {tuple(cameras)} among {len(gallery.paths)} visible "
            "test images: check that the dataset is complete"
        )
    turns = (gallery.cameras[rows, None] == np.array(cameras)).argmax(axis=1)
    by_folder = np.lexsort((np.array(gallery.paths)[rows], turns, gallery.identities[rows]))
    rows, turns = rows[by_folder], turns[by_folder]
    changes = (np.diff(gallery.identities[rows]) != 0) | (np.diff(turns) != 0)
    folders = np.split(rows, np.flatnonzero(changes) + 1)
    generator = random.Random(trial)
    return np.array([generator.choice(folder.tolist()) for folder in folders], dtype=np.int64)


def needed_gallery(gallery: ImageList, modes: Iterable[str], trials: Iterable[int]) -> np.ndarray:
    """Rows of ``gallery`` that any of the draws uses, so that each is extracted once.

    Returns:
        (n,) int64, ascending, without repetition.

    Raises:
        UserError: an unknown mode, or a mode without a gallery image.
    """
    trials = tuple(trials)
    draws = [draw_gallery(gallery, _cameras(mode), trial) for mode in modes for trial in trials]
    return np.unique(np.concatenate(draws))


def same_place(query_cameras: np.ndarray, gallery_cameras: np.ndarray) -> np.ndarray:
    """(Q, G) bool: gallery camera 2 for a query of camera 3, the two share a place (common.md 2.2).

    The pairs are left out of the ranking whatever their identity.
    """
    return (np.asarray(query_cameras)[:, None] == 3) & (np.asarray(gallery_cameras)[None] == 2)


def evaluate_sysu(
    query: ImageList,
    gallery: ImageList,
    query_features: np.ndarray,
    gallery_features: np.ndarray | Mapping[int, np.ndarray],
    mode: str,
    trial: int,
) -> Retrieval:
    """Search all queries in the gallery of one draw (common.md 2.2, 2.3).

    Args:
        query: infrared test images.
        gallery: the whole pool of visible test images the gallery is drawn from.
        query_features: (Q, d) unit rows, in the order of ``query``.
        gallery_features: unit rows found by row of ``gallery``: an array (pool, d), or a mapping
            from row to (d,) that holds at least ``needed_gallery``.
        mode: "all" or "indoor".
        trial: number of the draw.

    Raises:
        UserError: an unknown mode, an empty gallery, or no query identity in the gallery.
        ValueError: the number of query features disagrees with ``query``.
        KeyError: a drawn row is missing from the mapping.
    """
    rows = draw_gallery(gallery, _cameras(mode), trial)
    identities = gallery.identities[rows]
    if not np.isin(query.identities, identities).any():
        raise UserError(
            f"none of the {len(query.paths)} query images shows a person of the {len(rows)} "
            f"gallery images ({mode} search): check that both belong to the same test split"
        )
    drawn = np.stack([gallery_features[row] for row in rows.tolist()]).astype(np.float64)
    return evaluate(
        np.asarray(query_features, dtype=np.float64) @ drawn.T,
        query.identities,
        identities,
        same_place(query.cameras, gallery.cameras[rows]),
    )


def summarise(draws: Sequence[Retrieval]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over the gallery draws of one model, in percent.

    The deviation is that of the population (ddof = 0): the draws of the protocol are all there is,
    not a sample of more. It says nothing about the spread between trainings.

    Returns:
        "rank1", "rank5", "rank10", "rank20", "mAP" and "mINP", each with "mean" and "std".

    Raises:
        ValueError: no draw.
    """
    if not draws:
        raise ValueError("no draw to summarise")
    values = {f"rank{rank}": [draw.cmc[rank - 1] for draw in draws] for rank in RANKS}
    values["mAP"] = [draw.mAP for draw in draws]
    values["mINP"] = [draw.mINP for draw in draws]
    return {
        name: {"mean": 100 * float(np.mean(value)), "std": 100 * float(np.std(value))}
        for name, value in values.items()
    }


def _cameras(mode: str) -> tuple[int, ...]:
    """Gallery cameras of a search."""
    if mode not in SYSU_MODES:
        raise UserError(f"unknown search mode {mode!r}: choose from {', '.join(SYSU_MODES)}")
    return SYSU_MODES[mode]
