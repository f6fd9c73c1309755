"""MMM: two programs, joined by files; the second on one GPU."""

from clustercontrast.settings.flags import Flag, group, natural, positive, staged
from clustercontrast.settings.recipes.common import (
    ASSOCIATION,
    INTRA,
    JOINT_CLUSTERING,
    NETWORK,
    OFFICIAL,
    SCHEDULE,
    VIEWS,
    Recipe,
    Row,
)

FLAGS: tuple[Flag, ...] = group(
    "MMM",
    staged("warm_epochs", natural, "epochs of plain classification before confidences"),
    staged("margin", positive, "of the triplet loss"),
    staged("mimic_weight", positive, "weight of the self-mimic loss"),
    staged("alignment_weight", positive, "weight of the discrepancy of modalities (MMD)"),
)
FINAL = (
    *SCHEDULE, "lr", "weight_decay", *NETWORK, "batch_size", "num_instances", *VIEWS, *ASSOCIATION,
    "pseudo_labels", *(flag.name for flag in FLAGS),
)  # fmt: skip
RECIPE = Recipe(
    title="MMM",
    paper="Multi-Memory Matching, ECCV 2024",
    year=2024,
    variants=("upstream", "paper"),
    stages={"intra": INTRA, "joint": (*INTRA, *JOINT_CLUSTERING), "final": FINAL},
    flags=FLAGS,
    rows=(
        Row(
            OFFICIAL,
            {
                "bn_groups": [2, 2, 1],
                "batch_size": [128, 128, 24],
                "num_instances": [16, 16, 4],
                "epochs": [50, 50, 100],
                "lr": [3.5e-4, 3.5e-4, 0.1],
                "joint_k1": 40,
                "joint_k2": 32,
                "iters": [200, 200, 0],
                "export_labels": [False, True],
                "association": "mmm",
                "forget_last": True,
                "warm_epochs": 5,
                "margin": 0.2,
                "mimic_weight": 0.5,
                "alignment_weight": 0.05,
                "select": "mAP",
                "eval_from": [0, 0, 1],
            },
        ),
        Row(OFFICIAL, {"eval_draws": 10}, dataset="sysu"),
        Row(OFFICIAL, {"iters": [100, 100, 0], "joint_k1": 38, "joint_k2": 18}, dataset="regdb"),
        Row("paper", {"forget_last": False}, variant="paper"),
    ),
)
