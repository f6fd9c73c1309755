"""--seeds: one ordinary run per seed under one name, their report, and what takes a group."""

import pytest
import tiny_runs

from clustercontrast.commands import circumstances, cli, reporting, runs, sweep
from clustercontrast.commands.newest import is_finished
from clustercontrast.commands.report import main as report
from clustercontrast.engine.run import Run
from clustercontrast.files import UserError, read_json

SHORT = ("--epochs", "1", "--stages", "intra")


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    tiny_runs.use_small_encoder(monkeypatch)


def arguments(logs, *more, on="sysu"):
    draws = ("--draws", "1") if on == "sysu" else ()
    return tiny_runs.arguments("adca", logs, *SHORT, *draws, *more, on=on)


def refused(capsys, command, *words):
    """The lines of a refused command."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as leaving:
        command(*words)
    assert leaving.value.code == 2
    return [line for line in capsys.readouterr().err.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """A finished group of the seeds 1 and 3."""
    logs = tmp_path_factory.mktemp("logs")
    with pytest.MonkeyPatch.context() as patch:
        tiny_runs.use_small_encoder(patch)
        cli.train("sysu", arguments(logs, "--seeds", "3", "1"))
    return tiny_runs.run_folder(logs, "adca", "seeds")


def test_every_seed_is_the_run_that_it_would_be_alone(group, tmp_path):
    cli.train("sysu", arguments(tmp_path, "--seed", "3"))
    alone = tiny_runs.run_folder(tmp_path, "adca", "seed3")
    one, other = read_json(group / "seed3" / "config.json"), read_json(alone / "config.json")
    assert one["numbers"] == other["numbers"]
    assert one["about"].pop("name") == "seeds/seed3"
    assert other["about"].pop("name") == "seed3"
    assert one["about"] == other["about"]
    assert one["about"]["seed"] == 3
    ours, theirs = (read_json(own / "report.json")["results"] for own in (group / "seed3", alone))
    assert ours == theirs
    assert ours != read_json(group / "seed1" / "report.json")["results"]


def test_the_group_has_a_report_and_counts_as_finished(group):
    found = read_json(group / "report.json")
    assert found["about"]["seeds"] == [1, 3]
    assert all(row["seeds"] == [1, 3] for row in found["results"])
    assert is_finished(group)


def test_finished_seeds_are_skipped_and_another_joins_them(group, monkeypatch, capsys):
    trained, tick = [], Run.tick
    monkeypatch.setattr(
        Run, "tick", lambda run, *a: (trained.append(run.folder.name), tick(run, *a))
    )
    cli.train("sysu", arguments(group.parents[2], "--seeds", "1", "2", "3"))
    assert set(trained) == {"seed2"}
    assert capsys.readouterr().out.count("trained and tested before, left as it is") == 2
    assert read_json(group / "report.json")["about"]["seeds"] == [1, 2, 3]
    cli.train("sysu", arguments(group.parents[2], "--seeds", "1", "2"))
    assert "also seeds of earlier commands: 3" in capsys.readouterr().out


def test_the_test_command_tests_every_seed_and_makes_the_report_again(group):
    before = {path: path.read_text() for path in group.rglob("report.json")}
    for path in before:
        path.unlink()
    assert not is_finished(group)
    cli.test("sysu", [str(group), "--device", "cpu", "--draws", "1"])
    assert {path: path.read_text() for path in before} == before


def test_what_is_of_one_model_asks_for_a_seed(group, tmp_path, capsys):
    said = (
        f"error: {group} holds runs of several seeds, each with a model of its own: give one, "
        f"such as {group / 'seed1'}"
    )
    out = tmp_path / "model.pth.tar"
    assert refused(capsys, report, ["ari", str(group)]) == [said]
    assert refused(capsys, report, ["map", str(group)]) == [said]
    assert refused(capsys, cli.export, [str(group), "--official", str(out)]) == [said]


def test_a_name_is_that_of_a_run_or_of_a_group(group, capsys):
    logs = group.parents[2]
    words = arguments(logs, "--seed", "1", "--name", "seeds")
    assert "holds runs of several seeds (--seeds)" in refused(capsys, cli.train, "sysu", words)[0]
    cli.train("sysu", arguments(logs, "--name", "alone"))
    words = arguments(logs, "--seeds", "1", "--name", "alone")
    for more in ([], ["--dry-run"]):
        (line,) = refused(capsys, cli.train, "sysu", [*words, *more])
        assert "alone is the folder of one run, and --seeds makes several" in line


def test_a_seed_with_other_flags_is_refused_before_it_is_trained(group, capsys):
    """No mean could be taken of it and the seeds that are there."""
    words = arguments(group.parents[2], "--seeds", "7", "--k1", "9")
    (line,) = refused(capsys, cli.train, "sysu", words)
    assert "--k1 (8 there)" in line
    assert not (group / "seed7").exists()


def test_a_seed_that_fails_loses_no_other_and_cells_of_a_sweep_are_groups(
    tmp_path, monkeypatch, capsys
):
    """In the one cell a seed fails: the table has the other; run again, it has their mean."""
    words = ["--dataset", "sysu", *arguments(tmp_path, "--seeds", "2", "1"), "--name", "try"]
    words += ["--grid", "min-samples=3"]
    report_run = reporting.report

    def report_or_fail(folder, stage, evaluation):
        if folder.name == "seed2":
            raise UserError("the loss is no longer finite")
        report_run(folder, stage, evaluation)

    with monkeypatch.context() as patch:
        patch.setattr(reporting, "report", report_or_fail)
        patch.setattr(circumstances, "commit", lambda: "the first-dirty")
        assert refused(capsys, sweep.main, words) == [
            "error: seed 2: the loss is no longer finite",
            "error: 1 of 2 seeds failed: 2",
            "error: 1 of 1 cells failed: try-min-samples-3",
        ]
    folder = tmp_path / "sysu" / "adca"
    place = folder / "try-min-samples-3"
    assert read_json(place / "report.json")["about"]["seed"] == 1
    assert "over the seeds" not in (folder / "try.txt").read_text()
    sweep.main(words)
    again = read_json(place / "seed2" / "config.json")["commits"]
    assert again == ["the first-dirty", circumstances.commit()]
    (cell,) = read_json(folder / "try.json")["cells"]
    assert cell["results"] == read_json(place / "report.json")["results"]
    assert {tuple(row["seeds"]) for row in cell["results"]} == {(1, 2)}
    assert "over the seeds 1, 2, each trained by itself" in (folder / "try.txt").read_text()


@pytest.mark.slow
def test_seeds_of_trials(tmp_path, capsys):
    words = arguments(tmp_path, "--seeds", "1", "2", "--trial", "2", "4", on="regdb")
    cli.train("regdb", words)
    folder = tiny_runs.run_folder(tmp_path, "adca", "seeds", on="regdb")
    assert runs.models_of(folder) == [
        folder / f"seed{seed}" / f"trial{trial}" for seed in (1, 2) for trial in (2, 4)
    ]
    found = read_json(folder / "report.json")
    assert all((row["seeds"], row["trials"]) == ([1, 2], [2, 4]) for row in found["results"])
    assert is_finished(folder)
    (line,) = refused(capsys, report, ["ari", str(folder)])
    assert line.endswith(f"such as {folder / 'seed1'}")
