"""The figures on the pages are those of the data, and the figures of the data are on the pages."""

import re
import statistics
from pathlib import Path

import pytest

from clustercontrast.commands.configuration import configuration as configuration_of
from clustercontrast.commands.recording import names
from clustercontrast.report.generated import BLOCK, PAGES, pages
from clustercontrast.report.generated import command as command_of
from clustercontrast.report.published import PUBLISHED, published
from clustercontrast.report.references.commands import AS_IT_IS
from clustercontrast.report.references.rows import MODES, Configuration
from clustercontrast.settings.command_line import parse
from clustercontrast.settings.options import DATASETS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RESULTS = DOCS / "results.md"
ON = [dataset for dataset in MODES if published(dataset)]
"""Datasets that anything was published on."""
FOOTNOTE = re.compile(r"[⁰¹²³⁴-⁹]+")
DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
FIGURE = re.compile(r"(?<![\w.])(?<!± )\d{1,2}\.\d{1,2}(?!\w|\.\d)")


def tables(path):
    """Cells of all table rows of a page, by the heading above them."""
    heading, found = "", {}
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("|") and not set(line) <= set("|-: "):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            found.setdefault(heading, []).append(cells)
    return found


def configured(dataset, words):
    """The configuration of a command line."""
    options = parse(dataset, ["--method", *words.split()])
    stage = (options.stages or list(options.recipe.stages))[-1]
    flags = configuration_of(options)["changes"][stage]
    return Configuration(options.method, stage, options.variant, tuple(flags))


def pair(row, mode):
    """Rank-1 and mAP of a published row as pages write them."""
    return f"{row.shown(mode, 'rank1')} / {row.shown(mode, 'mAP')}" if mode in row.scores else "–"


# --- generated tables ---


def test_the_tables_of_the_pages_are_those_that_the_data_give():
    made = pages(ROOT, ROOT / "results", names())
    assert [str(page.relative_to(ROOT)) for page in made] == list(PAGES)
    for page, text in made.items():
        assert page.read_text("utf-8") == text, "python -m clustercontrast.report results"
    marked = [name for text in made.values() for _, name, _ in BLOCK.findall(text)]
    assert sorted(marked) == sorted(["methods", "sources", *ON])


@pytest.mark.parametrize("dataset", ON)
def test_commands_of_the_page_of_results_train_what_stands_beside_them(dataset):
    title = {name: own.title for name, own in DATASETS.items()}[dataset]
    commands = [first.strip("`") for first, *_ in tables(RESULTS)[title][1:] if first]
    shown = [configured(dataset, command) for command in commands]
    assert [command_of(run) for run in shown] == commands
    known = {run for run in AS_IT_IS.values() if published(dataset, run)}
    assert known <= {*shown}
    for run in shown:
        count = sum(first == f"`{command_of(run)}`" for first, *_ in tables(RESULTS)[title])
        assert count == 1


def test_rows_of_the_page_of_results_by_hand():
    """PGM's log: one trial of RegDB, both models; a paper that gives one direction less."""
    rows = tables(RESULTS)["RegDB"]
    start = next(number for number, row in enumerate(rows) if row[0] == "`pgm`")
    assert [[FOOTNOTE.sub("", cell) for cell in row] for row in rows[start : start + 3]] == [
        ["`pgm`", "PGM", "paper", "69.5 / 65.4", "69.9 / 65.2", "–"],
        ["", "", "upstream log, trial 5 alone", "70.44 / 65.32", "–", "best on the test set"],
        ["", "", "upstream log, trial 5 alone", "69.03 / 64.04", "–", "last epoch"],
    ]
    sources = re.findall(r"^(\d+)\. (.+)$", RESULTS.read_text(), re.MULTILINE)
    number = FOOTNOTE.search(rows[start + 2][2])[0].translate(DIGITS)
    assert dict(sources)[number].endswith("trial 5 alone, stage 2, epoch 29")


def test_the_readme_gives_the_first_published_row_of_every_method():
    rows = tables(ROOT / "README.md")["Methods"][1:]
    assert len(rows) == len(AS_IT_IS)
    for _, paper, command, shown, _ in rows:
        words = command.strip("`").removeprefix("bash run_train_sysu.sh ")
        entries = published("sysu", configured("sysu", words))
        assert shown == (pair(entries[0], "all") if entries else "–")
        assert bool(entries) == (paper != "own recipe")


def test_the_readme_says_whether_anything_was_run():
    is_empty = not [*(ROOT / "results").glob("*.csv")]
    assert ("No result on a real dataset" in (ROOT / "README.md").read_text()) == is_empty


# --- tables written by hand ---


