"""Which run is tested where none is named."""

import json
import os

import pytest

from clustercontrast.commands import cli
from clustercontrast.commands.newest import is_finished, newest_run
from clustercontrast.files import UserError

ENDS = {"intra": 49, "progressive": 49}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write the folder of a run with what a finished one of PCLHD has, but for ``changes``."""
    monkeypatch.chdir(tmp_path)

    def folder(name, ended, method="pclhd", stage="progressive", epoch=49, stages=None):
        place = tmp_path / "logs" / "sysu" / method / name
        (place / stage).mkdir(parents=True)
        config = {"about": {"method": method}, "values": {"stages": stages}}
        (place / "config.json").write_text(json.dumps(config))
        tested = {"about": {"stage": stage, "epoch": epoch, "ends": ENDS}}
        (place / "report.json").write_text(json.dumps(tested))
        state = place / stage / "last.pth"
        state.touch()
        os.utime(state, (ended, ended))
        return place

    return folder


def test_the_newest_is_the_one_whose_training_ended_last(write):
    write("older", ended=1000)
    newest = write("newer", ended=3000)
    write("middle", ended=2000)
    write("pgm", ended=9000, method="pgm", stage="intra", stages=["intra"])
    os.utime(newest / "report.json", (500, 500))
    assert newest_run("sysu").resolve() == newest


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": 48},
        {"stage": "intra"},  # the second stage was not reached
        {"stage": "intra", "stages": ["progressive"]},
    ],
)
def test_what_has_not_ended_is_not_finished(write, changes):
    assert not is_finished(write("run", ended=1, **changes))


def test_a_run_of_one_stage_is_finished_with_that_stage(write):
    assert is_finished(write("run", ended=1, stage="intra", stages=["intra"]))


@pytest.mark.parametrize("name", ["config.json", "report.json", "progressive/last.pth"])
def test_a_run_that_lacks_a_file_is_not_finished(write, name):
    run = write("run", ended=1)
    (run / name).unlink()
    assert not is_finished(run)


def test_a_damaged_report_is_passed_over(write):
    whole = write("whole", ended=1)
    (write("damaged", ended=2) / "report.json").write_text("{")
    assert newest_run("sysu").resolve() == whole


def test_a_run_of_trials_is_finished_with_all_of_them(write):
    run = write("run", ended=1)
    for trial in (1, 2):
        write(f"run/trial{trial}", ended=trial)
    (run / "config.json").unlink()  # of a trial, not of the run
    assert is_finished(run)
    (run / "trial2" / "report.json").unlink()
    assert not is_finished(run)


def test_without_a_run_there_is_one_line(write, capsys):
    other = write("mine", ended=1, method="pgm", stage="intra", stages=["intra"])
    with pytest.raises(UserError) as error:
        newest_run("sysu")
    command = "python -m clustercontrast"  # where the scripts are not
    assert str(error.value) == (
        f"no finished run of pclhd in logs/sysu/pclhd: train one with {command} train --dataset "
        f"sysu, or name a run, as in {command} test --dataset sysu "
        f"{other.relative_to(other.parents[3])}"
    )
    with pytest.raises(SystemExit) as leaving:
        cli.test("regdb", ["--trial", "3"])
    assert leaving.value.code == 2
    assert f"as in {command} test --dataset regdb logs/regdb/METHOD/NAME" in capsys.readouterr().err
