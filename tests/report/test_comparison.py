"""Runs side by side: means over trials, differences by hand, other images kept apart."""

import json
import math
import re
import shutil

import pytest

from clustercontrast.commands.report import main
from clustercontrast.evaluation.protocols import PROTOCOLS
from clustercontrast.files import UserError
from clustercontrast.report.comparison import DIFFERENCE, comparison_tables, grid_table
from clustercontrast.report.published import published
from clustercontrast.report.references.commands import AS_IT_IS, PGM
from clustercontrast.report.references.rows import METRICS
from clustercontrast.report.tested import average, gather

RENDERED = "rendered identities: not a SYSU-MM01 result"
INCOMPLETE = (
    "incomplete images (--allow-incomplete): not a SYSU-MM01 result, not to be compared with "
    "published figures"
)
ENDS = {"intra": 49, "cross": 49, "progressive": 49}
MODELS = {"last": "last epoch", "test": "best on the test set"}


def results(dataset, rank1, **more):
    """Two models per mode: Rank-1 as given, 10 higher for the best on test, other metrics 50."""
    return [
        {"model": model, "selection": selection, "mode": mode, "searches": 10, **more}
        | {metric: {"mean": 50.0, "std": 0.25} for metric in METRICS}
        | {"rank1": {"mean": rank1 + (10 if selection == "test" else 0), "std": 0.5}}
        for mode in PROTOCOLS[dataset].modes
        for selection, model in MODELS.items()
    ]


def about_run(dataset, method="pclhd", stage=None, trial=None, flags=(), images=None, **more):
    """What a run says of itself: its last stage, on official images, unless said otherwise."""
    usual = AS_IT_IS[method]
    stage = stage or usual.stage
    official = {"dataset": dataset, "digest": "1a2b", "complete": True, "rendered": False}
    return {
        "method": method,
        "dataset": dataset,
        "variant": usual.variant,
        "name": "seed1",
        "trial": trial,
        "stage": stage,
        "epoch": 49,
        "changes": {stage: list(flags)},
        "ends": ENDS,
        "images": official | {"leak": False} | (images or {}),
        **more,
    }


def write(folder, dataset, rank1, trial=None, **more):
    folder.mkdir(parents=True, exist_ok=True)
    about = about_run(dataset, trial=trial, **more)
    trials = {} if trial is None else {"trials": [trial]}
    content = {"about": about, "results": results(dataset, rank1, **trials)}
    (folder / "report.json").write_text(json.dumps(content))
    return folder


def write_trials(folder, values, **more):
    for trial, rank1 in values.items():
        write(folder / f"trial{trial}", "regdb", rank1, trial=trial, **more)
    return folder


def change(folder, edit):
    """Rewrite a report after ``edit``."""
    path = folder / "report.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def only(content, selection):
    """Keep the results of one model."""
    content["results"] = [r for r in content["results"] if r["selection"] == selection]


def rows_of(table, model):
    return [row for row in table.rows if row[2].startswith(model)]


def numbers(row):
    """Metric cells of a row: (modes, metrics)."""
    return row[3 : 3 + len(METRICS)], row[3 + len(METRICS) :]


def test_trials_are_averaged_in_their_own_order(tmp_path):
    """Mean of 20, 30, 70 is 40; population deviation sqrt((400 + 100 + 900) / 3) = 21.6025."""
    folder = write_trials(tmp_path / "run", {10: 70.0, 2: 20.0, 1: 30.0})
    last = [r for r in average(folder) if r["selection"] == "last"]
    assert [r["mode"] for r in last] == list(PROTOCOLS["regdb"].modes)
    for row in last:
        assert row["trials"] == [1, 2, 10]
        assert row["rank1"]["mean"] == pytest.approx(40)
        assert row["rank1"]["std"] == pytest.approx(21.602469)
        assert row["mAP"] == {"mean": 50.0, "std": 0.0}
    assert gather(folder).results == average(folder)


def test_one_trial_is_taken_as_it_is(tmp_path):
    folder = write_trials(tmp_path / "run", {3: 30.0})
    for place in (folder, folder / "trial3"):
        assert gather(place).row("last", "visible_to_infrared")["rank1"] == {"mean": 30, "std": 0.5}


