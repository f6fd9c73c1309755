"""What is on the disk is whole, whatever happens while it is written."""

import errno
import os

import numpy as np
import pytest
import tiny_runs
import torch

from clustercontrast.commands import cli, reporting
from clustercontrast.engine import checkpoint
from clustercontrast.files import UserError


def state(epoch, **best):
    named = {rule: {"score": 1.0, "epoch": of} for rule, of in best.items()}
    return {
        "stage": "toy",
        "epoch": epoch,
        "retrieval": "net",
        "networks": {"net": {"weights": torch.full((3,), epoch)}},
        "optimisers": {},
        "generator": torch.Generator().get_state(),
        "best": named,
        "about": {},
        "numbers": {},
    }


def model(epoch):
    weights = {"weights": torch.full((2,), epoch)}
    named = {"stage": "toy", "epoch": epoch, "retrieval": "net", "about": {}}
    return named | {"weights": weights, "companions": {}}


def epochs_in(folder):
    return {
        path.name: checkpoint.load(path)["epoch"]
        for path in folder.iterdir()
        if path.suffix == ".pth"
    }


@pytest.fixture
def committed(tmp_path):
    """A stage's folder after epoch 0, in which both rules improved."""
    models = {"test": model(0), "cycle": model(0)}
    checkpoint.commit(tmp_path, state(0, test=0, cycle=0), models)
    return tmp_path


def test_commit_leaves_the_state_and_the_best_models(committed):
    assert epochs_in(committed) == {"last.pth": 0, "best_test.pth": 0, "best_cycle.pth": 0}
    assert len(list(committed.iterdir())) == 3


def test_only_rules_that_improved_are_replaced(committed):
    checkpoint.commit(committed, state(1, test=0, cycle=1), {"cycle": model(1)})
    assert epochs_in(committed) == {"last.pth": 1, "best_test.pth": 0, "best_cycle.pth": 1}


def test_a_waiting_model_is_dropped_if_the_state_does_not_know_it(committed):
    """Killed between best_test.pth.next and last.pth: epoch 1 never happened."""
    checkpoint.save(committed / "best_test.pth.next", model(1))
    assert checkpoint.last(committed)["epoch"] == 0
    assert epochs_in(committed) == {"last.pth": 0, "best_test.pth": 0, "best_cycle.pth": 0}
    assert not list(committed.glob("*.next"))


def test_a_waiting_model_is_put_in_place_if_the_state_knows_it(committed):
    """Killed between last.pth and the renaming: epoch 1 counts."""
    checkpoint.save(committed / "best_test.pth.next", model(1))
    checkpoint.save(committed / "last.pth", state(1, test=1, cycle=0))
    assert checkpoint.last(committed)["epoch"] == 1
    assert epochs_in(committed) == {"last.pth": 1, "best_test.pth": 1, "best_cycle.pth": 0}
    assert not list(committed.glob("*.next"))


def test_no_state_is_no_epoch(tmp_path):
    assert checkpoint.last(tmp_path) is None


def test_a_damaged_state_is_named(committed):
    path = committed / "last.pth"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"last\.pth is damaged"):
        checkpoint.last(committed)


def test_nothing_but_data_is_unpickled(tmp_path):
    torch.save({"epoch": print}, tmp_path / "last.pth")
    with pytest.raises(UserError, match=r"holds more than weights: (builtins\.)?print,"):
        checkpoint.load(tmp_path / "last.pth")


def test_a_flipped_bit_is_noticed(committed):
    weights = torch.randn(999, generator=torch.Generator().manual_seed(1))
    path = committed / "last.pth"
    checkpoint.save(path, state(1) | {"weights": weights})
    content = bytearray(path.read_bytes())
    content[content.index(weights.numpy().tobytes()) + 1234] ^= 16
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"last\.pth is damaged.*checksum.*delete it"):
        checkpoint.last(committed)


def test_labels_are_kept_as_they_are(tmp_path):
    labels = {"visible": np.array([0, -1, 3]), "joint_infrared": np.array([-1, 2])}
    checkpoint.save_labels(tmp_path / "labels" / "epoch_003.npz", labels)
    with np.load(tmp_path / "labels" / "epoch_003.npz") as saved:
        assert {name: saved[name].tolist() for name in saved.files} == {
            name: y.tolist() for name, y in labels.items()
        }


def test_remove_deletes_what_commit_wrote_and_nothing_else(committed):
    checkpoint.save_labels(committed / "labels" / "epoch_000.npz", {"visible": np.zeros(1)})
    (committed / "notes.txt").write_text("mine")
    checkpoint.remove(committed)
    assert [p.name for p in committed.rglob("*") if p.is_file()] == ["notes.txt"]


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def torch_error_of_a_full_disk(*_, **__):
    """What torch makes of a write that failed in the middle of a large tensor."""
    try:
        full_disk()
    except OSError:
        raise RuntimeError("[enforce fail] . unexpected pos 704 vs 598")  # noqa: B904


@pytest.mark.parametrize(
    ("owner", "name", "failure"),
    [
        (os, "fsync", full_disk),
        (torch, "save", full_disk),
        (torch, "save", torch_error_of_a_full_disk),
    ],
)
def test_a_full_disk_leaves_the_epoch_before(committed, monkeypatch, owner, name, failure):
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failure)
        with pytest.raises(UserError, match="disk"):
            checkpoint.commit(committed, state(1, test=1, cycle=0), {"test": model(1)})
    assert checkpoint.last(committed)["epoch"] == 0
    assert epochs_in(committed) == {"last.pth": 0, "best_test.pth": 0, "best_cycle.pth": 0}
    assert len(list(committed.iterdir())) == 3  # no temporary file takes up the space


def test_other_errors_of_saving_are_not_called_a_full_disk(tmp_path):
    with pytest.raises((AttributeError, TypeError, RuntimeError)) as error:
        checkpoint.save(tmp_path / "last.pth", {"generator": (i for i in ())})
    assert not isinstance(error.value, UserError)
    assert not list(tmp_path.iterdir())


def test_a_training_goes_on_after_the_disk_was_full(tmp_path, monkeypatch, capsys):
    """Full in the second epoch: one line, exit code 2, nothing lost; then as if it never was."""
    tiny_runs.use_small_encoder(monkeypatch)
    monkeypatch.setattr(reporting, "curves", lambda *_: None)
    command = tiny_runs.arguments("adca", tmp_path / "a", "--stages", "intra")
    folder = tiny_runs.run_folder(tmp_path / "a", "adca")
    real, written = torch.save, []

    def save(content, file):
        written.append(content)
        if content.get("epoch") == 1:
            full_disk()
        real(content, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save)
        capsys.readouterr()
        with pytest.raises(SystemExit) as leaving:
            cli.train("sysu", command)
    assert leaving.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(errors) == 1
    assert errors[0].startswith("error: no space left on the disk while writing")
    assert checkpoint.last(folder / "intra")["epoch"] == 0

    cli.train("sysu", command)
    undisturbed = tiny_runs.arguments("adca", tmp_path / "b", "--stages", "intra")
    cli.train("sysu", undisturbed)
    expected = tiny_runs.saved(tiny_runs.run_folder(tmp_path / "b", "adca"))
    assert tiny_runs.differences(tiny_runs.saved(folder), expected) == []
