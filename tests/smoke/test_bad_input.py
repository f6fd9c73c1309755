"""Mistakes a user can make: one line that names the thing and the remedy, exit code 2, no loss."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_runs
import torch
from PIL import Image

from clustercontrast import files
from clustercontrast.commands import cli
from clustercontrast.data import images, sysu
from clustercontrast.models.two_stream_resnet import TwoStreamResNet

ROOT = Path(__file__).parents[2]


@pytest.fixture
def refused(capsys):
    """Run a command that must fail by the user's fault; its one line."""

    def run(command, argv) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as leaving:
            command("sysu", [str(word) for word in argv])
        lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
        errors = [line for line in lines if not line.startswith(("prepare:", "\r"))]
        assert leaving.value.code == 2
        assert len(errors) == 1, errors
        assert errors[0].startswith("error: ")
        return errors[0]

    return run


@pytest.fixture
def small(monkeypatch):
    tiny_runs.use_small_encoder(monkeypatch)


@pytest.fixture
def people(tmp_path):
    """A copy of the rendered dataset that may be damaged."""
    return Path(shutil.copytree(tiny_runs.dataset(), tmp_path / "people"))


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- the dataset ---


def prepare_arguments(people):
    return ["--data-dir", people, *tiny_runs.SIZE, "-j", "1"]


def test_no_dataset_folder(refused, tmp_path):
    line = refused(cli.prepare, prepare_arguments(tmp_path / "nowhere"))
    assert "nowhere" in line


def test_a_dataset_one_folder_too_deep(refused, people):
    outer = people.parent / "outer"
    outer.mkdir()
    people.rename(outer / "SYSU-MM01")
    line = refused(cli.prepare, prepare_arguments(outer))
    assert str(outer / "SYSU-MM01") in line


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_a_missing_identity_list(refused, people, part):
    (people / "exp" / f"{part}_id.txt").unlink()
    assert f"{part}_id.txt" in refused(cli.prepare, prepare_arguments(people))


def test_an_identity_without_images(refused, people):
    path = people / "exp" / "train_id.txt"
    path.write_text(path.read_text().strip() + ",4321\n")
    assert "4321" in refused(cli.prepare, prepare_arguments(people))


def test_an_identity_list_with_words(refused, people):
    (people / "exp" / "val_id.txt").write_text("1,two,3\n")
    line = refused(cli.prepare, prepare_arguments(people))
    assert "val_id.txt" in line
    assert "identity numbers separated by commas" in line


def test_an_unreadable_image(refused, people):
    path = next(p for p in sorted(people.glob("cam3/*/*.jpg")))
    path.write_bytes(b"no jpeg")
    line = refused(cli.prepare, prepare_arguments(people))
    listed = set((people / "exp" / "train_id.txt").read_text().split(","))
    assert str(path) in line, listed
    assert not images_of(people).exists()


def images_of(people):
    return people.with_name(f"{people.name}-32x16")


def test_missing_images_are_counted_unless_allowed(refused, people, capsys):
    for path in sorted(people.glob("cam1/*/*.jpg"))[:2]:
        path.unlink()
    line = refused(cli.prepare, prepare_arguments(people))
    assert "--allow-incomplete" in line
    cli.prepare("sysu", [*map(str, prepare_arguments(people)), "--allow-incomplete"])
    shown = capsys.readouterr().out
    assert "warning: found" in shown
    assert f"{people}: rendered identities, incomplete: not to be compared with publ" in shown
    prepared = images.open_prepared(images_of(people), "sysu")
    assert prepared.provenance.rendered
    assert (prepared.facts["complete"], prepared.facts["leak"]) == (False, False)


def test_what_is_complete_is_verified_but_not_where_all_is_accepted(people, capsys):
    """The counts of a dataset of its own stand for the published ones."""
    counts = json.loads((people / "rendered.json").read_text())["counts"]
    (people / "rendered.json").unlink()
    (people / "cam1" / ".DS_Store").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sysu, "COUNTS", counts)
        for more, state in ([], "verified"), (["--allow-incomplete"], "complete"):
            cli.prepare("sysu", [*map(str, prepare_arguments(people)), *more])
            shown = capsys.readouterr().out.splitlines()
            assert f"{people}: {state}" in shown
            assert f"{people}: passed over 1 file, such as cam1/.DS_Store" in shown
    assert images.open_prepared(images_of(people), "sysu").facts["complete"]


