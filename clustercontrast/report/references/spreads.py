"""How far figures of repeated trainings lie apart, as far as somebody has said so."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from clustercontrast.report.references.rows import MEANS_OVER, MODES, Published


@dataclass(frozen=True)
class Spread:
    """A documented spread of one method's figures on one dataset.

    Attributes:
        method: as the command line calls it; of published rows, as the literature writes it.
        dataset: a key of ``MODES``.
        of: what varies: "repeated trainings", "gallery draws" or "trials".
        source: who documents it.
        points: mode -> metric -> points of percent to either side of a published figure; or the
            lowest and the highest figure of the trainings.
    """

    method: str
    dataset: str
    of: str
    source: str
    points: Mapping[str, Mapping[str, float | tuple[float, float]]]

    def bounds(self, mode: str, metric: str, published: float) -> tuple[float, float]:
        """Lowest and highest figure within the spread, that of the published training too."""
        own = self.points[mode][metric]
        if isinstance(own, tuple):
            return min(*own, published), max(*own, published)
        return published - own, published + own


TRAININGS = "repeated trainings"
DOCUMENTED = (
    Spread(
        "pgm",
        "sysu",
        TRAININGS,
        "PGM's author in the issues of its official code: 1 to 2 points are normal",
        {mode: {"rank1": 2.0, "mAP": 2.0} for mode in MODES["sysu"]},
    ),
    Spread(
        "sdcl",
        "sysu",
        TRAININGS,
        "three trainings by others",
        {"all": {"mAP": (61.26, 63.41)}, "indoor": {"mAP": (73.39, 76.58)}},
    ),
)


def of_rows(row: Published) -> Spread:
    """The population deviation of the gallery draws, or trials, that were published one by one.

    It is the deviation of our own tables, too: the draws, or trials, of a protocol are all there
    is, not a sample of more.
    """
    of = MEANS_OVER[row.dataset][0]
    scores = list(row.each.values())
    points = {
        mode: {name: float(np.std([own[mode][name] for own in scores])) for name in metrics}
        for mode, metrics in scores[0].items()
    }
    source = f"population deviation of {len(scores)} {of}, computed from the {row.kind}'s rows"
    return Spread(row.method, row.dataset, of, source, points)
