"""What recipes are made of, and what all methods share: groups of flags, defaults, datasets.

Rows are laid over each other, the later ones win: ``SHARED_ROWS``, the dataset's rows, the rows of
the method.  In a row a list has one value per stage of the method that reads the flag; None means
that the flag follows another one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clustercontrast.settings.flags import Flag

OFFICIAL, OURS = "official script", "ours"
DEFAULT_METHOD = "pclhd"


@dataclass(frozen=True)
class Row:
    """Defaults with one origin.

    Attributes:
        origin: where they come from, in words.
        values: flag -> default.
        dataset: the only one that they are for.
        variant: the only one that they are for.
    """

    origin: str
    values: Mapping[str, Any]
    dataset: str | None = None
    variant: str | None = None


@dataclass(frozen=True)
class Need:
    """A flag that has no default and must be given.

    Attributes:
        flag: its name.
        text: what to say where it is missing.
        when: values of other flags under which it is needed.
        without: stages that do without it.
    """

    flag: str
    text: str
    when: Mapping[str, tuple] = field(default_factory=dict)
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """A method as the command line sees it.

    Attributes:
        title: its name in the literature.
        paper: title of the paper, venue.
        year: of the paper; None for what is not a method of a paper.
        stages: stage -> flags that it reads, in the order of training.
        rows: defaults, later ones win.
        flags: those that no other method has.
        run: flags that are read for the run as a whole, besides ``RUN``.
        when: flag -> conditions under which this method reads it, besides the flag's own.
        choices: flag -> the only values that this method knows.
        needs: flags that must be given.
        variants: named sets of defaults; the first is the usual one.
        arch: what the official scripts say after ``-a``; None where there are none.
        first_stages: dataset -> where the official script reads the first stage's weights, which
            its authors publish, instead of training it.
    """

    title: str
    paper: str
    year: int | None
    stages: Mapping[str, tuple[str, ...]]
    rows: tuple[Row, ...]
    flags: tuple[Flag, ...] = ()
    run: tuple[str, ...] = ("start_from", "stage1")
    when: Mapping[str, Mapping[str, tuple]] = field(default_factory=dict)
    choices: Mapping[str, tuple] = field(default_factory=dict)
    needs: tuple[Need, ...] = ()
    variants: tuple[str, ...] = ("upstream",)
    arch: str | None = "agw"
    first_stages: Mapping[str, str] = field(default_factory=dict)


# --- flags that are read together ---

RUN = (
    "method", "variant", "name", "logs_dir", "stages", "device", "precision", "compile",
    "deterministic", "seed", "seeds", "print_freq", "overwrite", "data_dir", "cache_dir",
    "cache_root", "images", "height", "width", "pretrained", "select", "selection_images",
    "test_batch",
)  # fmt: skip
SCHEDULE = ("epochs", "first_epoch", "iters", "eval_from", "eval_step")
ADAM = ("lr", "weight_decay", "step_size")
NETWORK = (
    "arch", "depth", "vit_width", "drop_path", "non_local", "pooling", "bn_groups",
    "checkpoint_groups",
)  # fmt: skip
VIEWS = ("padding", "flip", "erasing", "jitter_visible", "jitter_exchanged", "jitter_infrared")
BATCHES = ("batch_size", "batch_visible", "num_instances", "cam", *VIEWS)
CLUSTERING = (
    "eps", "eps_visible", "eps_infrared", "min_samples", "k1", "k1_visible", "k2", "visible_share",
    "neighbours", "pseudo_labels", "export_labels",
)  # fmt: skip
JOINT_CLUSTERING = ("eps_joint", "joint_k1", "joint_k2", "joint_half")
MEMORY = ("temp", "momentum", "memory", "memory_gradient", "smooth", "unit_prototypes")
HYBRID_MEMORY = (
    "hard_weight", "centroid_weight", "hinge", "hard_init", "hard_k", "hard_update",
    "hard_update_k",
)  # fmt: skip
ASSOCIATION = (
    "association", "vote_threshold", "ot_regularisation", "forget_last", "matching_rounds",
)  # fmt: skip
MATCHING = (*ASSOCIATION, "match_always")
TRAINED = (*SCHEDULE, *ADAM, *NETWORK, *BATCHES)
PLAIN_INTRA = (*TRAINED, *CLUSTERING, *MEMORY)
"""What a stage reads that contrasts each modality with its own memory of one row per cluster."""
INTRA = (*PLAIN_INTRA, *HYBRID_MEMORY)
"""The same where the memory may be hybrid."""

# --- defaults ---

SHARED_ROWS = (
    Row("torch up to 1.11, which the authors name, by default", {"precision": "tf32"}),
    Row(
        OFFICIAL,
        {
            "seed": 1,
            "height": 288,
            "width": 144,
            "arch": "resnet",
            "depth": None,
            "non_local": True,
            "pooling": "gem",
            "pretrained": "imagenet",
            "start_from": "test",
            "bn_groups": 2,
            "epochs": 50,
            "first_epoch": 0,
            "lr": 3.5e-4,
            "weight_decay": 5e-4,
            "step_size": 20,
            "batch_visible": 128,
            "num_instances": 16,
            "cam": True,
            "padding": 10,
            "flip": 0.5,
            "erasing": 0.5,
            "jitter_visible": False,
            "jitter_exchanged": False,
            "jitter_infrared": False,
            "k1": 30,
            "k1_visible": None,
            "k2": 6,
            "eps_visible": None,
            "eps_infrared": None,
            "eps_joint": None,
            "min_samples": 4,
            "temp": 0.05,
            "momentum": 0.1,
            "memory": "sequential",
            "memory_gradient": "upstream",
            "smooth": 0.0,
            "hard_weight": 0.5,
            "centroid_weight": 0.5,
            "hinge": 0.2,
            "hard_init": "centroid",
            "hard_k": 1,
            "hard_update": "hardest",
            "hard_update_k": 1,
            "unit_prototypes": True,
            "vote_threshold": 0.5,
            "ot_regularisation": 5.0,
            "print_freq": 10,
            "eval_from": 0,
            "eval_step": 1,
            "visible_share": 1.0,
        },
    ),
    Row(
        OURS,
        {
            "name": None,
            "seeds": None,
            "logs_dir": "logs",
            "stages": None,
            "device": "auto",
            "compile": False,
            "deterministic": False,
            "overwrite": False,
            "cache_dir": None,
            "cache_root": None,
            "vit_width": 768,
            "drop_path": 0.1,
            "stage1": None,
            "checkpoint_groups": None,
            "images": "auto",
            "neighbours": "auto",
            "pseudo_labels": None,
            "export_labels": False,
            "joint_half": "other",
            "eval_offset": 0,
            "match_always": True,
            "matching_rounds": "total",
            "forget_last": False,
            "selection_images": 2048,
            "test_batch": 256,
        },
    ),
)


@dataclass(frozen=True)
class Dataset:
    """What a dataset brings to every method.

    Attributes:
        title: its name in the literature.
        rows: defaults, later ones win.
        flags: flags that are there on this dataset alone.
        rules: those of them that say how it is searched.
        places: folders that the official codes have it in, where it is found, too.
    """

    title: str
    rows: tuple[Row, ...]
    flags: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()


DRAWS = ("draws", "eval_draws")
RULES = ("queries", "gallery_shots", "skip_own_camera")
DATASETS = {
    "sysu": Dataset(
        "SYSU-MM01",
        (
            Row(
                OFFICIAL,
                {
                    "data_dir": "data/SYSU-MM01",
                    "eps": 0.6,
                    "iters": 200,
                    "eval_draws": 1,
                    "draws": 10,
                },
            ),
        ),
        DRAWS,
        ("data/sysu",),
    ),
    "regdb": Dataset(
        "RegDB",
        (
            Row(
                OFFICIAL,
                {
                    "data_dir": "data/RegDB",
                    "eps": 0.3,
                    "iters": 100,
                    "trial": 1,
                    "allow_leak": False,
                },
            ),
        ),
        ("trial", "allow_leak"),
        ("data/regdb",),
    ),
    "sysu02": Dataset(
        "SYSU-MM02", (Row(OURS, {"data_dir": "data/SYSU-MM02", "eps": 0.6, "iters": 200}),)
    ),
    "llcm": Dataset(
        "LLCM",
        (
            Row(OURS, {"data_dir": "data/LLCM", "eval_draws": 1, "draws": 10, "swapped": False}),
            Row("codes of DMDL and CEIL", {"eps": 0.6, "iters": 200, "k1": 25}),
        ),
        (*DRAWS, "swapped"),
    ),
    "custom": Dataset(
        "images of your own",
        (
            Row(OURS, {"data_dir": "data/custom", "manifest": "data/custom/manifest.csv"}),
            Row("ours, the values of SYSU-MM01", {"eps": 0.6, "iters": 200}),
            Row("ours, without test labels", {"start_from": "cycle"}),
            Row(
                OURS,
                {
                    "queries": "both",
                    "gallery_shots": "all",
                    "skip_own_camera": True,
                    "eval_draws": 1,
                    "draws": 10,
                },
            ),
        ),
        ("manifest", *RULES, *DRAWS),
        rules=RULES,
    ),
}


def shared_defaults(dataset: str | None = None) -> dict[str, Any]:
    """The defaults before any method is named, those of a dataset included."""
    rows = (*SHARED_ROWS, *DATASETS[dataset].rows) if dataset else SHARED_ROWS
    return {name: value for row in rows for name, value in row.values.items()}