def test_identities_of_both_parts_unless_allowed(refused, people, capsys):
    tested = (people / "exp" / "test_id.txt").read_text()
    learned = (people / "exp" / "train_id.txt").read_text()
    (people / "exp" / "train_id.txt").write_text(f"{learned.strip()},{tested}")
    words = [*prepare_arguments(people), "--allow-incomplete"]
    line = refused(cli.prepare, words)
    assert "is in the training and in the test part (8 identities are)" in line
    assert "--allow-leak" in line
    cli.prepare("sysu", [*map(str, words), "--allow-leak"])
    assert "every report will say so" in capsys.readouterr().out
    assert images.open_prepared(images_of(people), "sysu").facts["leak"]


def test_deep_images_need_a_range(refused, people):
    path = next(p for p in sorted(people.glob("cam3/*/*.jpg")))
    values = np.arange(7900, 8156, dtype=np.uint16).reshape(16, 16)
    with path.open("wb") as file:
        Image.fromarray(values).save(file, "PNG")
    line = refused(cli.prepare, prepare_arguments(people))
    line = line.replace("mode I,", "mode I;16,")  # Pillow before 11
    assert f"{path} has more than 8 bits per pixel (mode I;16, values 7900 to 8155)" in line
    assert "--intensity-range LOW HIGH" in line
    words = [*map(str, prepare_arguments(people)), "--intensity-range", "7900", "8155"]
    cli.prepare("sysu", words)
    prepared = images.open_prepared(images_of(people), "sysu")
    assert prepared.facts["intensities"] == [7900, 8155]
    for wrong in (["9", "8"], ["0", "nan"], ["1", "x"], ["1"]):
        line = refused(cli.prepare, [*prepare_arguments(people), "--intensity-range", *wrong])
        assert "--intensity-range" in line


def test_a_failed_preparation_keeps_the_earlier_one(refused, people):
    cli.prepare("sysu", [str(word) for word in prepare_arguments(people)])
    before = content(images_of(people))
    next(people.glob("cam3/*/*.jpg")).write_bytes(b"no jpeg")
    refused(cli.prepare, [*prepare_arguments(people), "--overwrite"])
    assert content(images_of(people)) == before


def test_no_prepared_images(refused, tmp_path):
    argv = tiny_runs.arguments("pgm", tmp_path, "--height", "64")
    line = refused(cli.train, argv)
    assert "prepare_sysu.py" in line
    assert "--height 64 --width 16" in line


def test_prepared_images_of_another_size(refused, tmp_path):
    cache = f"{tiny_runs.dataset()}-32x16"
    argv = tiny_runs.arguments("pgm", tmp_path, "--cache-dir", cache, "--width", "24")
    assert "32x16 pixels, not 32x24" in refused(cli.train, argv)


def test_damaged_prepared_images(refused, tmp_path):
    cache = Path(shutil.copytree(f"{tiny_runs.dataset()}-32x16", tmp_path / "cache"))
    array = cache / "train_visible.npy"
    array.write_bytes(array.read_bytes()[:-1000])
    argv = tiny_runs.arguments("pgm", tmp_path, "--cache-dir", str(cache))
    assert "train_visible.npy" in refused(cli.train, argv)


# --- the command line ---


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--eps", "1.5"], "--eps"),
        (["--eps", "nan"], "--eps"),
        (["--momentum", "-0.1"], "--momentum"),
        (["--temp", "0"], "--temp"),
        (["--epochs", "0"], "--epochs"),
        (["--iters", "2.5"], "--iters"),
        (["--k1", "many"], "--k1"),
        (["--draws", "11"], "--draws"),
        (["--depth", "101"], "--depth"),
        (["--lr", "inf"], "--lr"),
        (["--memory", "elephant"], "--memory"),
        (["--precision", "fp16"], "--precision"),
        (["--batch-size", "15"], "--batch-size"),
        (["--bn-groups", "3"], "--bn-groups"),
        (["--epochs", "1", "2", "3"], "--epochs"),
        (["--epochs", "first=3"], "first"),
        (["--stages", "progressive"], "--stages"),
        (["--variant", "paper"], "paper"),
        (["--hard-k", "3", "--joint-k1", "4"], "--joint-k1"),
        (["--nonsense", "1"], "--nonsense"),
        (["--device", "gpu"], "--device"),
        (["--pretrained", "nowhere.pth"], "nowhere.pth"),
        (["--eps-gap", "0.02"], "no effect in PGM's official code either"),
        (["-a", "resnet50"], "--depth"),
        (["--resume", "x"], "goes on by itself"),
        (["--use-hard"], "--memory hard"),
        (["-d", "regdb_rgb"], "trains on sysu"),
    ],
)
def test_wrong_flags(refused, tmp_path, flags, named):
    line = refused(cli.train, tiny_runs.arguments("pgm", tmp_path, *flags))
    assert named in line
    assert not list(tmp_path.rglob("*.pth"))


