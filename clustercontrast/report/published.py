"""Published figures in percent, each with its source.  Pure data.

They belong to the model that is best on the test set, as the official codes select; what belongs to
a last epoch says so in its ``kind``.  How CMAM-UDA selects is not known: its code is not public.
"""

from collections.abc import Mapping
from dataclasses import dataclass

METRICS = {
    "rank1": "Rank-1",
    "rank5": "Rank-5",
    "rank10": "Rank-10",
    "rank20": "Rank-20",
    "mAP": "mAP",
    "mINP": "mINP",
}
"""Key of every metric and how it is written, in the order of papers' tables."""


@dataclass(frozen=True)
class Published:
    """One published result of a method on a dataset.

    Attributes:
        method: name of the method as the literature writes it.
        dataset: "sysu", "regdb" or "sysu02".
        kind: "paper", or what else was published: "upstream log", "upstream README", ...
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

    def shown(self, mode: str, metric: str) -> str:
        """A figure with as many decimals as were published; empty if it was not."""
        if metric not in self.scores.get(mode, {}):
            return ""
        values = [value for scores in self.scores.values() for value in scores.values()]
        decimals = max(len(str(value).partition(".")[2]) for value in values)
        return f"{self.scores[mode][metric]:.{decimals}f}"


NAMES = {"cmam": "CMAM-UDA"}
"""Names of the command line that the literature writes in another way than in capitals."""
TABLE_1 = "PCLHD (NeurIPS 2024), Table 1"
PGM_LOG = "training log published with the official code of PGM, stage 2"
TABLE_2 = "CMAM-UDA (IEEE TCSVT 2024), Table II"
RANK_10 = f"Rank-10: as quoted in {TABLE_2}"
TESTED_BY_CMAM = f"tested on SYSU-MM02 in {TABLE_2}"
DIRECTIONS = ("visible_to_infrared", "infrared_to_visible")
MODES = {"sysu": ("all", "indoor"), "regdb": DIRECTIONS, "sysu02": DIRECTIONS}
COLUMNS = {  # by how many figures a table gives
    2: ("rank1", "mAP"),
    3: ("rank1", "rank10", "mAP"),
    4: ("rank1", "rank10", "rank20", "mAP"),
    5: ("rank1", "rank10", "rank20", "mAP", "mINP"),
    6: tuple(METRICS),
}


def _scores(cell: str) -> dict[str, float]:
    """Scores of a cell such as "57.3/51.8", in the order of ``COLUMNS``."""
    values = [float(value) for value in cell.split("/")]
    return dict(zip(COLUMNS[len(values)], values, strict=True))


def _of(dataset: str, method: str, kind: str, source: str, cells: str) -> Published:
    """One dataset, a cell per mode in the order of ``MODES``; "-" for none."""
    pairs = zip(MODES[dataset], cells.split(), strict=True)
    scores = {mode: _scores(cell) for mode, cell in pairs if cell != "-"}
    return Published(method, dataset, kind, source, scores)


def _paper(method: str, source: str, sysu: str, regdb: str) -> tuple[Published, Published]:
    return (
        _of("sysu", method, "paper", source, sysu),
        _of("regdb", method, "paper", source, regdb),
    )


PUBLISHED = (
    # Rank-10 stands in CMAM-UDA's Table II alone
    *_paper(
        "OTLA",
        f"OTLA (ECCV 2022), unsupervised, as quoted in {TABLE_1}",
        "29.9/27.1 29.8/38.8",
        "32.9/29.7 32.1/28.6",
    ),
    *_paper(
        "ADCA",
        f"ADCA (ACM MM 2022) as quoted in {TABLE_1}; {RANK_10}",
        "45.5/85.3/42.7 50.6/89.7/59.1",
        "67.2/82.0/64.1 68.5/83.2/63.8",
    ),
    _of(
        "sysu",
        "PGM",
        "paper",
        f"PGM (CVPR 2023) as quoted in {TABLE_1}; {RANK_10}",
        "57.3/92.5/51.8 56.2/90.2/62.7",
    ),
    _of(
        "regdb",
        "PGM",
        "paper",
        f"PGM (CVPR 2023) as quoted in {TABLE_1}",
        "69.5/65.4 69.9/65.2",
    ),
    _of(
        "sysu",
        "PGM",
        "retrained by others",
        "PCLHD (NeurIPS 2024), Table 2, row Baseline: PGM as retrained by its authors",
        "56.3/51.7 60.5/66.2",
    ),
    _of(
        "sysu",
        "PGM",
        "upstream log",
        f"{PGM_LOG}, best epoch by test mAP (26)",
        "56.29/82.77/91.25/96.47/51.36/35.06 57.99/84.05/91.66/97.07/64.92/60.77",
    ),
    _of(
        "sysu",
        "PGM",
        "upstream log, last epoch",
        f"{PGM_LOG}, last epoch (49)",
        "56.09/82.72/91.23/96.32/49.96/32.70 -",
    ),
    Published(
        "PGM",
        "regdb",
        "upstream log",
        f"{PGM_LOG}, trial 5 alone, best epoch by test mAP (14)",
        {"visible_to_infrared": {"rank1": 70.44, "mAP": 65.32, "mINP": 52.73}},
    ),
    _of(
        "regdb",
        "PGM",
        "upstream log, last epoch",
        f"{PGM_LOG}, trial 5 alone, last epoch (29)",
        "69.03/77.67/82.62/87.62/64.04/51.27 -",
    ),
    *_paper("PCLHD", TABLE_1, "64.4/58.7 69.5/74.4", "84.3/80.7 82.7/78.4"),
    *_paper(
        "GUR",
        f"GUR (ICCV 2023), without camera labels, as quoted in {TABLE_1}",
        "61.0/57.0 64.2/69.5",
        "73.9/70.2 75.0/69.9",
    ),
    *_paper(
        "MMM",
        f"MMM (ECCV 2024) as quoted in {TABLE_1}",
        "61.6/57.9 64.4/70.4",
        "89.7/80.5 85.8/77.0",
    ),
    *_paper("PCLHD+MMM", TABLE_1, "65.9/61.8 70.3/74.9", "89.6/83.7 87.0/80.9"),
    _of(
        "sysu",
        "RPNR",
        "upstream README",
        "README of RPNR's official code (hidden in a comment), equal to its published log",
        "65.49/87.48/93.29/97.14/59.97/44.02 68.46/89.67/94.75/97.89/73.01/68.61",
    ),
    _of(
        "regdb",
        "RPNR",
        "upstream README",
        "README of RPNR's official code (hidden in a comment), mean of ten trials",
        "90.31/94.66/96.39/97.88/83.35/69.96 89.09/94.37/96.21/97.65/82.26/66.50",
    ),
    _of(
        "sysu",
        "PCA",
        "upstream README",
        "README of PCA's official code, tested several times for the best result",
        "54.39/89.09/95.62/51.95/38.09 59.69/93.90/98.14/66.72/62.44",
    ),
    _of(
        "regdb",
        "PCA",
        "upstream README",
        "README of PCA's official code, mean of ten trials, tested several times for the best "
        "result",
        "86.43/94.10/96.25/82.51/72.33 86.21/94.05/96.11/81.23/68.71",
    ),
    _of(
        "sysu",
        "SDCL",
        "upstream log",
        "test log published with the official code of SDCL, best epoch by test Rank-1 (38)",
        "65.29/89.17/94.43/97.81/63.63/50.94 71.09/91.78/95.79/98.90/76.40/72.97",
    ),
    _of(
        "regdb",
        "SDCL",
        "upstream log",
        "test log published with the official code of SDCL, mean of ten trials",
        "90.96/95.73/97.51/98.71/82.86/67.60 89.98/95.12/97.01/98.41/81.73/64.77",
    ),
    *_paper(
        "CMAM-UDA",
        f"{TABLE_2}; Rank-20 on SYSU-MM01: Tables III and IV",
        "62.0/93.4/97.8/58.2 67.6/95.9/98.4/72.7",
        "89.1/98.2/74.0 89.0/98.6/74.0",
    ),
    *(
        _of("sysu02", method, "paper", source, cells)
        for method, source, cells in (
            ("HOG", TESTED_BY_CMAM, "5.7/25.1/2.4 4.0/20.6/2.9"),
            ("GLT", TESTED_BY_CMAM, "10.5/43.0/9.2 7.8/37.8/10.0"),
            ("ICE", TESTED_BY_CMAM, "21.5/56.2/15.9 17.8/57.1/17.9"),
            ("MMT", TESTED_BY_CMAM, "10.8/39.2/8.2 9.0/33.3/8.3"),
            ("DML", TESTED_BY_CMAM, "44.2/82.7/33.4 45.0/85.3/33.8"),
            ("GUR", f"without camera labels, {TESTED_BY_CMAM}", "42.2/81.7/32.5 44.0/84.4/32.9"),
            ("CMAM-UDA", TABLE_2, "51.4/90.3/41.0 56.1/89.4/40.3"),
        )
    ),
)


def published(dataset: str, method: str | None = None) -> list[Published]:
    """Published results on a dataset, of one method (as the command line calls it) or of all."""
    return [
        entry
        for entry in PUBLISHED
        if entry.dataset == dataset and (method is None or is_of(entry, method))
    ]


def is_of(entry: Published, method: str) -> bool:
    """Whether a published result is one of a method, by the command line's name of it."""
    written = NAMES.get(method.lower(), method)
    return entry.method.lower() == written.lower()
