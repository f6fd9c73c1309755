"""Gallery draw by gallery draw, trial by trial: pairs with published rows, old and bad reports."""

import json

import pytest
from test_comparison import about_run, change, refused, write, write_trials

from clustercontrast.commands.report import main
from clustercontrast.evaluation.protocols import PROTOCOLS
from clustercontrast.report.each import each_tables
from clustercontrast.report.references.rows import METRICS
from clustercontrast.report.tested import average, gather


def scores(rank1):
    """Rank-1 as given, all others 50."""
    return dict.fromkeys(METRICS, 50.0) | {"rank1": rank1}


def write_draws(folder, rank1s, dataset="sysu", **more):
    """A tested run whose best model on the test set has these Rank-1 in its draws."""
    folder.mkdir(parents=True)
    mean = sum(rank1s) / len(rank1s)
    results = [
        {"model": "best on the test set", "selection": "test", "mode": mode}
        | {"searches": len(rank1s), "each": list(map(scores, rank1s))}
        | {name: {"mean": own, "std": 0.0} for name, own in scores(mean).items()}
        for mode in PROTOCOLS[dataset].modes
    ]
    content = {"about": about_run(dataset, **more), "results": results}
    (folder / "report.json").write_text(json.dumps(content))
    return folder


TEN = [60.0 + draw for draw in range(10)]  # mean 64.5


def test_every_draw_stands_above_the_published_one_of_its_number(tmp_path):
    """RPNR's README: draw 0 66.21, draw 9 65.21, average 65.49; indoor 70.15."""
    run = write_draws(tmp_path / "run", TEN, method="rpnr")
    (table,) = each_tables([run], ["last", "test"])
    assert table.title == "rpnr seed1/robust, best on the test set"
    assert table.header[:3] == ("draw", "of", "Rank-1")
    assert table.groups == ("All search", "Indoor search")
    numbers = [number for draw in range(10) for number in (str(draw),) * 2]
    assert [row[0] for row in table.rows] == [*numbers, "Average", "Average"]
    assert [row[1] for row in table.rows] == ["this run", "upstream README [1]"] * 11
    cells = [row[2] for row in table.rows]
    assert cells[:4] == ["60.00", "66.21", "61.00", "63.27"]
    assert cells[-4:] == ["69.00", "65.21", "64.50", "65.49"]
    assert table.rows[1][8] == "70.15"
    assert any(note.startswith("[1] RPNR, upstream README: ") for note in table.notes)
    content = json.loads(json.dumps(table.json()))
    assert content["each"]["3"]["indoor"]["rank1"] == 63.0
    assert content["published"][0]["each"]["3"]["indoor"]["rank1"] == 70.56


def test_fewer_draws_have_an_average_of_their_own_number(tmp_path):
    run = write_draws(tmp_path / "run", TEN[:2], method="rpnr")
    (table,) = each_tables([run], ["test"])
    assert [row[0] for row in table.rows[:6]] == ["0", "0", "1", "1", "2", "3"]
    assert [row[:3] for row in table.rows[-2:]] == [
        ("Average of 2", "this run", "60.50"),
        ("Average", "upstream README [1]", "65.49"),
    ]


@pytest.mark.parametrize(
    "more",
    [
        {"method": "pclhd"},  # nobody has published its draws
        {"method": "rpnr", "flags": ["--no-npc"]},
        {"method": "rpnr", "images": {"rendered": True}},
        {"method": "rpnr", "epoch": 3, "ends": {"robust": 49}},
    ],
)
def test_rows_of_another_configuration_or_of_other_images_are_not_shown(tmp_path, more):
    run = write_draws(tmp_path / "run", TEN, **more)
    (table,) = each_tables([run], ["test"])
    assert [row[0] for row in table.rows] == [*map(str, range(10)), "Average"]
    assert {row[1] for row in table.rows} == {"this run"}
    assert "65.49" not in table.text()
    if "images" in more:
        assert "rendered identities: not a SYSU-MM01 result" in table.notes