def test_all_ten_trials(tmp_path):
    """Rank-1 of 9, 18, ..., 90: mean 49.5, population deviation 9 sqrt(8.25) = 25.8505."""
    folder = write_trials(tmp_path / "run", {trial: 9.0 * trial for trial in range(1, 11)})
    (table,) = comparison_tables([folder], ["last", "test"])
    assert numbers(rows_of(table, "last epoch")[0])[1][0] == "49.50 ± 25.85"
    assert len(rows_of(table, DIFFERENCE)) == 1
    assert "over the trials 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, each" in table.text()
    assert not any("without" in note or "papers average" in note for note in table.notes)


def test_a_model_that_some_trial_lacks_is_left_out_and_said_so(tmp_path):
    folder = write_trials(tmp_path / "run", {1: 30.0, 2: 20.0})
    change(folder / "trial2", lambda content: only(content, "last"))
    assert {r["selection"] for r in average(folder)} == {"last"}
    (table,) = comparison_tables([folder], ["last", "test", "cycle"])
    assert "pclhd seed1/progressive: has no model test or cycle" in table.notes


@pytest.mark.parametrize(
    ("key", "more"),
    [
        ("stage", {"stage": "intra"}),
        ("method", {"method": "pgm", "stage": "progressive"}),
        ("variant", {"variant": "paper"}),
        ("epoch", {"epoch": 48}),
        ("flags", {"flags": ["--eps progressive=0.4"]}),
        ("images", {"images": {"rendered": True}}),
        ("images", {"images": {"complete": False}}),
        ("images", {"images": {"leak": True}}),
        ("images", {"images": {"digest": "3c4d"}}),
    ],
)
def test_trials_of_different_kinds_are_never_averaged(tmp_path, key, more):
    folder = write_trials(tmp_path / "run", {1: 30.0, 2: 20.0})
    write_trials(folder, {3: 10.0}, **more)
    for read in (gather, average):
        with pytest.raises(UserError, match=f"differ in their {key}"):
            read(folder)
    stage = more.get("stage", AS_IT_IS[more.get("method", "pclhd")].stage)
    assert gather(folder / "trial3").name == f"seed1/trial3/{stage}"


def copied(source, target):
    shutil.copytree(source, target)
    return target


@pytest.mark.parametrize("name", ["trial3", "trial01", "trial10"])
def test_a_trial_counts_once_however_it_was_copied(tmp_path, name):
    folder = write_trials(tmp_path / "run", {1: 30.0, 2: 20.0})
    place = copied(folder / "trial1", folder / name)
    for read in (gather, average, lambda _: gather(place)):
        with pytest.raises(UserError) as refusal:
            read(folder)
        assert str(refusal.value) == (
            f"{place} holds the report of trial 1: delete the folder, or move it to where it "
            "belongs"
        )
    assert gather(copied(folder / "trial1", tmp_path / "kept")).name == "seed1/trial1/progressive"


def test_runs_that_are_called_as_trials_are_runs(tmp_path):
    """Datasets without trials have no folders of trials."""
    runs = [write(tmp_path / name, "sysu", 5.0, name=name) for name in ("trial1", "trial2")]
    assert [gather(run).name for run in runs] == ["trial1/progressive", "trial2/progressive"]
    with pytest.raises(UserError, match="is not a run's folder"):
        gather(tmp_path)


def test_a_row_says_its_trial_and_stage(tmp_path):
    folder = write_trials(tmp_path / "run", {3: 30.0})
    assert gather(folder).name == gather(folder / "trial3").name == "seed1/trial3/progressive"
    assert gather(write_trials(folder, {4: 30.0})).name == "seed1/progressive"
    intra = write(tmp_path / "intra", "sysu", 1.0, stage="intra")
    assert rows_of(comparison_tables([intra], ["last"])[0], "last epoch")[0][1] == "seed1/intra"


