"""What training says of its epochs, and a training that repeats another one."""

import json

import pytest
import tiny_runs

from clustercontrast.commands import cli, training

SHORT = ("--stages", "intra", "--epochs", "1", "--iters", "1", "--seed", "4")


@pytest.fixture
def small(monkeypatch):
    tiny_runs.use_small_encoder(monkeypatch)


def content(folder):
    return (folder / "log.txt").read_text(), json.loads((folder / "config.json").read_text())


def test_a_run_and_one_like_it(tmp_path, small, monkeypatch):
    """On rendered people nothing published is shown; what is said reaches the log with its run."""
    cli.train("sysu", [*tiny_runs.arguments("pgm", tmp_path, *SHORT), "--deterministic"])
    first = tiny_runs.run_folder(tmp_path, "pgm", "seed4")
    log, before = content(first)
    assert "epochs are counted from 0 in every stage" in log
    assert "intra epoch 0 of 0: loss" in log
    assert "--deterministic: on a CPU a training repeats exactly without it" in log
    assert "ours /" not in log

    said = lambda about, record: f"{about['images']['rendered']} {record['clusters'].keys()}"  # noqa: E731
    monkeypatch.setattr(training, "line_beside", said)
    cli.train("sysu", ["--like", str(first), "--name", "again", "--stages", "intra"])
    again = tiny_runs.run_folder(tmp_path, "pgm", "again")
    log, after = content(again)
    assert "  True dict_keys(['visible', 'infrared'])\n" in log
    assert after["numbers"] == before["numbers"]
    assert after["origins"]["eps"] == f"as in {first / 'config.json'}"
    runs = (tiny_runs.saved(folder) for folder in (first, again))
    assert {place.split(":")[0] for place in tiny_runs.differences(*runs)} == {
        f"/intra/{model}.pth/about/name" for model in ("best_cycle", "best_test", "last", "start")
    }
