"""CMAM-UDA's ablations on rendered identities, three seeds each, and how good its fakes are.

    python -m benchmarks.experiments.cmam                        # what is missing, then the tables
    python -m benchmarks.experiments.cmam --seeds 1 --rows default pre1
    python -m benchmarks.experiments.cmam --only-tables --write docs/experiments.md

Whatever is finished stays so: the same command goes on where it was stopped, and several processes
with other rows or seeds can work in one folder.  Rendered identities say that the parts of the
method work together and what each does here; they say nothing about SYSU-MM01.

Rendered are a target in SYSU-MM01's layout, a source in Market-1501's, and two sets of others: the
visible ones give a warm start (the part ImageNet plays in a real run), the infrared ones a judge.
The judge has seen neither visible images nor the target; it is asked whether it finds a person's
infrared images by a fake.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks.experiments.pages import Experiment, listed, mean
from benchmarks.experiments.training import train
from clustercontrast.data.augment import normalise
from clustercontrast.data.images import ImageArray, open_prepared
from clustercontrast.evaluation.metrics import evaluate
from clustercontrast.files import atomic, read_events, read_json
from clustercontrast.generation.edges import luminance
from clustercontrast.generation.fake_infrared import FakeSet
from clustercontrast.models import weights
from clustercontrast.rendering import __main__ as rendering

HEIGHT, WIDTH = 48, 24
SEEDS = (1, 2, 3)
SETS = {  # folder: flags of the renderer
    "target": "--size demo --identities 40 --seed 1",
    "source": "--layout market --size demo --identities 100 --seed 3",
    "warm": "--layout market --size demo --identities 150 --seed 2",
    "judge": "--size demo --identities 150 --seed 2",
}
INFRARED_CAMERAS = ("cam3", "cam6")
SIZES = f"--height {HEIGHT} --width {WIDTH} --depth 10 --precision fp32 --test-batch 64"
LABELLED = (
    f"{SIZES} --stages auxiliary pretrain --pair rgb-rgb --relation-mode none "
    "--label-method import --pretrained random --phase-one 3 "
    "--epochs pretrain=3 --iters pretrain=100 "
    "--batch-size pretrain=24 --num-instances pretrain=4 --lr pretrain=1e-3 "
    "--warm-iterations pretrain=20 --first-lr pretrain=1e-4 --flat-iterations pretrain=150 "
    "--eval-from pretrain=0 --eval-step pretrain=1 --selection-images 256"
)
"""Two networks that classify identities: the warm start, and the judge."""
GENERATOR = (
    f"--fake-height {HEIGHT} --fake-width {WIDTH} --unet-width 16 --unet-multipliers 1 2 4 "
    "--attention-at 6 --sampling-steps 8 --solver dpmpp2m --shared-seed 1 --k1 15 --k2 4 "
    "--source-splits train"
)
TRAINING = (
    "--epochs auxiliary=4 diffusion=2 pretrain=4 selftrain=2 "
    "--iters auxiliary=40 diffusion=250 pretrain=30 selftrain=30 "
    "--batch-size auxiliary=32 diffusion=8 generation=64 pretrain=16 selftrain=16 "
    "--num-instances pretrain=4 selftrain=4 --lr diffusion=1e-3 pretrain=1e-3 selftrain=5e-4 "
    "--clusters 40 --phase-one 2 --warm-iterations 5 "
    "--flat-iterations pretrain=30 selftrain=30 --eval-from 9 --selection-images 64 --draws 10"
)
LAST_STAGE = "--similarity-weight selftrain=0.8 --probability-weight selftrain=0.04"
WEIGHTED = "--similarity-weight 8 0.8 0.8 --probability-weight 0.4 0.04 0.04"
"""The relation losses as heavy as in batches of 64: beside a mean, a sum over B images is 4 times
smaller in a batch of 16, and one over B² pairs 16 times."""
WEIGHTED_SUMS = "--similarity-weight 2 0.2 0.2"
"""The same where all losses are sums."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        title: what it is called there.
        flags: beside those of all rows.
        weighted: flags of the relation losses' weights.
        goes_on: it starts stage 3 from the networks that the full method has pretrained.
    """

    title: str
    flags: str = ""
    weighted: str = WEIGHTED
    goes_on: bool = False


ROWS = {
    "default": Row("CMAM-UDA, the full method"),
    "pre1": Row(
        "PRE1: no relation loss in pretraining",
        "--sp pretrain=off --pp pretrain=off",
        LAST_STAGE,
    ),
    "rgb-gray": Row("RGB-GRAY: symmetric in place of selective", "--relation-mode symmetric"),
    "uda1": Row(
        "UDA1: no relation loss in self-training",
        "--sp selftrain=off --pp selftrain=off",
        "",
        goes_on=True,
    ),
    "literal": Row("`--variant literal`", "--variant literal", WEIGHTED_SUMS),
    "no-neck": Row("`--neck none` alone", "--neck none"),
    "uda3": Row(
        "UDA3: k-means of both modalities together",
        "--matching joint-kmeans --class-draw independent",
        LAST_STAGE,
        goes_on=True,
    ),
    "uda2": Row(
        "UDA2: no probability preservation in self-training",
        "--pp selftrain=off",
        "--similarity-weight selftrain=0.8",
        goes_on=True,
    ),
    "m-joint": Row("M_joint alone", "--models joint", ""),
    "rgb-rgb": Row("RGB-RGB (DML): no fakes", "--pair rgb-rgb --relation-mode symmetric"),
}


# --- work ---


def train_from(folder: Path, name: str, source: str, *flags: str) -> Path:
    """Train a run on the target with a source's labels, or what is missing of it; its folder."""
    words = f"--method cmam --source {folder}/{source} {' '.join(flags)}"
    return train(folder, name, "target", words)


