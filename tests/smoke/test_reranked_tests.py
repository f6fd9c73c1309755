"""test --rerank from the command to the files: runs, trials, a checkpoint; refusals."""

import inspect
import json

import pytest
import tiny_runs

from clustercontrast.commands import cli
from clustercontrast.commands.report import main as report
from clustercontrast.evaluation.reranking import Reranking
from clustercontrast.report.references.rows import METRICS

LABEL = "re-ranked, k1 20, k2 6, λ 0.3"
PLAIN = ["--rerank", "--rerank-weight", "1", "--rerank-k1", "7"]
SHORT = ["--epochs", "1", "--iters", "1", "--stages", "intra"]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    tiny_runs.use_small_encoder(monkeypatch)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on rendered SYSU-MM01: as trained, its report and the folder."""
    return _trained(tmp_path_factory.mktemp("logs"), "sysu")


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    """Two trials of a run on rendered RegDB."""
    return _trained(tmp_path_factory.mktemp("logs"), "regdb", "--trial", "1", "3")


def _trained(logs, dataset, *more):
    with pytest.MonkeyPatch.context() as patch:
        tiny_runs.use_small_encoder(patch)
        cli.train(dataset, tiny_runs.arguments("adca", logs, *SHORT, *more, on=dataset))
    folder = tiny_runs.run_folder(logs, "adca", on=dataset)
    return folder, content_of(folder)


def content_of(folder):
    return json.loads((folder / "report.json").read_text())


def again(dataset, folder, *flags):
    draws = ["--draws", "2"] if dataset == "sysu" else []
    cli.test(dataset, [str(folder), *draws, *flags])
    return content_of(folder)


def refused(capsys, *words):
    capsys.readouterr()
    with pytest.raises(SystemExit) as leaving:
        cli.test("sysu", list(map(str, words)))
    assert leaving.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    return line


def test_reranked_results_come_besides_and_change_no_other(run, capsys):
    folder, trained = run
    capsys.readouterr()
    found = again("sysu", folder, "--rerank")
    own = found.pop("reranked")
    assert "reranked" not in trained
    assert found == trained
    models = {row["selection"]: row["model"] for row in own["results"]}
    assert models.keys() == {"untrained", "start", "last", "test", "cycle"}
    assert all(model.endswith(LABEL) for model in models.values())
    assert {row["searches"] for row in own["results"]} == {2}
    assert {len(row["each"]) for row in own["results"]} == {2}
    assert all(row["reranking"] == {"k1": 20, "k2": 6, "weight": 0.3} for row in own["results"])
    plain = {(row["selection"], row["mode"]): row["mAP"]["mean"] for row in found["results"]}
    assert any(row["mAP"]["mean"] != plain[row["selection"], row["mode"]] for row in own["results"])
    printed = capsys.readouterr().out
    last_line = printed.strip().splitlines()[-1]
    trained_map = plain["last", "all"]
    assert last_line.endswith(f"trained {trained_map:.2f} (percent)")
    for text in (printed, *(folder.joinpath(f"report.{end}").read_text() for end in ("txt", "md"))):
        assert f"last epoch, {LABEL}" in text
        assert "stage intra, re-ranked" in text


@pytest.mark.slow
def test_a_plain_test_says_that_the_reranked_table_is_gone(run, capsys):
    folder, _ = run
    gone = "is no longer in report.txt: test with --rerank to have it again"
    assert "reranked" in again("sysu", folder, "--rerank")
    assert gone not in capsys.readouterr().out
    assert "reranked" not in again("sysu", folder)
    assert gone in capsys.readouterr().out
    (folder / "report.json").write_text("{")  # a damaged report is no hindrance
    assert "reranked" not in again("sysu", folder)
    assert gone not in capsys.readouterr().out


def test_with_a_weight_of_one_the_figures_are_the_plain_ones(run):
    """Also of queries for which the protocol leaves pairs out."""
    folder, _ = run
    check_plain(again("sysu", folder, *PLAIN))


@pytest.mark.slow
def test_so_they_are_of_trials(trials):
    folder, _ = trials
    check_plain(again("regdb", folder, *PLAIN))


def check_plain(found):
    plain = {(row["selection"], row["mode"]): row for row in found["results"]}
    for row in found["reranked"]["results"]:
        assert row["model"].endswith("re-ranked, k1 7, k2 6, λ 1")
        for metric in METRICS:
            expected = plain[row["selection"], row["mode"]][metric]["mean"]
            assert row[metric]["mean"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
def test_trials_are_averaged_if_all_were_reranked_alike(trials, capsys):
    folder, _ = trials
    found = again("regdb", folder, "--rerank")
    assert {tuple(row["trials"]) for row in found["reranked"]["results"]} == {(1, 3)}
    parts = [content_of(folder / f"trial{trial}")["reranked"]["results"] for trial in (1, 3)]
    for mean, *each in zip(found["reranked"]["results"], *parts, strict=True):
        values = [row["mAP"]["mean"] for row in each]
        assert mean["mAP"]["mean"] == pytest.approx(sum(values) / 2)
    found = again("regdb", folder, "--rerank", "--rerank-k2", "1", "--trial", "3")
    assert "reranked" not in found
    assert "no mean of re-ranked results" in capsys.readouterr().out


@pytest.mark.slow
def test_a_checkpoint_prints_both_tables_and_the_page_shows_both(run, capsys):
    folder, _ = run
    again("sysu", folder, "--rerank")
    capsys.readouterr()
    cli.test("sysu", [str(folder / "intra" / "last.pth"), "--draws", "1", "--rerank",
                      "--data-dir", str(tiny_runs.dataset()), *tiny_runs.SIZE])  # fmt: skip
    assert f"last.pth, {LABEL}" in capsys.readouterr().out
    report(["html", str(folder)])
    page = (folder / "report.html").read_text()
    plain, own = page.index("stage intra (rendered"), page.index("stage intra, re-ranked (rendered")
    assert plain < own < page.index(f"last epoch, {LABEL}")


def test_the_flags_defaults_are_those_of_the_function():
    values = inspect.signature(Reranking).parameters
    for name, (_, default, _) in cli.RERANKING.items():
        assert values[name.removeprefix("rerank_")].default == default


def test_what_has_no_effect_or_cannot_be_is_one_line(run, capsys):
    folder, _ = run
    line = refused(capsys, folder, "--rerank-k1", "9")
    assert line == (
        "error: --rerank-k1 has no effect without --rerank: add it, or leave --rerank-k1 out"
    )
    line = refused(capsys, folder, "--rerank", "--rerank-k1", "5")
    assert "--rerank-k2 is 6, but at most --rerank-k1 is possible, 5" in line
    for flag, value in (("k1", "0"), ("k2", "0"), ("weight", "1.5"), ("weight", "nan")):
        assert f"--rerank-{flag}" in refused(capsys, folder, "--rerank", f"--rerank-{flag}", value)
