"""Runs side by side: means over trials, differences by hand, rendered runs kept apart."""

import json
import re

import pytest

from clustercontrast.evaluation.protocols import PROTOCOLS
from clustercontrast.files import UserError
from clustercontrast.report.__main__ import main
from clustercontrast.report.comparison import (
    DIFFERENCE,
    average,
    comparison_tables,
    gather,
    grid_table,
)
from clustercontrast.report.tables import METRICS, RENDERED_NOTES

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


def write(folder, dataset, rank1, method="pclhd", rendered=False, **more):
    folder.mkdir(parents=True, exist_ok=True)
    about = {"method": method, "dataset": dataset, "variant": "upstream", "name": "seed1"}
    about |= {"rendered": rendered}
    content = {"about": about, "results": results(dataset, rank1, **more)}
    (folder / "report.json").write_text(json.dumps(content))
    return folder


def write_trials(folder, values, **more):
    for trial, rank1 in values.items():
        write(folder / f"trial{trial}", "regdb", rank1, trials=[trial], **more)
    return folder


def rows_of(table, model):
    return [row for row in table.rows if row[2] == model]


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


def test_a_model_that_some_trial_lacks_is_left_out(tmp_path):
    folder = write_trials(tmp_path / "run", {1: 30.0, 2: 20.0})
    path = folder / "trial2" / "report.json"
    content = json.loads(path.read_text())
    content["results"] = [r for r in content["results"] if r["selection"] == "last"]
    path.write_text(json.dumps(content))
    assert {r["selection"] for r in average(folder)} == {"last"}


def test_differences_are_ours_minus_the_papers_for_the_best_on_test(tmp_path):
    """PCLHD, Table 1: 64.4 / 58.7 all-search, 69.5 / 74.4 indoor; ours 65 / 50 in both."""
    run = write(tmp_path / "run", "sysu", 55.0)
    (table,) = comparison_tables([run], ["last", "test"])
    (difference,) = rows_of(table, DIFFERENCE)
    everywhere, indoor = (dict(zip(METRICS, cells, strict=True)) for cells in numbers(difference))
    assert everywhere == dict.fromkeys(METRICS, "") | {"rank1": "+0.60", "mAP": "-8.70"}
    assert indoor == dict.fromkeys(METRICS, "") | {"rank1": "-4.50", "mAP": "-24.40"}
    models = [row[2] for row in table.rows]
    assert models == ["", "last epoch", "best on the test set", DIFFERENCE]
    assert rows_of(comparison_tables([run], ["last"])[0], DIFFERENCE) == []


def test_runs_are_grouped_by_method_and_dataset(tmp_path):
    folders = [
        write(tmp_path / "a", "sysu", 1.0, method="pclhd"),
        write_trials(tmp_path / "b", {1: 2.0, 2: 2.0}, method="pgm"),
        write(tmp_path / "c", "sysu", 3.0, method="adca"),
        write(tmp_path / "d", "sysu", 4.0, method="pclhd"),
    ]
    sysu, regdb = comparison_tables(folders, ["last"])
    assert (sysu.dataset, regdb.dataset) == ("SYSU-MM01", "RegDB")
    assert [row[0] for row in sysu.rows if row[2]] == ["pclhd", "pclhd", "adca"]
    assert [row[:2] for row in sysu.rows if not row[2]] == [("PCLHD", "paper"), ("ADCA", "paper")]
    assert "pgm seed1: without the trials 3, 4, 5, 6, 7, 8, 9, 10" in regdb.notes
    assert "trial 5 alone" in "".join(regdb.notes)


