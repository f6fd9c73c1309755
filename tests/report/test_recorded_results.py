"""Runs recorded as data: what a row says, what is refused, what the pages make of it."""

import csv
import json

import pytest
from test_comparison import change, write, write_trials

from clustercontrast.commands.recording import names
from clustercontrast.commands.report import main
from clustercontrast.files import UserError, read_json, write_json
from clustercontrast.report.generated import blocks, filled
from clustercontrast.report.records import COLUMNS, recorded, trained

COMMIT = "1f" * 20
TABLE = "# Ours\n<!-- generated: methods -->\nold\n<!-- end -->\nafter\n"


def complete(folder, seed=1, **changes):
    """Write what training leaves beside a report: 5400 seconds, from a commit."""
    about = read_json(folder / "report.json")["about"]
    config = {
        "about": about,
        "numbers": {},
        "values": {"seed": seed, "data_dir": "data", "height": 288, "width": 144},
        "command": "bash it, twice",
        "commits": [COMMIT],
        "hardware": ["NVIDIA H200"],
        "versions": {"clustercontrast": "0.1", "torch": "2.9", "git": COMMIT},
    }
    write_json(folder / "config.json", config | changes)
    seconds = {"event": "saved", "seconds": {"total": 2700.0}}
    lines = [{"event": "epoch", "seconds": {"total": 9.0}}, seconds, seconds]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


def write_run(place, dataset, rank1, seed=1, **more):
    return complete(write(place, dataset, rank1, name=place.name, **more), seed)


@pytest.fixture
def out(tmp_path):
    """The folder of the records, beside a README with a mark."""
    (tmp_path / "README.md").write_text(TABLE)
    return tmp_path / "results"


def recording(out, *folders):
    main(["results", *map(str, folders), "--out", str(out)])


def refused(capsys, *words):
    capsys.readouterr()
    with pytest.raises(SystemExit) as leaving:
        recording(*words)
    assert leaving.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    return line


def test_a_row_says_how_the_run_was_made_and_all_that_was_measured(tmp_path, out):
    flags = ["--eps progressive=0.4", "--no-hpcl"]
    run = write_run(tmp_path / "mine", "sysu", 20.0, seed=7, flags=flags)
    recording(out, run)
    with (out / "sysu.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["mode"], row["rank1"]) for row in rows] == [
        ("last", "all", "20.0000"),
        ("last", "indoor", "20.0000"),
        ("test", "all", "30.0000"),
        ("test", "indoor", "30.0000"),
    ]
    measured = [column for column in COLUMNS if column.startswith(("rank", "mAP", "mINP"))]
    assert {key: own for key, own in rows[0].items() if key not in measured} == {
        "method": "pclhd", "dataset": "sysu", "variant": "upstream", "name": "mine", "seed": "7",
        "trial": "", "stage": "progressive", "epoch": "49", "model": "last", "mode": "all",
        "draws": "10", "changes": "--eps progressive=0.4; --no-hpcl", "command": "bash it, twice",
        "commit": COMMIT, "digest": "1a2b", "hardware": "NVIDIA H200", "hours": "1.50",
        "versions": "clustercontrast 0.1; torch 2.9",
    }  # fmt: skip
    assert (rows[0]["mAP"], rows[0]["mAP_std"], rows[0]["rank1_std"]) == (
        "50.0000",
        "0.2500",
        "0.5000",
    )
    assert recorded(out, "sysu") == rows


def test_runs_are_added_in_a_fixed_order_and_replaced(tmp_path, out, capsys):
    seeds = {"run10": 10, "run9": 9, "run1": 1}
    runs = [write_run(tmp_path / name, "sysu", 1.0, seed) for name, seed in seeds.items()]
    recording(out, *runs)
    first = (out / "sysu.csv").read_bytes()
    recording(out, runs[1])
    recording(out, *reversed(runs))
    assert (out / "sysu.csv").read_bytes() == first
    shown = dict.fromkeys(row["name"] for row in recorded(out, "sysu"))
    assert list(shown) == ["run1", "run9", "run10"]
    assert "in place of other figures" not in capsys.readouterr().out
    write_run(tmp_path / "run9", "sysu", 5.0, 9)
    recording(out, runs[1])
    assert "in place of other figures under the same name: run9" in capsys.readouterr().out
    changed = zip(first.splitlines(), (out / "sysu.csv").read_bytes().splitlines(), strict=True)
    assert sum(before != after for before, after in changed) == 4