def test_differences_are_ours_minus_the_papers_for_the_best_on_test(tmp_path):
    """PCLHD, Table 1: 64.4 / 58.7 all-search, 69.5 / 74.4 indoor; ours 65 / 50 in both."""
    run = write(tmp_path / "run", "sysu", 55.0)
    (table,) = comparison_tables([run], ["last", "test"])
    (difference,) = rows_of(table, DIFFERENCE)
    everywhere, indoor = (dict(zip(METRICS, cells, strict=True)) for cells in numbers(difference))
    nothing = dict.fromkeys(METRICS, "")
    assert everywhere == nothing | {"rank1": "+0.60 ≠", "mAP": "-8.70 ≠"}
    assert indoor == nothing | {"rank1": "-4.50 ≠", "mAP": "-24.40 ≠"}
    models = [row[2] for row in table.rows]
    assert models == ["", "last epoch", "best on the test set", f"{DIFFERENCE} paper [1]"]
    assert rows_of(comparison_tables([run], ["last"])[0], DIFFERENCE) == []
    (stored,) = table.json()["runs"][0]["differences"]
    paper = table.json()["published"][stored["number"] - 1]
    assert (paper["method"], paper["kind"]) == ("PCLHD", "paper")
    assert stored["scores"]["all"] == {"rank1": pytest.approx(0.6), "mAP": pytest.approx(-8.7)}
    assert stored["scores"]["indoor"] == {
        "rank1": pytest.approx(-4.5),
        "mAP": pytest.approx(-24.4),
    }


def test_every_run_is_compared_with_the_rows_of_its_own_flags(tmp_path):
    """PCLHD, Table 1: 65.9 with MMM; ours 65.9 + 0.3. Another eps: with none."""
    mmm = write(tmp_path / "mmm", "sysu", 56.2, flags=["--association mmm"])
    eps = write(tmp_path / "eps", "sysu", 54.4, flags=["--eps progressive=0.5"], name="eps")
    usual = write(tmp_path / "usual", "sysu", 54.4)
    (table,) = comparison_tables([mmm, eps, usual], ["last", "test"])
    rows = rows_of(table, DIFFERENCE)
    assert [(row[1], row[2], row[3]) for row in rows] == [
        ("seed1/progressive", "difference to paper [1]", "+0.30 ≈"),
        ("seed1/progressive", "difference to paper [2]", "+0.00 ≈"),
    ]
    assert [row[:2] for row in table.rows if row[1].endswith("]")] == [
        ("PCLHD+MMM", "paper [1]"),
        ("PCLHD", "paper [2]"),
    ]
    (note,) = (note for note in table.notes if note.startswith("pclhd eps/progressive: "))
    assert "no published configuration (--eps progressive=0.5): no difference is shown" in note
    found = [run["differences"] for run in table.json()["runs"]]
    assert [len(own) for own in found] == [1, 0, 1]
    assert found[0][0]["verdicts"]["all"]["rank1"] == (
        "within the spread of gallery draws (65.40 to 66.40, 10 gallery draws of this run)"
    )


def test_a_difference_of_nothing_has_no_minus(tmp_path):
    """PCLHD, Table 1: 64.4; ours 64.399 differs by -0.001, and by -0.01 with 64.39."""
    runs = [write(tmp_path / str(rank1), "sysu", rank1) for rank1 in (54.399, 54.39)]
    (table,) = comparison_tables(runs, ["test"])
    assert [row[3] for row in rows_of(table, DIFFERENCE)] == ["+0.00 ≈", "-0.01 ≈"]


def test_figures_of_a_last_epoch_are_compared_with_ours_of_the_last_epoch(tmp_path):
    """PGM's log, all-search, Rank-1: 56.29 for the best on test, 56.09 for the last epoch."""
    run = write(tmp_path / "run", "sysu", 56.0, method="pgm")
    (table,) = comparison_tables([run], ["last", "test"])
    models = [row[2] for row in table.rows if row[1] == "seed1/cross"]
    assert models == [
        "last epoch",
        "difference to upstream log [4]",
        "best on the test set",
        "difference to paper [1]",
    ]
    last, best = rows_of(table, DIFFERENCE)
    assert (last[3], best[3]) == ("-0.09 ≈", "+8.70 ≠")  # 57.3 in the paper


@pytest.mark.parametrize(
    ("method", "kind", "expected"),
    [
        ("rpnr", "upstream README", "+0.51 ≈"),  # 65.49, and draws that lie 1.07 apart
        ("pca", "upstream README", "+11.61 ?"),  # 54.39, of which no spread is known
        ("sdcl", "upstream log", "+0.71 ?"),  # 65.29
    ],
)
def test_methods_without_a_table_in_a_paper_have_differences(tmp_path, method, kind, expected):
    """Ours 56 + 10, in a single search of its own."""
    run = write(tmp_path / "run", "sysu", 56.0, method=method)
    change(run, lambda content: [row.update(searches=1) for row in content["results"]])
    (table,) = comparison_tables([run], ["test"])
    (row,) = rows_of(table, DIFFERENCE)
    assert row[2] == f"difference to {kind} [1], 1 of 10 draws"
    assert row[3] == expected


