"""Runs that differ in their seed alone, in one row: what is averaged, what each ± is over."""

import math
import shutil

import pytest
from test_comparison import change, numbers, only, rows_of, write, write_trials

from clustercontrast.commands.reporting import report_seeds
from clustercontrast.commands.tables import write_grid
from clustercontrast.files import UserError, read_json
from clustercontrast.report.comparison import DIFFERENCE, comparison_tables, grid_table
from clustercontrast.report.each import each_tables
from clustercontrast.report.tables import spread_notes
from clustercontrast.report.tested import gather

SEEDS = (
    "percent, mean ± sample standard deviation (n - 1) over the seeds {}, each trained by itself, "
    "of means over {}"
)


def write_seeds(folder, values, **more):
    """Tested runs of a group, by seed."""
    for seed, rank1 in values.items():
        write(folder / f"seed{seed}", "sysu", rank1, name=f"{folder.name}/seed{seed}", **more)
    return folder


def write_seeds_of_trials(folder, values, **more):
    for seed, trials in values.items():
        write_trials(folder / f"seed{seed}", trials, name=f"{folder.name}/seed{seed}", **more)
    return folder


def test_seeds_are_averaged_with_the_deviation_of_a_sample(tmp_path):
    """Mean of 20, 30, 70 is 40; sample deviation sqrt((400 + 100 + 900) / 2) = sqrt(700)."""
    found = gather(write_seeds(tmp_path / "ours", {10: 70.0, 2: 20.0, 1: 30.0}))
    for row in found.results:
        assert row["seeds"] == [1, 2, 10]
        more = 10 if row["selection"] == "test" else 0
        assert row["rank1"]["mean"] == pytest.approx(40 + more)
        assert row["rank1"]["std"] == pytest.approx(math.sqrt(700))
        assert [own["rank1"] for own in row["each"]] == [30 + more, 20 + more, 70 + more]
        assert row["searches"] == 10
    assert (found.seeds, found.trials) == ([1, 2, 10], [])
    assert found.name == "ours (seeds 1, 2, 10)/progressive"


def test_each_seed_of_regdb_is_first_a_mean_over_its_trials(tmp_path):
    """Means 30 and 50 over the trials; sample deviation sqrt(2 * 100) of them."""
    values = {1: {1: 20.0, 2: 40.0}, 5: {1: 50.0, 2: 50.0}}
    folder = write_seeds_of_trials(tmp_path / "ours", values)
    row = gather(folder).row("last", "visible_to_infrared")
    assert (row["seeds"], row["trials"]) == ([1, 5], [1, 2])
    assert row["rank1"] == {
        "mean": pytest.approx(40),
        "std": pytest.approx(math.sqrt(200)),
    }
    (table,) = comparison_tables([folder], ["test"])
    assert SEEDS.format("1, 5", "the trials 1, 2") in table.notes
    (label,) = [row[2] for row in rows_of(table, DIFFERENCE)]
    assert label == "difference to paper [1], 2 of 10 trials"


def test_a_group_of_one_seed_is_that_run(tmp_path):
    folder = write_seeds(tmp_path / "ours", {3: 20.0})
    assert gather(folder) == gather(folder / "seed3")
    assert gather(folder).name == "ours/seed3/progressive"


def test_a_group_and_a_run_stand_in_one_table_and_the_notes_name_both(tmp_path):
    """PCLHD, Table 1, Rank-1: 64.4; ours 63.4 and 65.4, and 60.4 alone."""
    group = write_seeds(tmp_path / "ours", {1: 53.4, 2: 55.4})
    alone = write(tmp_path / "alone", "sysu", 50.4, name="alone")
    (table,) = comparison_tables([group, alone], ["test"])
    first, second = rows_of(table, "best on the test set")
    assert (first[1], numbers(first)[0][0]) == ("ours (seeds 1, 2)/progressive", "64.40 ± 1.41")
    assert (second[1], numbers(second)[0][0]) == ("alone/progressive", "60.40 ± 0.50")
    assert SEEDS.format("1, 2", "10 gallery draws") in table.notes
    (draws,) = [note for note in table.notes if "10 gallery draws of one model" in note]
    assert "population standard deviation" in draws
    assert [row[3] for row in rows_of(table, DIFFERENCE)] == ["+0.00 ≈", "-4.00 ≠"]
    verdict = table.json()["runs"][0]["differences"][0]["verdicts"]["all"]["rank1"]
    assert (
        verdict == "within the spread of repeated trainings (62.99 to 65.81, 2 seeds of this run)"
    )


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"searches": 10}, "means over 10 gallery draws"),
        ({"searches": 1}, "single searches"),
        ({"searches": 1, "trials": [4]}, "trial 4 alone"),
        ({"searches": 1, "trials": list(range(1, 11))},
         "means over the trials 1, 2, 3, 4, 5, 6, 7, 8, 9, 10"),
    ],
)  # fmt: skip
def test_every_deviation_over_seeds_says_what_of(row, said):
    first, *few = spread_notes([row | {"seeds": [1, 2]}])
    assert first.endswith(f"over the seeds 1, 2, each trained by itself, of {said}")
    assert [note[:14] for note in few] == (["papers average"] if row.get("trials") == [4] else [])


