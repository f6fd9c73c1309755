"""The files a user starts: they answer, parse, and name what exists."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clustercontrast.commands import cli
from clustercontrast.settings.command_line import parse
from clustercontrast.settings.options import flags_of_method
from clustercontrast.settings.recipes import all_recipes

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(ROOT.glob("*.py"))
SHELL = sorted([*ROOT.glob("*.sh"), *(ROOT / ".ci").glob("*")])
SHELLS = [name for name in ("sh", "dash", "bash") if shutil.which(name)]
COMMANDS = {"prepare": cli.prepare, "train": cli.train, "test": cli.test}


def test_there_is_something_to_test():
    names = {path.name for path in (*SCRIPTS, *SHELL)}
    assert names >= {"prepare_sysu.py", "train_sysu.py", "test_sysu.py", "run_tests.sh"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_thin(script):
    """A root script calls one command with its dataset, which the same words in its name say."""
    action, dataset = script.stem.split("_")
    call = f'    from clustercontrast.commands.cli import {action}\n\n    {action}("{dataset}")\n'
    _, main = script.read_text().split('if __name__ == "__main__":\n')
    assert main.endswith(call)
    assert len(main.splitlines()) == 4


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_answer_help(script, tmp_path):
    done = subprocess.run(
        [sys.executable, str(script), "--help"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--data-dir" in done.stdout
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("action", COMMANDS)
def test_commands_answer_help(action, capsys):
    with pytest.raises(SystemExit) as leaving:
        COMMANDS[action]("sysu", ["--help"])
    assert leaving.value.code == 0
    assert "--data-dir" in capsys.readouterr().out


@pytest.mark.parametrize("method", all_recipes())
def test_help_of_a_method_shows_its_values_and_where_they_come_from(method, capsys):
    with pytest.raises(SystemExit) as leaving:
        parse("sysu", ["--method", method, "--help"])
    shown = capsys.readouterr().out
    assert leaving.value.code == 0
    assert f"{method} on sysu" in shown
    assert "[10; official script]" in shown
    assert "[logs; ours]" in shown
    assert "*/" not in shown
    flags = {flag.spelled for flag in flags_of_method(all_recipes()[method], "sysu")}
    assert {word.replace("[no-]", "") for word in SPELLED.findall(shown)} == flags


def test_the_help_of_pclhd_is_short(capsys):
    with pytest.raises(SystemExit):
        parse("sysu", ["--method", "pclhd", "--help"])
    assert len(capsys.readouterr().out.splitlines()) <= 120


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_shell_scripts_parse(script, shell):
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_shell_scripts_can_be_started_alone(script):
    assert os.access(script, os.X_OK)
    command = ["git", "-C", str(ROOT), "ls-files", "-s", "--", str(script)]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert listed.returncode or listed.stdout.startswith("100755 ")  # a checkout, or a download


BASHISMS = re.compile(r"\[\[|\bsource\b|pipefail|<<<|==|\w\+?=\(|\[@\]|\$\{@:")


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_shell_scripts_have_no_words_of_bash_alone(script):
    lines = script.read_text().splitlines()
    assert not [x for x in lines if not x.startswith("#") and BASHISMS.search(x.split("'")[0])]


NAMED = re.compile(r"(?<![\w./-])((?:\.ci/|benchmarks/|tests/)?[a-z_]+\.(?:py|sh|txt))\b")


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_shell_scripts_name_existing_files(script):
    missing = [name for name in NAMED.findall(script.read_text()) if not (ROOT / name).exists()]
    assert not missing


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_shell_scripts_stop_at_the_first_failure(script):
    text = script.read_text()
    if text.startswith("#!"):
        assert text.startswith("#!/bin/sh\n")
        assert "\nset -eu\n" in text
        assert 'cd "$(dirname "$(readlink -f "$0")")' in text


SPELLED = re.compile(r"^  (?:-b, )?(--[a-z0-9\[\]-]+)", re.MULTILINE)
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")


@pytest.mark.parametrize("name", ["run_train_sysu.sh", "test_sysu.sh"])
def test_shell_scripts_name_existing_flags(name, capsys):
    known = set()
    for method in all_recipes():
        with pytest.raises(SystemExit):
            parse("sysu", ["--method", method, "--help"])
        known |= set(FLAG.findall(capsys.readouterr().out.replace("[no-]", "")))
    assert set(FLAG.findall((ROOT / name).read_text())) <= {*known, "--help"}


@pytest.fixture
def called(tmp_path):
    """Starts a script as a user would; a ``python`` that prints its arguments stands in for ours.

    The scripts are copies: no environment is entered beside them.
    """
    place = tmp_path / "a copy"
    shutil.copytree(ROOT / ".ci", place / ".ci")
    fake = place / "python"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    environment = os.environ | {"PATH": f"{place}:{os.environ['PATH']}"}

    for script in ROOT.glob("*.sh"):
        shutil.copy(script, place)

    def start(*words, **variables):
        done = subprocess.run(
            words,
            cwd=place,
            env=environment | variables,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split("\n")[:-1]

    return start


FLAGS = ["--eps", "0.55", "--name", "two words", "--note", 'it\'s "so" *']


@pytest.mark.parametrize("shell", SHELLS)
def test_the_training_scripts_hand_everything_on(called, shell):
    """Without a method they name none: that is the program's matter, or of a run to repeat."""
    train = "train_sysu.py"
    assert called(shell, "run_train_sysu.sh") == [train]
    named = called(shell, "./run_train_sysu.sh", "pgm", *FLAGS)
    assert named == [train, "--method", "pgm", *FLAGS]
    assert called(shell, "run_train_sysu.sh", *FLAGS) == [train, *FLAGS]
    assert parse("sysu", []).method == "pclhd"
    seeds = called(shell, "run_train_sysu.sh", "pgm", *FLAGS, SEEDS="1  *")
    assert seeds == ["train_sysu.py", "--seeds", "1", "*", "--method", "pgm", *FLAGS]
    trials = ["train_regdb.py", "--trial"]
    ten = [str(trial) for trial in range(1, 11)]
    assert called(shell, "run_train_regdb.sh") == [*trials, *ten]
    some = called(shell, "run_train_regdb.sh", "pgm", *FLAGS, TRIALS="2  10")
    assert some == [*trials, "2", "10", "--method", "pgm", *FLAGS]
    both = called(shell, "run_train_regdb.sh", TRIALS="2", SEEDS="1 3")
    assert both == [*trials, "2", "--seeds", "1", "3"]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("dataset", ["sysu", "regdb"])