def test_a_log_of_one_trial_is_compared_with_that_trial_alone(tmp_path):
    """PGM's log, trial 5, visible to infrared: 70.44 / 65.32; ours 60 + 10."""
    single = write_trials(tmp_path / "single", {5: 60.0}, method="pgm")
    several = write_trials(tmp_path / "several", {4: 60.0, 5: 60.0}, method="pgm")
    labels = [row[2] for row in rows_of(comparison_tables([single], ["test"])[0], DIFFERENCE)]
    assert labels == ["difference to upstream log [2]"]
    labels = [row[2] for row in rows_of(comparison_tables([several], ["test"])[0], DIFFERENCE)]
    assert labels == ["difference to paper [1], 2 of 10 trials"]


def test_fewer_draws_than_the_protocol_has_are_said(tmp_path):
    run = write(tmp_path / "run", "sysu", 50.0)
    change(run, lambda content: [row.update(searches=2) for row in content["results"]])
    (table,) = comparison_tables([run], ["test"])
    assert rows_of(table, DIFFERENCE)[0][2] == "difference to paper [1], 2 of 10 draws"


def test_each_kind_of_other_images_has_a_mark_of_its_own(tmp_path):
    facts = [{"complete": False}, {"rendered": True}, {"complete": False, "rendered": True}]
    runs = [write(tmp_path / str(i), "sysu", 5.0, images=own) for i, own in enumerate(facts)]
    (table,) = comparison_tables(runs, ["test"])
    assert [row[0] for row in table.rows] == ["† PCLHD", "‡ PCLHD", "‡† PCLHD"]
    assert table.notes[:2] == (f"† {INCOMPLETE}", f"‡ {RENDERED}")
    assert table.dataset == "SYSU-MM01 and rendered SYSU-MM01 layout"
    assert table.latex().isascii()
    assert all(run["differences"] == [] for run in table.json()["runs"])


def test_a_difference_of_few_trials_says_so(tmp_path):
    """PCLHD, Table 1, visible to infrared: 84.3; ours (40 + 70) / 2 + 10."""
    folder = write_trials(tmp_path / "run", {1: 40.0, 2: 70.0})
    (table,) = comparison_tables([folder], ["test"])
    (row,) = rows_of(table, f"{DIFFERENCE} paper [1], 2 of 10 trials")
    assert numbers(row)[0][0] == "-19.30 ≠"


def test_runs_are_grouped_by_method_and_dataset(tmp_path):
    folders = [
        write(tmp_path / "a", "sysu", 1.0, method="pclhd"),
        write_trials(tmp_path / "b", {1: 2.0, 2: 2.0}, method="pgm"),
        write(tmp_path / "c", "sysu", 3.0, method="adca"),
        write(tmp_path / "d", "sysu", 4.0, method="pclhd"),
    ]
    sysu, regdb = comparison_tables(folders, ["last"])
    assert (sysu.dataset, regdb.dataset) == ("SYSU-MM01", "RegDB")
    assert [row[0] for row in sysu.rows if row[2]] == ["PCLHD", "PCLHD", "ADCA"]
    quoted = [row[:2] for row in sysu.rows if not row[2]]
    assert quoted == [("PCLHD", "paper [1]"), ("ADCA", "paper [2]")]
    assert "pgm seed1/cross: without the trials 3, 4, 5, 6, 7, 8, 9, 10" in regdb.notes
    assert "trial 5 alone" in "".join(regdb.notes)


def test_rendered_runs_are_marked_and_never_compared(tmp_path):
    real = write(tmp_path / "real", "sysu", 50.0)
    drawn = write(tmp_path / "drawn", "sysu", 60.0, images={"rendered": True})
    (both,) = comparison_tables([real, drawn], ["test"])
    (own,) = [row for row in both.rows if row[0].startswith("† ")]
    assert own[3] == "70.00 ± 0.50"
    assert len(rows_of(both, DIFFERENCE)) == 1
    assert rows_of(both, DIFFERENCE)[0][0] == "PCLHD"
    assert f"† {RENDERED}" in both.notes
    (alone,) = comparison_tables([drawn], ["test"])
    assert alone.dataset == "rendered SYSU-MM01 layout"
    assert all(row[0].startswith("† ") for row in alone.rows)
    assert "64.4" not in alone.text()
    assert [run["differences"] for run in both.json()["runs"]][1] == []


