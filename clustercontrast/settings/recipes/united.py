"""united: a recipe of this repository; its parts are those of BMIL and PoSeD, with their values."""

from clustercontrast.settings.flags import (
    ABOVE_ZERO,
    MATCHINGS,
    Flag,
    count,
    group,
    natural,
    positive,
    staged,
    switch,
    text,
)
from clustercontrast.settings.recipes.bmil import DISTANCES
from clustercontrast.settings.recipes.common import (
    HYBRID_MEMORY,
    INTRA,
    JOINT_CLUSTERING,
    MATCHING,
    OURS,
    Recipe,
    Row,
)

BMIL, POSED = "BMIL's code", "PoSeD's paper"
CLUSTERED, MATCHED = {"ties": ("clusters",)}, {"ties": ("matches",)}
TAUGHT, EMA = {"distil": ("unified", "separate")}, {"teacher": ("ema",)}
CONTRASTED = {"joint_weight": ABOVE_ZERO}
INTRA_TERMS = {"intra_weight": ABOVE_ZERO}
FLAGS: tuple[Flag, ...] = group(
    "united",
    Flag("ties", text, "what ties the modalities: one clustering of both, or matches between the"
         " clusters of each, trained in the same step (PoSeD)", choices=("clusters", "matches")),
    staged("joint_weight", positive, "of the multi-positive contrast (w_p)"),
    Flag("joint_halves", text, "rows that it is asked of: means and hard rows, or hard rows alone",
         choices=("both", "hard")),
    Flag("joint_alternate", switch, "visible images alone in even epochs of the stage, infrared"
         " ones in odd epochs", when=CONTRASTED),
    Flag("proxies", text, "of a joint cluster: one per modality, or one per camera of a modality",
         choices=("modality", "camera"), when=CLUSTERED | {"joint_memory": ("split",)}),
    Flag("camera_cap", count, "images of a camera in the expansion",
         when={"joint_distance": ("camera",)}),
    staged("distil_from", natural, "first epoch of the stage with self-distillation", when=TAUGHT),
    Flag("teacher", text, "feature that teaches: the image's own, or a momentum encoder's",
         choices=("self", "ema")),
    Flag("teacher_statistics", text, "of its BatchNorm: copied from the encoder, or its own"
         " (PCLHD-7)", choices=("copied", "own"), when=EMA | TAUGHT),
    Flag("cluster_with", text, "network whose features are clustered",
         choices=("teacher", "online"), when=EMA),
)  # fmt: skip
LOSSES_OF_POSED = {  # Eq. 11: the weights are 1, and L_B is halved
    "joint_halves": "hard",
    "joint_negatives": 0,
    "joint_alternate": True,
    "joint_weight": 2.0,
    "distil_weight": 2.0,
}
CLUSTERINGS = (
    *JOINT_CLUSTERING,
    "joint_distance",
    "joint_rank",
    "joint_memory",
    "joint_mixed_only",
)
DISTILLED = ("distil", "distil_weight", "teacher_temp", "fusion")
RECIPE = Recipe(
    title="united",
    paper="parts of BMIL and PoSeD put together, own recipe",
    year=None,
    variants=("united", "bmil", "posed-bmil", "posed", "united-camera", "united-teacher"),
    arch=None,
    stages={
        "intra": (*INTRA, "eval_offset"),
        "united": (
            *INTRA,
            *CLUSTERINGS,
            *MATCHING,
            *DISTILLED,
            "joint_negatives",
            "intra_weight",
            "ema_decay",
            "retrieval",
            "eval_offset",
            *(flag.name for flag in FLAGS),
        ),
    },
    flags=FLAGS,
    when={
        **dict.fromkeys(MATCHING, MATCHED),
        **dict.fromkeys(CLUSTERINGS, CLUSTERED),
        "joint_k2": CLUSTERED | {"joint_distance": DISTANCES[:3]},
        "camera_cap": CLUSTERED,
        **dict.fromkeys(("memory", "smooth", *HYBRID_MEMORY), INTRA_TERMS),
        **dict.fromkeys(("joint_negatives", "joint_halves"), CONTRASTED),
        **dict.fromkeys(("ema_decay", "retrieval"), EMA),
    },
    choices={"association": MATCHINGS},
    rows=(
        Row(
            BMIL,
            {
                "epochs": 50,
                "lr": 3.5e-4,
                "step_size": 20,
                "weight_decay": 5e-4,
                "bn_groups": 2,
                "batch_size": 128,
                "num_instances": 16,
                "temp": 0.05,
                "momentum": 0.1,
                "k2": 6,
                "min_samples": 4,
                "hard_weight": 0.5,
                "centroid_weight": 0.5,
                "hinge": 0.2,
                "hard_init": "centroid",
                "hard_update": "hardest",
                "unit_prototypes": True,
                "memory": "hybrid",
                "jitter_exchanged": True,
                "joint_k1": 30,
                "joint_k2": 6,
                "joint_distance": "modality",
                "joint_rank": "dot",
                "joint_memory": "split",
                "joint_halves": "both",
                "joint_negatives": 50,
                "joint_mixed_only": False,
                "select": "rank1",
                "eval_step": 2,  # with the offset: even epochs
                "eval_offset": 1,
            },
        ),
        Row(
            BMIL,
            {
                "eps": 0.6,
                "k1": 30,
                "iters": 200,
                "visible_share": 0.5,
                "jitter_infrared": [True, False],
                "eval_draws": [1, 10],
            },
            dataset="sysu",
        ),
        Row(
            BMIL,
            {"eps": 0.3, "k1": 30, "iters": 100, "batch_visible": 64},
            dataset="regdb",
        ),
        Row(
            POSED,
            {
                "distil": "unified",
                "distil_weight": 1.0,
                "teacher_temp": 0.05,
                "fusion": 0.5,
                "association": "pgm",
                "intra_weight": 1.0,
            },
        ),
        Row("PCLHD's code", {"ema_decay": 0.999, "retrieval": "momentum_encoder"}),
        Row(
            OURS,
            {
                "memory_gradient": "clean",
                "ties": "clusters",
                "joint_weight": 1.0,
                "joint_alternate": False,
                "proxies": "modality",
                "camera_cap": 4,
                "distil_from": 0,
                "teacher": "self",
                "teacher_statistics": "copied",
                "cluster_with": "teacher",
            },
        ),
        Row("ours, as the other clusterings there", {"joint_k1": 25}, dataset="llcm"),
        Row(BMIL, {"distil": "none", "memory_gradient": "upstream"}, variant="bmil"),
        *(
            Row("ours: losses of PoSeD", values, variant=variant)
            for variant, values in (("posed-bmil", LOSSES_OF_POSED), ("posed", LOSSES_OF_POSED))
        ),
        Row("ours: matches of PoSeD", {"ties": "matches"}, variant="posed"),
        Row(POSED, {"batch_visible": 128}, dataset="regdb", variant="posed"),
        Row("as in PoSeD's recipe", {"k1": 30}, dataset="llcm", variant="posed"),
        Row("ours", {"proxies": "camera", "joint_distance": "camera"}, variant="united-camera"),
        Row("ours", {"teacher": "ema"}, variant="united-teacher"),
    ),
)