def rendered(folder: Path) -> None:
    """All sets, and the true labels of the two sets of others."""
    for name, flags in SETS.items():
        rendering.main([*f"--out {folder}/{name}".split(), *flags.split()])
    _write_labels(folder, "warm", (folder / "warm").glob("bounding_box_train/*.jpg"))
    shots = (p for c in INFRARED_CAMERAS for p in (folder / "judge" / c).glob("*/*.jpg"))
    _write_labels(folder, "judge", shots)


def _write_labels(folder: Path, name: str, images: Iterator[Path]) -> None:
    rows = [
        (path.relative_to(folder / name).as_posix(), _identity(path)) for path in sorted(images)
    ]
    with atomic(folder / f"{name}.csv") as file:
        file.write("relpath,label\n" + "".join(f"{path},{label}\n" for path, label in rows))


def _identity(path: Path) -> int:
    """Market-1501 writes it into the file's name, SYSU-MM01 into the folder's."""
    name = path.parent.name if path.parent.name.isdigit() else path.name.partition("_")[0]
    return int(name)


def warm_start(folder: Path) -> Path:
    """Networks that tell visible images of other identities apart."""
    flags = f"{LABELLED} --source-splits train --source-labels {folder}/warm.csv"
    return train_from(folder, "warm", "warm", flags) / "pretrain" / "last.pth"


def judge(folder: Path) -> Path:
    """A network that tells infrared images of other identities apart."""
    flags = f"{LABELLED} --source-format folder --source-labels {folder}/judge.csv"
    return train_from(folder, "judge", "judge", flags) / "pretrain" / "last.pth"


def flags_of(row: Row) -> str:
    """What a row is trained with, besides where it lies, its first weights and its seed."""
    return " ".join((SIZES, GENERATOR, TRAINING, row.weighted, row.flags))


def train_row(folder: Path, warm: Path, name: str, seed: int) -> Path:
    """One row with one seed."""
    row = ROWS[name]
    flags = [flags_of(row), f"--pretrained {warm} --seed {seed}"]
    if row.goes_on:
        first = train_row(folder, warm, "default", seed)
        flags.append(f"--stages selftrain --start-from {first}/pretrain/last.pth")
    return train_from(folder, f"{name}-{seed}", "source", *flags)


# --- fakes ---


def features(network: torch.nn.Module, chunks: Iterator[torch.Tensor]) -> torch.Tensor:
    """Unit features (N, d) of images (B, H, W, 3) uint8."""
    with torch.no_grad():
        return torch.cat([F.normalize(network(normalise(pixels))[1]) for pixels in chunks])


def gray(array: ImageArray) -> Iterator[torch.Tensor]:
    """Images as their luminance, three equal channels."""
    for pixels in array.chunks(64):
        values = (255 * luminance(pixels)).round().to(torch.uint8)
        yield values.permute(0, 2, 3, 1).expand(-1, -1, -1, 3)