def test_an_unknown_method(refused, tmp_path):
    argv = tiny_runs.arguments("pgm", tmp_path, "--method", "magic")
    assert "magic" in refused(cli.train, argv)


def test_a_second_stage_without_the_first(refused, tmp_path, small):
    line = refused(cli.train, tiny_runs.arguments("pgm", tmp_path, "--stages", "cross"))
    assert "stage 'intra' first" in line
    assert "--start-from" in line


def test_another_configuration_in_the_same_folder(refused, tmp_path, trained, small):
    folder = trained("pgm")
    before = content(folder)
    argv = tiny_runs.arguments("pgm", folder.parents[2], "--name", "pgm", "--lr", "0.1")
    line = refused(cli.train, argv)
    assert "--lr (0.00035 there)" in line
    assert "--name" in line
    assert content(folder) == before


def test_overwrite_starts_anew(tmp_path, small):
    short = ["--stages", "intra", "--epochs", "1", "--iters", "1"]
    cli.train("sysu", tiny_runs.arguments("pgm", tmp_path, *short))
    changed = tiny_runs.arguments("pgm", tmp_path, *short, "--lr", "0.01", "--overwrite")
    cli.train("sysu", changed)
    events = tiny_runs.events(tiny_runs.run_folder(tmp_path, "pgm"))
    assert len(events) == 1
    state = torch.load(tiny_runs.run_folder(tmp_path, "pgm") / "intra" / "last.pth")
    assert state["optimisers"]["encoder"]["param_groups"][0]["lr"] == pytest.approx(0.01)


# --- collapse ---


@pytest.mark.parametrize(
    ("flags", "advice"),
    [  # a tiny eps alone may leave exact duplicates
        (("--eps", "0.0001", "--min-samples", "100"), "raise --eps-"),
        (("--eps", "1.0"), "lower --eps-visible"),
    ],
)
def test_collapsed_clusters_name_the_flag(refused, tmp_path, small, flags, advice):
    argv = tiny_runs.arguments("pgm", tmp_path, *flags)
    line = refused(cli.train, argv)
    assert advice in line
    assert "in epoch 0 of stage" in line


def test_collapse_in_a_later_stage_keeps_the_earlier_one(refused, tmp_path, small):
    good = tiny_runs.arguments("adca", tmp_path)
    line = refused(cli.train, [*good, "--min-samples", "cross=100"])
    assert "of stage cross" in line
    assert "raise --eps-visible" in line
    folder = tiny_runs.run_folder(tmp_path, "adca")
    assert torch.load(folder / "intra" / "last.pth")["epoch"] == 1
    assert [(e["stage"], e["epoch"]) for e in tiny_runs.events(folder)] == [
        ("intra", 0),
        ("intra", 1),
    ]


# --- checkpoints ---


def test_weights_of_another_architecture(refused, tmp_path):
    other = tmp_path / "other.pth"
    torch.save({"weights": TwoStreamResNet(18, non_local=True).state_dict()}, other)
    argv = tiny_runs.arguments("adca", tmp_path, "--pretrained", str(other), "--depth", "34")
    line = refused(cli.train, argv)
    assert str(other) in line
    assert "--depth" in line


def test_a_checkpoint_that_is_none(refused, tmp_path):
    file = tmp_path / "notes.pth"
    file.write_text("these are my notes")
    place = ["--data-dir", tiny_runs.dataset(), *tiny_runs.SIZE, "--device", "cpu"]
    assert "notes.pth" in refused(cli.test, [file, *place])
    np.save(tmp_path / "array.npy", np.zeros(3))
    assert "array.npy" in refused(cli.test, [tmp_path / "array.npy", *place])


