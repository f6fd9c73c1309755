"""Every flag that methods share: one row says all about it but its default.

A flag of one paper alone stands in that paper's recipe (:mod:`clustercontrast.settings.recipes`),
where the defaults are too.
"""

import argparse
import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

ON, OFF, NOT_GIVEN = (True,), (False,), (None,)
"""Values of another flag under which a flag is read (``Flag.when``)."""


def number(kind: type, low: float, high: float) -> Callable[[str], Any]:
    """A number of ``kind`` in [low, high], with a message that says so.

    It is written in ASCII, without underscores, which Python would skip.
    """

    def parse(text: str) -> Any:
        with contextlib.suppress(ValueError):
            if text.isascii() and "_" not in text and low <= kind(text) <= high:  # nan is in none
                return kind(text)
        name = "a whole number" if kind is int else "a number"
        shown = text if len(text) <= 30 else f"{text[:30]}..."
        bounds = (f"{bound:d}" if kind is int else f"{bound:g}" for bound in (low, high))
        raise argparse.ArgumentTypeError(f"'{shown}' is not {name} from {' to '.join(bounds)}")

    return parse


def text(word: str) -> str:
    """A word that is not empty."""
    if not word.strip():
        raise argparse.ArgumentTypeError("the value is empty: give one, or leave the flag out")
    return word


def folder_name(word: str) -> str:
    """One plain component of a path: a folder beside others of its kind."""
    is_plain = word.strip() == word and word.isprintable() and not {*"/\\"} & {*word}
    if not is_plain or word in ("", ".", "..") or word.startswith("-") or len(word.encode()) > 200:
        raise argparse.ArgumentTypeError(
            f"{word!r} is not the name of a folder: give one word without / and \\, such as eps055"
        )
    return word


def switch(word: str) -> bool:
    """On or off, for a switch that has one value per stage."""
    if word not in ("on", "off"):
        raise argparse.ArgumentTypeError(f"'{word}' is neither on nor off")
    return word == "on"


def shard(word: str) -> str:
    """Which of how many processes: "0/4"."""
    first, slash, last = word.partition("/")
    try:
        is_share = bool(slash) and natural(first) < count(last)
    except argparse.ArgumentTypeError:
        is_share = False
    if not is_share:
        raise argparse.ArgumentTypeError(f"'{word}' is not I/N with 0 <= I < N, such as 0/4")
    return word


count, natural, positive = number(int, 1, 10**6), number(int, 0, 10**6), number(float, 0, 1e6)
share, radius = number(float, 0, 1), number(float, 1e-6, 1)
rate, rate_or_none = number(float, 1e-12, 100), number(float, 0, 100)
weight = number(float, 1e-6, 1e6)
"""Of a loss that another flag switches off."""
temperature, layers = number(float, 1e-4, 1e4), number(int, 1, 1000)
draws, pixels, margin = number(int, 1, 10), number(int, 16, 4096), number(int, 0, 256)
intensity = number(float, -1e9, 1e9)
any_seed = number(int, 0, 2**63 - 1)
"""Generators take 64 bits; what a stage adds to a seed has 32."""


class Where(tuple):
    """Values that pass a test, as a condition; ``examples`` are some of them.

    Attributes:
        words: what they have in common, such as "below 1".
    """

    def __new__(cls, words: str, test: Callable[[Any], bool], *examples: Any) -> "Where":
        """A condition that holds for the values that pass ``test``."""
        self = super().__new__(cls, examples)
        self.words, self._test = words, test
        return self

    def __contains__(self, value: Any) -> bool:
        return self._test(value)


BELOW_ONE = Where("below 1", lambda value: value < 1, 0.5)
ABOVE_ONE = Where("above 1", lambda value: value > 1, 2)
ABOVE_ZERO = Where("above 0", lambda value: value > 0, 1.0)


Conditions = Mapping[str, tuple]
"""Other flags -> values under which a flag is read."""


