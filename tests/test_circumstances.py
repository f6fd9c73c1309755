"""What a run records of the code and the machine it is trained with."""

import shutil
import subprocess

import pytest
import torch

from clustercontrast.commands import circumstances


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package in a checkout with one commit."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "code.py").write_text("1\n")
    (tmp_path / ".gitignore").write_text("*.pyc\n")
    monkeypatch.setattr(circumstances, "PACKAGE", package)
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "one")):
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True)
    return package


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_commit_says_whether_the_package_is_what_it_holds(package):
    clean = circumstances.commit()
    assert len(clean) == 40
    assert circumstances.versions()["git"] == clean
    (package.parent / "notes.txt").write_text("beside the package\n")
    (package / "code.pyc").write_text("ignored\n")
    assert circumstances.commit() == clean
    new = package / "new.py"
    new.write_text("2\n")
    assert circumstances.commit() == f"{clean}-dirty"
    new.unlink()
    (package / "code.py").write_text("3\n")
    assert circumstances.commit() == f"{clean}-dirty"


def test_an_installed_package_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(circumstances, "PACKAGE", tmp_path / "site-packages" / "package")
    assert circumstances.commit() == "installed"
    assert circumstances.versions()["git"] is None


def test_what_trained_a_part_of_a_run_is_kept_once_in_order():
    assert circumstances.added([], "a") == ["a"]
    assert circumstances.added(["a", "b"], "a") == ["a", "b"]
    assert circumstances.added(["a"], "b") == ["a", "b"]


def test_hardware_in_words(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"a GPU {device.index}")
    assert circumstances.hardware(cpu, 1).startswith("CPU, ")
    assert circumstances.hardware(gpu, 1) == "a GPU 0"
    assert circumstances.hardware(gpu, 4) == "4 x a GPU 0"
