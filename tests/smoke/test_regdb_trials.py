"""RegDB from the raw layout to the table over trials: skipped, resumed, and never leaking."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_runs
import torch
from method_runs import FLAGS, METHODS_ALONE

from clustercontrast.commands import cli, reporting, results
from clustercontrast.commands.newest import is_finished
from clustercontrast.engine.run import Run
from clustercontrast.models import weights
from clustercontrast.report.tables import METRICS

ROOT = Path(__file__).parents[2]
MODES = ("visible_to_infrared", "infrared_to_visible")


def read_json(path):
    return json.loads(path.read_text())


def arguments(method, logs, *more):
    return tiny_runs.arguments(method, logs, *more, on="regdb")


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    tiny_runs.use_small_encoder(monkeypatch)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished ADCA run of the trials 1 and 3."""
    logs = tmp_path_factory.mktemp("logs")
    with pytest.MonkeyPatch.context() as patch:
        tiny_runs.use_small_encoder(patch)
        cli.train("regdb", arguments("adca", logs, "--trial", "1", "3"))
    return tiny_runs.run_folder(logs, "adca", on="regdb")


def failing(capsys, command, *words) -> str:
    """The one line of a refused command."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as leaving:
        command("regdb", [str(word) for word in words])
    assert leaving.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(errors) == 1
    return errors[0]


def test_every_trial_has_its_own_folder_model_and_report(trained):
    assert sorted(path.name for path in trained.glob("trial*")) == ["trial1", "trial3"]
    for trial in (1, 3):
        folder = trained / f"trial{trial}"
        assert read_json(folder / "config.json")["about"]["trial"] == trial
        for path in folder.glob("*/*.pth"):
            assert torch.load(path, weights_only=True)["about"]["trial"] == trial
        report = read_json(folder / "report.json")
        assert {r["mode"] for r in report["results"]} == set(MODES)
        assert all(r["trials"] == [trial] for r in report["results"])


def test_trials_train_on_different_people(trained):
    labels = [
        np.load(trained / f"trial{trial}" / "intra" / "labels" / "epoch_000.npz")["visible"]
        for trial in (1, 3)
    ]
    assert labels[0].shape == labels[1].shape
    assert not np.array_equal(*labels)


def test_the_table_of_the_run_is_mean_and_deviation_over_its_trials(trained):
    whole = read_json(trained / "report.json")["results"]
    parts = [read_json(trained / f"trial{trial}" / "report.json")["results"] for trial in (1, 3)]
    assert len(whole) == len(parts[0]) == len(parts[1]) == len(MODES) * len(results.MODELS)
    for mean, *own in zip(whole, *parts, strict=True):
        assert {(r["model"], r["mode"]) for r in (mean, *own)} == {(mean["model"], mean["mode"])}
        assert mean["trials"] == [1, 3]
        for metric in METRICS:
            values = [r[metric]["mean"] for r in own]
            assert mean[metric]["mean"] == pytest.approx(np.mean(values))
            assert mean[metric]["std"] == pytest.approx(np.std(values))
            assert [each[metric] for each in mean["each"]] == values
            assert [each[metric] for r in own for each in r["each"]] == values


def test_it_counts_as_finished(trained):
    assert is_finished(trained)


def test_the_test_command_reproduces_both_reports(trained):
    before = {path: path.read_text() for path in trained.rglob("report.json")}
    assert len(before) == 3
    for path in before:
        path.unlink()
    cli.test("regdb", [str(trained), "--device", "cpu"])
    assert {path: path.read_text() for path in before} == before


def test_a_finished_trial_is_skipped(trained, monkeypatch, capsys):
    monkeypatch.setattr(Run, "open_epoch", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(reporting, "run_results", lambda *_: pytest.fail("tested again"))
    before = {path: path.stat().st_mtime_ns for path in trained.glob("trial*/**/*")}
    capsys.readouterr()
    cli.train("regdb", arguments("adca", trained.parents[2], "--trial", "3", "1"))
    assert capsys.readouterr().out.count("trained and tested before, left as it is") == 2
    assert {path: path.stat().st_mtime_ns for path in trained.glob("trial*/**/*")} == before


@pytest.mark.slow
def test_an_interrupted_trial_is_resumed(tmp_path, monkeypatch):
    """Interrupted in the second trial's second stage; the same command equals no interruption."""
    words = ["--trial", "1", "2"]
    cli.train("regdb", arguments("pgm", tmp_path / "whole", *words))
    expected = tiny_runs.saved(
        tiny_runs.run_folder(tmp_path / "whole", "pgm", on="regdb") / "trial2"
    )
    tick, trained = Run.tick, []

    def interrupting(run, stage, epoch, iteration, images):
        tick(run, stage, epoch, iteration, images)
        trained.append((run.folder.name, stage.name, epoch))
        if (run.folder.name, stage.name, epoch) == ("trial2", "cross", 1):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "tick", interrupting)
        with pytest.raises(SystemExit) as leaving:
            cli.train("regdb", arguments("pgm", tmp_path / "cut", *words))
    assert leaving.value.code == 130
    assert ("trial1", "cross", 1) in trained
    cli.train("regdb", arguments("pgm", tmp_path / "cut", *words))
    folder = tiny_runs.run_folder(tmp_path / "cut", "pgm", on="regdb")
    assert tiny_runs.differences(tiny_runs.saved(folder / "trial2"), expected) == []
    assert read_json(folder / "report.json")["results"][0]["trials"] == [1, 2]