@dataclasses.dataclass(frozen=True)
class Flag:
    """One flag.

    Attributes:
        name: with underscores; ``--name`` with dashes on the command line.
        kind: reads one word; ``switch`` without ``per_stage`` makes ``--name`` and ``--no-name``.
        help: what it does.
        group: its heading in ``--help``.
        per_stage: one value, one per stage that reads it, or STAGE=VALUE.
        many: several words make one value, a list.
        choices: the only values.
        follows: the flag whose value it takes while it has none of its own.  Given on the command
            line, that flag also leads followers for which a recipe has another value.
        when: it is read while other flags have certain values, flag -> values; of several such
            mappings, one has to hold.  Flags that a method does not have are left out of account.
            A recipe can add conditions.
        also_with: it is read as well whenever this flag is.
        free: says where and how to run; may change when a run is resumed.
        sample: makes another sample of the same configuration, or a file besides: no published
            figure depends on it.
        alike: values that give the same figures: no configuration, and no resumed run, tells one
            from another.
        short: further spelling.
    """

    name: str
    kind: Callable[[str], Any]
    help: str
    group: str = ""
    per_stage: bool = False
    many: bool = False
    choices: tuple = ()
    follows: str | None = None
    when: Conditions | tuple[Conditions, ...] = dataclasses.field(default_factory=dict)
    also_with: str | None = None
    free: bool = False
    sample: bool = False
    alike: tuple = ()
    short: str | None = None

    @property
    def spelled(self) -> str:
        """As it is written on the command line."""
        return "--" + self.name.replace("_", "-")

    def is_same(self, one: Any, other: Any) -> bool:
        """Whether two of its values give the same figures."""
        return one == other or (one in self.alike and other in self.alike)


def group(title: str, *flags: Flag) -> tuple[Flag, ...]:
    """Flags under a heading."""
    return tuple(dataclasses.replace(flag, group=title) for flag in flags)


def staged(name: str, kind: Callable, help: str, **more: Any) -> Flag:
    """A flag with values per stage."""
    return Flag(name, kind, help, per_stage=True, **more)


HYBRID = {"memory": ("hybrid",)}
CLUSTERED = {"pseudo_labels": NOT_GIVEN}
MATCHINGS = ("pgm", "mmm", "ot", "cma", "hungarian")
MATCHED = {"association": MATCHINGS}
DRAWN = {"gallery_shots": ("single",)}
RESNET, VIT = {"arch": ("resnet",)}, {"arch": ("vit",)}

