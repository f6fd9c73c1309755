"""Tables of one run: arithmetic of the cells, what stands beside what, notes of other images."""

import json
import re

import pytest

from clustercontrast.data.provenance import Provenance
from clustercontrast.evaluation.protocols import PROTOCOLS
from clustercontrast.files import UserError
from clustercontrast.report.forms import csv_of
from clustercontrast.report.published import PUBLISHED, published
from clustercontrast.report.references.commands import AS_IT_IS, CMAM, PGM
from clustercontrast.report.tables import results_table


def result(model="last epoch", mode="all", **more):
    metrics = {"rank1": {"mean": 12.345, "std": 0.5}, "mAP": {"mean": 9.0, "std": 1.0 / 3}}
    return {"model": model, "mode": mode, "searches": 10, **metrics, **more}


def trial_result(*trials, mode="visible_to_infrared"):
    return result(mode=mode, searches=1, trials=list(trials))


def images(dataset="sysu", **more):
    """Where searched images come from: official ones, unless said otherwise."""
    facts = {"digest": "1a2b", "complete": True, "rendered": False, "leak": False}
    return Provenance(dataset=dataset, **facts | more)


def about(method, dataset="sysu", flags=(), **more):
    """What a finished run of a method says of itself."""
    usual = AS_IT_IS[method]
    return {
        "method": method,
        "variant": usual.variant,
        "stage": usual.stage,
        "epoch": 49,
        "ends": {usual.stage: 49},
        "changes": {usual.stage: list(flags)},
        "images": images(dataset).json(),
        **more,
    }


def plain(dataset, results, method="pgm"):
    """The table of a run on official images."""
    return results_table(results, about(method, dataset), images(dataset))


def forms(table):
    as_json = json.dumps(table.json(), ensure_ascii=False)
    return table.text(), table.markdown(), table.latex(), csv_of([table]), as_json


def cells_of(markdown, model):
    line = next(line for line in markdown.splitlines() if f"| {model} |" in line)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_cells_have_two_decimals_and_unknown_ones_are_dashes():
    cells = cells_of(plain("sysu", [result()]).markdown(), "last epoch")
    assert cells == ["All search", "last epoch", "12.35 ± 0.50", "–", "–", "–", "9.00 ± 0.33", "–"]


def test_a_single_trial_has_no_deviation():
    table = plain("regdb", [trial_result(4)])
    assert cells_of(table.markdown(), "last epoch")[2] == "12.35"
    assert "percent, trial 4 alone" in table.notes
    both = plain("regdb", [trial_result(4, 5)])
    assert cells_of(both.markdown(), "last epoch")[2] == "12.35 ± 0.50"


@pytest.mark.parametrize("dataset", ["sysu", "regdb"])
def test_rendered_results_carry_the_marker_in_every_form(dataset):
    results = [result(mode=mode) for mode in PROTOCOLS[dataset].modes]
    name = {"sysu": "SYSU-MM01", "regdb": "RegDB"}[dataset]
    note = f"rendered identities: not a {name} result"
    table = results_table(results, {}, images(dataset, rendered=True), title="PGM")
    for form in forms(table):
        assert note in form
        assert "PGM" in form
        assert f"rendered {name} layout" in form
        bare = form.replace(note, "").replace(f"rendered {name} layout", "")
        assert name not in bare


UNOFFICIAL = [
    {"rendered": True},
    {"complete": False},
    {"leak": True},
    {"rendered": True, "complete": False, "leak": True},
]


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("facts", UNOFFICIAL)
def test_results_on_other_images_say_so_in_every_form_and_stand_alone(facts, trained):
    """Whether the run was trained on such images, or only tested on them; each note once."""
    other = images(**facts)
    run = about("pgm", images=(other if trained else images()).json())
    table = results_table([result()], run, images() if trained else other)
    assert len(other.notes()) == len(facts)
    for form in (table.text(), table.markdown(), table.latex().replace(r"\_", "_")):
        assert [form.count(note) for note in other.notes()] == [1] * len(facts)
        assert not any(entry.name in form or entry.source in form for entry in PUBLISHED)
        assert "57.3" not in form
    assert table.json()["notes"][: len(facts)] == other.notes()
    assert table.json()["published"] == []
    assert [row[1] for row in table.rows] == ["last epoch"]


def test_a_run_of_another_dataset_has_no_published_figures():
    table = results_table([result()], about("pgm", dataset="regdb"), images("sysu"))
    assert [row[1] for row in table.rows] == ["last epoch"]


def test_weights_that_do_not_say_their_configuration_have_no_published_figures():
    old = about("pgm")
    del old["changes"]
    for known in ({}, old):
        assert len(results_table([result()], known, images()).rows) == 1