def test_rendered_runs_are_marked_and_never_compared(tmp_path):
    real = write(tmp_path / "real", "sysu", 50.0)
    drawn = write(tmp_path / "drawn", "sysu", 60.0, rendered=True)
    (both,) = comparison_tables([real, drawn], ["test"])
    (own,) = [row for row in both.rows if row[0].startswith("† ")]
    assert own[3] == "70.00 ± 0.50"
    assert len(rows_of(both, DIFFERENCE)) == 1
    assert rows_of(both, DIFFERENCE)[0][0] == "pclhd"
    assert f"† {RENDERED_NOTES['sysu']}" in both.notes
    (alone,) = comparison_tables([drawn], ["test"])
    assert alone.dataset == "rendered SYSU-MM01 layout"
    assert all(row[0].startswith("† ") for row in alone.rows)
    assert "64.4" not in alone.text()


def test_sources_stand_in_every_form(tmp_path):
    run = write(tmp_path / "run", "sysu", 50.0, method="pgm")
    (table,) = comparison_tables([run], ["test"])
    as_json = json.dumps(table.json())
    for form in (table.text(), table.markdown(), table.latex(), as_json):
        assert "PGM (CVPR 2023) in PCLHD (NeurIPS 2024), Table 1" in form
        assert "training log published with the official code of PGM" in form


def test_text_has_a_block_per_search_without_rows_that_say_nothing(tmp_path):
    folder = write_trials(tmp_path / "run", {5: 50.0}, method="pgm")
    (table,) = comparison_tables([folder], ["last"])
    text = table.text()
    first, second = text.split("Visible to infrared\n")[1].split("Infrared to visible\n")
    assert "upstream log" in first
    assert "upstream log" not in second.strip().split("\n\n")[0]
    assert max(map(len, first.splitlines())) < 160


def test_two_level_head_of_latex_spans_its_columns(tmp_path):
    (table,) = comparison_tables([write(tmp_path / "run", "sysu", 50.0)], ["last", "test"])
    latex = table.latex()
    assert r"\multicolumn{6}{c}{All search} & \multicolumn{6}{c}{Indoor search} \\" in latex
    assert r"\cmidrule(lr){4-9} \cmidrule(lr){10-15}" in latex
    rows = [line for line in latex.splitlines() if line.endswith(r" \\") and "multi" not in line]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {14}
    assert "| All search, Rank-1 |" in table.markdown()


def test_a_grid_shows_its_values(tmp_path):
    cells = {
        write(tmp_path / "x", "sysu", 10.0): {"eps": "0.5", "dpcl": "on"},
        write(tmp_path / "y", "sysu", 20.0): {"eps": "0.6"},
    }
    table = grid_table("sysu", "pclhd sweep", cells)
    assert table.header[:3] == ("eps", "dpcl", "model")
    assert [row[:4] for row in table.rows] == [
        ("0.5", "on", "last epoch", "10.00 ± 0.50"),
        ("0.5", "on", "best on the test set", "20.00 ± 0.50"),
        ("0.6", "", "last epoch", "20.00 ± 0.50"),
        ("0.6", "", "best on the test set", "30.00 ± 0.50"),
    ]


# --- the command ---


def test_command_writes_every_form(tmp_path, capsys):
    run = write(tmp_path / "run", "sysu", 50.0)
    out = tmp_path / "out"
    main(["tables", str(run), "--out", str(out), "--models", "test", "--format", "markdown"])
    printed = capsys.readouterr().out
    assert "## Comparison (SYSU-MM01)" in printed
    assert "last epoch" not in printed
    assert sorted(path.name for path in out.iterdir()) == ["tables.json", "tables.md", "tables.tex"]
    assert (out / "tables.md").read_text() in printed
    assert json.loads((out / "tables.json").read_text())[0]["runs"][0]["about"]["method"] == "pclhd"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no report.json: give the folder of a run, and test it first"),
        ("{", "report.json is damaged"),
        ("[]", "of another version or damaged: test the run again"),
        ('{"results": []}', "of another version or damaged"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, capsys, content, message):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(SystemExit) as leaving:
        main(["tables", str(tmp_path)])
    assert leaving.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert message in line


def test_average_of_nothing(tmp_path):
    with pytest.raises(UserError, match="no tested trial"):
        average(tmp_path)