@pytest.mark.parametrize(
    ("key", "more"),
    [
        ("stage", {"stage": "intra"}),
        ("epoch", {"epoch": 48}),
        ("variant", {"variant": "paper"}),
        ("flags", {"flags": ["--eps progressive=0.4"]}),
        ("images", {"images": {"digest": "3c4d"}}),
    ],
)
def test_seeds_of_different_kinds_are_never_averaged(tmp_path, key, more):
    folder = write_seeds(tmp_path / "ours", {1: 30.0, 2: 20.0})
    write_seeds(folder, {3: 10.0}, **more)
    with pytest.raises(UserError, match=f"the seeds in .* differ in their {key} "):
        gather(folder)


def test_seeds_with_other_trials_or_draws_are_not_averaged(tmp_path):
    trials = write_seeds_of_trials(tmp_path / "a", {1: {1: 1.0, 2: 2.0}, 2: {1: 1.0, 3: 2.0}})
    with pytest.raises(UserError, match=r"differ in their trials \(1, 2; 1, 3\)"):
        gather(trials)
    draws = write_seeds(tmp_path / "b", {1: 30.0, 2: 20.0})
    change(draws / "seed2", lambda content: [r.update(searches=2) for r in content["results"]])
    with pytest.raises(UserError, match=r"differ in their gallery draws \(10; 2\)"):
        gather(draws)


def test_a_copy_of_a_seed_does_not_count_twice(tmp_path):
    folder = write_seeds(tmp_path / "ours", {1: 30.0, 2: 20.0})
    shutil.copytree(folder / "seed1", folder / "seed3")
    with pytest.raises(UserError, match="seed3 holds the report of seed 1: delete the folder"):
        gather(folder)


def test_runs_that_were_begun_by_themselves_are_no_group(tmp_path):
    for seed in (1, 2):
        write(tmp_path / f"seed{seed}", "sysu", 30.0, name=f"seed{seed}")
    with pytest.raises(UserError, match="is not a run's folder"):
        gather(tmp_path)


def test_a_model_that_some_seed_lacks_is_left_out(tmp_path):
    folder = write_seeds(tmp_path / "ours", {1: 30.0, 2: 20.0})
    change(folder / "seed2", lambda content: only(content, "last"))
    assert {row["selection"] for row in gather(folder).results} == {"last"}


def test_draw_by_draw_is_of_one_seed(tmp_path):
    folder = write_seeds(tmp_path / "ours", {1: 30.0, 2: 20.0})
    with pytest.raises(UserError, match="give the folder of one seed, such as ours/seed1"):
        each_tables([folder], ["last"])


def with_baselines(content):
    """Chance and random weights, which the report of a training has."""
    last = [row for row in content["results"] if row["selection"] == "last"]
    for name in ("chance", "untrained"):
        content["results"] += [row | {"selection": name, "model": name} for row in last]


def test_the_report_of_a_group_stands_beside_its_seeds(tmp_path, capsys):
    folder = write_seeds(tmp_path / "ours", {1: 30.0, 2: 20.0})
    for seed in (1, 2):
        change(folder / f"seed{seed}", with_baselines)
    report_seeds(folder, rerank=True)
    report = read_json(folder / "report.json")
    about = report["about"]
    assert (about["name"], about["seed"], about["seeds"]) == ("ours", None, [1, 2])
    assert report["results"] == gather(folder).results
    text = (folder / "report.txt").read_text()
    assert text.startswith("pclhd ours, seeds 1, 2, stage progressive (SYSU-MM01)")
    assert "\nchance and random weights are drawn alike for every seed\n" in text
    assert SEEDS.format("1, 2", "10 gallery draws") in text
    assert "25.00 ± 7.07" in text
    assert "64.4" in text  # PCLHD's own figure: the seed is no other configuration
    assert "no mean of re-ranked results: not all seeds have them" in capsys.readouterr().out


def test_the_report_of_a_group_without_test_identities_says_so(tmp_path):
    folder = write_seeds(tmp_path / "ours", {1: 30.0, 2: 20.0})

    def untested(content):
        content.update(results=[], untested="nothing is tested: no test image has an identity")

    for seed in (1, 2):
        change(folder / f"seed{seed}", untested)
    report_seeds(folder)
    assert read_json(folder / "report.json")["results"] == []


def test_cells_of_a_grid_with_other_seeds_are_named(tmp_path, capsys):
    cells = {
        write_seeds(tmp_path / "x", {1: 10.0, 2: 20.0}): {"eps": "0.5"},
        write_seeds(tmp_path / "y", {1: 10.0, 2: 20.0}): {"eps": "0.6"},
    }
    table = grid_table("sysu", "a sweep", cells)
    assert [row[2] for row in table.rows if row[1] == "last epoch"] == ["15.00 ± 7.07"] * 2
    assert not any(note.startswith("x: ") for note in table.notes)
    cells[write(tmp_path / "z", "sysu", 5.0, name="z")] = {"eps": "0.7"}
    write_grid("sysu", "a sweep", "sweep", cells)
    printed = capsys.readouterr().out
    assert all(f"{line}\n" in printed for line in ("x: seeds 1, 2", "y: seeds 1, 2", "z: one seed"))
