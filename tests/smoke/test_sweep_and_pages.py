"""Grids of runs and the pages of runs, on finished tiny trainings."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_runs

from clustercontrast.commands import cli, comparing, results, sweep
from clustercontrast.commands.report import main as report
from clustercontrast.data.images import ImageArray
from clustercontrast.data.samples import MODALITIES, ImageList
from clustercontrast.engine.run import Run
from clustercontrast.evaluation.protocols import percents, score
from clustercontrast.files import UserError
from clustercontrast.report import charts, pictures


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
    """The second cell fails; run again with another grid, the first is left as it is.

    A flag that a cell does not set stands in the table with the value that it has anyway.
    """
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
    sweep.main([*command(tmp_path, "min-samples=3"), "--grid", "momentum=0.2"])
    assert set(trained) == {"try-momentum-0.2"}
    assert first.stat().st_mtime_ns == stamp
    cells = json.loads((folder / "try.json").read_text())["cells"]
    assert [cell["flags"] for cell in cells] == [
        {"min-samples": "3", "momentum": "0.1"},
        {"min-samples": "3", "momentum": "0.2"},
    ]
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


@pytest.mark.slow
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
    assert "is no folder of a run" in capsys.readouterr().err


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


# --- comparisons ---


@pytest.fixture
def changed(both, tmp_path):
    """A copy of the ADCA run on SYSU-MM01's layout whose record names another --k1."""
    folder = shutil.copytree(tiny_runs.run_folder(both, "adca"), tmp_path / "changed")
    config = json.loads((folder / "config.json").read_text())
    config["values"]["k1"] = 9
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_runs_are_compared_on_the_draw_asked_for(both, changed, tmp_path, monkeypatch, capsys):
    run, out, contents = tiny_runs.run_folder(both, "adca"), tmp_path / "compare.html", []
    write = comparing.write_comparison
    monkeypatch.setattr(
        comparing, "write_comparison", lambda *args: contents.append(args[0]) or write(*args)
    )
    words = ["compare", run, changed, "--device", "cpu", "--draw", "1", "--out", out]
    report([str(word) for word in words])
    assert f"wrote {out}" in capsys.readouterr().out
    page = out.read_text(encoding="utf-8")
    assert "Rendered identities: not a SYSU-MM01 result" in page
    assert page.count("<b>B − A: +0.0 mAP</b> (95 % interval 0.0 to 0.0 over") == 2
    section = page[page.index('<section id="differences">') :].split("</section>")[0]
    assert re.findall(r'data-name="([AB])">(.*?)<', section) == [("A", "8"), ("B", "9")]
    (content,) = contents
    tested = json.loads((run / "report.json").read_text())["results"]
    for mode, search in content.searches.items():
        (row,) = [own for own in tested if (own["mode"], own["selection"]) == (mode, "last")]
        lists = {name: array.index for name, array in content.runs[0].images.items()}
        found = percents(score(search, lists, content.runs[0].features))
        assert found == pytest.approx(row["each"][1], abs=1e-3)  # batches of another size
        assert found["mAP"] != pytest.approx(row["each"][0]["mAP"], abs=1e-3)


def test_comparisons_of_what_cannot_be_compared_are_one_line(both, changed, tmp_path, capsys):
    sysu, regdb = (tiny_runs.run_folder(both, "adca", on=on) for on in ("sysu", "regdb"))
    out = ["--out", tmp_path / "x.html", "--device", "cpu"]
    lines = {
        "runs given: 1; give the baseline": [sysu],
        "a run is given twice": [sysu, sysu],
        "holds trials, each with a model of its own": [sysu, regdb],
        "differ in their dataset (SYSU-MM01; RegDB)": [sysu, regdb / "trial2"],
        "differ in their trial (2; 5)": [regdb / "trial2", regdb / "trial5"],
        "--draw 10: draws are 0 to 9": [sysu, changed, "--draw", "10"],
        "has no model 'best": [sysu, changed, "--model", "cycle"],
    }
    (changed / "intra" / "best_cycle.pth").unlink(missing_ok=True)
    (changed / "cross" / "best_cycle.pth").unlink()
    for said, words in lines.items():
        assert said in refused(capsys, "compare", *words, *out)
    config = json.loads((changed / "config.json").read_text())
    config["about"]["images"]["digest"] = "another"
    (changed / "config.json").write_text(json.dumps(config))
    assert "are not those that" in refused(capsys, "compare", sysu, changed, *out)
    (changed / "report.json").unlink()
    assert "has no report.json" in refused(capsys, "compare", sysu, changed, *out)
    assert not (tmp_path / "x.html").exists()


