"""RPNR: two GPUs.  Of stage 1 on SYSU-MM01 the weights are released; its training is inferred."""

from clustercontrast.settings.flags import ON, Flag, count, group, positive, share, staged, switch
from clustercontrast.settings.recipes.common import INTRA, MATCHING, OFFICIAL, Recipe, Row

NPC, MHL, NRL = {"npc": ON}, {"mhl": ON}, {"nrl": ON}
FLAGS: tuple[Flag, ...] = group(
    "RPNR",
    Flag("npc", switch, "noisy pseudo-label calibration"),
    staged("npc_members", count, "densest members that make a prototype (T)", when=NPC),
    staged("npc_threshold", share, "cosine from which two members are near", when=NPC),
    Flag("mhl", switch, "memory hybrid learning"),
    staged("mhl_weight", positive, "its weight", when=MHL),
    Flag("nrl", switch, "neighbour relation learning"),
    staged("nrl_weight", positive, "its weight", when=NRL),
    Flag("nrl_normalise", switch, "weights of normalised features, so that they attract", when=NRL),
)
RECIPE = Recipe(
    title="RPNR",
    paper="Robust Pseudo-label Learning with Neighbor Relation, ACM MM 2024",
    year=2024,
    stages={
        "intra": INTRA,
        "robust": (*INTRA, *MATCHING, "cross_weight", *(flag.name for flag in FLAGS)),
    },
    flags=FLAGS,
    first_stages={"sysu": "baseline/sysu_s1/model_best.pth.tar"},
    rows=(
        Row(
            OFFICIAL,
            {
                "batch_size": 128,
                "memory": "hybrid",
                "association": "ot",
                "cross_weight": 0.25,
                "npc": True,
                "npc_members": 20,
                "npc_threshold": 0.5,
                "mhl": True,
                "mhl_weight": 0.5,
                "nrl": True,
                "nrl_weight": 10.0,
                "nrl_normalise": False,
                "select": "rank1",
            },
        ),
        Row(OFFICIAL, {"npc_members": 5, "batch_visible": 64}, dataset="regdb"),
    ),
)