def test_a_seed_counts_once(tmp_path, out, capsys):
    """Under two names, or in two folders of one name, at once or one after the other."""
    first = write_run(tmp_path / "first", "sysu", 20.0)
    again = write_run(tmp_path / "again", "sysu", 30.0)
    twin = write_run(tmp_path / "elsewhere" / "first", "sysu", 30.0)
    assert "pclhd with seed 1 would stand in" in refused(capsys, out, first, again)
    assert "two of the runs given are called pclhd first" in refused(capsys, out, first, twin)
    assert not out.exists()
    recording(out, first)
    assert "pclhd with seed 1 would stand in" in refused(capsys, out, again)
    assert "12" not in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda text: "", "has other columns"),
        (lambda text: text.replace("pclhd", "foo"), "method is 'foo'"),
        (lambda text: text + text.split("\n", 1)[1], "stands there twice"),
    ],
)
def test_a_file_that_somebody_has_changed_is_one_line(tmp_path, out, capsys, damage, line):
    recording(out, write_run(tmp_path / "run", "sysu", 20.0))
    path = out / "sysu.csv"
    path.write_text(damage(path.read_text()))
    assert line in refused(capsys, out, tmp_path / "run")


LACKED = ("ours/seed2", "1", "test")


def test_groups_and_trials_are_recorded_run_by_run(tmp_path, out):
    group = tmp_path / "ours"
    for seed, trials in {1: {1: 20.0, 2: 40.0}, 2: {1: 50.0, 2: 50.0}}.items():
        place = write_trials(group / f"seed{seed}", trials, name=f"ours/seed{seed}")
        for trial in trials:
            complete(place / f"trial{trial}", seed)
    recording(out, group, group / "seed1" / "trial2")
    rows = recorded(out, "regdb")
    assert [(row["name"], row["trial"]) for row in rows[::4]] == [
        ("ours/seed1", "1"),
        ("ours/seed1", "2"),
        ("ours/seed2", "1"),
        ("ours/seed2", "2"),
    ]
    (found,) = trained(rows)
    assert (found.seeds, found.trials) == ((1, 2), (1, 2))
    assert found.source == "this repository, seeds 1, 2, 2 of 10 trials"
    assert found.cell("last", "visible_to_infrared") == "40.00 ± 14.14 / 50.00 ± 0.00"
    lacking = [row for row in rows if (row["name"], row["trial"], row["model"]) != LACKED]
    assert {model for model, *_ in trained(lacking)[0].values} == {"last"}


@pytest.mark.parametrize(
    ("images", "why"),
    [
        ({"rendered": True}, "rendered identities, which are no results on a dataset; leave it"),
        ({"complete": False}, "its images are incomplete"),
        ({"leak": True}, "its training has seen test identities"),
    ],
)
def test_other_images_never_enter(tmp_path, out, capsys, images, why):
    good = write_run(tmp_path / "good", "sysu", 1.0)
    bad = write_run(tmp_path / "bad", "sysu", 1.0, images=images)
    assert why in refused(capsys, out, good, bad)
    assert not out.exists()


def test_a_rendered_source_never_enters(tmp_path, out, capsys):
    run = write_run(tmp_path / "run", "sysu", 1.0)
    about = read_json(run / "config.json")["about"]
    complete(run, about=about | {"source_images": about["images"] | {"rendered": True}})
    assert "is not recorded: it is of rendered identities" in refused(capsys, out, run)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"commits": [COMMIT, f"{COMMIT}-dirty"]}, "changes of the code that are in no commit"),
        ({"commits": ["installed"]}, "an installed package, whose commit is not known"),
        ({"hardware": None}, "config.json is damaged (hardware is None, expected list)"),
    ],
)
def test_what_nobody_can_train_again_is_refused(tmp_path, out, capsys, changes, why):
    run = complete(write_run(tmp_path / "run", "sysu", 1.0), **changes)
    assert why in refused(capsys, out, run)


