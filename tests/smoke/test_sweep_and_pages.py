"""Grids of runs and the pages of runs, on finished tiny trainings."""

import json

import pytest
import tiny_runs

from clustercontrast.commands import cli, results, sweep
from clustercontrast.commands.report import main as report
from clustercontrast.engine.run import Run
from clustercontrast.files import UserError


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    tiny_runs.use_small_encoder(monkeypatch)


def test_cells_are_the_products_of_every_grid_each_once():
    found = sweep.cells([["--hpcl=on,off", "eps_joint=0.5,0.6"], ["hpcl=on", "eps-joint=0.5"]])
    assert found == [
        {"hpcl": "on", "eps-joint": "0.5"},
        {"hpcl": "on", "eps-joint": "0.6"},
        {"hpcl": "off", "eps-joint": "0.5"},
        {"hpcl": "off", "eps-joint": "0.6"},
    ]


def test_flags_of_a_cell():
    cell = {"hpcl": "off", "dpcl": "on", "epochs": "20 30", "memory": "intra=hard"}
    assert sweep.flags(cell) == [
        "--no-hpcl", "--dpcl", "--epochs", "20", "30", "--memory", "intra=hard"
    ]  # fmt: skip
    assert sweep.cell_name("table2", {"hpcl": "off", "epochs": "20 30"}) == (
        "table2-hpcl-off_epochs-20-30"
    )


@pytest.mark.parametrize("word", ["eps", "eps=", "=0.5", "eps=0.5,,0.6"])
def test_malformed_axes_are_named(word):
    with pytest.raises(UserError, match="FLAG=VALUE,VALUE"):
        sweep.cells([[word]])


def test_a_flag_named_twice_in_a_grid_is_refused():
    with pytest.raises(UserError, match="names a flag twice"):
        sweep.cells([["eps=0.5", "eps=0.6"]])


def command(logs, *grid):
    """A sweep over ADCA's first stage."""
    words = tiny_runs.arguments("adca", logs, "--stages", "intra", "--epochs", "1")
    return ["--dataset", "sysu", *words, "--name", "try", "--grid", *grid]


@pytest.mark.parametrize(
    ("grid", "message"),
    [("k1=8,zero", "'zero'"), ("bogus=1,2", "--bogus"), ("ema-decay=0.9", "does not read")],
)
def test_every_cell_is_checked_before_the_first_run(tmp_path, capsys, grid, message):
    with pytest.raises(SystemExit) as leaving:
        sweep.main(command(tmp_path, grid))
    assert leaving.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_sweep_is_skipped_where_finished_and_ends_with_a_table(tmp_path, monkeypatch, capsys):
    """The second cell fails; run again with a wider grid, the first is left as it is."""
    with pytest.raises(SystemExit) as leaving:
        sweep.main(command(tmp_path, "min-samples=3,90"))
    assert leaving.value.code == 2
    captured = capsys.readouterr()
    assert "1 of 2 cells failed: try-min-samples-90" in captured.err
    folder = tmp_path / "sysu" / "adca"
    first = folder / "try-min-samples-3" / "report.json"
    stamp = first.stat().st_mtime_ns

    trained = []
    tick = Run.tick
    monkeypatch.setattr(
        Run, "tick", lambda run, *a: (trained.append(run.folder.name), tick(run, *a))
    )
    sweep.main(command(tmp_path, "min-samples=3,4"))
    assert set(trained) == {"try-min-samples-4"}
    assert first.stat().st_mtime_ns == stamp
    cells = json.loads((folder / "try.json").read_text())["cells"]
    assert [cell["flags"] for cell in cells] == [{"min-samples": "3"}, {"min-samples": "4"}]
    for cell in cells:
        own = json.loads((folder / cell["run"] / "report.json").read_text())
        assert cell["results"] == own["results"]
    printed = capsys.readouterr().out
    assert "rendered identities: not a SYSU-MM01 result" in printed
    assert (folder / "try.txt").read_text() in printed


# --- pages ---


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A finished ADCA run on either dataset."""
    logs = tmp_path_factory.mktemp("logs")
    with pytest.MonkeyPatch.context() as patch:
        tiny_runs.use_small_encoder(patch)
        for dataset, more in (("sysu", []), ("regdb", ["--trial", "2", "5"])):
            words = tiny_runs.arguments("adca", logs, "--epochs", "1", *more, on=dataset)
            cli.train(dataset, words)
    return logs


def test_pages_of_runs_and_of_every_trial(both, capsys):
    sysu = tiny_runs.run_folder(both, "adca")
    regdb = tiny_runs.run_folder(both, "adca", on="regdb")
    for run in (sysu, regdb):
        report(["html", str(run), "--device", "cpu"])
    pages = {
        sysu: ("All search", "Indoor search", "not a SYSU-MM01 result"),
        regdb / "trial2": ("Visible to infrared", "Infrared to visible", "not a RegDB result"),
        regdb / "trial5": ("Visible to infrared", "trial 5 alone", "train_regdb.py"),
    }
    for folder, texts in pages.items():
        page = (folder / "report.html").read_text(encoding="utf-8")
        assert f"wrote {folder / 'report.html'}" in capsys.readouterr().out or folder != sysu
        assert all(text in page for text in texts)
        tested = json.loads((folder / "report.json").read_text())["results"]
        assert all(f"{result['mAP']['mean']:.2f}" in page for result in tested)
        assert results.MODELS["start"] in page


def test_a_page_of_an_untested_run_is_refused(both, tmp_path, capsys):
    with pytest.raises(SystemExit) as leaving:
        report(["html", str(tmp_path)])
    assert leaving.value.code == 2
    assert "config.json does not exist" in capsys.readouterr().err


def test_tables_of_real_reports(both, capsys):
    folders = [tiny_runs.run_folder(both, "adca", on=on) for on in ("sysu", "regdb")]
    report(["tables", *map(str, folders), "--models", "last"])
    printed = capsys.readouterr().out
    assert "Comparison (rendered SYSU-MM01 layout)" in printed
    assert "Comparison (rendered RegDB layout)" in printed
    for folder in folders:
        (mean,) = [
            r["mAP"]["mean"]
            for r in json.loads((folder / "report.json").read_text())["results"]
            if r["selection"] == "last" and r["mode"] in ("all", "visible_to_infrared")
        ]
        assert f"{mean:.2f} ± " in printed