SHARED: tuple[Flag, ...] = (
    *group(
        "run",
        Flag("method", text, "name of the paper's method"),
        Flag("variant", text, "named set of defaults"),
        Flag("name", folder_name, "its folder, in LOGS_DIR/<dataset>/<method>; seed<SEED>,"
             " or seeds with --seeds", free=True),
        Flag("logs_dir", text, "folder of all runs", free=True),
        Flag("stages", text, "run these stages only", many=True, free=True),
        Flag("device", text, "auto, cpu, cuda or cuda:N", free=True),
        Flag("precision", text, "of steps and features: bf16 autocast; on CUDA also tf32, or"
             " tf32-conv, which is TF32 in convolutions alone",
             choices=("fp32", "tf32", "tf32-conv", "bf16")),
        Flag("compile", switch, "compile the networks: minutes at first, faster steps", free=True),
        Flag("deterministic", switch, "kernels on CUDA that give the same bits every time, slower;"
             " on a CPU runs repeat exactly anyway", sample=True),
        Flag("seed", any_seed, "of the generator behind all random draws", sample=True),
        Flag("seeds", any_seed, "in place of --seed: a run for each, all under one name, and their"
             " means", many=True, free=True),
        Flag("print_freq", count, "iterations between two lines of log.txt", free=True),
        Flag("overwrite", switch, "delete the run of this name first", free=True),
    ),
    *group(
        "data",
        Flag("data_dir", text, "the dataset as downloaded", free=True),
        Flag("manifest", text, "table of the images; its paths start from its folder, or from"
             " DATA_DIR", free=True),
        Flag("cache_dir", text, "prepared images; default DATA_DIR-HxW", free=True),
        Flag("cache_root", text, "folder of all prepared images without a --cache-dir", free=True),
        Flag("height", pixels, "image height in pixels, as prepared"),
        Flag("width", pixels, "image width in pixels, as prepared"),
        Flag("images", text, "where images live: GPU, pinned host memory, disk; auto: as they fit",
             choices=("auto", "device", "pinned", "map"), free=True),
        Flag("trial", count, "splits to train on, a model for each", many=True, sample=True),
        Flag("allow_leak", switch, "accept images or weights that show test identities", free=True),
    ),
    *group(
        "network",
        Flag("arch", text, "two-stream ResNet or vision transformer", choices=("resnet", "vit")),
        Flag("depth", layers, "resnet: layers, 10 18 34 50 (50); vit: blocks (12)"),
        Flag("vit_width", number(int, 64, 8192), "token length, a multiple of 64", when=VIT),
        Flag("drop_path", share, "stochastic depth of the last block", when=VIT),
        Flag("non_local", switch, "non-local blocks", when=RESNET),
        Flag("pooling", text, "of the last feature map (PCLHD-12)", choices=("gem", "average"),
             when=RESNET),
        Flag("pretrained", text, "initial weights: imagenet, random or a checkpoint's PATH"),
        Flag("start_from", text, "of later stages: test, cycle, last, pretrained or PATH"),
        Flag("stage1", text, "checkpoint in place of the first stage"),
        staged("bn_groups", count, "GPUs whose BatchNorm is emulated"),
        Flag("checkpoint_groups", switch, "recompute activations: less memory, a quarter more time;"
             " on a GPU the memory plan decides", free=True),
    ),
    *group(
        "schedule",
        staged("epochs", count, "epochs per stage (one re-clustering each)"),
        staged("first_epoch", natural, "number of the first epoch; schedules count from 0"),
        staged("iters", natural, "iterations per epoch; 0: one pass over clusters or images"),
        staged("lr", rate, "base learning rate"),
        staged("weight_decay", positive, "L2 added to the gradient"),
        staged("step_size", count, "epochs after which the rate falls to a tenth"),
    ),
    *group(
        "batches and views",
        staged("batch_size", count, "infrared images per batch", short="-b"),
        staged("batch_visible", count, "visible images per batch, two views each"),
        staged("num_instances", count, "images per cluster in a batch, K"),
        Flag("cam", switch, "draw a cluster's images from other cameras"),
        staged("padding", margin, "black pixels around an image before the crop"),
        staged("flip", share, "probability of the horizontal flip"),
        staged("erasing", share, "probability of random erasing"),
        staged("jitter_visible", switch, "colour jitter of plain visible views"),
        staged("jitter_exchanged", switch, "colour jitter before the channel exchange"),
        staged("jitter_infrared", switch, "colour jitter of infrared images"),
    ),
    *group(
        "pseudo labels",
        staged("eps", radius, "DBSCAN radius in Jaccard distance", when=CLUSTERED),
        staged("eps_visible", radius, "of visible images", follows="eps", when=CLUSTERED),
        staged("eps_infrared", radius, "of infrared images", follows="eps", when=CLUSTERED),
        staged("eps_joint", radius, "of the joint clustering", follows="eps"),
        staged("min_samples", count, "neighbours of a core point, itself included", when=CLUSTERED,
               also_with="eps_joint"),
        staged("k1", count, "k-reciprocal neighbours, self included", when=CLUSTERED),
        staged("k1_visible", count, "of visible images", follows="k1", when=CLUSTERED),
        staged("k2", count, "neighbours of the query expansion; 1: off", when=CLUSTERED),
        staged("visible_share", radius, "of the visible images, drawn anew in every epoch, that"
               " are clustered", when=CLUSTERED, also_with="eps_joint"),
        Flag("joint_half", text, "visible images of the joint clustering: a part that the other"
             " clustering does not see, the same part, or all", choices=("other", "same", "all"),
             when={"visible_share": BELOW_ONE}),
        staged("joint_k1", count, "k1 of the joint clustering"),
        staged("joint_k2", count, "k2 of the joint clustering"),
        Flag("neighbours", text, "neighbour search; torch, faiss: exact; ivf, hnsw: approximate;"
             " all but torch need faiss-cpu; auto: torch, on a CPU ivf above 100,000 images",
             choices=("auto", "torch", "faiss", "ivf", "hnsw"), when=CLUSTERED,
             also_with="eps_joint", alike=("auto", "torch", "faiss")),
        Flag("pseudo_labels", text, "file of labels in place of the clustering"),
        staged("export_labels", switch, "write the labels of the final weights, and features",
               sample=True),
    ),
    *group(
        "association",
        Flag("association", text, "how clusters are matched",
             choices=(*MATCHINGS, "none")),
        Flag("match_always", switch, "match if infrared clusters are more, too",
             when=MATCHED),
        Flag("matching_rounds", text, "with twice as many visible clusters: infrared ones keep"
             " their partners (total) or take those of later rounds (PGM-4)",
             choices=("upstream", "total"), when={"association": ("pgm",)}),
        staged("cross_weight", positive, "weight of the cross-modality contrast",
               when=MATCHED),
        Flag("vote_threshold", share, "similarity of an image pair that votes",
             when={"association": ("cma",)}),
        Flag("ot_regularisation", number(float, 1e-3, 1e6), "entropic regularisation",
             when={"association": ("ot",)}),
        Flag("forget_last", switch, "leave out the last cluster, as released (MMM-1)",
             when={"association": ("mmm",)}),
    ),
    *group(
        "memories",
        staged("temp", temperature, "temperature τ"),
        staged("momentum", share, "weight of the OLD row in an update (α)"),
        staged("memory", text, "kind of memory", choices=("sequential", "hard", "hybrid")),
        Flag("memory_gradient", text, "rows of the gradient", choices=("upstream", "clean")),
        staged("smooth", share, "label smoothing"),
        Flag("unit_prototypes", switch, "rows of unit length; off: as PCLHD Eq. 1, 6, 14 print"),
        staged("hard_weight", share, "of hard prototypes (λ of PCLHD Eq. 23)", when=HYBRID),
        staged("centroid_weight", share, "of centroid prototypes", when=HYBRID),
        staged("hinge", positive, "centroid loss without gradient below it", when=HYBRID),
        Flag("hard_init", text, "initial hard prototypes", choices=("centroid", "farthest"),
             when=HYBRID),
        staged("hard_k", count, "farthest members averaged",
               when=HYBRID | {"hard_init": ("farthest",)}),
        Flag("hard_update", text, "queries that move a hard prototype (PCLHD-11)",
             choices=("hardest", "every"), when=HYBRID),
        staged("hard_update_k", count, "hardest queries averaged",
               when=HYBRID | {"hard_update": ("hardest",)}),
    ),
    *group(
        "evaluation",
        staged("eval_from", natural, "first epoch that may be evaluated; the last always is"),
        staged("eval_step", count, "evaluate where (epoch + 1 + EVAL_OFFSET) % V is 0, and in the"
               " last epoch"),
        staged("eval_offset", natural, "see EVAL_STEP", when={"eval_step": ABOVE_ONE}),
        Flag("queries", text, "whose images are searched for among those of the other modality",
             choices=("visible", "infrared", "both")),
        Flag("gallery_shots", text, "items of the gallery: all, or one of every identity and"
             " camera, drawn", choices=("all", "single")),
        Flag("skip_own_camera", switch, "leave out what the query's own camera has of its"
             " identity"),
        staged("eval_draws", draws, "gallery draws of these evaluations", when=DRAWN),
        Flag("draws", draws, "gallery draws of the final test", free=True, when=DRAWN),
        Flag("swapped", switch, "search with swapped roles in the final test, too (LLCM-1)",
             free=True),
        Flag("select", text, "test score of the best model", choices=("rank1", "mAP")),
        Flag("selection_images", count, "training images per modality of the cycle score",
             sample=True),
        Flag("test_batch", count, "images per forward of feature extraction; fewer by default where"
             " a GPU has no memory for them", free=True),
    ),
)  # fmt: skip
