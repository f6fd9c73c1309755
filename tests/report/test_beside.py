"""Published curves: which runs are compared with them, and when an epoch agrees."""

import pytest

from clustercontrast.report.beside import curve_beside, figures_beside, line_beside
from clustercontrast.report.references.curves import CURVES, KEYS, read

OFFICIAL = {"dataset": "sysu", "digest": "d", "complete": True, "rendered": False, "leak": False}


def about(method="pgm", variant="v2023", dataset="sysu", trial=None, changes=(), **marks):
    stages = ("intra", "cross", "progressive", "robust", "agreed", "invariance")
    return {
        "method": method,
        "variant": variant,
        "dataset": dataset,
        "trial": trial,
        "changes": {stage: list(changes) for stage in stages},
        "images": OFFICIAL | {"dataset": dataset} | marks,
    }


def record(stage="intra", epoch=0, visible=902, infrared=441, **more):
    counts = {"visible": {"clusters": visible}, "infrared": {"clusters": infrared}}
    return {"stage": stage, "epoch": epoch, "clusters": counts, **more}


def test_epoch_0_of_pgm():
    loss = {"total": 9.5, "infrared": 4.2, "visible": 5.9, "other": 1.0}
    assert line_beside(about(), record(loss=loss)) == (
        "intra epoch 0, ours / PGM's log: clusters infrared 441 / 444, visible 902 / 898: agrees; "
        "losses total 9.50 / 9.41, infrared 4.20 / 4.23, visible 5.90 / 5.19: differs "
        "(visible +14 %)"
    )


@pytest.mark.parametrize(
    ("epoch", "visible", "infrared", "verdict"),
    [
        (0, 898, 444, "agrees"),
        (0, 915, 436, "agrees"),  # 2 % while nothing is learnt
        (0, 917, 444, "differs (visible +2 %)"),
        (0, 898, 434, "differs (infrared -2 %)"),
        (1, 1005, 474, "agrees"),  # 10 % later
        (1, 1006, 431, "differs (visible +10 %)"),
    ],
)
def test_when_clusters_agree(epoch, visible, infrared, verdict):
    assert line_beside(about(), record("intra", epoch, visible, infrared)).endswith(f": {verdict}")


def test_scores_agree_within_two_points_and_small_losses_within_their_digit():
    scored = record("cross", 49, 738, 425, scores={"rank1": 54.1, "mAP": 52.0, "cycle": 0.5})
    assert line_beside(about(), scored).endswith(
        "scores rank1 54.10 / 56.09, mAP 52.00 / 49.96: differs (mAP +2.0)"
    )
    own = about(dataset="regdb", trial=5)
    small = record("cross", 29, 209, 212, loss={"infrared": 0.0159})  # published: 0.01
    assert line_beside(own, small).endswith("infrared 0.02 / 0.01: agrees")


@pytest.mark.parametrize(
    "other",
    [
        {"rendered": True},
        {"complete": False},
        {"leak": True},
        {"changes": ["--eps intra=0.5"]},
        {"variant": "v2024"},
        {"method": "mmm", "variant": "upstream"},
        {"dataset": "llcm"},
        {"dataset": "regdb", "trial": 4},
    ],
)
def test_another_run_is_compared_with_nothing(other):
    assert curve_beside(about(), "intra") is not None
    assert line_beside(about(**other), record()) == ""
    assert figures_beside(about(**other), [record()]) == [{}]


def test_an_epoch_or_stage_that_nobody_has_published_is_silent():
    assert line_beside(about(), record(epoch=50)) == ""
    assert line_beside(about(), record("another")) == ""
    assert line_beside(about(), {"stage": "intra", "epoch": 0, "clusters": {}}) == ""


def test_first_clusters_of_pgm_are_those_of_adca_and_pclhd_and_nothing_else_is():
    for method in ("adca", "pclhd"):
        own = about(method, "upstream")
        line = line_beside(own, record(loss={"total": 9.0}, scores={"rank1": 3.0}))
        assert line.endswith("visible 902 / 898: agrees")
        assert line_beside(own, record(epoch=1)) == ""


def test_figures_stand_beside_the_epochs_of_their_stage():
    epochs = [record("intra", 49), record("cross", 0), record("cross", 50)]
    first, second, third = figures_beside(about(), epochs)
    assert (first["scores.mAP"], second["loss.cross"], third) == (38.65, 4.83, {})


def test_the_last_epochs_of_the_logs_are_those_of_the_tables():
    """Figures of the same epochs stand in official.py as well, copied by themselves."""
    found = {(c.dataset, c.runs[0].method, c.runs[0].stage): c.epochs for c in CURVES}
    for key, epoch, rank1, mean in (
        (("sysu", "pgm", "cross"), 49, 56.09, 49.96),
        (("sysu", "pgm", "intra"), 46, 39.50, 39.39),
        (("regdb", "pgm", "cross"), 14, 70.44, 65.32),
        (("regdb", "pgm", "intra"), 22, 41.94, 40.69),
        (("sysu", "sdcl", "agreed"), 49, 64.73, 63.10),
        (("sysu", "rpnr", "robust"), 48, 66.21, 60.23),
    ):
        assert found[key][epoch]["scores.rank1"] == rank1
        assert found[key][epoch]["scores.mAP"] == mean


def test_every_table_counts_its_epochs_upward_and_knows_its_columns():
    for curve in CURVES:
        assert list(curve.epochs) == sorted(curve.epochs)
        assert {key for own in curve.epochs.values() for key in own} <= set(KEYS.values())
    assert read("epoch infrared rank1\n0 4 -\n3 - 7.5") == {
        0: {"clusters.infrared.clusters": 4.0},
        3: {"scores.rank1": 7.5},
    }
