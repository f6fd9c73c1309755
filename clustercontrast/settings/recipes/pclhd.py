"""PCLHD: two GPUs; the released code, or the paper as far as flags go."""

from clustercontrast.settings.flags import (
    HYBRID,
    MATCHED,
    ON,
    Flag,
    group,
    natural,
    positive,
    share,
    staged,
    switch,
    text,
)
from clustercontrast.settings.recipes.common import (
    HYBRID_MEMORY,
    INTRA,
    JOINT_CLUSTERING,
    MATCHING,
    OFFICIAL,
    Recipe,
    Row,
)

DPCL = {"dpcl": ON}
FLAGS: tuple[Flag, ...] = group(
    "PCLHD",
    Flag("hpcl", switch, "hard prototypes (Eq. 6-15); off: hybrid memories are sequential"),
    Flag("dpcl", switch, "dynamic prototype loss (Eq. 17-22)"),
    staged("dynamic_weight", positive, "its weight; 1 - HARD_WEIGHT if not given", when=DPCL),
    Flag(
        "dynamic_query",
        text,
        "encoder of its queries",
        choices=("momentum", "online", "both"),
        when=DPCL,
    ),
    staged(
        "cross_hard_weight",
        share,
        "of hard prototypes in the cross-modality contrast; HARD_WEIGHT if not given",
        when=HYBRID | MATCHED,
    ),
    staged("match_from", natural, "first epoch in which clusters are matched", when=MATCHED),
    Flag("joint_branch", switch, "cluster both modalities together, with a step of its own"),
    staged("ema_decay", share, "weight of the old momentum encoder (β)"),
    Flag("retrieval", text, "network that is evaluated", choices=("momentum_encoder", "encoder")),
)
RECIPE = Recipe(
    title="PCLHD",
    paper="Learning Commonality, Divergence and Variety, NeurIPS 2024",
    year=2024,
    variants=("upstream", "paper"),
    stages={
        "intra": (*INTRA, "hpcl"),
        "progressive": (
            *INTRA,
            *MATCHING,
            "cross_weight",
            *JOINT_CLUSTERING,
            *(flag.name for flag in FLAGS),
        ),
    },
    flags=FLAGS,
    when={
        "hpcl": HYBRID,
        **{name: {"hpcl": ON} for name in (*HYBRID_MEMORY, "cross_hard_weight")},
        **{name: {"joint_branch": ON} for name in JOINT_CLUSTERING},
    },
    rows=(
        Row(
            OFFICIAL,
            {
                "batch_size": 128,
                "memory": "hybrid",
                "association": "pgm",
                "cross_weight": 0.25,
                "ema_decay": 0.999,
                "retrieval": "momentum_encoder",
                "hpcl": True,
                "dpcl": True,
                "dynamic_weight": 1.0,
                "dynamic_query": "momentum",
                "cross_hard_weight": None,
                "match_from": 0,
                "joint_branch": True,
                "joint_k1": 40,
                "joint_k2": 32,
                "select": "rank1",
            },
        ),
        Row(OFFICIAL, {"matching_rounds": "upstream"}, dataset="sysu"),  # PGM-4
        Row(  # the visible batch is halved in stage 1 only
            OFFICIAL, {"batch_visible": [64, 128], "match_always": False}, dataset="regdb"
        ),
        Row(
            "paper, Eq. 3-23",
            {
                "memory": ["sequential", "hybrid"],
                "memory_gradient": "clean",
                "unit_prototypes": False,
                "centroid_weight": 0.0,
                "hinge": 0.0,
                "hard_init": "farthest",
                "hard_update": "every",
                "dynamic_weight": None,
                "dynamic_query": "both",
                "cross_hard_weight": 1.0,
                "joint_branch": False,
                "start_from": "last",
            },
            variant="paper",
        ),
        Row("PGM's paper", {"matching_rounds": "total", "match_always": True}, variant="paper"),
        Row(
            "paper",
            {"batch_size": 256, "batch_visible": 256},
            variant="paper",
        ),
    ),
)
