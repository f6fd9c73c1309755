"""The simulated device is what its documentation says."""

import json
import subprocess
import sys

import pytest

from simulated import launch, toolchain


@pytest.mark.slow
@launch.needed
def test_the_device_keeps_its_promises(tmp_path):
    done = launch.run(tmp_path, "-m", "pytest", "tests/simulated/on_device.py", gib=0.25)
    assert " passed" in done.output
    assert "skipped" not in done.output


@pytest.mark.slow
@launch.needed
def test_the_first_mistake_ends_a_program_unless_it_shall_go_on(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import torch\nx = torch.ones(3, device='cuda')\nprint((x + torch.ones(3)).tolist())\n"
        "print('the end')\n"
    )
    stopped = launch.run(tmp_path, str(program), code=1)
    assert "tensors on cuda:0 and cpu (simulated)" in stopped.output
    assert "the end" not in stopped.output
    gone_on = launch.run(tmp_path, str(program), code=1, goes_on=True)
    assert "[2.0, 2.0, 2.0]\nthe end" in gone_on.output
    assert (
        stopped.mistakes
        == gone_on.mistakes
        == ["start: aten.add.Tensor: tensors on cuda:0 and cpu at elsewhere"]
    )


PROGRAM = """\
import sys, torch
assert sys.argv[1:] == ["a", "b"]
print((torch.ones(3, device="cuda") + 1).tolist())
sys.exit(7)
"""


@pytest.mark.slow
@launch.needed
def test_the_command_and_a_fork_end_alike(tmp_path):
    """The exit code is the program's, what it prints is printed, and the reports are equal."""
    program, report = tmp_path / "program.py", tmp_path / "report.json"
    program.write_text(PROGRAM)
    forked = launch.run(tmp_path, str(program), "a", "b", code=7)
    command = [sys.executable, "-m", "simulated", str(report), str(program), "a", "b"]
    done = subprocess.run(command, cwd=launch.TESTS, stdout=subprocess.PIPE, check=False, text=True)
    assert done.returncode == 7
    assert forked.output == done.stdout == "[2.0, 2.0, 2.0]\n"
    assert forked.content == json.loads(report.read_text())
    assert forked.mistakes == []


def test_a_machine_without_a_compiler_is_told_in_one_word(monkeypatch):
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    missing = toolchain.missing.__wrapped__()
    assert missing == "g++"
    monkeypatch.setattr(toolchain, "missing", lambda: missing)
    with pytest.raises(RuntimeError, match=r"cannot be built here: no g\+\+"):
        toolchain.runtime.__wrapped__()