def test_every_ablation_of_pclhd_stands_beside_the_flags_that_it_belongs_to():
    checked, once = 0, "--stages progressive --start-from pretrained --epochs 100"
    rows = tables(DOCS / "ablations.md")["PCLHD, Table 2: components"]
    for _, _, command, *cells in (row for row in rows if len(row) == 6):
        cells = cells[:2]
        if FIGURE.search("".join(cells)):
            words = command.strip("`").replace("$once", once)
            (row,) = published("sysu", configured("sysu", words))
            assert cells == [pair(row, mode) for mode in MODES["sysu"]]
            checked += 1
    assert checked == 3


def test_every_ablation_of_cmam_stands_beside_the_flags_that_it_belongs_to():
    """Tables III and IV; ``$start`` goes on from a model of the full method."""
    found = {}
    for label, command, _ in tables(DOCS / "ablations.md")["Tables III and IV"][1:]:
        words = command.strip("`").replace("$start", "--stages selftrain --start-from last")
        run = configured("sysu", words.replace("$cmam", "cmam --source x"))
        if label not in ("row", "CMAM-UDA") and not label.startswith("not in the paper"):
            found[label.partition(" (")[0]] = [
                row.row or row.method for row in published("sysu", run)
            ]
    for label in ("UDA1", "UDA2"):  # pretraining has its own values there, from the file
        found.pop(label)
    assert found.pop("RGB-RGB") == ["DML"]
    assert found == {label: [label] for label in found}
    assert len(found) == 7


def test_every_sensitivity_run_of_cmam_is_a_command():
    """Those that vary what both stages do train pretrain again."""
    commands = [row[1].strip("`") for row in tables(DOCS / "ablations.md")["Sensitivity"][1:]]
    seen = set()
    for command in commands:
        words = command.replace("$start", "--stages selftrain --start-from last")
        options = parse("sysu", ["--method", *words.replace("$cmam", "cmam --source x").split()])
        changes = configuration_of(options)["changes"]
        is_default = options.variant == "default" and not any(changes.values())
        assert not is_default, command
        seen |= {(flag, "$start" in command) for own in changes.values() for flag in own}
    again = {"--neck none", "--batch-size pretrain=32", "--relation-temperature 16.0",
             "--num-instances pretrain=4", "--identity-reduction sum"}  # fmt: skip
    assert again <= {flag for flag, goes_on in seen if not goes_on}
    alone = {"--head cosine", "--num-instances selftrain=16", "--last-iters 3000"}
    assert alone <= {flag for flag, goes_on in seen if goes_on}


PUBLISHED_ON = {  # page: names that the data write its method by
    "adca": ("ADCA",), "pgm": ("PGM",), "pclhd": ("PCLHD", "PCLHD+MMM", "PGM"),
    "rpnr": ("RPNR",), "mmm": ("MMM", "PCLHD+MMM"), "pca": ("PCA",), "sdcl": ("SDCL",),
    "gur": ("GUR*",),
    "cmam": tuple({row.method for row in PUBLISHED}),
}  # fmt: skip


@pytest.mark.parametrize("page", PUBLISHED_ON)
def test_pages_of_methods_give_no_figure_that_the_data_do_not_have(page):
    """Between the heading of the published results and the end of their tables."""
    section = (DOCS / "methods" / f"{page}.md").read_text().split("## Results (published)")[1]
    lines = [line for line in section.splitlines() if page == "adca" or line.startswith("|")]
    shown = set(map(float, FIGURE.findall("\n".join(lines))))
    rows = [row for row in PUBLISHED if row.method in PUBLISHED_ON[page]]
    known = {value for row in rows for own in row.scores.values() for value in own.values()}
    known |= {65.5}  # PGM's mAP on RegDB as CMAM-UDA's Table II quotes it
    assert len(shown) > 3
    assert shown <= known


DEVIATION = re.compile(r"(\d+\.\d\d)(?: ± (\d\.\d\d))?")


@pytest.mark.parametrize(("page", "method"), [("rpnr", "RPNR"), ("pca", "PCA")])
def test_deviations_on_pages_are_those_of_the_published_rows(page, method):
    """Population deviations, since the READMEs give none."""
    checked = 0
    for row in (row for row in PUBLISHED if row.method == method and row.each):
        for mode, figures in row.scores.items():
            (cells,) = [
                own
                for own in tables(DOCS / "methods" / f"{page}.md")["Results (published)"]
                if DEVIATION.match(own[2]) and own[2].startswith(row.shown(mode, "rank1"))
            ]
            for metric, cell in zip(figures, cells[2:], strict=True):
                mean, deviation = DEVIATION.fullmatch(cell).groups()
                assert mean == row.shown(mode, metric)
                if deviation:
                    values = [own[mode][metric] for own in row.each.values()]
                    assert deviation == f"{statistics.pstdev(values):.2f}"
                    checked += 1
    assert checked == {"RPNR": 12, "PCA": 6}[method]
