"""Running times of a CMAM-UDA run, by what took them, as its paper's Table VII lists them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from clustercontrast.files import atomic, read_events, write_json

PUBLISHED = {  # seconds each, amount; Table VII: one RTX 3090, Market-1501 to SYSU-MM01
    "diffusion training": (1.16, 50_000),
    "generation": (0.47, 67_000),
    "mutual pretraining": (0.60, 30_000),
    "self-training": (0.50, 12_000),
    "features and k-means": (144.0, 46),
    "inference": (0.0016, 10_000),
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
NOTE = "paper: one RTX 3090, Market-1501 to SYSU-MM01 (IEEE TCSVT 2024, Table VII)"


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
        logged = [event for event in every if event["stage"] == stage]
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
    lines = [f"{'running time':22} {'each':>18} {'amount':>9} {'total':>10}   paper: each, total"]
    for work in done:
        each, amount = PUBLISHED[work.name]
        ours = f"{_seconds(work.each)}/{UNITS[work.name]}"
        paper = f"{_seconds(each)}, {_long(each * amount)}"
        lines.append(
            f"{work.name:22} {ours:>18} {work.amount:9,} {_long(work.seconds):>10}   {paper}"
        )
    return "\n".join([*lines, NOTE])


def write(done: Sequence[Work], folder: Path) -> None:
    """times.txt and times.json."""
    with atomic(folder / "times.txt") as file:
        file.write(text(done) + "\n")
    rows = [asdict(work) | {"each": work.each, "unit": UNITS[work.name]} for work in done]
    write_json(folder / "times.json", {"ours": rows, "published": PUBLISHED, "note": NOTE})


def _seconds(value: float) -> str:
    return f"{1000 * value:.1f} ms" if value < 0.1 else f"{value:.2f} s"


def _long(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 360 else f"{seconds:.1f} s"