OWN = {
    "rpnr": ["--npc-members", "3"],
    "pclhd": ["--association", "mmm"],
    "gur": ["--unify-from", "1", "--smooth-from", "1", "--joint-iters", "1"],
}


@pytest.mark.parametrize(
    ("method", "flags"),
    [(m, OWN.get(m, FLAGS[m])) for m in METHODS_ALONE if m not in ("adca", "pgm")],  # done above
)
def test_other_methods_finish_on_a_trial(tmp_path, method, flags):
    cli.train("regdb", arguments(method, tmp_path, "--trial", "2", *flags))
    folder = tiny_runs.run_folder(tmp_path, method, on="regdb")
    found = read_json(folder / "report.json")["results"]
    assert {r["selection"] for r in found} == set(results.MODELS)
    assert all(r["trials"] == [2] and r["mAP"]["mean"] > 0 for r in found)
    if method == "mmm":
        assert (folder / "trial2" / "joint" / "pseudo_labels.npz").exists()


# --- leaks ---


def test_a_model_is_refused_on_another_trial(trained, capsys):
    before = (trained / "trial3" / "report.json").read_text()
    line = failing(capsys, cli.test, trained / "trial3", "--trial", 1, "--device", "cpu")
    assert "was trained on trial 3" in line
    assert "--allow-leak" in line
    file = trained / "trial3" / "cross" / "last.pth"
    place = ["--data-dir", tiny_runs.dataset("regdb"), *tiny_runs.SIZE, "--device", "cpu"]
    line = failing(capsys, cli.test, file, "--trial", 1, *place)
    assert "was trained on trial 3" in line
    cli.test("regdb", [str(trained / "trial3"), "--trial", "1", "--allow-leak", "--device", "cpu"])
    assert "test identities or images were trained on" in capsys.readouterr().out
    assert (trained / "trial3" / "report.json").read_text() == before
    (file,) = (trained / "trial3").glob("tested-on-regdb-*-trial1.json")
    assert read_json(file)["images"]["leak"] is True


def test_a_single_model_is_tested_on_the_trial_it_names(trained, monkeypatch, capsys):
    monkeypatch.setattr(weights, "read", lambda path: torch.load(path)["weights"])
    file = trained / "trial3" / "cross" / "best_test.pth"
    place = ["--data-dir", str(tiny_runs.dataset("regdb")), *tiny_runs.SIZE, "--device", "cpu"]
    cli.test("regdb", [str(file), *place])
    printed = capsys.readouterr().out
    report = read_json(trained / "trial3" / "report.json")["results"]
    for result in report:
        if result["selection"] == "test":
            assert f"{result['mAP']['mean']:.2f}" in printed


def test_a_model_that_names_no_trial_needs_one(tmp_path, capsys):
    torch.save({"state_dict": {}}, tmp_path / "model_best.pth.tar")
    line = failing(capsys, cli.test, tmp_path / "model_best.pth.tar")
    assert "add --trial N" in line


@pytest.mark.parametrize("flag", ["--pretrained", "--start-from"])
def test_training_does_not_start_from_another_trials_model(trained, tmp_path, capsys, flag):
    model = trained / "trial3" / "intra" / "last.pth"
    line = failing(capsys, cli.train, *arguments("adca", tmp_path, flag, str(model)))
    assert "was trained on trial 3, whose training identities are among the test identities" in line
    assert not list(tmp_path.rglob("*.pth"))


def test_untrained_and_unknown_trials_are_named(trained, tmp_path, capsys):
    assert "no model of trial 2" in failing(capsys, cli.test, trained, "--trial", 2)
    line = failing(capsys, cli.train, *arguments("adca", tmp_path, "--trial", "11"))
    assert "no trial 11: it has 1 to 10" in line


def test_the_other_datasets_images_are_refused(tmp_path, capsys):
    words = tiny_runs.arguments("adca", tmp_path)
    for flag in ("--draws", "--eval-draws"):
        position = words.index(flag)
        del words[position : position + 2]
    assert "holds images of sysu, not of regdb" in failing(capsys, cli.train, *words)


# --- the shell scripts ---


@pytest.mark.slow
def test_two_trials_through_the_shell_scripts(tmp_path):
    """A ResNet-10 on rendered identities, by the commands of the README."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "TRIALS": "2 4",
        "OMP_NUM_THREADS": "1",
    }

    def run(*words):
        command = ["sh", *map(str, words)]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    flags = "--depth", "10", "--epochs", "1"
    method, *words = arguments("supervised", tmp_path / "logs", *flags)[1:]
    printed = run("run_train_regdb.sh", method, *words)
    assert "rendered identities: not a RegDB result" in printed
    folder = tiny_runs.run_folder(tmp_path / "logs", "supervised", on="regdb")
    report = (folder / "report.json").read_text()
    assert json.loads(report)["results"][0]["trials"] == [2, 4]
    assert "trained and tested before" in run("run_train_regdb.sh", method, *words)
    (folder / "report.json").unlink()
    run("test_regdb.sh", folder, "--device", "cpu")
    assert (folder / "report.json").read_text() == report
