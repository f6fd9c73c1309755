"""Running times of a CMAM-UDA run, by what took them, as its paper's Table VII lists them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from clustercontrast.files import atomic, read_events, write_json

HOUR = 3600.0


@dataclass(frozen=True)
class Printed:
    """A column of the paper's Table VII, as it is printed.

    Attributes:
        each: seconds of one iteration, image or re-clustering.
        amount: how many of them.
        total: seconds that the table gives for all.
    """

    each: float
    amount: int
    total: float

    @property
    def computed(self) -> float:
        """The product of what is printed, which rounding keeps from being the printed total."""
        return self.each * self.amount


PUBLISHED = {
    "diffusion training": Printed(1.16, 50_000, 16.17 * HOUR),
    "generation": Printed(0.47, 67_000, 8.63 * HOUR),
    "mutual pretraining": Printed(0.60, 30_000, 5.03 * HOUR),
    "self-training": Printed(0.50, 12_000, 1.65 * HOUR),
    "features and k-means": Printed(144.0, 46, 1.84 * HOUR),
    "inference": Printed(0.0016, 10_000, 17.0),
}
UNITS = {
    "diffusion training": "iteration",
    "generation": "image",
    "mutual pretraining": "iteration",
    "self-training": "iteration",
    "features and k-means": "re-clustering",
    "inference": "image",
}
STAGES = ("diffusion", "generation", "pretrain", "selftrain")
NOTE = (
    "paper: Table VII (IEEE TCSVT 2024), one RTX 3090, Market-1501 to SYSU-MM01; computed: its "
    "time of each times its amount, both rounded there"
)


@dataclass(frozen=True)
class Work:
    """What was done how often.

    Attributes:
        name: a key of ``UNITS``.
        seconds: altogether.
        amount: how many iterations, images or re-clusterings.
    """

    name: str
    seconds: float
    amount: int

    @property
    def each(self) -> float:
        """Seconds of one."""
        return self.seconds / self.amount


@dataclass(frozen=True)
class Account:
    """What a stage's log says of its epochs.

    Attributes:
        epochs: how many are logged.
        iterations: of all of them.
        seconds: sums by what took them ("steps", "features", "clustering", ...).
        generated: "images" and "seconds" of every round of generation.
    """

    epochs: int
    iterations: int
    seconds: Mapping[str, float]
    generated: Sequence[Mapping] = ()

    @classmethod
    def of(cls, metrics: Path, stage: str) -> "Account":
        """The account of one stage; empty when there is no log."""
        every = read_events(metrics) if metrics.exists() else []
        logged = [event for event in every if event.get("stage") == stage]
        events = [event for event in logged if event["event"] == "epoch"]
        sums: dict[str, float] = {}
        for event in events:
            for name, value in event["seconds"].items():
                sums[name] = sums.get(name, 0.0) + value
        iterations = sum(event["iterations"] for event in events)
        generated = [event for event in logged if event["event"] == "generated"]
        return cls(len(events), iterations, sums, generated)


def accounts(places: Mapping[str, Path]) -> dict[str, Account]:
    """The account of every stage, from the log in its folder."""
    return {name: Account.of(place / "metrics.jsonl", name) for name, place in places.items()}


def works(accounts: Mapping[str, Account], images: Mapping[str, int]) -> list[Work]:
    """What was done, in the order of the paper's table; what no log knows of is left out.

    Args:
        accounts: by stage: "diffusion", "generation", "pretrain", "selftrain".
        images: "described" – images times networks whose features a re-clustering extracts – and
            "tested" – test images.
    """
    found = []
    for name, stage in (
        ("diffusion training", "diffusion"),
        ("mutual pretraining", "pretrain"),
        ("self-training", "selftrain"),
    ):
        account = accounts[stage]
        found.append(Work(name, account.seconds.get("steps", 0.0), account.iterations))
    rounds = accounts["generation"].generated
    seconds, made = (sum(own[key] for own in rounds) for key in ("seconds", "images"))
    found.insert(1, Work("generation", seconds, made))
    training = accounts["selftrain"]
    features, clustering = (training.seconds.get(n, 0.0) for n in ("features", "clustering"))
    found.append(Work("features and k-means", features + clustering, training.epochs))
    if training.epochs:
        each = features / (training.epochs * images["described"])
        found.append(Work("inference", each * images["tested"], images["tested"]))
    return [work for work in found if work.amount]


def text(done: Sequence[Work]) -> str:
    """The table, with the paper's figures beside ours."""
    ours = f"{'running time':22} {'each':>22} {'amount':>10} {'total':>10}"
    lines = [f"{ours}   {'paper: each':>11} {'amount':>7} {'total':>8} {'computed':>8}"]
    for work in done:
        paper, each = PUBLISHED[work.name], f"{_seconds(work.each)}/{UNITS[work.name]}"
        lines.append(
            f"{work.name:22} {each:>22} {work.amount:10,} {_long(work.seconds):>10}   "
            f"{_seconds(paper.each):>11} {paper.amount:7,} {_long(paper.total):>8} "
            f"{_long(paper.computed):>8}"
        )
    return "\n".join([*lines, NOTE])


def write(done: Sequence[Work], folder: Path) -> None:
    """times.txt and times.json."""
    with atomic(folder / "times.txt") as file:
        file.write(text(done) + "\n")
    rows = [asdict(work) | {"each": work.each, "unit": UNITS[work.name]} for work in done]
    published = {
        name: asdict(paper) | {"computed": paper.computed} for name, paper in PUBLISHED.items()
    }
    write_json(folder / "times.json", {"ours": rows, "published": published, "note": NOTE})


def _seconds(value: float) -> str:
    return f"{1000 * value:.1f} ms" if value < 0.1 else f"{value:.2f} s"


def _long(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 360 else f"{seconds:.1f} s"