def test_no_figure_is_published_above_rendered_runs_alone(tmp_path):
    real = write(tmp_path / "real", "sysu", 50.0, method="pgm")
    drawn = write(tmp_path / "drawn", "sysu", 60.0, images={"rendered": True})
    (table,) = comparison_tables([real, drawn], ["test"])
    assert {row[0] for row in table.rows} == {"PGM", "† PCLHD"}


def test_sources_stand_in_every_form(tmp_path):
    run = write(tmp_path / "run", "sysu", 50.0, method="pgm")
    (table,) = comparison_tables([run], ["test"])
    as_json = json.dumps(table.json())
    entries = published("sysu", PGM)
    for form in (table.text(), table.markdown(), table.latex(), as_json):
        assert all(entry.source in form for entry in entries)
    marks = [row[1] for row in table.rows if row[1].endswith("]")]
    assert marks == [f"{entry.label} [{number}]" for number, entry in enumerate(entries, start=1)]
    assert len(marks) == 4
    notes = [f"[{n}] {entry.name}: {entry.where}" for n, entry in enumerate(entries, start=1)]
    assert list(table.notes[-len(entries) :]) == notes


def test_text_has_a_block_per_search_without_rows_that_say_nothing(tmp_path):
    folder = write_trials(tmp_path / "run", {5: 50.0}, method="pgm")
    (table,) = comparison_tables([folder], ["last"])
    text = table.text()
    first, second = text.split("Visible to infrared\n")[1].split("Infrared to visible\n")
    assert "upstream log" in first
    assert "upstream log" not in second.strip().split("\n\n")[0]
    assert max(map(len, first.splitlines())) < 160
    widest = write_trials(tmp_path / "wide", {1: 10.0, 2: 90.0}, method="pgm")
    (table,) = comparison_tables([widest], ["last", "test"])
    rows = table.text().split("\n\npercent")[0].splitlines()
    assert max(map(len, rows)) <= 160


def test_two_level_head_of_latex_spans_its_columns(tmp_path):
    (table,) = comparison_tables([write(tmp_path / "run", "sysu", 50.0)], ["last", "test"])
    latex = table.latex()
    assert r"\multicolumn{6}{c}{All search} & \multicolumn{6}{c}{Indoor search} \\" in latex
    assert r"\cmidrule(lr){3-8} \cmidrule(lr){9-14}" in latex
    rows = [line for line in latex.splitlines() if line.endswith(r" \\") and "multi" not in line]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {13}
    assert "| All search, Rank-1 |" in table.markdown()
    assert r" & minus {[}1] & $-$4.40 $\neq$ & " in latex


def test_a_grid_shows_its_values(tmp_path):
    other = {"flags": ["--eps progressive=0.5"]}
    cells = {
        write(tmp_path / "x", "sysu", 10.0, **other): {"eps": "0.5", "dpcl": "on"},
        write(tmp_path / "y", "sysu", 20.0, **other): {"eps": "0.6", "dpcl": "off"},
    }
    table = grid_table("sysu", "pclhd sweep", cells)
    assert table.header[:3] == ("eps", "dpcl", "model")
    assert [row[:4] for row in table.rows] == [
        ("0.5", "on", "last epoch", "10.00 ± 0.50"),
        ("0.5", "on", "best on the test set", "20.00 ± 0.50"),
        ("0.6", "off", "last epoch", "20.00 ± 0.50"),
        ("0.6", "off", "best on the test set", "30.00 ± 0.50"),
    ]
    assert table.markdown().count("**30.00 ± 0.50**") == 2  # of the models that are best on test


def test_cells_of_a_grid_stand_below_the_figures_of_their_flags(tmp_path):
    """CMAM-UDA, Table V: 57.10 / 54.24 at 5 steps, 62.0 / 58.2 at the default; none at 7."""
    cells = {}
    for steps in ("5", "7", "20"):
        flags = [] if steps == "20" else [f"--sampling-steps {steps}"]
        run = write(tmp_path / steps, "sysu", 50.0, method="cmam", flags=flags)
        cells[run] = {"sampling-steps": steps}
    table = grid_table("sysu", "cmam table5", cells)
    quoted = [row for row in table.rows if row[1].endswith("]")]
    assert [(row[0], row[1], row[2].split()[0], row[6].split()[0]) for row in quoted] == [
        ("5", "CMAM-UDA, 5 sampling steps, paper [1]", "57.10", "54.24"),
        ("5", "difference to paper [1]", "+2.90", "-4.24"),  # best on test, 60 / 50
        ("20", "CMAM-UDA, paper [2]", "62.0", "58.2"),
        ("20", "difference to paper [2]", "-2.00", "-8.20"),
    ]
    assert [row[1] for row in table.rows if row[0] == "7"] == ["last epoch", "best on the test set"]
    assert [row[0] for row in table.rows][:2] == ["5", "5"]
    assert "Table V" in next(note for note in table.notes if note.startswith("[1] "))
    assert [cell["published"] for cell in table.json()["cells"]] == [[1], [], [2]]
    assert table.json()["published"][0]["row"] == "5 sampling steps"


