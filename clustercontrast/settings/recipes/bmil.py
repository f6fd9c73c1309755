"""BMIL: two GPUs; eps is a literal of the official code, k1 and k2 of the joint clustering, too."""

from clustercontrast.settings.flags import Flag, group, natural, switch, text
from clustercontrast.settings.recipes.common import (
    INTRA,
    JOINT_CLUSTERING,
    OFFICIAL,
    Recipe,
    Row,
)

DISTANCES = ("modality", "balanced", "plain", "camera")
SPLIT = {"joint_memory": ("split",)}
TEACHER = ("teacher_temp", "fusion")  # flags of PoSeD
FLAGS: tuple[Flag, ...] = group(
    "BMIL",
    Flag(
        "joint_distance",
        text,
        "neighbours of the joint clustering: half of either modality; plain ones, expanded evenly "
        "over the modalities; plain; camera: as the first, expanded evenly over cameras",
        choices=DISTANCES,
    ),
    Flag(
        "joint_rank",
        text,
        "likeness by which they are found (BMIL-9)",
        choices=("dot", "l2"),
        when={"joint_distance": ("modality", "camera")},
    ),
    Flag(
        "joint_memory",
        text,
        "of a joint cluster: a proxy of either modality, or one centroid and one hard prototype",
        choices=("split", "hybrid"),
    ),
    Flag(
        "joint_negatives",
        natural,
        "proxies that an image is contrasted with, its positives counted; 0: all (BMIL-5)",
        when={"joint_loss": ("split",)},
    ),
    Flag(
        "joint_loss",
        text,
        "on the proxies: BMIL's own, or PoSeD's distillation and unified contrast (PoSeD-23)",
        choices=("split", "posed"),
        when=SPLIT,
    ),
    Flag("joint_mixed_only", switch, "train on joint clusters of both modalities only (BMIL-13)"),
)
RECIPE = Recipe(
    title="BMIL",
    paper="Modality-Aware Bias Mitigation and Invariance Learning, AAAI 2026",
    year=2026,
    stages={
        "intra": (*INTRA, "eval_offset"),
        "invariance": (
            *INTRA,
            *JOINT_CLUSTERING,
            "eval_offset",
            *(flag.name for flag in FLAGS),
            *TEACHER,
        ),
    },
    flags=FLAGS,
    choices={"joint_distance": DISTANCES[:3]},
    when={"joint_negatives": SPLIT} | dict.fromkeys(TEACHER, SPLIT | {"joint_loss": ("posed",)}),
    rows=(
        Row(
            OFFICIAL,
            {
                "batch_size": 128,
                "memory": "hybrid",
                "jitter_exchanged": True,
                "joint_k1": 30,
                "joint_k2": 6,
                "joint_distance": "modality",
                "joint_rank": "dot",
                "joint_memory": "split",
                "joint_loss": "split",
                "joint_negatives": 50,
                "joint_mixed_only": False,
                "select": "rank1",
                "eval_step": 2,
                "eval_offset": 1,
            },
        ),
        Row(
            OFFICIAL,
            {
                "visible_share": 0.5,
                "jitter_infrared": [True, False],
                "eval_draws": [1, 10],
            },
            dataset="sysu",
        ),
        Row(OFFICIAL, {"batch_visible": 64}, dataset="regdb"),
        Row("ours, as the other clusterings there", {"joint_k1": 25}, dataset="llcm"),
        Row("PoSeD's paper", {"teacher_temp": 0.05, "fusion": 0.5}),
    ),
)
