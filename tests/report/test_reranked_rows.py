"""Re-ranked results in report.json: read by those who ask for them, and by nobody else."""

import json

import pytest
from test_comparison import about_run, change, refused, results, write, write_trials

from clustercontrast.commands.report import main
from clustercontrast.data.provenance import Provenance
from clustercontrast.files import UserError
from clustercontrast.report.comparison import DIFFERENCE, comparison_tables, grid_table
from clustercontrast.report.each import each_tables
from clustercontrast.report.references.rows import METRICS
from clustercontrast.report.tables import results_table
from clustercontrast.report.tested import average, gather, gather_reranked

LABEL = "re-ranked, k1 20, k2 6, λ 0.3"
NOTE = "re-ranked by k-reciprocal encoding (Zhong et al., CVPR 2017)"
USUAL = {"k1": 20, "k2": 6, "weight": 0.3}


def reranked(dataset, rank1, parameters=USUAL, **more):
    """Rows of two models per mode, as a test with --rerank writes them."""
    rows = results(dataset, rank1, **more)
    return [row | {"model": f"{row['model']}, {LABEL}", "reranking": parameters} for row in rows]


def add(folder, dataset, rank1, **more):
    """Put re-ranked results into a report."""
    rows = reranked(dataset, rank1, **more)
    change(folder, lambda own: own.update(reranked={"title": "re-ranked", "results": rows}))
    return folder


def forms(table):
    as_json = json.dumps(table.json(), ensure_ascii=False)
    return table.text(), table.markdown(), as_json


def test_whoever_does_not_ask_reads_the_same_as_without(tmp_path):
    """Every reader of report.json, on official images of a published configuration."""
    plain = write(tmp_path / "plain" / "seed1", "sysu", 61.0)
    both = add(write(tmp_path / "both" / "seed1", "sysu", 61.0), "sysu", 81.0)
    trials = [write_trials(tmp_path / name, {1: 40.0, 2: 44.0}) for name in ("few", "more")]
    for trial in (1, 2):
        add(trials[1] / f"trial{trial}", "regdb", 81.0, trials=[trial])
    for one, other in ((plain, both), trials):
        assert gather(one) == gather(other)
        assert comparison_tables([one], ["last", "test"], True) == comparison_tables(
            [other], ["last", "test"], True
        )
    assert average(trials[0]) == average(trials[1])
    tables = [grid_table("sysu", "grid", {folder: {"eps": "1"}}) for folder in (plain, both)]
    assert tables[0] == tables[1]


@pytest.fixture
def tables(tmp_path):
    """Of a run on official images, whose configuration was published: plain and re-ranked."""
    run = add(write(tmp_path / "run", "sysu", 61.0), "sysu", 81.0)
    return comparison_tables([run], ["last", "test"], rerank=True)


def test_reranked_rows_have_a_table_of_their_own_without_published_figures(tables):
    plain, own = tables
    assert plain.content["published"]
    assert any(row[2].startswith(DIFFERENCE) for row in plain.rows)
    assert own.title == "Comparison, re-ranked"
    assert [row[2] for row in own.rows] == [
        f"last epoch, {LABEL}",
        f"best on the test set, {LABEL}",
    ]
    assert own.rows[0][3] == "81.00 ± 0.50"
    assert own.content["published"] == own.content["competitors"] == []
    assert [run["differences"] for run in own.content["runs"]] == [[]]
    assert not any(LABEL in form or NOTE in form for form in forms(plain))


def test_every_form_says_that_and_how_it_was_reranked(tables):
    _, own = tables
    for form in forms(own):
        assert LABEL in form
        assert NOTE in form
    assert r"re-ranked, k1 20, k2 6, $\lambda$ 0.3" in own.latex()
    assert own.content["runs"][0]["results"][0]["reranking"] == USUAL


def test_competitors_stand_above_plain_results_alone(tmp_path):
    run = add(write(tmp_path / "run", "sysu", 61.0), "sysu", 81.0)
    plain, own = comparison_tables([run], ["last"], with_competitors=True, rerank=True)
    assert plain.content["competitors"]
    assert not own.content["competitors"]


def test_trials_are_averaged_among_reranked_rows(tmp_path):
    """Rank-1 40 and 44 plain, 60 and 70 re-ranked."""
    folder = write_trials(tmp_path / "run", {1: 40.0, 2: 44.0})
    for trial, rank1 in ((1, 60.0), (2, 70.0)):
        add(folder / f"trial{trial}", "regdb", rank1, trials=[trial])
    row = gather_reranked(folder).row("last", "visible_to_infrared")
    assert row["rank1"] == {"mean": 65.0, "std": 5.0}
    assert row["trials"] == [1, 2]
    assert (row["model"], row["reranking"]) == (f"last epoch, {LABEL}", USUAL)
    assert gather(folder).row("last", "visible_to_infrared")["rank1"] == {"mean": 42.0, "std": 2.0}


