"""PCA: two GPUs; eps is a literal of the official code."""

from clustercontrast.settings.flags import (
    ON,
    Flag,
    group,
    natural,
    positive,
    rate_or_none,
    staged,
    switch,
)
from clustercontrast.settings.recipes.common import (
    INTRA,
    JOINT_CLUSTERING,
    OFFICIAL,
    OURS,
    Recipe,
    Row,
)

TAL = {"tal": ON}
FLAGS: tuple[Flag, ...] = group(
    "PCA",
    Flag("tal", switch, "triple-modal adversarial learning"),
    staged("adversarial_from", natural, "first epoch in which the encoder sees it", when=TAL),
    staged("adversarial_weight", positive, "its weight", when=TAL),
    staged("modality_lr", rate_or_none, "rate of the modality classifier's SGD", when=TAL),
    Flag("log_association", switch, "cluster jointly in stage 1, for the log alone (PCA-5)"),
    Flag("mcl", switch, "joint clustering, joint memory and their own step"),
    Flag("cne", switch, "expand neighbours evenly over modalities; off: plain", when={"mcl": ON}),
    Flag("start_competes", switch, "the initial weights may be the best model"),
)
ADVERSARIAL = (*INTRA, "tal", "adversarial_from", "adversarial_weight", "modality_lr")
RECIPE = Recipe(
    title="PCA",
    paper="Progressive Cross-modal Association Learning, IEEE TIFS 2025",
    year=2025,
    stages={
        "intra": (*ADVERSARIAL, *JOINT_CLUSTERING, "log_association"),
        "invariant": (*ADVERSARIAL, *JOINT_CLUSTERING, "mcl", "cne", "start_competes"),
    },
    flags=FLAGS,
    when={name: {"log_association": ON, "mcl": ON} for name in JOINT_CLUSTERING},
    rows=(
        Row(
            OFFICIAL,
            {
                "batch_size": 64,
                "batch_visible": 64,
                "non_local": False,
                "tal": True,
                "adversarial_from": [25, 0],
                "adversarial_weight": [1.0, 0.1],
                "modality_lr": 0.01,
                "cne": True,
                "mcl": True,
                "joint_k1": 40,
                "joint_k2": 32,
                "start_competes": False,
                "select": "mAP",
            },
        ),
        Row(OURS, {"log_association": False}),
        Row(OFFICIAL, {"eval_from": [6, 0], "eval_draws": 10}, dataset="sysu"),
        Row(OFFICIAL, {"joint_k1": 38, "joint_k2": 18, "start_competes": True}, dataset="regdb"),
    ),
)