def test_rows_of_a_grid_are_marked_by_their_images(tmp_path):
    own = {"flags": ["--eps progressive=0.5"]}
    cells = {
        write(tmp_path / "x", "sysu", 10.0, **own): {"eps": "0.5", "dpcl": "on"},
        write(tmp_path / "y", "sysu", 20.0, images={"rendered": True}): {
            "eps": "0.6",
            "dpcl": "on",
        },
        write(tmp_path / "z", "sysu", 30.0, images={"complete": False}): {
            "eps": "0.5",
            "dpcl": "on",
        },
    }
    table = grid_table("sysu", "sweep", cells)
    assert [row[0] for row in table.rows[::2]] == ["0.5", "† 0.6", "‡ 0.5"]
    assert [row[0] for row in table.rows[1::2]] == ["0.5", "† 0.6", "‡ 0.5"]
    assert table.notes[:2] == (f"† {RENDERED}", f"‡ {INCOMPLETE}")
    assert table.heading == "sweep (SYSU-MM01 and rendered SYSU-MM01 layout)"
    last = list(cells)[1:2]
    drawn = grid_table("sysu", "sweep", {folder: cells[folder] for folder in last})
    assert drawn.heading == "sweep (rendered SYSU-MM01 layout)"


def test_runs_on_different_images_are_named(tmp_path):
    runs = [
        write(tmp_path / name, "sysu", 10.0, name=name, images={"digest": digest})
        for name, digest in (("x", "1a2b3c4d"), ("y", "5e6f7a8b"), ("z", "1a2b3c4d"))
    ]
    note = (
        "runs on different images: pclhd x/progressive, pclhd z/progressive (digest 1a2b3c); "
        "pclhd y/progressive (digest 5e6f7a)"
    )
    (table,) = comparison_tables(runs, ["last"])
    assert table.notes[0] == note
    grid = grid_table("sysu", "sweep", {run: {"eps": "0.5"} for run in runs})
    assert grid.notes[0] == note
    (alike,) = comparison_tables(runs[::2], ["last"])
    assert "different images" not in alike.text()


# --- competitors ---


def competitors_of(table):
    return [row for row in table.rows if row[0].partition(":")[0] in ("SVI", "SSVI", "USVI")]


def test_competitors_stand_by_supervision_above_the_runs_and_have_no_difference(tmp_path):
    """PCLHD's Table 1: 20 supervised, 3 with some labels; MAUM 71.7 / 68.8, DPIS 58.4 / 55.6."""
    run = write(tmp_path / "run", "sysu", 55.0)
    (plain,), (table,) = (comparison_tables([run], ["test"], more) for more in (False, True))
    found = competitors_of(table)
    assert competitors_of(plain) == []
    assert table.rows[: len(found)] == tuple(found)
    assert table.rows[len(found) :] == plain.rows
    kinds = [row[0].partition(":")[0] for row in found]
    assert kinds == sorted(kinds, key=["SVI", "SSVI", "USVI"].index)
    assert (kinds.count("SVI"), kinds.count("SSVI")) == (20, 3)
    by_name = {row[0]: row for row in found}
    source = by_name["SVI: MAUM"][1].removeprefix("CVPR 2022 ")
    assert numbers(by_name["SVI: MAUM"])[0] == ("71.7", "", "", "", "68.8", "")
    assert by_name["SSVI: DPIS"][1:3] == (f"ICCV 2023 {source}", "")
    assert f"{source} as quoted in PCLHD (NeurIPS 2024), Table 1" in table.notes
    assert len({row[0] for row in found}) == len(found)
    assert {"USVI: ADCA", "USVI: GUR*", "USVI: HOG", "USVI: RPNR"} <= set(by_name)
    assert "USVI: PCLHD" not in by_name  # it stands with the run
    assert table.json()["runs"] == plain.json()["runs"]
    assert len(table.json()["competitors"]) == len(found)


