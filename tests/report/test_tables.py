"""Tables of one run: arithmetic of the cells, what stands beside what, the marker of rendered."""

import json
import re

import pytest

from clustercontrast.evaluation.protocols import PROTOCOLS
from clustercontrast.files import UserError
from clustercontrast.report.published import METRICS, PUBLISHED, published
from clustercontrast.report.tables import RENDERED_NOTES, results_table


def result(model="last epoch", mode="all", **more):
    metrics = {"rank1": {"mean": 12.345, "std": 0.5}, "mAP": {"mean": 9.0, "std": 1.0 / 3}}
    return {"model": model, "mode": mode, "searches": 10, **metrics, **more}


def trial_result(*trials, mode="visible_to_infrared"):
    return result(mode=mode, searches=1, trials=list(trials))


def forms(table):
    as_json = json.dumps(table.json(), ensure_ascii=False)
    return table.text(), table.markdown(), table.latex(), as_json


def cells_of(markdown, model):
    line = next(line for line in markdown.splitlines() if f"| {model} |" in line)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_cells_have_two_decimals_and_unknown_ones_stay_empty():
    cells = cells_of(results_table("sysu", [result()], rendered=False).markdown(), "last epoch")
    assert cells == ["All search", "last epoch", "12.35 ± 0.50", "", "", "", "9.00 ± 0.33", ""]


def test_a_single_trial_has_no_deviation():
    table = results_table("regdb", [trial_result(4)], rendered=False)
    assert cells_of(table.markdown(), "last epoch")[2] == "12.35"
    assert "percent, trial 4 alone" in table.notes
    both = results_table("regdb", [trial_result(4, 5)], rendered=False)
    assert cells_of(both.markdown(), "last epoch")[2] == "12.35 ± 0.50"


@pytest.mark.parametrize("dataset", ["sysu", "regdb"])
def test_rendered_results_carry_the_marker_in_every_form(dataset):
    results = [result(mode=mode) for mode in PROTOCOLS[dataset].modes]
    name = {"sysu": "SYSU-MM01", "regdb": "RegDB"}[dataset]
    table = results_table(dataset, results, rendered=True, title="PGM")
    for form in forms(table):
        assert RENDERED_NOTES[dataset] in form
        assert "PGM" in form
        assert f"rendered {name} layout" in form
        bare = form.replace(RENDERED_NOTES[dataset], "").replace(f"rendered {name} layout", "")
        assert name not in bare
    assert RENDERED_NOTES["sysu"] == "rendered identities: not a SYSU-MM01 result"


def test_rendered_results_stand_alone():
    for form in forms(results_table("sysu", [result()], rendered=True)):
        assert not any(entry.name in form or entry.source in form for entry in PUBLISHED)
        assert "57.3" not in form


def test_real_results_stand_beside_published_ones_of_their_method_with_their_source():
    results = [result(), result(mode="indoor")]
    table = results_table("sysu", results, rendered=False, method="pgm")
    for form in forms(table):
        assert "rendered" not in form
        for entry in published("sysu", "pgm"):
            assert entry.source in form
        assert "ADCA" not in form
    # PCLHD (NeurIPS 2024), Table 1; Rank-10: CMAM-UDA, Table II
    cells = cells_of(table.markdown(), "PGM, paper [1]")
    assert cells == ["All search", "PGM, paper [1]", "57.3", "", "92.5", "", "51.8", ""]
    assert [row[0] for row in table.rows] == ["All search"] * 5 + ["Indoor search"] * 4


def test_every_published_row_has_the_number_of_its_source():
    results = [result(mode=mode) for mode in PROTOCOLS["sysu"].modes]
    table = results_table("sysu", results, rendered=False)
    numbered = re.compile(r"(.+) \[(\d+)\]$")
    rows = dict(match.groups() for row in table.rows if (match := numbered.match(row[1])))
    sources = {f"{entry.name}: {entry.source}" for entry in published("sysu")}
    assert rows.keys() == {entry.name for entry in published("sysu")}
    notes = {f"[{number}] {name}" for name, number in rows.items()}
    assert {note.partition(":")[0] for note in table.notes if note.startswith("[")} == notes
    assert sources == {note.partition("] ")[2] for note in table.notes if note.startswith("[")}
    json_numbers = {f"{e['method']}, {e['kind']}": e["number"] for e in table.json()["published"]}
    assert json_numbers == {name: int(number) for name, number in rows.items()}


def test_published_figures_keep_their_decimals():
    """PGM's log gives 32.70, PCLHD's Table 1 gives one decimal."""
    last = next(e for e in published("sysu", "PGM") if "last epoch" in e.kind)
    assert last.shown("all", "mINP") == "32.70"
    assert last.shown("indoor", "mINP") == ""
    (cmam,) = published("regdb", "cmam-uda")
    assert cmam.shown("visible_to_infrared", "mAP") == "74.0"
    assert cmam.shown("visible_to_infrared", "rank5") == ""


