"""A classifier on true identities: the warm start of the demo, not a method of a paper."""

from clustercontrast.settings.recipes.common import OURS, TRAINED, Recipe, Row

RECIPE = Recipe(
    title="supervised",
    paper="a classifier on true identities, for comparison and as a warm start",
    year=None,
    stages={"supervised": TRAINED},
    run=(),
    rows=(Row(OURS, {"batch_size": 128, "select": "mAP", "precision": "tf32"}),),
)
