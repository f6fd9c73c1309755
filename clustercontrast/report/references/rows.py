"""What rows of published figures are made of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

METRICS = {
    "rank1": "Rank-1",
    "rank5": "Rank-5",
    "rank10": "Rank-10",
    "rank20": "Rank-20",
    "mAP": "mAP",
    "mINP": "mINP",
}
"""Key of every metric and how it is written, in the order of papers' tables."""

DIRECTIONS = ("visible_to_infrared", "infrared_to_visible")
MODES = {
    "sysu": ("all", "indoor"),
    "regdb": DIRECTIONS,
    "sysu02": DIRECTIONS,
    "llcm": (*DIRECTIONS, "swapped_visible_to_infrared"),
    "custom": DIRECTIONS,
}
"""Search modes of every dataset, in the order of the cells of a row."""

DRAWS, TRIALS = "gallery draws", "trials"
MEANS_OVER = {
    "sysu": (DRAWS, range(10)),
    "regdb": (TRIALS, range(1, 11)),
    "llcm": (DRAWS, range(10)),
    "custom": (DRAWS, range(10)),
}
"""What a paper's figures on a dataset are means over, and how these are numbered."""

COLUMNS = {  # by how many figures a cell gives
    2: ("rank1", "mAP"),
    3: ("rank1", "rank10", "mAP"),
    4: ("rank1", "rank10", "rank20", "mAP"),
    5: ("rank1", "rank10", "rank20", "mAP", "mINP"),
    6: tuple(METRICS),
}

TESTED, TESTED_AGAIN = "tested by others", "tested again"
QUOTATIONS = (TESTED, TESTED_AGAIN)
"""Kinds of figures that others give of a method: how they have trained it is not known."""


@dataclass(frozen=True)
class Configuration:
    """A command line of training, and the stage of it that is tested.

    Attributes:
        method: as the command line calls it.
        stage: whose model is tested.
        variant: of the method's defaults.
        flags: what differs from these, sorted, as
            :func:`clustercontrast.settings.changes.stage_changes` writes it.
    """

    method: str
    stage: str
    variant: str
    flags: tuple[str, ...] = ()

    def but(self, *flags: str, variant: str | None = None) -> "Configuration":
        """The same with further flags, or those of another variant."""
        return Configuration(
            self.method, self.stage, variant or self.variant, tuple(sorted({*self.flags, *flags}))
        )


@dataclass(frozen=True, eq=False)
class Published:
    """One published result of a method on a dataset.

    Attributes:
        method: name of the method as the literature writes it.
        dataset: a key of ``MODES``.
        kind: "paper", or what else was published: "upstream log", "upstream README", ...
        source: where the figures stand.
        scores: mode -> metric -> percent; what is missing was not published there.
        runs: command lines that it belongs to; none for what this repository cannot train.
        row: which of several rows of the method, such as "+ DPCL"; empty for the method as it is.
        selection: the model that it belongs to: "test" (best on the test set) or "last" (epoch).
        trials: of RegDB, if it is no mean over all ten.
        labels: what was trained with: "none", "some" or "all" identity labels of the dataset.
        venue: where the method was published, and when; empty where the source itself says it.
        each: number of a gallery draw, or of a trial -> its scores, as ``scores``; empty if the
            means alone were published.
    """

    method: str
    dataset: str
    kind: str
    source: str
    scores: Mapping[str, Mapping[str, float]]
    runs: tuple[Configuration, ...] = ()
    row: str = ""
    selection: str = "test"
    trials: tuple[int, ...] = ()
    labels: str = "none"
    venue: str = ""
    each: Mapping[int, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Row and kind."""
        return ", ".join(filter(None, (self.row, self.kind)))

    @property
    def model(self) -> str:
        """The model that it belongs to, if that is said to be the last epoch's."""
        return "last epoch" if self.selection == "last" else ""

    @property
    def name(self) -> str:
        """Method, row, kind and model."""
        return ", ".join(filter(None, (self.method, self.label, self.model)))

    @property
    def where(self) -> str:
        """Venue and source."""
        return ", ".join(filter(None, (self.venue, self.source)))

    def shown(self, mode: str, metric: str) -> str:
        """A figure with as many decimals as were published; empty if it was not."""
        if metric not in self.scores.get(mode, {}):
            return ""
        values = [value for scores in self.scores.values() for value in scores.values()]
        decimals = max(len(str(value).partition(".")[2]) for value in values)
        return f"{self.scores[mode][metric]:.{decimals}f}"


def scores(dataset: str, cells: str) -> dict[str, dict[str, float]]:
    """Scores of a row: a cell per mode in the order of ``MODES``, "-" for none.

    Args:
        dataset: a key of ``MODES``.
        cells: such as "57.3/51.8 -", the figures of each in the order of ``COLUMNS``; "-" among
            them for one that was not published.  Modes at the end may be left out.
    """
    pairs = zip(MODES[dataset], cells.split(), strict=False)
    return {mode: _cell(cell) for mode, cell in pairs if cell != "-"}


def _cell(cell: str) -> dict[str, float]:
    figures = cell.split("/")
    names = zip(COLUMNS[len(figures)], figures, strict=True)
    return {name: float(figure) for name, figure in names if figure != "-"}


def paper(
    method: str,
    source: str,
    cells: Mapping[str, str],
    runs: Sequence[Configuration] = (),
    row: str = "",
    labels: str = "none",
    venue: str = "",
) -> Iterator[Published]:
    """A row of a paper's table, dataset by dataset; datasets without any figure are left out."""
    for dataset, text in cells.items():
        if found := scores(dataset, text):
            yield Published(
                method,
                dataset,
                "paper",
                source,
                found,
                tuple(runs),
                row,
                labels=labels,
                venue=venue,
            )
