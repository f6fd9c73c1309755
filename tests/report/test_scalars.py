"""Runs for TensorBoard and W&B: what becomes of metrics.jsonl, read back by the tools' readers."""

import json
import shutil
import sys
from datetime import datetime
from types import SimpleNamespace

import pytest

from clustercontrast.commands import report
from clustercontrast.report.scalars import points, times

LOG = """\
2026-03-01 10:00:00  intra [0][2/2]  total 3.000  10 images/s
2026-03-01 10:00:05  intra epoch 0 of 1: loss 3.500  7 s
2026-03-01 10:00:06  a line about something else
2026-03-01 11:00:00  intra epoch 0 of 1: loss 3.500  7 s
"""
AT = {
    name: datetime.fromisoformat(f"2026-03-01 {name}").timestamp()
    for name in ("10:00:00", "11:00:00")
}


def progress(epoch, iteration, total):
    return {
        "event": "progress",
        "stage": "intra",
        "epoch": epoch,
        "iteration": iteration,
        "loss": {"total": total},
        "weights": {"total": 1.0},
        "learning_rates": {"encoder": [0.1], "head": [0.2, 0.3]},
    }


EVENTS = [
    progress(0, 1, 4.0),
    progress(0, 2, 3.0),
    progress(0, 1, 9.0),  # a second stream of the same epoch
    {
        "event": "epoch",
        "stage": "intra",
        "epoch": 0,
        "iterations": 3,
        "loss": {"total": 3.5},
        "clusters": {"visible": {"clusters": 7, "ari": 0.5}},
        "scores": {"mAP": 20.25, "cycle": None},
    },
    {"event": "saved", "stage": "intra", "epoch": 0, "seconds": {"total": 7.0}},
    {"event": "generated", "stage": "intra", "images": 3},
    progress(1, 2, 2.0),
]


@pytest.fixture
def run(tmp_path):
    """A run's folder, as far as these commands look into it."""
    images = {"dataset": "sysu", "digest": "d", "complete": True, "rendered": True, "leak": False}
    about = {"method": "pgm", "dataset": "sysu", "variant": "v", "name": "x", "trial": None}
    values = {"data_dir": "d", "height": 288, "width": 144}
    content = {"about": about | {"images": images}, "numbers": {}, "values": values}
    folder = tmp_path / "sysu" / "pgm" / "x"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(content | {"command": "python train_sysu.py"}))
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(own)}\n" for own in EVENTS))
    (folder / "log.txt").write_text(LOG)
    return folder


def test_every_number_has_a_tag_a_step_and_a_time(run):
    found = list(points(EVENTS, times(run / "log.txt")))
    assert [(own.step, own.is_epoch) for own in found] == [
        *((1, False), (2, False), (3, False)),
        *((0, True), (0, True)),
        (5, False),
    ]
    assert found[1].values == {
        "intra/progress/loss/total": 3.0,
        "intra/progress/learning_rates/encoder": 0.1,
        "intra/progress/learning_rates/head/0": 0.2,
        "intra/progress/learning_rates/head/1": 0.3,
    }
    assert found[3].values == {
        "intra/loss/total": 3.5,
        "intra/clusters/visible/clusters": 7.0,
        "intra/clusters/visible/ari": 0.5,
        "intra/scores/mAP": 20.25,
    }
    assert found[4].values == {"intra/seconds/total": 7.0}
    assert [own.time for own in found] == [
        *(None, AT["10:00:00"], None),
        *(AT["11:00:00"], AT["11:00:00"]),  # of an epoch that was done again, the last
        None,
    ]


def test_a_log_that_is_gone_says_no_times(tmp_path):
    assert times(tmp_path / "log.txt") == {}


def test_tensorboard_reads_them_back(run, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: no event file is read")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for places in ([], ["--out", str(tmp_path / "out")], ["--out", str(tmp_path / "out")]):
        report.main(["tensorboard", str(run), *places])
    assert len(list((tmp_path / "out" / "sysu-pgm-x").iterdir())) == 1
    for folder in (run, tmp_path / "out" / "sysu-pgm-x"):
        read = EventAccumulator(str(folder)).Reload()
        (score,) = read.Scalars("intra/scores/mAP")
        assert (score.step, score.value, score.wall_time) == (0, 20.25, AT["11:00:00"])
        shown = [(own.step, own.value) for own in read.Scalars("intra/progress/loss/total")]
        assert shown == [(1, 4), (2, 3), (3, 9), (5, 2)]
        (text,) = read.Tensors("run/text_summary")
        assert b"rendered identities: not a SYSU-MM01 result" in text.tensor_proto.string_val[0]


def test_two_runs_of_one_name_do_not_take_each_others_place(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "copy")
    with pytest.raises(SystemExit):
        report.main(["tensorboard", str(run), str(copy), "--out", str(tmp_path / "boards")])
    assert "are both called" in capsys.readouterr().err
    assert not (tmp_path / "boards").exists()


def test_wandb_gets_an_offline_run_with_an_axis_of_epochs_per_stage(run, tmp_path, monkeypatch):
    """A stand-in for the client, which is large: what it is asked for."""
    asked, logged, axes = {}, [], []
    own = SimpleNamespace(
        dir=str(tmp_path / "wandb" / "offline-run-1" / "files"),
        define_metric=lambda name, step_metric=None: axes.append((name, step_metric)),
        log=logged.append,
        finish=lambda: logged.append("finished"),
    )
    client = SimpleNamespace(
        init=lambda **words: asked.update(words) or own, Settings=dict, __spec__=object()
    )
    monkeypatch.setitem(sys.modules, "wandb", client)
    report.main(["wandb", str(run), "--out", str(tmp_path), "--project", "mine"])
    assert asked["mode"] == "offline"
    assert (asked["project"], asked["name"], asked["config"]["height"]) == (
        "mine",
        "sysu-pgm-x",
        288,
    )
    assert "rendered identities" in asked["notes"]
    assert ("intra/*", "intra/epoch") in axes
    assert ("intra/progress/*", "intra/iteration") in axes
    assert logged[1] == {
        "intra/iteration": 2,
        "intra/progress/loss/total": 3.0,
        "intra/progress/learning_rates/encoder": 0.1,
        "intra/progress/learning_rates/head/0": 0.2,
        "intra/progress/learning_rates/head/1": 0.3,
        "_timestamp": AT["10:00:00"],
    }
    assert logged[4] == {"intra/epoch": 0, "intra/seconds/total": 7.0, "_timestamp": AT["11:00:00"]}
    assert logged[-1] == "finished"


@pytest.mark.parametrize("tool", ["tensorboard", "wandb"])
def test_a_tool_that_is_missing_is_one_line(run, tool, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="2"):
        report.main([tool, str(run)])
    line = f"error: report {tool} needs {tool}: pip install 'clustercontrast[{tool}]'"
    assert capsys.readouterr().err.strip() == line


def test_a_run_without_an_event_is_one_line(run, capsys):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: nothing is written")
    (run / "metrics.jsonl").write_text("")
    with pytest.raises(SystemExit, match="2"):
        report.main(["tensorboard", str(run)])
    assert "has no event yet" in capsys.readouterr().err
