"""Running times beside the paper's: its printed totals, and the products of what it prints."""

import json

import pytest

from clustercontrast.methods.cmam import times

TABLE_VII = {  # time of each, amount, printed total; typed from the paper
    "diffusion training": ("1.16 s", 50_000, "16.17 h"),
    "generation": ("0.47 s", 67_000, "8.63 h"),
    "mutual pretraining": ("0.60 s", 30_000, "5.03 h"),
    "self-training": ("0.50 s", 12_000, "1.65 h"),
    "features and k-means": ("144.00 s", 46, "1.84 h"),
    "inference": ("1.6 ms", 10_000, "17.0 s"),
}
COMPUTED = ["16.11 h", "8.75 h", "5.00 h", "1.67 h", "1.84 h", "16.0 s"]
OURS = [times.Work(name, 7.0, 2) for name in times.UNITS]


def test_the_papers_own_totals_stand_beside_ours_and_computed_ones_are_called_so():
    head, *rows, note = times.text(OURS).splitlines()
    assert head.split("paper: ")[1].split() == ["each", "amount", "total", "computed"]
    assert note.startswith("paper: Table VII")
    assert [row[:22].strip() for row in rows] == list(TABLE_VII)
    for row, (each, amount, total), computed in zip(
        rows, TABLE_VII.values(), COMPUTED, strict=True
    ):
        assert (
            " ".join(row.partition("7.0 s   ")[2].split())
            == f"{each} {amount:,} {total} {computed}"
        )
        assert "3.50 s/" in row


def test_the_same_numbers_are_written(tmp_path):
    times.write(OURS, tmp_path)
    assert (tmp_path / "times.txt").read_text() == times.text(OURS) + "\n"
    content = json.loads((tmp_path / "times.json").read_text())
    assert content["published"]["self-training"] == {
        "each": 0.5,
        "amount": 12_000,
        "total": pytest.approx(5940),
        "computed": 6000,
    }
    assert [row["name"] for row in content["ours"]] == list(TABLE_VII)
