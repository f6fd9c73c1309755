"""Tables of results: arithmetic of the cells, what is shown beside what, the marker of rendered."""

import json

import pytest

from clustercontrast.files import UserError
from clustercontrast.report.tables import PUBLISHED, RENDERED_NOTE, sysu_table


def result(model="last epoch", mode="all", **more):
    metrics = {"rank1": {"mean": 12.345, "std": 0.5}, "mAP": {"mean": 9.0, "std": 1.0 / 3}}
    return {"model": model, "mode": mode, **metrics, **more}


def forms(table):
    return table.text(), table.markdown(), json.dumps(table.json(), ensure_ascii=False)


def cells_of(markdown, model):
    line = next(line for line in markdown.splitlines() if f"| {model} |" in line)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_cells_have_two_decimals_and_unknown_ones_stay_empty():
    cells = cells_of(sysu_table([result()], rendered=False).markdown(), "last epoch")
    assert cells == ["all", "last epoch", "12.35 ± 0.50", "", "", "", "9.00 ± 0.33", ""]


def test_rendered_results_carry_the_marker_in_every_form():
    table = sysu_table([result(), result(mode="indoor")], rendered=True, title="PGM")
    for form in forms(table):
        assert RENDERED_NOTE in form
        assert "PGM" in form
        assert "rendered SYSU-MM01 layout" in form
        bare = form.replace(RENDERED_NOTE, "").replace("rendered SYSU-MM01 layout", "")
        assert "SYSU" not in bare
    assert RENDERED_NOTE == "rendered people: not a SYSU-MM01 result"


def test_rendered_results_stand_alone():
    for form in forms(sysu_table([result()], rendered=True)):
        assert not any(name in form or entry["source"] in form for name, entry in PUBLISHED.items())
        assert "57.3" not in form


def test_real_results_stand_beside_published_ones_with_their_source():
    table = sysu_table([result(), result(mode="indoor")], rendered=False)
    for form in forms(table):
        assert RENDERED_NOTE not in form
        assert "rendered" not in form
        assert all(name in form and entry["source"] in form for name, entry in PUBLISHED.items())
    # PCLHD (NeurIPS 2024), Table 1
    assert cells_of(table.markdown(), "PGM, paper") == [
        "all",
        "PGM, paper",
        "57.3",
        *3 * [""],
        "51.8",
        "",
    ]
    searches = [row[0] for row in table.rows]
    assert searches == sorted(searches)
    assert len(searches) == 2 * (1 + len(PUBLISHED))


def test_deviation_says_over_what_it_is():
    ten = "over 10 gallery draws of one model"
    for form in forms(sysu_table([result()], rendered=False)):
        assert ten in form
    mixed = sysu_table([result(draws=10), result(model="best", draws=1)], rendered=False)
    assert "over 1 or 10 gallery draws of one model" in mixed.text()


def test_text_columns_are_aligned():
    long = result(model="best by cycle consistency (no test labels)", mode="indoor")
    heading, _, header, rule, *rows = (
        sysu_table([result(), long], rendered=True).text().splitlines()
    )
    rows = rows[:2]
    assert heading == "Results (rendered SYSU-MM01 layout)"
    assert len({line.index("±") for line in rows}) == 1
    ends = [i for i in range(len(rule)) if rule[i] == "-" and rule[i + 1 : i + 2] != "-"]
    assert all(header[end] != " " and header[end + 1 : end + 2] in ("", " ") for end in ends[2:])


def test_markdown_is_one_table_with_equal_columns():
    lines = sysu_table([result(model="a|b")], rendered=False).markdown().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in table} == {9}


def test_json_round_trip():
    table = sysu_table([result(draws=10), result(mode="indoor")], rendered=True, title="PGM")
    content = json.loads(json.dumps(table.json()))
    assert content["unit"] == "percent"
    assert content["results"] == [result(draws=10), result(mode="indoor")]
    again = sysu_table(content["results"], rendered=True, title=content["title"])
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
        sysu_table(results, rendered=False)
