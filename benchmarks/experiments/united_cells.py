"""The grid of experiments with ``united``: cells, the questions that they answer, finished runs."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.experiments.recorded import Records
from clustercontrast.settings.recipes import all_recipes

SEEDS = (1, 2, 3)
PEOPLE = 60  # training identities
SIZE = "--height 64 --width 32"
NETWORK = f"{SIZE} --depth 10 --no-non-local --test-batch 64 --erasing 0.2"
WARM = (
    f"--method supervised {NETWORK} --pretrained random --epochs 1 --iters 350 --lr 1e-3 "
    "--batch-size 16 --batch-visible 16 --num-instances 2 --selection-images 256 --draws 2"
)
SHARED = (
    f"{NETWORK} --batch-size 32 --batch-visible 32 --num-instances 4 --lr 5e-4 --step-size 2 "
    "--epochs 2 4 --iters 40 --eval-from 99 --draws 10 --selection-images 256 "
    "--k1 15 --k2 4 --eps 0.6"
)
JOINT_K1, JOINT_K2, EPS_JOINT = 24, 4, 0.55
JOINT = f"--joint-k1 {JOINT_K1} --eps-joint {EPS_JOINT}"
SHARES = (1, 0.75, 0.5, 0.33)  # of the visible images, in E1
VISIBLE_RADII = (0.6, 0.72)
OF_STAGE_1 = ("--visible-share", "--joint-half", "--eps-visible")  # the second goes with the first
BY_CAMERA = "--joint-distance camera"
METHODS = {
    "united": f"{JOINT} --eval-draws 1",
    "pgm": "--match-always",
    "pclhd": f"{JOINT} --joint-k2 10 --ema-decay 0.9",
}


@dataclass(frozen=True)
class Cell:
    """A point of a grid.

    Attributes:
        title: as the table calls it.
        flags: besides those of every run of the method; what comes later wins.
        method: that is trained.
    """

    title: str
    flags: str = ""
    method: str = "united"

    @property
    def name(self) -> str:
        """Of the run, and of the cell in the table of runs: the same flags have the same name."""
        return "_".join([self.method, *self.flags.replace("--", "").split()])

    @property
    def first(self) -> "Cell":
        """What its first stage depends on."""
        words = self.flags.split()
        pairs = zip(words[::2], words[1::2], strict=True)
        own = [" ".join(pair) for pair in pairs if pair[0] in OF_STAGE_1]
        return Cell(self.title, " ".join(own), self.method)

    @property
    def every_flag(self) -> str:
        """What it is trained with, besides where it lies, its first weights and its seed."""
        own = METHODS[self.method]
        if self.method == "united" and BY_CAMERA not in self.flags:
            own += f" --joint-k2 {JOINT_K2}"
        return f"--method {self.method} {SHARED} {own} {self.flags}".strip()

    @property
    def setting(self) -> str:
        """All that its figures depend on but the seed."""
        return f"{self.every_flag} ; {PEOPLE} identities ; {WARM}"


@dataclass(frozen=True)
class Question:
    """An experiment.

    Attributes:
        title: what is asked.
        cells: rows of its table; effects are against the first, or the first of their method.
    """

    title: str
    cells: tuple[Cell, ...]


def shares() -> Iterable[Cell]:
    """E1: parts of the visible images, and a larger radius in their place."""
    for method, share, eps in itertools.product(METHODS, SHARES, VISIBLE_RADII):
        is_default = share == (0.5 if method == "united" else 1)
        flags = [] if is_default else [f"--visible-share {share}"]
        if share == 0.75 and method != "pgm":
            flags.append("--joint-half all")  # no second part is left
        if eps != VISIBLE_RADII[0]:
            flags.append(f"--eps-visible {eps}")
        title = f"{all_recipes()[method].title}, share {share}, ε {eps}"
        yield Cell(title, " ".join(flags), method)


def grid() -> Iterable[Cell]:
    """E6: share x distance x distillation, each as it is by default or off."""
    switches = (
        ("share 1", "--visible-share 1"),
        ("plain distance", "--joint-distance plain"),
        ("no distillation", "--distil none"),
    )
    for off in itertools.product((False, True), repeat=3):
        chosen = [switch for switch, is_off in zip(switches, off, strict=True) if is_off]
        title = ", ".join(own[0] for own in chosen) or "united"
        yield Cell(title, " ".join(own[1] for own in chosen))


DEFAULT = Cell("united")
# The same, run again on the machine of E5-own and E7: warm starts differ between machines.
AGAIN = Cell("united, run again", "--intra-weight 1")
QUESTIONS = {
    "E1": Question(
        "does a part of the images repair over-splitting, and does a radius?", (*shares(),)
    ),
    "E2": Question(
        "distance of the joint clustering, trained",
        (
            DEFAULT,
            Cell("balanced", "--joint-distance balanced"),
            Cell("plain", "--joint-distance plain"),
        ),
    ),
    "E3": Question(
        "proxies of either modality, or one row pair",
        (DEFAULT, Cell("one row pair", "--joint-memory hybrid")),
    ),
    "E4": Question(
        "self-distillation",
        (
            DEFAULT,
            Cell("none", "--distil none"),
            Cell("separate", "--distil separate"),
            Cell("fusion 0", "--fusion 0"),
            Cell("fusion 1", "--fusion 1"),
            Cell("γ 0.025", "--teacher-temp 0.025"),
            Cell("γ 0.1", "--teacher-temp 0.1"),
        ),
    ),
    "E5": Question(
        "losses left out of stage 2",
        (
            DEFAULT,
            Cell("w_p 0", "--joint-weight 0"),
            Cell("none", "--distil none"),
        ),
    ),
    "E5-own": Question(
        "stage 2 on the joint clusters alone", (AGAIN, Cell("w_i 0", "--intra-weight 0"))
    ),
    "E6": Question("share, distance and distillation together", (*grid(),)),
    "E7": Question(
        "cameras (of the camera-aware kind)",
        (
            AGAIN,
            Cell("proxies by camera", "--proxies camera"),
            Cell("distance by camera", BY_CAMERA),
            Cell("both", f"--proxies camera {BY_CAMERA}"),
        ),
    ),
    "E8": Question(
        "a momentum teacher: better targets, or averaged weights",
        (
            DEFAULT,
            Cell("teaches, is tested", "--teacher ema --ema-decay 0.9"),
            Cell(
                "teaches, the encoder is tested",
                "--teacher ema --ema-decay 0.9 --retrieval encoder",
            ),
            Cell("nobody's feature teaches", "--fusion 0"),
            Cell(
                "nobody's feature teaches, averaged weights are tested",
                "--fusion 0 --teacher ema --ema-decay 0.9 --cluster-with online",
            ),
        ),
    ),
}
FIGURES = (
    "mAP", "rank1", "start", "chance", "stage1", "clusters_per_person", "ari_visible",
    "ari_infrared", "ari_joint", "mixed", "gap_first", "gap_last", "positives", "right",
    "right_single", "minutes", "date",
)  # fmt: skip
RECORDS = Records(Path(__file__).with_name("united.csv"), FIGURES)
FROZEN = Records(
    Path(__file__).with_name("united-frozen.csv"), ("clusters", "outliers", "ari", "mixed")
)
DISTANCES, RADII = ("modality", "balanced", "plain"), (0.45, 0.5, 0.55, 0.6, 0.65)
UNSAMPLED = Cell("all images", "--visible-share 1")
FROZEN_FLAGS = f"{UNSAMPLED.first.setting} ; --joint-k1 {JOINT_K1} --joint-k2 {JOINT_K2}"
