"""Published figures in percent, each with its source.  Pure data.

"paper" rows belong to the model that is best on the test set, as every official code selects.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One published result of a method on a dataset.

    Attributes:
        method: name of the method as the literature writes it.
        dataset: "sysu" or "regdb".
        kind: "paper", "upstream log" or "upstream README".
        source: where the figures stand.
        scores: mode -> metric -> percent; what is missing was not published there.
    """

    method: str
    dataset: str
    kind: str
    source: str
    scores: Mapping[str, Mapping[str, float]]

    @property
    def name(self) -> str:
        """Method and kind."""
        return f"{self.method}, {self.kind}"


METRICS = ("rank1", "rank5", "rank10", "rank20", "mAP", "mINP")
TABLE_1 = "PCLHD (NeurIPS 2024), Table 1"


def _whole(*values: float) -> dict[str, float]:
    """Scores in the order of ``METRICS``."""
    return dict(zip(METRICS, values, strict=True))


def _pairs(text: str, source: str) -> tuple[Published, Published]:
    """Both datasets from "METHOD a/b a/b a/b a/b": Rank-1/mAP in the order of papers' tables."""
    method, *cells = text.split()
    pairs = (map(float, cell.split("/")) for cell in cells)
    scores = [dict(zip(("rank1", "mAP"), pair, strict=True)) for pair in pairs]
    modes = {"sysu": ("all", "indoor"), "regdb": ("visible_to_infrared", "infrared_to_visible")}
    return tuple(
        Published(method, dataset, "paper", source, dict(zip(names, own, strict=True)))
        for (dataset, names), own in zip(modes.items(), (scores[:2], scores[2:]), strict=True)
    )


PUBLISHED = (
    *_pairs("ADCA 45.5/42.7 50.6/59.1 67.2/64.1 68.5/63.8", f"ADCA (ACM MM 2022) in {TABLE_1}"),
    *_pairs("PGM 57.3/51.8 56.2/62.7 69.5/65.4 69.9/65.2", f"PGM (CVPR 2023) in {TABLE_1}"),
    Published(
        "PGM",
        "sysu",
        "upstream log",
        "training log published with the official code of PGM, best epoch of stage 2 by test mAP",
        {
            "all": _whole(56.29, 82.77, 91.25, 96.47, 51.36, 35.06),
            "indoor": _whole(57.99, 84.05, 91.66, 97.07, 64.92, 60.77),
        },
    ),
    Published(
        "PGM",
        "regdb",
        "upstream log",
        "training log published with the official code of PGM: trial 5 alone, best epoch by mAP",
        {"visible_to_infrared": {"rank1": 70.44, "mAP": 65.32, "mINP": 52.73}},
    ),
    *_pairs("PCLHD 64.4/58.7 69.5/74.4 84.3/80.7 82.7/78.4", TABLE_1),
    *_pairs("MMM 61.6/57.9 64.4/70.4 89.7/80.5 85.8/77.0", f"MMM in {TABLE_1}"),
    *_pairs("PCLHD+MMM 65.9/61.8 70.3/74.9 89.6/83.7 87.0/80.9", TABLE_1),
    Published(
        "RPNR",
        "sysu",
        "upstream README",
        "README of RPNR's official code, equal to its published log",
        {
            "all": _whole(65.49, 87.48, 93.29, 97.14, 59.97, 44.02),
            "indoor": _whole(68.46, 89.67, 94.75, 97.89, 73.01, 68.61),
        },
    ),
    Published(
        "RPNR",
        "regdb",
        "upstream README",
        "README of RPNR's official code, mean of ten trials",
        {
            "visible_to_infrared": _whole(90.31, 94.66, 96.39, 97.88, 83.35, 69.96),
            "infrared_to_visible": _whole(89.09, 94.37, 96.21, 97.65, 82.26, 66.50),
        },
    ),
    Published(
        "PCA",
        "sysu",
        "upstream README",
        "README of PCA's official code, tested several times for the best result",
        {
            "all": {"rank1": 54.39, "rank10": 89.09, "rank20": 95.62, "mAP": 51.95, "mINP": 38.09},
            "indoor": {
                "rank1": 59.69,
                "rank10": 93.90,
                "rank20": 98.14,
                "mAP": 66.72,
                "mINP": 62.44,
            },
        },
    ),
    Published(
        "SDCL",
        "sysu",
        "upstream log",
        "test log published with the official code of SDCL",
        {
            "all": _whole(65.29, 89.17, 94.43, 97.81, 63.63, 50.94),
            "indoor": _whole(71.09, 91.78, 95.79, 98.90, 76.40, 72.97),
        },
    ),
    Published(
        "SDCL",
        "regdb",
        "upstream log",
        "test log published with the official code of SDCL, mean of ten trials",
        {
            "visible_to_infrared": _whole(90.96, 95.73, 97.51, 98.71, 82.86, 67.60),
            "infrared_to_visible": _whole(89.98, 95.12, 97.01, 98.41, 81.73, 64.77),
        },
    ),
)


def published(dataset: str, method: str | None = None) -> list[Published]:
    """Published results on a dataset, of one method (in any case of letters) or of all."""
    return [
        entry
        for entry in PUBLISHED
        if entry.dataset == dataset and method in (None, entry.method, entry.method.lower())
    ]