@pytest.mark.parametrize("second", [None, USUAL | {"weight": 0.5}, USUAL | {"k1": 25}])
def test_trials_without_the_same_reranking_have_no_mean(tmp_path, capsys, second):
    folder = write_trials(tmp_path / "run", {1: 40.0, 2: 44.0})
    add(folder / "trial1", "regdb", 60.0, trials=[1])
    if second:
        add(folder / "trial2", "regdb", 70.0, trials=[2], parameters=second)
    assert gather_reranked(folder) is None
    line = refused(capsys, "tables", folder, "--rerank")
    assert "not with the same parameters in all trials" in line
    assert str(folder) in line
    assert (
        gather_reranked(folder / "trial1").row("last", "visible_to_infrared")["rank1"]["mean"] == 60
    )


def test_runs_without_reranked_results_are_named_with_the_remedy(tmp_path, capsys):
    has = add(write(tmp_path / "has", "sysu", 61.0), "sysu", 81.0)
    lacks = write(tmp_path / "lacks", "sysu", 61.0)
    line = refused(capsys, "tables", has, lacks, "--rerank")
    assert f"{lacks}; test with --rerank first" in line
    assert str(has) not in line


def test_draws_one_by_one_are_reranked_ones(tmp_path):
    run = add(write(tmp_path / "run", "sysu", 61.0), "sysu", 72.0)
    each = [dict.fromkeys(METRICS, 50.0) | {"rank1": rank1} for rank1 in (70.0, 74.0)]

    def shorten(content):
        for rows in (content["results"], content["reranked"]["results"]):
            for row in rows:
                row |= {"searches": 2, "each": each, "rank1": {"mean": 72.0, "std": 2.0}}

    change(run, shorten)
    plain, own = each_tables([run], ["last"], rerank=True)
    assert plain.title == "pclhd seed1/progressive, last epoch"
    assert own.title == f"pclhd seed1/progressive, last epoch, {LABEL}"
    assert [row[1] for row in own.rows] == ["this run"] * 3
    assert NOTE in own.text()


def test_out_has_both_tables(tmp_path, capsys):
    run = add(write(tmp_path / "run", "sysu", 61.0), "sysu", 81.0)
    main(["tables", str(run), "--rerank", "--out", str(tmp_path), "--format", "json"])
    printed = json.loads(capsys.readouterr().out)
    assert [own["title"] for own in printed] == ["Comparison", "Comparison, re-ranked"]
    assert json.loads((tmp_path / "tables.json").read_text()) == printed
    main(["tables", str(run)])
    assert "re-ranked" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda own: own.update(reranked=[]), "reranked is [], expected mapping"),
        (lambda own: own["reranked"].pop("results"), "reranked.results is missing"),
        (
            lambda own: own["reranked"]["results"][1].pop("reranking"),
            "results[1].reranking is missing",
        ),
        (
            lambda own: own["reranked"]["results"][0]["reranking"].update(k1="20"),
            "results[0].reranking.k1 is '20', expected int",
        ),
        (
            lambda own: own["reranked"]["results"][0]["mAP"].update(mean=101.0),
            "mAP.mean is 101.0, expected 0 to 100",
        ),
    ],
)
def test_damaged_reranked_results_are_one_line(tmp_path, capsys, edit, said):
    run = add(write(tmp_path / "run", "sysu", 61.0), "sysu", 81.0)
    change(run, edit)
    line = refused(capsys, "tables", run)
    assert "damaged: test the run again" in line
    assert said in line


def test_a_table_mixes_nothing():
    about = about_run("sysu")
    rows = [*results("sysu", 61.0), *reranked("sysu", 81.0)]
    with pytest.raises(ValueError, match="a table of their own"):
        results_table(rows, about, Provenance.of(about))


def test_a_reranked_table_of_one_run_has_no_published_figures():
    about = about_run("sysu")
    plain = results_table(results("sysu", 61.0), about, Provenance.of(about), "a run")
    own = results_table(reranked("sysu", 81.0), about, Provenance.of(about), "a run")
    assert plain.content["published"]
    assert not own.content["published"]
    assert own.title == "a run, re-ranked"
    assert NOTE in own.text()
    assert len(own.rows) == 4


def test_no_result_is_still_refused():
    with pytest.raises(UserError, match="no result to show"):
        results_table([], {}, Provenance.of(about_run("sysu")))