def test_what_was_published_of_one_direction_only_has_no_empty_row():
    results = [trial_result(5, mode=mode) for mode in PROTOCOLS["regdb"].modes]
    rows = results_table("regdb", results, rendered=False, method="pgm").rows
    logs = [row for row in rows if row[1] == "PGM, upstream log [2]"]
    assert [row[0] for row in logs] == ["Visible to infrared"]


def test_published_figures_name_known_modes_and_metrics():
    for entry in PUBLISHED:
        assert entry.scores.keys() <= PROTOCOLS[entry.dataset].modes.keys()
        for scores in entry.scores.values():
            assert scores.keys() <= set(METRICS)
            assert all(0 < value < 100 for value in scores.values())
    assert len({(e.name, e.dataset) for e in PUBLISHED}) == len(PUBLISHED)


def test_deviation_says_over_what_it_is():
    for form in forms(results_table("sysu", [result()], rendered=False)):
        assert "over 10 gallery draws of one model" in form
    mixed = results_table("sysu", [result(), result(model="best", searches=1)], rendered=False)
    assert "over 1 or 10 gallery draws of one model" in mixed.text()
    ten = results_table("regdb", [trial_result(*range(1, 11))], rendered=False)
    assert "the trials 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, each with a model" in ten.text()
    assert "papers average" not in ten.text()
    two = results_table("regdb", [trial_result(1, 3)], rendered=False)
    assert "papers average over 10 trials: figures of fewer are no more than a hint" in two.text()


def test_text_columns_are_aligned():
    long = result(model="best by cycle consistency (no test labels)", mode="indoor")
    heading, _, header, rule, *rows = (
        results_table("sysu", [result(), long], rendered=True).text().splitlines()
    )
    rows = rows[:2]
    assert heading == "Results (rendered SYSU-MM01 layout)"
    assert len({line.index("±") for line in rows}) == 1
    ends = [i for i in range(len(rule)) if rule[i] == "-" and rule[i + 1 : i + 2] != "-"]
    assert all(header[end] != " " and header[end + 1 : end + 2] in ("", " ") for end in ends[2:])


def test_decimal_points_of_ours_and_published_figures_stand_below_each_other():
    small = result(model="small", rank1={"mean": 5.0, "std": 10.0})
    text = results_table("sysu", [result(), small], rendered=False, method="pgm").text()
    rows = [line for line in text.splitlines() if line.startswith("All search")]
    assert len(rows) == 6
    assert len({line.index(".") for line in rows}) == 1
    assert not any(line != line.rstrip() for line in text.splitlines())


def test_markdown_is_one_table_with_equal_columns():
    lines = results_table("sysu", [result(model="a|b")], rendered=False).markdown().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in table} == {9}


def latex_rows(latex):
    return [line for line in latex.splitlines() if line.endswith(r" \\")]


def test_latex_is_balanced_and_escaped():
    nasty = results_table("sysu", [result(model="50 % of a_b & {c}")], rendered=False, title="#1")
    comment, _, latex = nasty.latex().partition("\n")
    assert comment == r"% \usepackage{booktabs, graphicx}"
    assert latex.count("{%\n") == 1  # the end of a line that is no blank
    latex = latex.replace("{%\n", "{\n")
    assert r"50 \% of a\_b \& \{c\}" in latex
    assert r"\#1" in latex
    assert r"12.35 $\pm$ 0.50" in latex
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
    latex = results_table("sysu", [result(model="[2em] <a|b>")], rendered=False).latex()
    assert r"& {[}2em] \textless{}a\textbar{}b\textgreater{} &" in latex
    assert not re.search(r"\\\\\s*[\[*]", latex)
    assert "\n{[}1] " in latex


def test_json_round_trip():
    table = results_table("sysu", [result(), result(mode="indoor")], rendered=True, title="PGM")
    content = json.loads(json.dumps(table.json()))
    assert content["unit"] == "percent"
    assert content["results"] == [result(), result(mode="indoor")]
    again = results_table("sysu", content["results"], rendered=True, title=content["title"])
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
        results_table("sysu", results, rendered=False)


def test_a_single_search_of_one_model_has_no_deviation():
    directions = [result(mode=mode, searches=1) for mode in PROTOCOLS["sysu02"].modes]
    table = results_table("sysu02", directions, rendered=False, method="cmam-uda")
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
    headings = [row[0] for row in results_table("llcm", results, rendered=False).rows]
    assert headings == [PROTOCOLS["llcm"].modes[straight], PROTOCOLS["llcm"].variants[swapped]]
    assert "LLCM-1" in headings[1]