def test_real_results_stand_beside_published_ones_of_their_configuration_with_their_source():
    results = [result(), result(mode="indoor")]
    table = plain("sysu", results, "pgm")
    for form in forms(table):
        assert "rendered identities" not in form
        for entry in published("sysu", PGM):
            assert entry.source in form
        assert "ADCA" not in form
        assert "no published configuration" not in form
    # PCLHD (NeurIPS 2024), Table 1; Rank-10: CMAM-UDA, Table II
    cells = cells_of(table.markdown(), "PGM, paper [1]")
    assert cells == ["All search", "PGM, paper [1]", "57.3", "–", "92.5", "–", "51.8", "–"]
    assert [row[0] for row in table.rows] == ["All search"] * 5 + ["Indoor search"] * 4


def test_a_configuration_of_a_papers_other_table_stands_beside_its_own_row():
    """PCLHD (NeurIPS 2024), Table 1, last row."""
    run = about("pclhd", flags=["--association mmm"])
    table = results_table([result()], run, images())
    name = "PCLHD+MMM, paper [1]"
    assert [row for row in table.rows if "[" in row[1]] == [
        ("All search", name, "65.9", "", "", "", "61.8", ""),
        ("Indoor search", name, "70.3", "", "", "", "74.9", ""),
    ]


def test_what_nobody_has_published_stands_below_the_method_as_it_is_and_says_why():
    flags = ["--eps cross=0.5", "--eps intra=0.5", "--no-cam"]
    run = about("pgm", flags=flags, variant="v2024")
    note = (
        "no published configuration (--variant v2024, --eps cross=0.5 intra=0.5, --no-cam): no "
        "difference is shown; the published rows are those of the method as it is"
    )
    table = results_table([result()], run, images())
    assert note in table.notes
    assert cells_of(table.markdown(), "PGM, paper [1]")[2] == "57.3"
    unfinished = results_table([result()], about("pgm", epoch=20), images())
    assert "stage cross stands at epoch 20 of 49: no difference is shown" in unfinished.notes
    assert cells_of(unfinished.markdown(), "PGM, paper [1]")[2] == "57.3"


def test_every_published_row_has_the_number_of_its_source():
    results = [result(mode=mode) for mode in PROTOCOLS["sysu"].modes]
    table = plain("sysu", results)
    numbered = re.compile(r"(.+) \[(\d+)\]$")
    rows = dict(match.groups() for row in table.rows if (match := numbered.match(row[1])))
    sources = {f"{entry.name}: {entry.where}" for entry in published("sysu", PGM)}
    assert rows.keys() == {entry.name for entry in published("sysu", PGM)}
    notes = {f"[{number}] {name}" for name, number in rows.items()}
    assert {note.partition(":")[0] for note in table.notes if note.startswith("[")} == notes
    assert sources == {note.partition("] ")[2] for note in table.notes if note.startswith("[")}
    stored = {(e["kind"], e["selection"]): str(e["number"]) for e in table.json()["published"]}
    assert stored == {
        ("paper", "test"): rows["PGM, paper"],
        ("retrained by others", "test"): rows["PGM, retrained by others"],
        ("upstream log", "test"): rows["PGM, upstream log"],
        ("upstream log", "last"): rows["PGM, upstream log, last epoch"],
    }


def test_published_figures_keep_their_decimals():
    """PGM's log gives 32.70, PCLHD's Table 1 gives one decimal."""
    last = next(e for e in published("sysu", PGM) if e.selection == "last")
    assert last.shown("all", "mINP") == "32.70"
    assert last.shown("indoor", "mINP") == ""
    (cmam,) = published("regdb", CMAM)
    assert cmam.shown("visible_to_infrared", "mAP") == "74.0"
    assert cmam.shown("visible_to_infrared", "rank5") == ""


def test_what_was_published_of_one_direction_only_has_no_empty_row():
    results = [trial_result(5, mode=mode) for mode in PROTOCOLS["regdb"].modes]
    rows = plain("regdb", results, "pgm").rows
    logs = [row for row in rows if row[1] == "PGM, trial 5, upstream log [2]"]
    assert [row[0] for row in logs] == ["Visible to infrared"]


def test_deviation_says_over_what_it_is():
    for form in forms(plain("sysu", [result()])):
        assert "over 10 gallery draws of one model" in form
    mixed = plain("sysu", [result(), result(model="best", searches=1)])
    assert "over 1 or 10 gallery draws of one model" in mixed.text()
    ten = plain("regdb", [trial_result(*range(1, 11))])
    assert "the trials 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, each with a model" in ten.text()
    assert "papers average" not in ten.text()
    two = plain("regdb", [trial_result(1, 3)])
    assert "papers average over 10 trials: figures of fewer are no more than a hint" in two.text()


