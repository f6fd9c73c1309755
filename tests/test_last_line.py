"""The line that a test ends with: a result beside what it is measured against."""

import pytest

from clustercontrast.commands import reporting

SCORES = {"chance": 8.5, "untrained": 9.53, "start": 22.29, "last": 30.12, "test": 31.0}
FOUND = [
    {"selection": name, "mode": mode, "mAP": {"mean": value + (mode == "indoor")}}
    for name, value in SCORES.items()
    for mode in ("all", "indoor")
]


@pytest.mark.parametrize(
    ("changes", "warm_start"),
    [
        ({"intra": ["--pretrained logs/start.pth"]}, ", warm start 22.29"),
        ({"intra": ["--epochs intra=2"]}, ", warm start 22.29"),  # ImageNet
        ({"intra": ["--depth 10", "--pretrained random"]}, ""),
    ],
)
def test_a_warm_start_is_named_where_there_was_one(changes, warm_start):
    said = reporting.last_line(FOUND, {"dataset": "sysu", "changes": changes})
    expected = (
        f"cross-modality mAP: chance 8.50, random weights 9.53{warm_start}, trained 30.12 (percent)"
    )
    assert said == expected
