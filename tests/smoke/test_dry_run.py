"""``--dry-run``: what it checks, what it prints, and that it leaves no trace."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest
import tiny_runs
import torch
from tiny_runs import arguments, cmam_arguments

from clustercontrast.commands import cli, dry_run
from clustercontrast.methods.rehearsal import Rehearsal

SMALL = ("--depth", "10", "--batch-size", "8", "--batch-visible", "8")


def refused(capsys, argv: list[str]) -> str:
    with pytest.raises(SystemExit) as leaving:
        cli.train("sysu", [*argv, "--dry-run"])
    assert leaving.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    return lines[-1]


def rows(text: str) -> dict[str, list[str]]:
    """Numbers of the table by stage."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    start = next(i for i, line in enumerate(lines) if line[0] == "stage")
    end = next(i for i, line in enumerate(lines) if line[0] == "in all")
    return {name: values for name, *values in lines[start + 1 : end + 1]}


def test_it_prints_what_a_run_takes_and_leaves_no_trace(tmp_path, capsys):
    logs = tmp_path / "logs"
    argv = arguments("pclhd", logs, *SMALL, "--epochs", "3", "5", "--iters", "7")
    cli.train("sysu", [*argv, "--dry-run"])
    table = rows(capsys.readouterr().out)
    assert list(table) == ["intra", "progressive", "in all"]
    assert table["intra"][0] == "24"  # 2 x 8 visible views, 8 infrared images
    assert table["progressive"][0] == "48"  # and the joint batch
    assert (table["intra"][2], table["progressive"][2]) == ("3 x 7", "5 x 7")
    for name in ("intra", "progressive"):
        _, seconds, _, forward, hours, peak = map(
            float, [value.partition(" ")[0] for value in table[name]]
        )
        epochs = {"intra": 3, "progressive": 5}[name]
        assert hours == pytest.approx(epochs * (7 * seconds + forward) / 3600, abs=0.006)
        assert peak > 0.1  # GiB of a process with torch
    assert not logs.exists()


@pytest.mark.slow
def test_every_stage_of_cmam_without_the_stages_before(tmp_path, capsys):
    logs = tmp_path / "logs"
    cli.train("sysu", [*cmam_arguments(logs), "--dry-run"])
    table = rows(capsys.readouterr().out)
    assert list(table) == [
        "auxiliary", "diffusion", "generation", "pretrain", "selftrain", "in all"
    ]  # fmt: skip
    assert not logs.exists()


def test_the_word_is_no_value_of_the_run(tmp_path):
    options, words = cli.read_options("sysu", arguments("pgm", tmp_path, *SMALL))
    assert "dry_run" not in options.values
    assert "--dry-run" not in words


def test_help_names_it(capsys):
    with pytest.raises(SystemExit):
        cli.train("sysu", ["--help"])
    assert "--dry-run checks images" in capsys.readouterr().out


def test_a_mistyped_word_is_understood(capsys):
    with pytest.raises(SystemExit):
        cli.train("sysu", ["--dryrun"])
    assert "did you mean --dry-run?" in capsys.readouterr().err


def test_weights_that_do_not_fit_are_found(tmp_path, capsys):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": {"trunk": torch.zeros(3)}}, path)
    argv = arguments("pgm", tmp_path / "logs", *SMALL, "--pretrained", str(path))
    assert str(path) in refused(capsys, argv)
    assert not (tmp_path / "logs").exists()


def test_an_earlier_stage_that_is_not_trained_is_named(tmp_path, capsys):
    argv = arguments("pgm", tmp_path / "logs", *SMALL, "--stages", "cross")
    line = refused(capsys, argv)
    assert "stage cross starts from stage intra" in line
    assert "run --stages intra too" in line


def test_other_flags_than_those_of_the_run_are_refused(tmp_path, capsys):
    logs = tmp_path / "logs"
    argv = arguments("supervised", logs, *SMALL, "--epochs", "1", "--iters", "1")
    cli.train("sysu", argv)
    config = tiny_runs.run_folder(logs, "supervised") / "config.json"
    before = {path: path.stat().st_mtime_ns for path in logs.rglob("*")}
    assert "--lr" in refused(capsys, [*argv, "--lr", "0.01"])
    cli.train("sysu", [*argv, "--dry-run"])
    assert {path: path.stat().st_mtime_ns for path in logs.rglob("*")} == before
    assert "dry_run" not in json.loads(config.read_text())["values"]


def test_a_disk_that_is_too_small_is_found(tmp_path, capsys, monkeypatch):
    small = SimpleNamespace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: small)
    line = refused(capsys, arguments("pgm", tmp_path / "logs", *SMALL))
    assert re.search(r"writes about 0\.\d GB to .*logs, where 0\.0 GB are free", line)


def test_the_table_adds_up():
    done = Rehearsal("intra", 384, (0.5,), 256, 30.0, iterations=200, epochs=50)
    later = Rehearsal("cross", 384, (0.6,), 256, 30.0, iterations=200, epochs=50)
    found = rows(dry_run.table([(done, 17 * 2**30), (later, 18 * 2**30)], trials=1))
    assert found["intra"] == ["384", "0.500", "50 x 200", "30.0", "1.81", "17.00"]
    assert found["cross"] == ["384", "0.600", "50 x 200", "30.0", "2.08", "18.00"]
    assert found["in all"] == ["3.89", "18.00"]
    assert rows(dry_run.table([(done, 0)], trials=10))["in all"][0] == "18.06"


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path, capsys):
    file = tmp_path / "file"
    file.touch()
    line = refused(capsys, arguments("pgm", file / "logs", *SMALL))
    assert f"{file} is no folder that may be written to; give another --logs-dir" in line


def test_a_value_or_another_command_is_answered(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.train("sysu", [*arguments("pgm", tmp_path, *SMALL), "--dry-run=yes"])
    assert "--dry-run takes no value, and belongs to" in capsys.readouterr().err


def test_trials_that_are_on_the_disk_are_not_written_twice(tmp_path, monkeypatch, capsys):
    megabyte = 10**6
    for trial in range(10):
        (tmp_path / f"trial{trial}").mkdir()
        (tmp_path / f"trial{trial}/last.pth").write_bytes(bytes(megabyte))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * megabyte))
    data = SimpleNamespace(places={}, options=SimpleNamespace(logs_dir="logs"))
    done = Rehearsal("intra", 1, (1.0,), 1, 1.0, 1, 1, state_bytes=megabyte)
    dry_run.check_disk(tmp_path, data, [(done, 0)], 10)  # 11 MB, of which 10 are there
    assert "will be written" in capsys.readouterr().out
