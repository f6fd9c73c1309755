"""How far figures of repeated trainings lie apart, as far as somebody has said so."""

from collections.abc import Mapping
from dataclasses import dataclass

from clustercontrast.report.references.rows import MODES


@dataclass(frozen=True)
class Spread:
    """A documented spread of one method's figures on one dataset.

    Attributes:
        method: as the command line calls it.
        dataset: a key of ``MODES``.
        of: what varies: "repeated trainings" or "trials".
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


TRAININGS, TRIALS = "repeated trainings", "trials"
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
    Spread(
        "rpnr",
        "regdb",
        TRIALS,
        "sample deviation of the ten trials in RPNR's README",
        {
            "visible_to_infrared": {
                "rank1": 1.87, "rank5": 1.42, "rank10": 1.24, "rank20": 0.84,
                "mAP": 1.81, "mINP": 2.30,
            },
            "infrared_to_visible": {
                "rank1": 1.72, "rank5": 1.41, "rank10": 1.17, "rank20": 0.90,
                "mAP": 1.91, "mINP": 2.26,
            },
        },
    ),
    Spread(
        "pca",
        "regdb",
        TRIALS,
        "sample deviation of the ten trials in PCA's README",
        {
            "visible_to_infrared": {
                "rank1": 1.37, "rank10": 1.05, "rank20": 0.83, "mAP": 1.33, "mINP": 1.70,
            },
            "infrared_to_visible": {
                "rank1": 1.53, "rank10": 1.00, "rank20": 0.90, "mAP": 1.52, "mINP": 2.02,
            },
        },
    ),
)  # fmt: skip