def test_competitors_of_a_method_with_several_rows_are_those_of_its_paper(tmp_path):
    """PGM, RegDB, visible to infrared: 69.5 / 65.4; its log of one trial is no competitor."""
    folder = write_trials(tmp_path / "run", {1: 40.0})
    (table,) = comparison_tables([folder], ["test"], with_competitors=True)
    (row,) = [row for row in table.rows if row[0] == "USVI: PGM"]
    assert row[1].startswith("CVPR 2023 [")
    assert numbers(row)[0] == ("69.5", "", "", "", "65.4", "")


def test_competitors_with_the_same_share_of_labels(tmp_path):
    """CMAM-UDA, Table VI, 30 %: DML 57.8 / 56.0, CAJ+ 37.8 / 35.1; without labels DML 51.2."""
    run = write(
        tmp_path / "run", "sysu", 60.0, method="cmam", stage="finetune", flags=["--labelled 0.3"]
    )
    (table,) = comparison_tables([run], ["test"], with_competitors=True)
    found = {(row[0], row[1].partition(" [")[0]): row for row in competitors_of(table)}
    share = "30% of the identities labelled, paper"
    assert numbers(found["SSVI: CAJ+", share])[0] == ("37.8", "", "", "", "35.1", "")
    assert numbers(found["SSVI: DML", share])[0][0] == "57.8"
    assert numbers(found["USVI: DML", "paper"])[0][0] == "51.2"
    assert not [row for row in found if row[0].endswith("CAJ+") and row[1] != share]


def test_competitors_of_llcm_are_those_of_the_straight_search(tmp_path):
    """DEEN: 62.5 / 65.8; its README's swapped 69.21 stands in no mode of this table."""
    run = write(tmp_path / "run", "llcm", 40.0, method="adca")
    (table,) = comparison_tables([run], ["test"], with_competitors=True)
    (row,) = [row for row in table.rows if row[0] == "SVI: DEEN"]
    assert numbers(row)[0][0] == "62.5"
    assert "69.21" not in table.text()


# --- the command ---


def test_command_writes_every_form(tmp_path, capsys):
    run = write(tmp_path / "run", "sysu", 50.0)
    out = tmp_path / "out"
    main(["tables", str(run), "--out", str(out), "--models", "test", "--format", "markdown"])
    printed = capsys.readouterr().out
    assert "## Comparison (SYSU-MM01)" in printed
    assert "| last epoch |" not in printed
    assert "written" not in printed
    assert {path.suffix for path in out.glob("tables.*")} == {".csv", ".json", ".md", ".tex"}
    assert (out / "tables.md").read_text() in printed
    assert json.loads((out / "tables.json").read_text())[0]["runs"][0]["about"]["method"] == "pclhd"


@pytest.mark.parametrize(
    ("form", "ending"), [("markdown", "md"), ("latex", "tex"), ("csv", "csv"), ("json", "json")]
)
def test_what_is_printed_is_what_is_written(tmp_path, capsys, form, ending):
    folders = [write(tmp_path / "s", "sysu", 5.0), write_trials(tmp_path / "r", {1: 5.0})]
    words = ["tables", *map(str, folders), "--format", form, "--out", str(tmp_path / "out")]
    main(words)
    written = (tmp_path / "out" / f"tables.{ending}").read_text()
    assert capsys.readouterr().out == written + "\n"
    assert written.index("SYSU-MM01") < written.index("RegDB")


