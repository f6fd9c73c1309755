"""GUR: four GPUs, no non-local blocks; two scripts, with camera labels and without (GUR*)."""

from clustercontrast.settings.flags import (
    ON,
    Flag,
    count,
    group,
    natural,
    radius,
    switch,
)
from clustercontrast.settings.recipes.common import (
    CLUSTERING,
    MEMORY,
    OFFICIAL,
    TRAINED,
    Recipe,
    Row,
)

CAMERAS = {"intra_camera": ON}
FLAGS: tuple[Flag, ...] = group(
    "GUR",
    Flag("intra_camera", switch, "begin every epoch within pairs of a visible and an infrared"
         " camera, and embed images by the memories of all cameras; off: GUR*"),
    Flag("eps_camera", radius, "DBSCAN radius within a camera", when=CAMERAS),
    Flag("camera_iters", natural, "iterations of every pair of cameras; 0: one pass", when=CAMERAS),
    Flag("released_groups", switch, "group cameras in the embedding as released (GUR-1)",
         when=CAMERAS),
    Flag("unify_from", natural, "first epoch in which visible images take infrared labels (CLU)"),
    Flag("smooth_from", natural, "first such epoch in which visible neighbours smooth them"),
    Flag("unify_neighbours", count, "images that vote on a label, and that smooth it (k)"),
    Flag("joint_epochs", natural, "epochs, counted from 0, that end with the inter-modality step"),
    Flag("joint_iters", natural, "iterations of that step", follows="iters"),
)  # fmt: skip
RECIPE = Recipe(
    title="GUR",
    paper="Grand Unified Representation Learning, ICCV 2023",
    year=2023,
    stages={
        "bottomup": (
            *TRAINED,
            "eval_offset",
            *(name for name in CLUSTERING if name != "pseudo_labels"),
            "eps_joint",
            *MEMORY,
            *(flag.name for flag in FLAGS),
        )
    },
    flags=FLAGS,
    run=(),  # one stage: there is none to start from
    choices={"memory": ("sequential", "hard")},
    variants=("upstream", "no-cameras"),
    rows=(
        Row(
            OFFICIAL,
            {
                "batch_size": 256,
                "bn_groups": 4,
                "non_local": False,
                "select": "mAP",
                "eval_from": 6,
                "eps_camera": 0.55,
                "camera_iters": 50,
                "released_groups": True,
                "unify_from": 30,
                "smooth_from": 40,
                "unify_neighbours": 20,
                "joint_epochs": 40,
                "joint_iters": None,
            },
        ),
        Row("V100, which the authors name: a card without TF32", {"precision": "fp32"}),
        Row("ours, the flow of the RegDB script", {"intra_camera": False, "cam": False}),
        Row(
            OFFICIAL,
            {"intra_camera": True, "cam": True},
            dataset="sysu",
            variant="upstream",
        ),
        Row(
            OFFICIAL,
            {
                "intra_camera": False,
                "epochs": 30,
                "unify_from": 20,
                "smooth_from": 20,
                "unify_neighbours": 10,
                "joint_epochs": 25,
            },
            dataset="regdb",
        ),
        Row(OFFICIAL, {"cam": True}, dataset="regdb", variant="upstream"),
    ),
)
