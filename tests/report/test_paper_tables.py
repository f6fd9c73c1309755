"""Tables as papers print them: chosen columns, the best in bold, LaTeX that TeX accepts, CSV."""

import csv
import io
import re
import shutil
import subprocess

import pytest

from clustercontrast.commands.report import main
from clustercontrast.report.comparison import comparison_tables
from clustercontrast.report.forms import Place, Table, csv_of
from tests.report.test_comparison import write, write_trials

DOCUMENT = r"""\documentclass[10pt,twocolumn]{article}
\usepackage[paperwidth=8.5in,paperheight=11in,textwidth=6.875in,textheight=8.875in]{geometry}
\setlength{\columnsep}{0.3125in}
\usepackage{booktabs, graphicx}
\let\resized=\resizebox
\renewcommand{\resizebox}[3]{\setbox0\hbox{#3}\typeout{fits \the\wd0 into \the\columnwidth}%%
\resized{#1}{#2}{\box0}}
\begin{document}
%s
\end{document}
"""
"""The columns of a computer-vision conference; TeX says how wide a table is by itself."""


def ranked(*rows):
    """A table of one column of words and one of numbers; (cell, what it is ranked with)."""
    return Table(
        title="t",
        dataset="d",
        header=("method", "mAP"),
        rows=tuple((f"m{n}", cell) for n, (cell, _) in enumerate(rows)),
        notes=(),
        content={},
        words=1,
        places=tuple(Place(alike=alike) for _, alike in rows),
    )


def test_the_best_of_those_alike_is_bold():
    """9.5 is more than 58.7 for no program that compares words; a tie is two best."""
    table = ranked(("58.7", "a"), ("9.50 ± 3.00", "a"), ("+60.0 ≈", ""), ("70.0", "b"), ("", "a"))
    cells = re.findall(r"^\| m\d \| (.*) \|$", table.markdown(), re.MULTILINE)
    assert cells == ["**58.7**", "9.50 ± 3.00", "+60.0 ≈", "70.0", "–"]
    assert table.markdown().count("bold") == 1
    assert r"\textbf{58.7}" in table.latex()
    tie = ranked(("58.7", "a"), ("58.70 ± 0.10", "a")).markdown()
    assert tie.count("**") == 4
    assert "bold" not in ranked(("58.7", "a"), ("70.0", "b")).markdown()


def test_own_runs_are_ranked_with_published_figures_of_models_selected_alike(tmp_path):
    """PCLHD 64.4 / 58.7, best on test; ours 69 and 50 there, 59 in the last epoch."""
    official = write(tmp_path / "a", "sysu", 59.0)
    drawn = write(tmp_path / "b", "sysu", 90.0, images={"rendered": True})
    (table,) = comparison_tables([official, drawn], ["last", "test"])
    markdown = table.only(["Rank-1", "mAP"]).markdown()
    rows = [line for line in markdown.splitlines() if line.startswith("| ")][2:]
    found = [re.findall(r"\*\*(.*?)\*\*", row) for row in rows]
    assert [own for own in found if own] == [["58.7", "69.5", "74.4"], ["69.00 ± 0.50"]]  # of 69.5


def test_one_trial_is_not_ranked_with_means_over_ten(tmp_path):
    """RegDB: ADCA's paper 67.2 over ten trials; ours 95 in one trial is no better for that."""
    one = write_trials(tmp_path / "one", {1: 85.0}, method="adca")
    ten = write_trials(tmp_path / "ten", dict.fromkeys(range(1, 11), 60.0), method="adca")
    (table,) = comparison_tables([one, ten], ["test"])
    rows = [row for row in table.only(["Rank-1"]).markdown().splitlines() if "**" in row]
    assert len(rows) == 1
    assert "**70.00 ± 0.00**" in rows[0]


def test_columns_are_those_asked_for_in_their_order(tmp_path, capsys):
    run = write(tmp_path / "run", "sysu", 50.0)
    main(["tables", str(run), "--metrics", "mAP", "rank1", "--format", "markdown"])
    head = capsys.readouterr().out.splitlines()[2]
    assert head == (
        "| method | run | model | All search, mAP | All search, Rank-1 | Indoor search, mAP | "
        "Indoor search, Rank-1 |"
    )
    with pytest.raises(SystemExit) as stopped:
        main(["tables", str(run), "--metrics", "rank3"])
    assert stopped.value.code == 2
    assert "rank3" in capsys.readouterr().err


def test_csv_has_a_column_for_every_number_of_all_tables(tmp_path):
    runs = [
        write(tmp_path / "run", "sysu", 50.0, images={"rendered": True}),
        write_trials(tmp_path / "trials", {1: 40.0, 2: 60.0}),
    ]
    tables = [table.only(["Rank-1"]) for table in comparison_tables(runs, ["test"])]
    rows = list(csv.DictReader(io.StringIO(csv_of(tables))))
    drawn, paper, trials, difference = rows
    assert (drawn["dataset"], drawn["All search, Rank-1"]) == ("rendered SYSU-MM01 layout", "60.00")
    assert drawn["All search, Rank-1, deviation"] == "0.50"
    assert drawn["remark"].startswith("rendered identities: not a SYSU-MM01 result; percent, mean")
    assert (paper["Visible to infrared, Rank-1"], paper["remark"]) == (
        "84.3",
        "PCLHD (NeurIPS 2024), Table 1",
    )
    assert trials["Visible to infrared, Rank-1, deviation"] == "10.00"
    assert float(difference["Visible to infrared, Rank-1"]) == -24.3
    assert drawn["Visible to infrared, Rank-1"] == trials["All search, Rank-1"] == ""


def compiled(folder, *tables):
    """The log of TeX over a two-column paper with these tables, and the widths it measured."""
    text = "Words.\n\n".join(table.latex() for table in tables)
    (folder / "paper.tex").write_text(DOCUMENT % text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    widths = re.findall(r"fits ([\d.]+)pt ?into ([\d.]+)pt", done.stdout.replace("\n", " "))
    return done, [(float(own), float(column)) for own, column in widths]


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no TeX: apt-get install texlive")
def test_a_paper_with_these_tables_compiles_and_is_readable(tmp_path):
    """A table of two metrics fits a column of 3.28 inches in letters of more than six points."""
    runs = [
        write(tmp_path / "a", "sysu", 50.0),
        write(tmp_path / "b", "sysu", 50.0, method="pgm", images={"rendered": True}),
        write_trials(tmp_path / "c", {1: 49.0, 2: 51.0}, method="adca"),
        write(tmp_path / "d", "llcm", 40.0, method="adca"),
    ]
    wide = comparison_tables(runs, ["last", "test"], with_competitors=True)
    narrow = [t.only(["Rank-1", "mAP"]) for t in comparison_tables(runs, ["test"], True)]
    done, widths = compiled(tmp_path, *wide, *narrow)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull \\hbox" not in done.stdout
    assert len(widths) == 2 * len(wide)
    sysu, regdb, _ = widths[len(wide) :]
    for natural, column in (sysu, regdb):
        assert 8 * min(1, column / natural) > 6  # \footnotesize has eight points