def test_the_last_epoch_is_not_beside_rows_of_the_best_on_the_test_set(tmp_path):
    run = write_draws(tmp_path / "run", TEN, method="rpnr")
    change(run, lambda own: [row.update(selection="last") for row in own["results"]])
    (table,) = each_tables([run], ["last", "test"])
    assert {row[1] for row in table.rows} == {"this run"}


def test_trials_are_listed_by_their_number(tmp_path):
    """PCA's README: trial 2 86.41, trial 10 88.54, average 86.43; it gives no Rank-5."""
    folder = write_trials(tmp_path / "run", {10: 70.0, 2: 20.0}, method="pca")
    assert [row["each"][1]["rank1"] for row in average(folder)] == [70.0, 80.0] * 2
    (table,) = each_tables([folder], ["test"])
    assert table.header[0] == "trial"
    ours = [row[:3] for row in table.rows if row[1] == "this run"]
    assert ours == [
        ("2", "this run", "30.00"),
        ("10", "this run", "80.00"),
        ("Average of 2", "this run", "55.00"),
    ]
    theirs = {row[0]: row[2:4] for row in table.rows if row[1] != "this run"}
    assert list(theirs) == [*map(str, range(1, 11)), "Average"]
    assert (theirs["2"], theirs["Average"]) == (("86.41", ""), ("86.43", ""))
    assert "| 10 | upstream README [1] | 88.54 | – |" in table.markdown()


def test_a_report_with_means_alone_says_so(tmp_path, capsys):
    run = write(tmp_path / "run", "sysu", 50.0)
    assert refused(capsys, "tables", run, "--each") == (
        "error: the report of pclhd seed1/progressive has means alone, since it is of an earlier "
        "version: test the run again"
    )


def test_a_dataset_that_is_searched_once_has_no_rows(tmp_path, capsys):
    run = write_draws(tmp_path / "run", [40.0], "sysu02", method="cmam")
    assert "is searched once by one model" in refused(capsys, "tables", run, "--each")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda row: row["each"].pop(), "each has 9 rows, expected 10"),
        (lambda row: row["each"][3].pop("mINP"), "each[3].mINP is missing"),
        (lambda row: row["each"][3].update(mAP="50"), "each[3].mAP is '50'"),
        (lambda row: row["each"][3].update(mAP=150.0), "each has mAP beyond 0 to 100"),
        (lambda row: row["each"][3].update(rank1=90.0), "as the mean of rank1"),
        (lambda row: row.update(each=None), "each is None"),
    ],
)
def test_rows_that_cannot_be_are_one_line(tmp_path, capsys, edit, message):
    run = write_draws(tmp_path / "run", TEN)
    change(run, lambda own: edit(own["results"][1]))
    assert message in refused(capsys, "tables", run)


def test_the_command_prints_what_it_writes(tmp_path, capsys):
    runs = [write_draws(tmp_path / name, TEN, method=name) for name in ("rpnr", "pgm")]
    out = tmp_path / "out"
    main(["tables", *map(str, runs), "--each", "--format", "latex", "--out", str(out)])
    assert {path.suffix for path in out.glob("each.*")} == {".csv", ".json", ".md", ".tex"}
    assert capsys.readouterr().out == (out / "each.tex").read_text() + "\n"
    assert len(json.loads((out / "each.json").read_text())) == 2


def test_draws_and_competitors_are_two_tables(tmp_path, capsys):
    run = write_draws(tmp_path / "run", TEN)
    line = refused(capsys, "tables", run, "--each", "--with-competitors")
    assert "not allowed with argument --each" in line


def test_gathered_draws_are_those_of_the_report(tmp_path):
    run = gather(write_draws(tmp_path / "run", TEN))
    assert run.each("test")[9] == {mode: scores(69.0) for mode in ("all", "indoor")}
    assert run.each("cycle") == {}