def test_a_run_that_does_not_exist(refused, tmp_path):
    assert "nowhere" in refused(cli.test, [tmp_path / "nowhere"])


def test_a_folder_that_is_no_run(refused, tmp_path):
    assert "is no folder of a run" in refused(cli.test, [tmp_path])


def test_a_run_without_a_finished_epoch(refused, trained, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(trained("pgm") / "config.json", folder)
    assert "no trained stage" in refused(cli.test, [folder])


def test_a_damaged_checkpoint_of_a_run(refused, trained, tmp_path, small):
    folder = Path(shutil.copytree(trained("pgm"), tmp_path / "run"))
    path = folder / "cross" / "best_test.pth"
    path.write_bytes(path.read_bytes()[:100])
    assert str(path) in refused(cli.test, [folder, "--device", "cpu"])


# --- the scripts themselves ---


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["prepare_sysu.py", "--data-dir", "nowhere"],
        ["train_sysu.py", "--eps", "7"],
        ["test_sysu.py", "nowhere"],
    ],
    ids=" ".join,
)
def test_scripts_say_one_line_without_a_traceback(command, tmp_path):
    script = ROOT / command[0]
    done = subprocess.run(
        [sys.executable, str(script), *command[1:]],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")


@pytest.mark.slow
@pytest.mark.parametrize("tenths", [2, 5, 10, 20, 40])
def test_ctrl_c_during_start_up_leaves_no_traceback(tmp_path, tenths):
    argv = tiny_runs.arguments("pgm", tmp_path)
    command = [sys.executable, str(ROOT / "train_sysu.py"), *argv]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(tenths / 10)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_locale_without_the_characters_of_a_table(trained, tmp_path):
    """Under ASCII a table has question marks, and the files have all."""
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = ["tables", str(trained("pgm")), "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "clustercontrast.report", *words],
        cwd=ROOT,
        env=os.environ | locale,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"+-" in done.stdout
    assert "±" in (tmp_path / "tables.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_numba_does_without_a_place_for_what_it_has_compiled():
    """As with read-only code and no HOME, where numba finds no place."""
    lines = (
        "from numba.core import caching",
        "caching.CacheImpl._locator_classes = []",
        "from clustercontrast.clustering import jaccard",
        "assert not jaccard.is_compiled()",
    )
    subprocess.run([sys.executable, "-c", "; ".join(lines)], cwd=ROOT, check=True)


def test_a_table_is_printed_before_the_disk_is_found_full(trained, small, monkeypatch, capsys):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = trained("pgm")
    table = (folder / "report.txt").read_text()
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(SystemExit) as leaving:
        cli.test("sysu", [str(folder), "--device", "cpu", "--draws", "2"])
    assert leaving.value.code == 2
    printed = capsys.readouterr()
    assert table in printed.out
    assert "no space left" in printed.err
    assert (folder / "report.txt").read_text() == table


@pytest.mark.parametrize("name", ["a/b", "..", ".", "", "a\\b", "/tmp/x", " a", "a\nb", "x" * 300])
def test_a_name_of_a_run_is_one_plain_component(refused, tmp_path, name):
    assert "--name" in refused(cli.train, tiny_runs.arguments("pgm", tmp_path, "--name", name))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "give --source FOLDER"),
        (["--source", "x", "--label-method", "import"], "needs --source-labels PATH"),
    ],
)
def test_what_cmam_needs_is_asked_for_before_anything_is_made(refused, tmp_path, flags, said):
    place = ["--data-dir", str(tiny_runs.dataset()), "--logs-dir", str(tmp_path / "logs")]
    assert said in refused(cli.train, ["--method", "cmam", *place, *flags])
    assert not (tmp_path / "logs").exists()


@pytest.mark.slow
def test_scripts_work_from_any_folder_and_through_a_link(tmp_path):
    (tmp_path / "link.sh").symlink_to(ROOT / "run_train_sysu.sh")
    for script in (str(ROOT / "run_train_sysu.sh"), "link.sh"):
        done = subprocess.run(
            ["bash", script, "pgm", "--data-dir", "nowhere"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert "no prepared images in nowhere-288x144" in done.stderr


def test_shell_scripts_are_checked_out_with_the_line_ends_of_a_shell():
    rules = (ROOT / ".gitattributes").read_text().splitlines()
    assert "*.sh text eol=lf" in rules