def test_text_columns_are_aligned():
    long = result(model="best by cycle consistency (no test labels)", mode="indoor")
    heading, _, header, rule, *rows = (
        results_table([result(), long], {}, images(rendered=True)).text().splitlines()
    )
    rows = rows[:2]
    assert heading == "Results (rendered SYSU-MM01 layout)"
    assert len({line.index("±") for line in rows}) == 1
    ends = [i for i in range(len(rule)) if rule[i] == "-" and rule[i + 1 : i + 2] != "-"]
    assert all(header[end] != " " and header[end + 1 : end + 2] in ("", " ") for end in ends[2:])


def test_decimal_points_of_ours_and_published_figures_stand_below_each_other():
    small = result(model="small", rank1={"mean": 5.0, "std": 10.0})
    text = plain("sysu", [result(), small], "pgm").text()
    rows = [line for line in text.splitlines() if line.startswith("All search")]
    assert len(rows) == 6
    assert len({line.index(".") for line in rows}) == 1
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_markdown_is_one_table_with_equal_columns():
    lines = plain("sysu", [result(model="a|b")]).markdown().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in table} == {9}


def latex_rows(latex):
    return [line for line in latex.splitlines() if line.endswith(r" \\")]


def test_latex_is_balanced_and_escaped():
    nasty = results_table([result(model="50 % of a_b & {c}")], {}, images(), title="#1")
    comment, _, latex = nasty.latex().partition("\n")
    assert comment == r"% \usepackage{booktabs, graphicx}"
    assert latex.count("{%\n") == 1  # the end of a line that is no blank
    latex = latex.replace("{%\n", "{\n")
    assert r"50 \% of a\_b \& \{c\}" in latex
    assert r"\#1" in latex
    assert r"12.35{\tiny$\pm$0.50}" in latex
    bare = latex.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    begun, ended = (re.findall(rf"\\{word}{{([a-z*]+)}}", latex) for word in ("begin", "end"))
    assert begun == ended[::-1] == ["table*", "tabular"]
    columns = re.search(r"{tabular}{([lr]+)}", latex)[1]
    for row in latex_rows(latex):
        assert len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1
    assert not re.search(r"(?<!\\)[%#_]", latex)
    assert latex.isascii()


def test_no_line_of_latex_can_be_taken_for_an_argument_of_the_line_break_before():
    latex = plain("sysu", [result(model="[2em] <a|b>")]).latex()
    assert r"& {[}2em] \textless{}a\textbar{}b\textgreater{} &" in latex
    assert not re.search(r"\\\\\s*[\[*]", latex)
    assert "\n\\noindent {[}1] " in latex


def test_json_round_trip():
    table = results_table([result(), result(mode="indoor")], about("pgm"), images(), title="PGM")
    content = json.loads(json.dumps(table.json()))
    assert content["unit"] == "percent"
    assert content["results"] == [result(), result(mode="indoor")]
    assert content["images"] == images().json()
    again = results_table(content["results"], about("pgm"), images(), title=content["title"])
    assert again == table


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([], "no result"),
        ([result(mode="outdoor")], "mode 'outdoor'"),
        ([{"mode": "all"}], "model None"),
        ([{"model": "last epoch"}], "mode None"),
    ],
)
def test_bad_input(results, message):
    with pytest.raises(UserError, match=message):
        plain("sysu", results)


def test_a_single_search_of_one_model_has_no_deviation():
    directions = [result(mode=mode, searches=1) for mode in PROTOCOLS["sysu02"].modes]
    table = plain("sysu02", directions, "cmam")
    rows = [row for row in table.rows if row[1] == "last epoch"]
    assert len(rows) == 2
    assert not any("±" in cell for row in rows for cell in row)
    assert "percent, a single search of one model" in table.notes
    # CMAM-UDA, Table II: V→N and N→V
    quoted = [row[2:] for row in table.rows if row[1].startswith("CMAM-UDA")]
    assert quoted == [("51.4", "", "90.3", "", "41.0", ""), ("56.1", "", "89.4", "", "40.3", "")]


def test_the_swapped_search_of_llcm_stands_under_its_own_heading():
    straight, swapped = "visible_to_infrared", "swapped_visible_to_infrared"
    results = [result(mode=straight), result(mode=swapped)]
    table = results_table(results, {}, Provenance("llcm", "", True, False, False))
    headings = [row[0] for row in table.rows]
    assert headings == [PROTOCOLS["llcm"].modes[straight], PROTOCOLS["llcm"].variants[swapped]]
    assert "LLCM-1" in headings[1]
