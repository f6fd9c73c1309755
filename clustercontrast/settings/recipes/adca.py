"""ADCA: four GPUs, no non-local blocks."""

from clustercontrast.settings.flags import Flag, group, share, staged
from clustercontrast.settings.recipes.common import INTRA, MATCHING, OFFICIAL, Recipe, Row

FLAGS: tuple[Flag, ...] = group(
    "ADCA", staged("aggregation_weight", share, "weight of the visible row (λ)")
)
RECIPE = Recipe(
    title="ADCA",
    paper="Augmented Dual-Contrastive Aggregation Learning, ACM MM 2022",
    year=2022,
    stages={"intra": INTRA, "cross": (*INTRA, *MATCHING, "aggregation_weight")},
    flags=FLAGS,
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
