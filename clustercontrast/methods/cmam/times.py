"""Running times of a CMAM-UDA run, by what took them, as its paper's Table VII lists them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from clustercontrast.data.images import ImageArray
from clustercontrast.evaluation.features import extract
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
    "source labels": "epoch",
    "diffusion training": "iteration",
    "generation": "image",
    "mutual pretraining": "iteration",
    "self-training": "iteration",
    "features and k-means": "re-clustering",
    "of which features": "image",
    "inference": "image",
    "finetuning": "iteration",
}
STEPS = {
    "diffusion training": "diffusion",
    "mutual pretraining": "pretrain",
    "self-training": "selftrain",
    "finetuning": "finetune",
}
"""What a stage's iterations are called."""
STAGES = ("auxiliary", "diffusion", "generation", "pretrain", "selftrain", "finetune")
NOTE = (
    "paper: Table VII (IEEE TCSVT 2024), one RTX 3090, Market-1501 to SYSU-MM01; computed: its "
    "time of each times its amount, both rounded there; -: the paper has no figure"
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


def inference(network: nn.Module, arrays: Sequence[ImageArray], batch_size: int) -> Work:
    """Measure the features of test images: read, normalised, float32, back on the CPU.

    Args:
        network: in eval mode.
        arrays: test images of both modalities, on the network's device.
        batch_size: images per forward.
    """
    images = sum(map(len, arrays))
    with torch.no_grad():
        extract(network, arrays[0], batch_size, torch.arange(1))  # what the first call sets up
        started = time.perf_counter()
        for array in arrays:
            extract(network, array, batch_size)
        return Work("inference", time.perf_counter() - started, images)


def works(accounts: Mapping[str, Account], described: int, inference: Work) -> list[Work]:
    """What was done, in the order of the paper's table; what no log knows of is left out.

    Args:
        accounts: by stage, a key of ``STAGES`` each.
        described: images times networks whose features a re-clustering extracts.
        inference: features of the test images, as they were measured.
    """
    found = {"inference": inference}
    for name, stage in STEPS.items():
        account = accounts[stage]
        found[name] = Work(name, account.seconds.get("steps", 0.0), account.iterations)
    labels = accounts["auxiliary"]
    epochs = labels.epochs if labels.iterations else 0  # labels made elsewhere take no training
    found["source labels"] = Work("source labels", labels.seconds.get("total", 0.0), epochs)
    rounds = accounts["generation"].generated
    seconds, made = (sum(own[key] for own in rounds) for key in ("seconds", "images"))
    found["generation"] = Work("generation", seconds, made)
    training = accounts["selftrain"]
    features, clustering = (training.seconds.get(n, 0.0) for n in ("features", "clustering"))
    both, one = "features and k-means", "of which features"
    found[both] = Work(both, features + clustering, training.epochs)
    found[one] = Work(one, features, training.epochs * described)
    return [found[name] for name in UNITS if found[name].amount]


def text(done: Sequence[Work]) -> str:
    """The table, with the paper's figures beside ours."""
    ours = f"{'running time':22} {'each':>22} {'amount':>10} {'total':>10}"
    lines = [f"{ours}   {'paper: each':>11} {'amount':>7} {'total':>8} {'computed':>8}"]
    for work in done:
        each = f"{_seconds(work.each)}/{UNITS[work.name]}"
        lines.append(
            f"{work.name:22} {each:>22} {work.amount:10,} {_long(work.seconds):>10}   "
            + _published(work.name)
        )
    return "\n".join([*lines, NOTE])


def _published(name: str) -> str:
    """The paper's columns of a row."""
    paper = PUBLISHED.get(name)
    if paper is None:
        return f"{'-':>11} {'-':>7} {'-':>8} {'-':>8}"
    return (
        f"{_seconds(paper.each):>11} {paper.amount:7,} {_long(paper.total):>8} "
        f"{_long(paper.computed):>8}"
    )


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
