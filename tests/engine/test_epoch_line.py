"""The line of an epoch: what stands in it, what is left out, how long it gets."""

import pytest

from clustercontrast.engine.epoch_line import duration, epoch_line, time_left, time_split

GRADE = {"clusters": 888, "outliers": 0.071, "ari": 0.456, "nmi": 0.874, "ari_clean": 0.5}
SCORES = {"rank1": 56.29, "mAP": 51.36, "mINP": 35.06, "cycle": 0.551}
FULL = {"visible": GRADE, "infrared": GRADE, "joint": GRADE, "match_accuracy": {"visible": 0.5}}


def line(facts, scores=SCORES, loss=9.4124):
    best, times = "best on test 56.29 (epoch 17)", ("245 s", "left 1 h 40 min, run 13 h 10 min")
    return epoch_line("intra epoch 17 of 49", {"total": loss}, facts, scores, best, times)


def test_a_line_in_full():
    assert line(FULL) == (
        "intra epoch 17 of 49: loss 9.412  visible/infrared/joint 888/888/888 clusters, outliers "
        "7/7/7 %, ARI 0.46/0.46/0.46, NMI 0.87/0.87/0.87  rank1 56.29, mAP 51.36, cycle 0.55  "
        "best on test 56.29 (epoch 17)  245 s  left 1 h 40 min, run 13 h 10 min"
    )
    assert len(line(FULL)) <= 245
    assert len(line({"visible": GRADE, "infrared": GRADE})) <= 225
    assert len(line({"visible": GRADE, "infrared": GRADE}, {})) <= 200


def test_joint_clusters_and_teacher_stand_behind_the_grades():
    joint = {"visible": GRADE, "infrared": GRADE, "joint_clusters": GRADE}
    facts = joint | {"association_rate": 0.43, "teacher": {"right": 0.449, "entropy_own": 0.1}}
    assert "0.87/0.87/0.87, associated 43 %, teacher right 45 %  rank1 56.29" in line(facts)
    assert len(line(facts)) <= 280


def test_what_is_not_known_is_left_out():
    """No identities: no ARI; nothing trained: no loss."""
    counted = {"clusters": 3, "outliers": 0.5}
    facts = {"camera_1": GRADE, "visible": counted, "infrared": counted, "joint_clusters": counted}
    facts["association_rate"] = 0.43
    assert epoch_line("a", {}, facts, {}, "", ("1 s", "")) == (
        "a:  visible/infrared/joint 3/3/3 clusters, outliers 50/50/50 %, associated 43 %  1 s"
    )
    facts["teacher"] = {"positives": 0.5}
    assert "teacher" not in epoch_line("a", {}, facts, {}, "", ())
    half = {"visible": GRADE, "source": {"clusters": 5}}
    assert epoch_line("a", {}, half, {}, "", ()) == "a:  visible/source 888/5 clusters"
    assert epoch_line("a", {}, {"own_visible": 3}, {}, "", ()) == "a:"


def test_where_the_time_went():
    seconds = {"features": 2.0, "steps": 7.0, "saving": 0.001, "total": 10.0}
    assert time_split(seconds) == "10 s (steps 70 %, features 20 %)"


@pytest.mark.parametrize(
    ("epochs", "ahead", "took", "said"),
    [
        (10, {}, {"intra": [60.0]}, "left 10 min"),
        (10, {}, {"intra": [9000.0, *[60.0] * 10]}, "left 10 min"),  # the latest ten alone
        (10, {"cross": 5}, {"intra": [60.0]}, "left 10 min, then cross"),
        (10, {"cross": 5}, {"intra": [60.0], "cross": [120.0]}, "left 10 min, run 20 min"),
        (1, {"b": 1, "c": 1}, {"a": [60.0], "b": [5.0], "c": []}, "left 60 s, then b, c"),
        (0, {"cross": 5}, {"intra": [60.0], "cross": [120.0]}, "left run 10 min"),
        (0, {"cross": 5}, {"intra": [60.0]}, "then cross"),
        (0, {}, {"intra": [60.0]}, ""),
    ],
)
def test_what_is_left(epochs, ahead, took, said):
    assert time_left(epochs, ahead, took) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1 h 30 min"),
     (11400, "3 h 10 min"), (10800, "3 h"), (10799, "3 h"), (200000, "55 h")],
)  # fmt: skip
def test_durations(seconds, said):
    assert duration(seconds) == said