def judged(folder: Path) -> dict[str, dict[str, float]]:
    """Rank-1 and mAP in percent of searches for infrared images, by what is searched with.

    All are of the target's training identities.  The upper bound searches with infrared images,
    among those of the other camera.
    """
    (generation,) = (folder / "logs" / "shared").glob("generation-*")
    torch.manual_seed(0)
    network = weights.network_for(weights.networks(judge(folder))["joint"]).eval()
    parts = open_prepared(folder / f"target-{HEIGHT}x{WIDTH}", "sysu").parts(None)
    visible, infrared = parts["train_visible"], parts["train_infrared"]
    fakes = FakeSet(generation, "train_visible", visible.index).array((HEIGHT, WIDTH))
    gallery = features(network, infrared.chunks(64))
    queries = {
        "random features (chance)": F.normalize(torch.randn(len(visible), gallery.shape[1])),
        "visible images as they are": features(network, visible.chunks(64)),
        "their luminance": features(network, gray(visible)),
        "their fakes": features(network, fakes.chunks(64)),
    }
    found = {
        name: _search(query, gallery, visible.index.identities, infrared.index.identities)
        for name, query in queries.items()
    }
    cameras, people = infrared.index.cameras, infrared.index.identities
    own = cameras[:, None] == cameras
    found["true infrared images, of the other camera"] = _search(
        gallery, gallery, people, people, own
    )
    return found


def _search(query, gallery, askers, people, excluded=None) -> dict[str, float]:
    result = evaluate((query @ gallery.T).numpy(), askers, people, excluded, cmc="image")
    return {"rank1": 100 * float(result.cmc[0]), "mAP": 100 * result.mAP}


# --- tables ---


def scores(folder: Path, name: str, seed: int) -> dict[str, float] | None:
    """Percent of mAP in all-search by network; None if the run is not finished.

    Means of ten draws, but "pretrain", the network that stage 3 begins with, is of one.
    """
    place = folder / "logs" / "sysu" / "cmam" / f"{name}-{seed}"
    if not (place / "report.json").exists():
        return None
    results = read_json(place / "report.json")["results"]
    found = {row["selection"]: row["mAP"]["mean"] for row in results if row["mode"] == "all"}
    events = read_events(place / "metrics.jsonl")
    tested = [e["scores"]["mAP"] for e in events if e.get("scores") and e["stage"] == "pretrain"]
    return found | ({"pretrain": tested[-1]} if tested else {})


def ablations(folder: Path) -> str:
    """Every row over the seeds, and what sets it apart from the full method with the same seed."""
    lines = [
        f"| row | after pretraining, seeds {listed(SEEDS, 'd')} | at the end | mean ± deviation "
        "| minus the full method | mean ± deviation |",
        "|---|---|---|---|---|---|",
    ]
    full = {seed: scores(folder, "default", seed) for seed in SEEDS}
    for name, row in ROWS.items():
        found = {seed: scores(folder, name, seed) for seed in SEEDS}
        own = {seed: result["last"] for seed, result in found.items() if result}
        before = [result["pretrain"] for result in found.values() if result and not row.goes_on]
        gains = [own[s] - full[s]["last"] for s in own if full[s] and name != "default"]
        values = [listed(own.values()) or "not run", mean(own.values())]
        cells = [listed(before), *values, listed(gains, "+.2f"), mean(gains, "+.2f")]
        lines.append(" | ".join((f"| {row.title}", *cells)) + " |")
    return "\n".join(lines)


def levels(folder: Path) -> str:
    """What the rows are measured against."""
    names = {
        "chance": "chance (random features)",
        "untrained": "random weights",
        "start": "warm start",
    }
    found = scores(folder, "default", SEEDS[0]) or {}
    lines = [f"| {title} | {found[name]:.2f} |" for name, title in names.items() if name in found]
    return "\n".join(["| network | mAP |", "|---|---|", *lines])


def fakes(folder: Path) -> str:
    """How well the judge finds a person's infrared images by what stands for a visible one."""
    lines = [
        f"| {name} | {own['rank1']:.1f} | {own['mAP']:.1f} |"
        for name, own in judged(folder).items()
    ]
    return "\n".join(["| searched with | Rank-1 | mAP |", "|---|---|---|", *lines])


def begin(folder: Path) -> Path:
    """All sets, and the networks that every row starts from."""
    rendered(folder)
    return warm_start(folder)


EXPERIMENT = Experiment(
    "cmam",
    "CMAM-UDA's ablations on rendered identities, and how good its fakes are.",
    "data/experiments",
    list(ROWS),
    SEEDS,
    begin,
    train_row,
    {"levels": levels, "fakes": fakes, "ablations": ablations},
)


if __name__ == "__main__":
    EXPERIMENT.run()
