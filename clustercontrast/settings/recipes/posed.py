"""PoSeD: no code was released; what its paper leaves open is as in BMIL, by the same authors."""

from clustercontrast.settings.flags import (
    ABOVE_ZERO,
    MATCHINGS,
    Flag,
    group,
    positive,
    share,
    staged,
    switch,
    temperature,
    text,
    weight,
)
from clustercontrast.settings.recipes.common import INTRA, MATCHING, OURS, Recipe, Row

PAPER, BMIL = "paper, Sec. 4.2", "BMIL's code"
CROSSED, TAUGHT = {"cross": ("unified", "contrast")}, {"distil": ("unified", "separate")}
INTRA_TERMS = {"intra_weight": ABOVE_ZERO}
FLAGS: tuple[Flag, ...] = group(
    "PoSeD",
    staged("intra_weight", positive, "of the modality's own contrast in stage 2; 0: Eq. 11 as"
           " printed (PoSeD-4)"),
    Flag("unified_updates", text, "what moves the rows without it: own images, or nothing"
         " (PoSeD-7)", choices=("own", "none"), when={"intra_weight": (0.0,)}),
    Flag("hardest_against", text, "row of a cluster that its hardest images are least similar to"
         " (PoSeD-9)", choices=("centroid", "hard"), when={"hard_update": ("hardest",)}),
    Flag("cross", text, "contrast across modalities: with all hard rows (Eq. 6), with the partner's"
         " rows (Eq. 5), or none (PoSeD-17)", choices=("unified", "contrast", "none")),
    Flag("unified_labels", text, "positives: all clusters that matches connect, or the own partner"
         " (PoSeD-10)", choices=("components", "partner"), when={"cross": ("unified",)}),
    Flag("distil", text, "self-distillation: over both modalities at once (Eq. 10), in each"
         " separately (Table 4), or none", choices=("unified", "separate", "none")),
    staged("distil_weight", weight, "its weight (L_sd)", when=TAUGHT),
    staged("teacher_temp", temperature, "temperature of its teacher (γ)", when=TAUGHT),
    staged("fusion", share, "of the feature's own similarity in the teacher (Eq. 7); 0: prototypes"
           " alone", when=TAUGHT),
    Flag("teacher_groups", text, "rows that a softmax of the teacher runs over: those of a modality"
         " (Eq. 8), or all", choices=("modality", "none"), when={"distil": ("unified",)}),
    Flag("teacher_gradient", switch, "differentiate the teacher, too (PoSeD-5)",
         when=TAUGHT | {"fusion": ABOVE_ZERO}),
)  # fmt: skip
RECIPE = Recipe(
    title="PoSeD",
    paper="Prototype Matters: Modality-unified Prototype Self-distillation, ACM MM 2026",
    year=2026,
    variants=("default",),
    arch=None,
    stages={
        "intra": (*INTRA, "eval_offset", "hardest_against"),
        "unified": (
            *INTRA,
            *MATCHING,
            "cross_weight",
            "eval_offset",
            *(flag.name for flag in FLAGS),
        ),
    },
    flags=FLAGS,
    when={
        **dict.fromkeys((*MATCHING, "cross_weight"), CROSSED),
        **dict.fromkeys(("hard_weight", "centroid_weight", "hinge", "smooth"), INTRA_TERMS),
    },
    choices={
        "memory": ("hybrid",),  # M and P
        "memory_gradient": ("clean",),  # one call moves a memory, so there is no order (PoSeD-8)
        "association": MATCHINGS,
    },
    rows=(
        Row(
            PAPER,
            {
                "epochs": 50,
                "lr": 3.5e-4,
                "step_size": 20,
                "batch_size": 128,
                "batch_visible": 128,
                "num_instances": 16,
                "momentum": 0.1,
                "temp": 0.05,
                "teacher_temp": 0.05,
            },
        ),
        Row(PAPER, {"eps": 0.6, "visible_share": 0.5}, dataset="sysu"),
        Row(PAPER, {"eps": 0.3}, dataset="regdb"),
        Row("paper, Eq. 1-4", {"memory": "hybrid", "association": "pgm"}),
        Row(
            "paper, Eq. 6-11",
            {
                "cross": "unified",
                "cross_weight": 1.0,
                "distil": "unified",
                "distil_weight": 1.0,
                "fusion": 0.5,
                "teacher_groups": "modality",
            },
        ),
        Row("paper, Table 3", {"intra_weight": 1.0}),
        Row(
            BMIL,
            {
                "weight_decay": 5e-4,
                "bn_groups": 2,
                "k2": 6,
                "min_samples": 4,
                "hard_weight": 0.5,
                "centroid_weight": 0.5,
                "hinge": 0.2,
                "hard_init": "centroid",
                "hard_update": "hardest",
                "hardest_against": "centroid",
                "unit_prototypes": True,
                "jitter_exchanged": True,
                "select": "rank1",
                "eval_step": 2,  # with the offset: even epochs
                "eval_offset": 1,
            },
        ),
        Row(
            BMIL,
            {"k1": 30, "iters": 200, "jitter_infrared": [True, False], "eval_draws": [1, 10]},
            dataset="sysu",
        ),
        Row(BMIL, {"k1": 30, "iters": 100}, dataset="regdb"),
        Row("ours, as on SYSU-MM01", {"eps": 0.6, "k1": 30, "iters": 200}, dataset="llcm"),
        Row(
            OURS,
            {
                "memory_gradient": "clean",
                "unified_updates": "own",
                "unified_labels": "components",
                "teacher_gradient": False,
            },
        ),
    ),
)
