"""PGM: four GPUs, momentum left at the default of the code."""

from clustercontrast.settings.recipes.common import INTRA, MATCHING, OFFICIAL, Recipe, Row

RECIPE = Recipe(
    title="PGM",
    paper="Progressive Graph Matching and Alternate Learning, CVPR 2023",
    year=2023,
    variants=("v2023", "v2024"),  # generations of the released code
    stages={"intra": INTRA, "cross": (*INTRA, *MATCHING, "cross_weight")},
    rows=(
        Row(
            OFFICIAL,
            {
                "batch_size": 256,
                "bn_groups": 4,
                "momentum": 0.2,
                "jitter_exchanged": True,
                "association": "pgm",
                "cross_weight": 0.25,
                "select": "mAP",
                "eval_from": 6,
            },
        ),
        Row(OFFICIAL, {"eval_draws": 10, "match_always": False}, dataset="sysu"),  # PGM-4
        Row(OFFICIAL, {"epochs": 30, "step_size": 10}, dataset="regdb"),
        Row(  # the two generations differ on SYSU-MM01 only
            "official script of 2024",
            {"jitter_infrared": [True, False], "memory": ["sequential", "hard"]},
            dataset="sysu",
            variant="v2024",
        ),
    ),
)