def test_test_images_are_the_same_whatever_was_trained_on_and_at_any_size():
    paths = ["a", "b", "c"]
    pixels = np.zeros((3, 8, 4, 3), np.uint8)

    def tested(digest, pixels, people=(1, 1, 2)):
        lists = {
            name: ImageList(name, paths, np.array(people), np.array([1, 1, 2]))
            for name in MODALITIES
        }
        images = {name: ImageArray(own, pixels) for name, own in lists.items()}
        return SimpleNamespace(provenance=SimpleNamespace(digest=digest), images=images)

    one, other = tested("aa", pixels), pixels.copy()
    other[2, 7, 3, 2] = 1
    assert comparing.are_alike(one, tested("bb", pixels))
    assert comparing.are_alike(one, tested("bb", np.zeros((3, 16, 8, 3), np.uint8)))
    assert not comparing.are_alike(one, tested("bb", other))
    assert not comparing.are_alike(one, tested("bb", pixels, people=(1, 2, 2)))


# --- pictures ---


def refused(capsys, *words):
    """The one line of a refused command."""
    with pytest.raises(SystemExit) as leaving:
        report([str(word) for word in words])
    assert leaving.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    return line


def drawn(monkeypatch, name):
    """What a function of the charts is called with."""
    calls, real = [], getattr(charts, name)
    monkeypatch.setattr(charts, name, lambda *args: calls.append(args) or real(*args))
    return calls


def test_ari_of_runs_is_that_of_their_logs(both, tmp_path, monkeypatch):
    run, calls = tiny_runs.run_folder(both, "adca"), drawn(monkeypatch, "ari")
    out = tmp_path / "ari.png"
    report(["ari", str(run), str(run), "--out", str(out)])
    ((runs, notes),) = calls
    assert list(runs) == ["adca seed1 (1)", "adca seed1 (2)"]
    assert [record["stage"] for record in runs["adca seed1 (1)"]] == ["intra", "cross"]
    assert notes == ["rendered identities: not a SYSU-MM01 result"]
    assert out.stat().st_size > 0


def test_maps_of_runs_on_the_same_people(both, tmp_path, monkeypatch):
    run, shown = tiny_runs.run_folder(both, "adca"), []
    real = pictures.maps
    monkeypatch.setattr(pictures, "maps", lambda *args: shown.append(args) or real(*args))
    out = tmp_path / "map.png"
    words = ["map", str(run), str(run), "--device", "cpu", "--seed", "5", "--out", str(out)]
    report(words)
    ((people, positions, notes),) = shown
    assert list(positions) == ["adca seed1 (1): last epoch", "adca seed1 (2): last epoch"]
    one, two = positions.values()
    for name, own in people.rows.items():
        assert one[name].shape == (len(own), 2)
        assert (one[name] == two[name]).all()  # one model, shown twice
    assert notes == ["rendered identities: not a SYSU-MM01 result"]
    assert out.stat().st_size > 0


def test_scores_against_a_flag_are_those_of_the_reports(both, tmp_path, monkeypatch):
    folders = [tiny_runs.run_folder(both, "adca", on=on) for on in ("sysu", "regdb")]
    calls = drawn(monkeypatch, "against")
    out = tmp_path / "against.png"
    report(["against", "k1", *map(str, folders), "--model", "last", "--out", str(out)])
    ((curves, flag, metric, _),) = calls
    assert (flag, metric) == ("--k1", "mAP, last epoch")
    assert [curve.label for curve in curves] == [
        "adca, rendered SYSU-MM01 layout, all search, 2 of 10 draws",
        "adca, rendered RegDB layout, visible to infrared, 2 of 10 trials",
    ]
    for curve, folder in zip(curves, folders, strict=True):
        found = json.loads((folder / "report.json").read_text())["results"]
        (mean, *_) = [r["mAP"]["mean"] for r in found if r["selection"] == "last"]
        assert (curve.ours, curve.published) == ([(8, mean)], [])


def test_mistakes_of_pictures_are_one_line(both, tmp_path, capsys):
    sysu, regdb = (tiny_runs.run_folder(both, "adca", on=on) for on in ("sysu", "regdb"))
    out = ["--out", tmp_path / "x.png"]
    assert "holds trials, each with a model of its own" in refused(capsys, "ari", regdb, *out)
    others = [sysu, regdb / "trial2", *out, "--device", "cpu"]
    assert "other test images than each other" in refused(capsys, "map", *others)
    trials = [regdb / "trial2", regdb / "trial5", *out, "--device", "cpu"]
    assert "of one trial of it" in refused(capsys, "map", *trials)
    assert "--hpcl is None" in refused(capsys, "against", "hpcl", sysu, *out)
    assert "does not exist" in refused(capsys, "against", "k1", tmp_path / "no", *out)
    assert "adca draws no images" in refused(capsys, "steps", sysu, *out)
    assert "is no folder of a run" in refused(capsys, "steps", tmp_path, *out)
    assert not list(tmp_path.iterdir())