def refused(capsys, *words):
    """The one line of a refused command."""
    with pytest.raises(SystemExit) as leaving:
        main([str(word) for word in words])
    assert leaving.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    return line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "report.json is damaged"),
        ("[]", "report.json is damaged (it is [], expected dict)"),
        ('{"results": []}', "of another version or damaged"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, capsys, content, message):
    (tmp_path / "report.json").write_text(content)
    assert message in refused(capsys, "tables", tmp_path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content["about"].pop("images"),
        lambda content: content["about"]["images"].pop("complete"),
        lambda content: content["about"].update(images=[]),
        lambda content: content["about"]["images"].update(dataset="llcm"),
        lambda content: content["about"].update(dataset="elsewhere"),
        lambda content: content["about"].update(dataset="regdb"),
        lambda content: content["results"].clear(),
        lambda content: content["results"][0].pop("selection"),
        lambda content: content["results"][1].update(mode="outdoor"),
        lambda content: content["results"][2].pop("mINP"),
        lambda content: content["results"][3].update(mAP=12.0),
        lambda content: content["results"][3]["mAP"].pop("std"),
    ],
)
def test_a_report_of_another_version_is_one_line(tmp_path, capsys, edit):
    change(write(tmp_path, "sysu", 5.0), edit)
    assert "of another version or damaged: test the run" in refused(capsys, "tables", tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rank1", {"mean": math.nan, "std": 0.5}),
        ("rank1", {"mean": 164.4, "std": 0.5}),
        ("mAP", {"mean": -57.0, "std": 0.5}),
        ("mAP", {"mean": "12", "std": 0.5}),
        ("mAP", {"mean": True, "std": 0.5}),
        ("mINP", {"mean": 5.0, "std": math.inf}),
        ("rank20", {"mean": 5.0, "std": -0.5}),
        ("rank5", {"mean": 5.0, "std": None}),
        ("searches", "x"),
        ("searches", 10.0),
        ("searches", 0),
        ("model", 3),
        ("mode", ["all"]),
        ("trials", "1"),
        ("trials", [1.0]),
        ("trials", ["1"]),
        ("trials", []),
        ("trials", [2]),
        ("trials", None),
    ],
)
def test_figures_that_cannot_be_are_one_line(tmp_path, capsys, key, value):
    folder = write_trials(tmp_path, {1: 5.0, 2: 5.0})
    change(folder / "trial1", lambda content: content["results"][2].update({key: value}))
    line = refused(capsys, "tables", folder)
    assert "trial1/report.json is of another version or damaged: test the run again (" in line
    assert key in line


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("changes", []),
        ("changes", {"progressive": "--eps"}),
        ("ends", {"progressive": "49"}),
        ("epoch", "49"),
        ("stage", ["progressive"]),
        ("variant", None),
        ("trial", "1"),
        ("name", 5),
    ],
)
def test_what_a_report_cannot_say_of_its_run_is_one_line(tmp_path, capsys, key, value):
    change(write(tmp_path, "sysu", 5.0), lambda content: content["about"].update({key: value}))
    line = refused(capsys, "tables", tmp_path)
    assert f"damaged: test the run again (about.{key}" in line


def test_the_ends_of_the_range_are_figures(tmp_path):
    """100 by a mean of floats may be 100.00000000000001."""
    folder = write(tmp_path, "sysu", 5.0)
    change(folder, lambda own: own["results"][0].update(mAP={"mean": 100 + 2e-14, "std": 0}))
    change(folder, lambda own: own["results"][0].update(mINP={"mean": 0, "std": 100.0}))
    row = gather(folder).row("last", "all")
    assert (row["mAP"]["std"], row["mINP"]["mean"]) == (0, 0)


def test_what_is_no_tested_run_is_one_line_with_the_remedy(tmp_path, capsys):
    """Tables of grids lie beside runs: the shell's ``*/*`` finds them, ``*/*/`` does not."""
    (tmp_path / "sweep.txt").touch()
    assert "is a file: give folders of runs, such as logs/sysu/*/*/" in refused(
        capsys, "tables", tmp_path / "sweep.txt"
    )
    assert "does not exist" in refused(capsys, "tables", tmp_path / "nowhere")
    assert "is not a run's folder" in refused(capsys, "tables", tmp_path)
    for run, config in (("one", "config.json"), ("ten", "trial4/config.json")):
        path = tmp_path / run / config
        path.parent.mkdir(parents=True)
        path.touch()
        line = refused(capsys, "tables", tmp_path / run)
        assert "run python test_sysu.py (or test_regdb.py)" in line
        assert line.endswith(f"{tmp_path / run} first")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: action"),
        (["tables"], "required: runs"),
        (["figures"], "invalid choice: 'figures'"),
        (["tables", "x", "--models", "best"], "invalid choice: 'best'"),
        (["tables", "x", "--format", "html"], "invalid choice: 'html'"),
    ],
)
def test_a_wrong_command_line_is_one_line(capsys, words, message):
    assert message in refused(capsys, *words)


def test_average_of_nothing(tmp_path):
    with pytest.raises(UserError, match="no tested trial"):
        average(tmp_path)
