"""SDCL: a vision transformer from TransReID-SSL's weights."""

from clustercontrast.settings.flags import (
    Flag,
    count,
    group,
    natural,
    positive,
    share,
    staged,
    switch,
)
from clustercontrast.settings.recipes.common import (
    OFFICIAL,
    PLAIN_INTRA,
    Recipe,
    Row,
)

FLAGS: tuple[Flag, ...] = group(
    "SDCL",
    staged("first_momentum", share, "--momentum in epoch 0", follows="momentum"),
    staged("homogeneous_from", natural, "first epoch of neighbours in the own modality"),
    staged("homogeneous_weight", positive, "their weight"),
    staged("heterogeneous_from", natural, "first epoch of neighbours in the other modality"),
    staged("heterogeneous_weight", positive, "their weight"),
    staged("visible_to_infrared", positive, "further factor of visible images' neighbours there"),
    staged("shallow_weight", positive, "weight of shallow neighbour losses beside deep ones"),
    staged("neighbour_threshold", share, "share of the highest similarity that it needs"),
    staged("instance_momentum", share, "weight of the old row in instance memories"),
    Flag("raw_instances", switch, "update them with features that are not normalised"),
    Flag("candidates", count, "infrared images that a visible image takes labels from"),
    Flag("smoothing_neighbours", count, "visible images that vote on one's label"),
)
BOTH = (
    *(name for name in PLAIN_INTRA if name not in ("non_local", "pooling")), "homogeneous_from",
    "homogeneous_weight", "heterogeneous_from", "heterogeneous_weight", "visible_to_infrared",
    "shallow_weight", "neighbour_threshold", "instance_momentum", "raw_instances",
)  # fmt: skip
RECIPE = Recipe(
    title="SDCL",
    paper="Shallow-Deep Collaborative Learning, CVPR 2024",
    year=2024,
    stages={
        "intra": (*BOTH, "first_momentum"),
        "agreed": (*BOTH, "candidates", "smoothing_neighbours"),
    },
    flags=FLAGS,
    choices={"arch": ("vit",), "memory": ("sequential", "hard")},
    rows=(
        Row(
            OFFICIAL,
            {
                "arch": "vit",
                "pretrained": "data/vit_base_ics_cfs_lup.pth",
                "batch_size": 128,
                "first_epoch": [0, None],
                "jitter_visible": True,
                "jitter_exchanged": True,
                "jitter_infrared": True,
                "first_momentum": None,
                "homogeneous_from": 0,
                "homogeneous_weight": [1.0, 0.1],
                "heterogeneous_from": 10,
                "heterogeneous_weight": [0.5, 0.1],
                "visible_to_infrared": 0.1,
                "shallow_weight": 0.5,
                "neighbour_threshold": 0.9,
                "instance_momentum": 0.9,
                "raw_instances": True,
                "smoothing_neighbours": 5,
                "select": "rank1",
                "epochs": [30, 20],
                "iters": [200, 100],
                "k1_visible": [30, 15],
                "candidates": 20,
            },
        ),
        Row("torch 1.12, which the authors used, by default", {"precision": "tf32-conv"}),
        Row(OFFICIAL, {"eval_draws": 10}, dataset="sysu"),
        Row(
            OFFICIAL,
            {
                "epochs": [20, 10],
                "iters": 50,
                "k1_visible": None,
                "first_momentum": 0.99,
                "homogeneous_from": 1,
                "candidates": 10,
            },
            dataset="regdb",
        ),
        Row("codes of DMDL and CEIL", {"k1_visible": None}, dataset="llcm"),
    ),
)