def test_the_test_scripts_hand_everything_on(called, shell, dataset):
    script, program = f"test_{dataset}.sh", f"test_{dataset}.py"
    assert called(shell, script) == [program]
    assert called(shell, script, "logs/a b/", *FLAGS) == [program, "logs/a b/", *FLAGS]


@pytest.mark.parametrize("name", ["run_train_sysu.sh", "test_regdb.sh"])
def test_scripts_are_started_without_a_shell(called, name):
    assert called(f"./{name}")[0].endswith(".py")


ROW = re.compile(
    r"^\| \[(?P<title>[^\]]+)\]\((?P<page>docs/methods/\w+\.md)\) \| .* \| `(?P<command>[^`]+)`",
    re.MULTILINE,
)


def test_the_readme_has_a_row_for_every_method_but_the_classifier():
    rows = {row["title"].rstrip("*"): row for row in ROW.finditer((ROOT / "README.md").read_text())}
    papers = {name: recipe for name, recipe in all_recipes().items() if name != "supervised"}
    assert rows.keys() == {recipe.title for recipe in papers.values()}
    for name, recipe in papers.items():
        row = rows[recipe.title]
        assert row["page"] == f"docs/methods/{name}.md"
        assert (ROOT / row["page"]).exists()
        assert row["command"].split()[:3] == ["bash", "run_train_sysu.sh", name]


def test_the_help_lists_all_methods(capsys):
    with pytest.raises(SystemExit):
        parse("sysu", ["--help"])
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("  --method"))
    assert f": {', '.join(all_recipes())} [" in line


HEAVY = ("torch", "numba", "scipy", "matplotlib", "faiss", "sklearn")


@pytest.mark.parametrize(
    "words",
    [
        ["train_sysu.py", "--method", "pclhd", "--help"],
        ["train_sysu.py", "--method", "pclhd", "--epoch", "3"],
        ["train_sysu.py", "--data-dir", "nowhere"],
        ["train_regdb.py", "--method", "adca", "--hinge", "9"],
        ["train_sysu.py", "--method", "cmam", "--source", "x", "--data-dir", "nowhere"],
        ["prepare_sysu.py", "--data-dir", "nowhere"],
        ["test_sysu.py", "nowhere"],
        ["-m", "clustercontrast.report", "tables", "nowhere"],
        ["-m", "clustercontrast.report", "html", "nowhere"],
        ["-m", "clustercontrast.sweep", "--dataset", "sysu", "--method", "pgm", "--grid", "eps=2"],
        ["-m", "clustercontrast", "--help"],
        ["-m", "clustercontrast", "train_cc_vit_sysu.sh"],
    ],
    ids=" ".join,
)
def test_what_needs_no_computing_is_answered_before_torch_is_imported(words):
    """The names of all modules that were imported go to the error stream."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == (0 if "--help" in words else 2)
    lines = [x for x in done.stderr.splitlines() if x.startswith("import time:")]
    tops = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert not tops & set(HEAVY)
