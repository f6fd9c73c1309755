"""Datasets in the places of the official codes, while no --data-dir says where they are."""

import json
import shutil
from pathlib import Path

import pytest
import tiny_runs

from clustercontrast.commands import cli
from clustercontrast.commands.locating import FOUND, is_folder, known_places, located
from clustercontrast.data.places import beside
from clustercontrast.files import UserError
from clustercontrast.settings.recipes.common import DATASETS

USUAL, OFFICIAL = Path("data/SYSU-MM01"), Path("data/sysu")
SAID = "data/SYSU-MM01 is not there: the images are those of data/sysu"


@pytest.fixture
def people(tmp_path, monkeypatch):
    """The rendered dataset in data/sysu of the working directory."""
    monkeypatch.chdir(tmp_path)
    tiny_runs.use_small_encoder(monkeypatch)
    shutil.copytree(tiny_runs.dataset(), OFFICIAL)


def arguments(*more):
    """A short training without its --data-dir."""
    words = tiny_runs.arguments("adca", Path("logs"), *more)
    place = words.index("--data-dir")
    return words[:place] + words[place + 2 :]


def prepared(place):
    return beside(str(place), (32, 16), None) / "index.json"


def data_dir():
    """What the run's config.json says."""
    config = json.loads(Path("logs/sysu/adca/seed1/config.json").read_text())
    return config["values"]["data_dir"], config["origins"]["data_dir"]


def test_the_official_place_is_prepared_trained_on_and_tested(people, capsys):
    for command, words in (
        (cli.prepare, [*tiny_runs.SIZE, "-j", "1"]),
        (cli.train, arguments()),
    ):
        command("sysu", words)
        assert capsys.readouterr().out.count(SAID) == 1
    assert prepared(OFFICIAL).exists()
    assert data_dir() == ("data/sysu", FOUND)

    cli.test("sysu", ["logs/sysu/adca/seed1", "--draws", "2", "--device", "cpu"])
    assert "is not there" not in capsys.readouterr().out  # it is the run's own place

    for place in (OFFICIAL, prepared(OFFICIAL).parent):  # moved to the usual place
        place.rename(str(place).replace("sysu", "SYSU-MM01"))
    cli.test("sysu", ["logs/sysu/adca/seed1", "--draws", "2", "--device", "cpu"])
    shown = capsys.readouterr().out
    assert "data/sysu is not there: the images are those of data/SYSU-MM01" in shown
    assert "written to logs/sysu/adca/seed1: report.txt" in shown  # its own images
    cli.train("sysu", arguments())
    assert "trained and tested before" in capsys.readouterr().out


def test_prepared_images_alone_are_found(people, capsys):
    cli.prepare("sysu", [*tiny_runs.SIZE, "-j", "1"])
    shutil.rmtree(OFFICIAL)
    cli.train("sysu", arguments("--stages", "intra", "--epochs", "1"))
    assert SAID in capsys.readouterr().out


def test_the_usual_place_comes_first(people, capsys):
    shutil.copytree(OFFICIAL, USUAL)
    cli.prepare("sysu", [*tiny_runs.SIZE, "-j", "1"])
    assert "is not there" not in capsys.readouterr().out
    assert prepared(USUAL).exists()
    assert not prepared(OFFICIAL).exists()


def refused(capsys, command, words):
    with pytest.raises(SystemExit) as leaving:
        command("sysu", words)
    assert leaving.value.code == 2
    return capsys.readouterr().err


def test_a_place_that_was_typed_is_the_place(people, capsys):
    typed = ["--data-dir", str(USUAL)]
    line = refused(capsys, cli.prepare, typed)
    assert "no folder data/SYSU-MM01, but there is data/sysu: leave --data-dir out" in line
    line = refused(capsys, cli.train, arguments(*typed))
    assert "no prepared images in data/SYSU-MM01-32x16" in line


@pytest.mark.parametrize("command", [cli.prepare, cli.train])
def test_both_places_are_named_where_nothing_is_there(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    line = refused(capsys, command, [])
    assert "no folder data/SYSU-MM01 or data/sysu, expected SYSU-MM01 there (--data-dir" in line


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_is_looked_for_in_its_places_only(name):
    assert located(name, "elsewhere", lambda _: False) == "elsewhere"
    with pytest.raises(UserError, match="--data-dir names another"):
        located(name, known_places(name)[0], lambda _: False)


@pytest.mark.parametrize(
    ("dataset", "folder", "wanted"),
    [
        ("sysu", "rgb_modify", "cam1 ... cam6 and exp"),
        ("regdb", "ir_modify", "Visible, Thermal and idx"),
    ],
)
def test_converted_images_are_not_the_dataset(
    tmp_path, monkeypatch, capsys, dataset, folder, wanted
):
    monkeypatch.chdir(tmp_path)
    place = Path("data") / dataset
    (place / folder).mkdir(parents=True)
    assert is_folder(str(place))
    with pytest.raises(SystemExit):
        cli.prepare(dataset, [])
    line = capsys.readouterr().err
    assert f"{place} holds images that an official program has converted ({folder})" in line
    assert f"without {wanted}: give the folder of {DATASETS[dataset].title} as downloaded" in line


def test_the_dataset_beside_converted_images_is_read(people, capsys):
    (OFFICIAL / "rgb_modify").mkdir()
    cli.prepare("sysu", [*tiny_runs.SIZE, "-j", "1"])
    assert "wrote data/sysu-32x16" in capsys.readouterr().out
