"""What several processes cannot do is said in one line, before anything is begun."""

import pytest

from clustercontrast.commands import cli
from clustercontrast.engine.run import choose_device
from clustercontrast.files import UserError
from clustercontrast.processes.launch import Launch, started
from clustercontrast.settings.command_line import check_processes, parse

TORCHRUN = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": "29500"}  # fmt: skip


@pytest.fixture
def launched(monkeypatch):
    """Sets what torchrun says; None takes a name out."""

    def set_all(**changes):
        for name, value in (TORCHRUN | changes).items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)

    return set_all


def refusal(capsys, action):
    """The one line with which a command ends."""
    with pytest.raises(SystemExit) as end:
        action()
    assert end.value.code == 2
    text = capsys.readouterr().err.strip()
    assert text.count("\n") == 0
    return text


def test_what_torchrun_says(launched):
    launched(RANK="3", WORLD_SIZE="4", LOCAL_RANK="1")
    assert started() == Launch(3, 4, 1)
    launched(WORLD_SIZE="1")
    assert started() == Launch(0, 1, 0)


@pytest.mark.parametrize("missing", ["RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_a_world_size_set_by_hand(launched, capsys, missing):
    launched(**{missing: None})
    line = refusal(capsys, lambda: cli.train("sysu", ["--method", "pclhd"]))
    assert line.startswith(f"error: WORLD_SIZE is 2, but {missing} not set")
    assert "torchrun --nproc_per_node=N, or unset WORLD_SIZE" in line


@pytest.mark.parametrize(
    "wrong",
    [{"RANK": "x"}, {"WORLD_SIZE": "two"}, {"MASTER_PORT": "?"}, {"MASTER_PORT": "0"},
     {"RANK": "2"}, {"RANK": "-1"}, {"LOCAL_RANK": "1"}],
)  # fmt: skip
def test_numbers_that_are_none_or_do_not_fit(launched, wrong):
    launched(**wrong)
    with pytest.raises(UserError, match="with torchrun"):
        started()


@pytest.mark.parametrize(
    ("count", "flags", "wanted"),
    [
        (3, ["--method", "pclhd"], "3 processes cannot share the 2 BatchNorm group.s. of stage "
         "intra, each whole: start 1 or 2 processes, or give --bn-groups intra=6"),
        (4, ["--method", "pclhd", "--bn-groups", "2"], "start 1 or 2 processes"),
        (2, ["--method", "cmam", "--stages", "pretrain"], "start one process, or give "
         "--bn-groups pretrain=2"),
        (3, ["--method", "cmam", "--stages", "diffusion"], "--batch-size 32 of stage diffusion "
         "does not divide by 3 processes"),
        (2, ["--method", "cmam", "--bn-groups", "2", "--shard", "0/2"], "--shard is of one"),
        (2, ["--method", "mmm"], "of stage final"),
    ],
)  # fmt: skip
def test_batches_that_cannot_be_shared(count, flags, wanted):
    with pytest.raises(UserError, match=wanted):
        check_processes(parse("sysu", flags), count, is_dry=False)


@pytest.mark.parametrize(
    ("count", "flags"),
    [(2, ["pclhd"]), (4, ["pgm"]), (4, ["pclhd", "--bn-groups", "4"]), (1, ["mmm"]),
     (2, ["cmam", "--bn-groups", "2"]), (2, ["mmm", "--bn-groups", "2"])],
)  # fmt: skip
def test_batches_that_can(count, flags):
    check_processes(parse("sysu", ["--method", *flags]), count, is_dry=False)


def test_a_dry_run_is_of_one_process():
    with pytest.raises(UserError, match="--dry-run is of one process"):
        check_processes(parse("sysu", ["--method", "pclhd"]), 2, is_dry=True)


@pytest.mark.parametrize("action", [cli.prepare, cli.test])
def test_other_commands_work_alone(launched, capsys, action):
    launched()
    line = refusal(capsys, lambda: action("sysu", []))
    assert line == "error: this command works in one process: start it without torchrun"


def test_one_process_of_a_machine_speaks(launched, capsys):
    launched(RANK="1", LOCAL_RANK="1")
    with pytest.raises(SystemExit) as end:
        cli.prepare("sysu", [])
    assert end.value.code == 2
    assert capsys.readouterr().err == ""


def test_every_process_has_a_gpu_of_its_own(launched, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    launched(RANK="1", LOCAL_RANK="1")
    assert str(choose_device("auto")) == str(choose_device("cuda")) == "cuda:1"
    with pytest.raises(UserError, match="cuda:0 is one GPU, and there are 2 processes"):
        choose_device("cuda:0")
    launched(RANK="2", LOCAL_RANK="2", WORLD_SIZE="4")
    with pytest.raises(UserError, match="2 usable GPUs on this machine and more processes"):
        choose_device("auto")
