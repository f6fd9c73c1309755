"""ADCA: four GPUs, no non-local blocks."""

from clustercontrast.settings.flags import Flag, group, share, staged
from clustercontrast.settings.recipes.common import MATCHING, OFFICIAL, PLAIN_INTRA, Recipe, Row

FLAGS: tuple[Flag, ...] = group(
    "ADCA", staged("aggregation_weight", share, "weight of the visible row (λ)")
)
RECIPE = Recipe(
    title="ADCA",
    paper="Augmented Dual-Contrastive Aggregation Learning, ACM MM 2022",
    year=2022,
    stages={
        "intra": PLAIN_INTRA,
        "cross": (*PLAIN_INTRA, *MATCHING, "aggregation_weight"),
    },
    flags=FLAGS,
    choices={"memory": ("sequential", "hard")},  # rows are blended one to one
    rows=(
        Row(
            OFFICIAL,
            {
                "batch_size": 256,
                "bn_groups": 4,
                "non_local": False,
                "select": "mAP",
                "eval_from": 6,
                "association": "cma",
                "aggregation_weight": 0.1,
            },
        ),
    ),
)
