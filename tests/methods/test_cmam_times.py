"""Running times beside the paper's: its printed totals, and the products of what it prints."""

import json

import pytest
import tiny_cmam
import torch

from clustercontrast.methods.cmam import times

TABLE_VII = {  # time of each, amount, printed total; typed from the paper
    "diffusion training": ("1.16 s", 50_000, "16.17 h"),
    "generation": ("0.47 s", 67_000, "8.63 h"),
    "mutual pretraining": ("0.60 s", 30_000, "5.03 h"),
    "self-training": ("0.50 s", 12_000, "1.65 h"),
    "features and k-means": ("144.00 s", 46, "1.84 h"),
    "inference": ("1.6 ms", 10_000, "17.0 s"),
}
UNPUBLISHED = ("source labels", "of which features", "finetuning")
COMPUTED = ["16.11 h", "8.75 h", "5.00 h", "1.67 h", "1.84 h", "16.0 s"]
OURS = [times.Work(name, 7.0, 2) for name in times.UNITS]


def test_the_papers_own_totals_stand_beside_ours_and_computed_ones_are_called_so():
    head, *rows, note = times.text(OURS).splitlines()
    assert head.split("paper: ")[1].split() == ["each", "amount", "total", "computed"]
    assert note.startswith("paper: Table VII")
    assert [row[:22].strip() for row in rows] == list(times.UNITS)
    for row in [row for row in rows if row[:22].strip() in UNPUBLISHED]:
        assert row.partition("7.0 s   ")[2].split() == ["-"] * 4
        assert "3.50 s/" in row
    known = [row for row in rows if row[:22].strip() in TABLE_VII]
    for row, (each, amount, total), computed in zip(
        known, TABLE_VII.values(), COMPUTED, strict=True
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
    assert [row["name"] for row in content["ours"]] == list(times.UNITS)
    assert content["published"].keys() == TABLE_VII.keys()


def account(iterations, **seconds):
    return times.Account(2, iterations, seconds)


def test_times_by_hand():
    """Two epochs each; a re-clustering describes 20 images."""
    trained = {"steps": 10.0, "features": 4.0, "clustering": 2.0}
    iterations = {"diffusion": 10, "pretrain": 8, "selftrain": 4, "finetune": 0}
    accounts = {name: account(number, **trained) for name, number in iterations.items()}
    accounts["auxiliary"] = account(5, steps=6.0, total=9.0)
    rounds = [{"images": 3, "seconds": 6.0}, {"images": 1, "seconds": 2.0}]
    accounts["generation"] = times.Account(2, 0, {}, rounds)
    found = times.works(accounts, 20, times.Work("inference", 1.4, 7))
    assert [(w.name, w.each, w.amount) for w in found] == [
        ("source labels", 4.5, 2),
        ("diffusion training", 1.0, 10),
        ("generation", 2.0, 4),
        ("mutual pretraining", 1.25, 8),
        ("self-training", 2.5, 4),
        ("features and k-means", 3.0, 2),
        ("of which features", pytest.approx(0.1), 40),
        ("inference", pytest.approx(0.2), 7),
    ]


def test_labels_made_elsewhere_take_no_time():
    accounts = dict.fromkeys(times.STAGES, times.Account(0, 0, {}))
    accounts["auxiliary"] = account(0, total=3.0)
    inference = times.Work("inference", 1.0, 1)
    assert times.works(accounts, 20, inference) == [inference]


def test_inference_is_measured_on_every_test_image(monkeypatch):
    """The first image warms up and is not counted."""
    seen = []

    class Network(torch.nn.Module):
        flip_averaged = False

        def embed(self, images, modality):
            seen.append((modality, len(images)))
            return torch.ones(len(images), 2)

    arrays = [tiny_cmam.patterns(modality, 1) for modality in ("visible", "infrared")]
    clock = iter([5.0, 8.0])
    monkeypatch.setattr(times.time, "perf_counter", lambda: next(clock))
    assert times.inference(Network(), arrays, 20) == times.Work("inference", 3.0, 72)
    assert seen == [("visible", 1), *[("visible", n) for n in (20, 16)],
                    *[("infrared", n) for n in (20, 16)]]  # fmt: skip