def test_what_is_not_of_the_protocol_is_refused(tmp_path, out, capsys):
    run = write_run(tmp_path / "run", "sysu", 1.0)
    change(run, lambda content: content["about"].update(epoch=3))
    assert "stage progressive stands at epoch 3 of 49; train it to the end" in refused(
        capsys, out, run
    )
    run = write_run(tmp_path / "run", "sysu", 1.0)
    change(run, lambda content: [row.update(searches=2) for row in content["results"]])
    assert "it was tested on 2 of 10 gallery draws; test it again" in refused(capsys, out, run)
    run = write_run(tmp_path / "run", "sysu", 1.0)
    change(run, lambda content: content.update(results=[], untested="so"))
    assert "nothing is tested" in refused(capsys, out, run)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("rank1,", "Rank-1,", "has other columns"),
        ("20.0000", "200.0", "line 2 is damaged (rank1 is 200.0)"),
        ("20.0000", "twenty", "line 2 is damaged (could not convert"),
        (",all,", ",none,", "line 2 is damaged (model is 'last', mode 'none')"),
        (",sysu,", ",regdb,", "line 2 is damaged (dataset is 'regdb')"),
        ("\nadca", "\n,adca", "line 2 is damaged (it has not a value for every column)"),
    ],
)
def test_damaged_records_are_named(tmp_path, out, capsys, before, after, said):
    run = write_run(tmp_path / "mine", "sysu", 20.0, method="adca")
    recording(out, run)
    path = out / "sysu.csv"
    path.write_text(path.read_text().replace(before, after, 1))
    assert f"{path}" in (line := refused(capsys, out, run))
    assert said in line


# --- what the pages make of it ---


def row_of(table, first):
    """Cells of the first row that begins so, and of the rows without a command below it."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n")]
    start = next(number for number, row in enumerate(lines) if row[0] == first)
    rest = next((n for n, row in enumerate(lines[start + 1 :], start + 1) if row[0]), len(lines))
    return lines[start:rest]


def test_recorded_runs_stand_on_the_pages(tmp_path, out):
    """One run of PCLHD, two seeds of PGM (mean 30, sample deviation sqrt(200)), one of others."""
    recording(
        out,
        write_run(tmp_path / "a", "sysu", 60.0),
        write_run(tmp_path / "b", "sysu", 20.0, method="pgm", seed=3),
        write_run(tmp_path / "c", "sysu", 40.0, method="pgm", seed=1),
        write_run(tmp_path / "d", "sysu", 5.0, flags=["--eps progressive=0.4"]),
    )
    made = blocks(out, names())
    rows = (line[2:-2].split(" | ") for line in made["methods"].split("\n"))
    ours = {method: cell for method, *_, cell in rows}
    assert ours["[PCLHD](docs/methods/pclhd.md)"] == "70.00 / 50.00"  # best on test, as theirs
    assert ours["[PGM](docs/methods/pgm.md)"] == "40.00 ± 14.14 / 50.00 ± 0.00"
    assert ours["[ADCA](docs/methods/adca.md)"] == "not run"
    _, *mine = row_of(made["sysu"], "`pclhd`")
    assert [row[2:] for row in mine] == [
        ["this repository", "60.00 / 50.00", "60.00 / 50.00", "last epoch"],
        ["this repository", "70.00 / 50.00", "70.00 / 50.00", "best on the test set"],
    ]
    *_, last = row_of(made["sysu"], "`pgm`")
    assert last[2:4] == ["this repository, seeds 1, 3", "40.00 ± 14.14 / 50.00 ± 0.00"]
    (own, _) = row_of(made["sysu"], "`pclhd --eps progressive=0.4`")
    assert own[1:4] == ["PCLHD", "this repository", "5.00 / 50.00"]


def test_runs_on_other_images_or_trials_have_rows_of_their_own(tmp_path, out):
    recording(
        out,
        write_run(tmp_path / "a", "sysu", 60.0),
        write_run(tmp_path / "b", "sysu", 20.0, images={"digest": "3c4d"}),
    )
    assert [own.seeds for own in trained(recorded(out, "sysu"))] == [(1,), (1,)]
    rows = row_of(blocks(out, names())["sysu"], "`pclhd`")
    assert [row[2] for row in rows[1::2]] == [
        "this repository, images 1a2b",
        "this repository, images 3c4d",
    ]


def test_pages_beside_the_records_are_made_anew_and_others_are_left(tmp_path, out, capsys):
    recording(out)
    text = (tmp_path / "README.md").read_text()
    made = blocks(out, names())["methods"]
    assert text == TABLE.replace("old", made)
    assert "its tables made anew" in capsys.readouterr().out
    recording(out)
    assert capsys.readouterr().out == ""
    (tmp_path / "README.md").write_text("a page without marks\n")
    recording(out)
    assert (tmp_path / "README.md").read_text() == "a page without marks\n"


def test_a_mark_of_no_table_is_named(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- generated: sisu -->\n\n<!-- end -->\n")
    with pytest.raises(UserError, match="marks the place of a table 'sisu': there are methods"):
        filled(page, {"methods": ""})
