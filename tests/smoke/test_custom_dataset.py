"""A dataset of one's own by its table: prepared, trained, resumed, with and without a test."""

import csv
import json
import shutil
from html import escape
from pathlib import Path

import pytest
import tiny_runs
from own_crops import write_crops

from clustercontrast.__main__ import main
from clustercontrast.commands import report, sweep
from clustercontrast.evaluation.protocols import DIRECTIONS, Rules
from clustercontrast.files import UserError
from clustercontrast.report.comparison import grid_table
from clustercontrast.report.tables import UNTESTED
from clustercontrast.report.tested import gather

ON_CPU = ("--device", "cpu")


@pytest.fixture(scope="module", autouse=True)
def small_encoder():
    with pytest.MonkeyPatch.context() as patch:
        tiny_runs.use_small_encoder(patch)
        yield


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder of crops with two tables: all that is known, and paths of training images alone."""
    root = tmp_path_factory.mktemp("own") / "crops"
    rows = write_crops(root)
    with (root / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["identity", "camera", "track", "path", "modality", "split"])
        for path, modality, person, camera, is_test in rows:
            track = f"{person} {camera}" if int(path[-8:-4]) < 3 else ""
            split = "test" if is_test else "train"
            table.writerow([person, camera, track, path, modality, split])
    with (root / "plain.csv").open("w", newline="") as file:
        table = csv.writer(file, delimiter=";")
        table.writerow(["path", "modality", "split"])
        table.writerows((row[0], row[1], "train") for row in rows if not row[4])
    for name in ("manifest.csv", "plain.csv"):
        main(["prepare", *place(root, name), *tiny_runs.SIZE, "-j", "1"])
    return root


def place(root: Path, name: str = "manifest.csv") -> list[str]:
    return ["--dataset", "custom", "--manifest", str(root / name)]


def words(root: Path, name: str, *more: str, method: str = "adca") -> list[str]:
    flags = tiny_runs.tiny_flags(method, "custom", *more)
    logs = ["--logs-dir", str(root.parent / "logs")]
    return ["train", *place(root, name), "--method", method, *logs, *flags, *more]


def folder(root: Path, name: str, method: str = "adca") -> Path:
    return tiny_runs.run_folder(root.parent / "logs", method, name, on="custom")


@pytest.fixture(scope="module")
def tested(own):
    main(words(own, "manifest.csv", "--name", "tested"))
    return folder(own, "tested")


@pytest.fixture(scope="module")
def plain(own):
    main(words(own, "plain.csv", "--name", "plain"))
    return folder(own, "plain")


def refused(capsys, line: list[str]) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as leaving:
        main(line)
    assert leaving.value.code == 2
    *_, last = capsys.readouterr().err.strip().splitlines()
    return last


def test_preparing_again_says_what_is_there(own, capsys):
    main(["prepare", *place(own), *tiny_runs.SIZE])
    shown = capsys.readouterr().out
    assert "train: 16 identities, 0 images of unknown identity" in shown
    assert "test: 8 identities" in shown
    assert "cameras are numbered: 1 cam1, 2 cam2, 3 cam3, 4 cam4, 5 cam5, 6 cam6" in shown
    assert "train_visible      250 images  (camera 1: 71, camera 2: 56" in shown
    assert f"{own}-32x16 is prepared already" in shown
    main(["prepare", *place(own, "plain.csv"), *tiny_runs.SIZE])
    shown = capsys.readouterr().out
    assert "train_infrared     145 images  (no camera: 145)" in shown
    assert "test_visible         0 images\n" in shown


def test_a_run_is_tested_under_its_rules_and_says_so(own, tested):
    content = json.loads((tested / "report.json").read_text())
    assert content["about"]["rules"] == vars(Rules())
    assert [r["mode"] for r in content["results"] if r["selection"] == "last"] == [*DIRECTIONS]
    assert content["published"] == []
    for ending in ("txt", "md"):
        text = (tested / f"report.{ending}").read_text()
        assert Rules().words in text
        assert "rendered identities: not a custom dataset result" in text
    config = json.loads((tested / "config.json").read_text())
    assert config["values"]["manifest"] == str(own / "manifest.csv")
    assert config["values"]["data_dir"] == str(own)
    assert config["origins"]["data_dir"] == "as --manifest says"
    assert config["values"]["start_from"] == "cycle"  # no test label chooses what goes on
    assert (tested / "cross" / "best_test.pth").exists()


def test_the_same_command_finds_the_run_finished(own, tested, capsys):
    main(words(own, "manifest.csv", "--name", "tested"))
    assert f"{tested}: trained and tested before, left as it is" in capsys.readouterr().out
    line = words(own, "manifest.csv", "--name", "tested", "--queries", "infrared")
    assert "of a run with another --queries (both there)" in refused(capsys, line)
    line = words(own, "plain.csv", "--name", "tested")
    assert "of a run on other images of custom" in refused(capsys, line)


def test_a_test_finds_the_table_in_the_run_and_other_rules_have_a_report_of_their_own(
    tested, capsys
):
    before = gather(tested).results
    main(["test", "--dataset", "custom", str(tested), *ON_CPU])
    assert gather(tested).results == before
    rules = ("--queries", "infrared", "--gallery-shots", "single", "--no-skip-own-camera")
    main(["test", "--dataset", "custom", str(tested), *ON_CPU, *rules, "--draws", "2"])
    assert "the run's own report in" in capsys.readouterr().out
    assert gather(tested).results == before
    (other,) = tested.glob("tested-on-custom-*-infrared-single-all-cameras.json")
    content = json.loads(other.read_text())
    assert content["dataset"].endswith("under other rules")
    assert {r["mode"] for r in content["results"]} == {"infrared_to_visible"}
    assert {r["searches"] for r in content["results"]} == {2}
    assert Rules("infrared", "single", False).words in content["notes"]


@pytest.mark.slow
def test_images_that_were_moved_are_named_by_their_table(own, tested, tmp_path, capsys):
    shutil.copytree(own, tmp_path / "moved")
    shutil.copytree(f"{own}-32x16", tmp_path / "moved-32x16")
    capsys.readouterr()
    for flag, value in (("--manifest", "moved/manifest.csv"), ("--data-dir", "moved")):
        line = ["test", "--dataset", "custom", str(tested), *ON_CPU, flag, str(tmp_path / value)]
        main(line)
        assert "report.txt, report.md, report.json" in capsys.readouterr().out  # its own images


def test_without_test_images_nothing_is_tested_and_labels_choose_nothing(own, plain, capsys):
    assert UNTESTED in (plain / "report.txt").read_text()
    assert UNTESTED in (plain / "report.md").read_text()
    assert json.loads((plain / "report.json").read_text())["results"] == []
    for stage in ("intra", "cross"):
        assert (plain / stage / "best_cycle.pth").exists()
        assert not (plain / stage / "best_test.pth").exists()
    assert all("cycle" in event["scores"] and "mAP" not in event["scores"]
               for event in tiny_runs.events(plain))  # fmt: skip
    assert (plain / "curves.png").exists()
    main(words(own, "plain.csv", "--name", "plain"))
    assert f"{plain}: trained and tested before, left as it is" in capsys.readouterr().out


def test_a_run_without_a_test_is_resumed_bit_for_bit(own, plain):
    more = ("--name", "stopped")
    main(words(own, "plain.csv", *more, "--stages", "intra"))
    main(words(own, "plain.csv", *more))
    one, other = (tiny_runs.saved(own) for own in (plain, folder(own, "stopped")))
    found = [d for d in tiny_runs.differences(one, other) if "about/name" not in d]
    assert found == []


def test_what_needs_a_test_or_identities_is_refused_in_one_line(own, plain, capsys):
    said = refused(capsys, ["test", "--dataset", "custom", str(plain), *ON_CPU])
    assert "have no test identity, there is nobody to search for" in said
    more = ("--name", "x", "--start-from", "test")
    assert "give --start-from cycle or last" in refused(capsys, words(own, "plain.csv", *more))
    line = words(own, "plain.csv", "--name", "x", method="supervised")
    assert "some training images have none (-1)" in refused(capsys, line)
    said = refused(capsys, ["report", "html", str(plain), *ON_CPU])
    assert "a page shows test identities, and the images of this run have none" in said
    assert "prepare it again" not in said


def test_a_labelled_test_set_can_be_added_to_a_run_without_one(own, plain):
    main(["test", "--dataset", "custom", str(plain), *ON_CPU, *place(own)[2:]])
    (other,) = plain.glob("tested-on-custom-*.json")
    content = json.loads(other.read_text())
    assert {row["selection"] for row in content["results"]} >= {"last", "cycle"}
    assert "test" not in {row["selection"] for row in content["results"]}


def test_tables_list_a_run_without_a_test_and_show_the_others(tested, plain, capsys):
    listed = f"adca plain/cross: {UNTESTED}"
    for more in ([], ["--rerank"], ["--with-competitors"]):
        report.main(["tables", str(plain), *more])
        assert listed in capsys.readouterr().out
    for form in ("text", "markdown", "latex", "json"):
        report.main(["tables", str(plain), str(tested), "--format", form])
        shown = capsys.readouterr().out
        assert listed in shown
        assert "tested/cross" in shown
    for action in (["tables", "--each"], ["against", "eps"]):
        said = refused(capsys, ["report", *action, str(plain)])
        assert said == f"error: {listed}; leave it out"


def test_a_grid_without_a_test_says_so(plain):
    table = grid_table("custom", "a grid", {plain: {"eps": "0.5"}})
    assert table.rows == ()
    assert table.notes[-1] == UNTESTED


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["train", "--dataset", "sysu", "--queries", "both"], "it is a flag of custom"),
        (["train", "--dataset", "llcm", "--manifest", "x.csv"], "it is a flag of custom"),
        (["train", "--dataset", "custom", "--eval-draws", "2"], "--gallery-shots single"),
        (["train", "--dataset", "custom", "--queries", "thermal"], "visible, infrared, both"),
        (["train", "--dataset", "custom", "--manifest", "m/x.csv"], "m/x.csv --data-dir m "),
        (["prepare", "--dataset", "custom", "--manifest", "x.csv"], "cannot read x.csv"),
        (["test", "--dataset", "sysu", "x", "--gallery-shots", "all"], "--gallery-shots is not"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(line, said, capsys):
    assert said in refused(capsys, line)


@pytest.mark.parametrize("rules", [None, {}, {**vars(Rules()), "queries": "thermal"}])
def test_a_report_whose_rules_are_damaged_is_not_read(tested, tmp_path, rules):
    content = json.loads((tested / "report.json").read_text())
    content["about"]["rules"] = rules
    (tmp_path / "report.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"of another version or damaged.*about\.rules"):
        gather(tmp_path)


def test_draws_where_nothing_is_drawn_are_refused(tested, capsys):
    line = ["test", "--dataset", "custom", str(tested), "--draws", "3"]
    assert "add --gallery-shots single" in refused(capsys, line)


def test_rules_that_leave_nobody_are_refused_before_the_first_epoch(own, capsys):
    rows = list(csv.reader((own / "manifest.csv").open(newline="")))
    with (own / "one-camera.csv").open("w", newline="") as file:
        csv.writer(file).writerows([rows[0], *([row[0], "1", "", *row[3:]] for row in rows[1:])])
    main(["prepare", *place(own, "one-camera.csv"), *tiny_runs.SIZE, "-j", "1"])
    line = words(own, "one-camera.csv", "--name", "nobody")
    assert "pass --no-skip-own-camera" in refused(capsys, line)
    assert not (folder(own, "nobody") / "config.json").exists()


@pytest.mark.slow
def test_tables_keep_rules_apart_and_pages_are_written(own, tested, plain, capsys):
    logs = ["--logs-dir", str(own.parent / "logs")]
    flags = tiny_runs.tiny_flags("adca", "custom", "--stages", "intra")
    grid = ["--grid", "gallery-shots=all,single", "--stages", "intra", "--name", "shots"]
    sweep.main([*place(own), "--method", "adca", *logs, *flags, *grid])
    single, every = Rules(gallery_shots="single").words, Rules().words
    shown = capsys.readouterr().out
    grid_shown = shown[shown.rindex("adca shots") :]
    assert single in grid_shown
    assert every in grid_shown

    drawn = folder(own, "shots-gallery-shots-single")
    report.main(["tables", str(tested), str(drawn), str(plain)])
    first, second = capsys.readouterr().out.split("Comparison (")[1:]
    assert (every in first, single in first, "tested/cross" in first) == (True, False, True)
    assert (every in second, single in second) == (False, True)
    assert f"adca plain/cross: {UNTESTED}" in first
    report.main(["tables", str(drawn), "--each"])
    assert "Average" in capsys.readouterr().out

    report.main(["html", str(tested), *ON_CPU])
    page = (tested / "report.html").read_text()
    assert escape(Rules().words) in page
    assert "rendered identities: not a custom dataset result" in page.lower()
