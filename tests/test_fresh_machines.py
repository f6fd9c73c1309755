"""Environments of other versions, the image, hooks before a commit, and lines written twice."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PINNED = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "constraints.txt").read_text(), re.M))
INSTRUCTIONS = {"ARG", "FROM", "ENV", "WORKDIR", "COPY", "RUN", "CMD"}
SHARE = 0.3
"""Percent of the package's lines that may stand in it twice, in runs of six or more."""


def lines_of(dockerfile):
    """Instruction and words of every line, continued lines joined."""
    text = re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE).replace("\\\n", " ")
    return [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]


def test_the_image_is_made_of_what_exists():
    """Whether it can be built is seen where a daemon runs; here, that it says what it should."""
    lines = lines_of((ROOT / "Dockerfile").read_text())
    assert {name for name, _ in lines} == INSTRUCTIONS
    names = [name for name, _ in lines]
    assert names.index("FROM") == 1  # an argument alone may stand before it
    said = dict(lines)
    assert said["COPY"] == ". ."
    assert said["CMD"] == '["bash", "run_demo.sh"]'
    assert ". .ci/environment.sh" in said["RUN"]
    assert subprocess.run(["sh", "-nc", said["RUN"]], check=False).returncode == 0
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv*", "data/*", "logs/*"} <= {*ignored}


def has_daemon():
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not has_daemon(), reason="no Docker daemon")
def test_the_image_is_built():
    done = subprocess.run(["docker", "build", "--quiet", "."], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_hooks_before_a_commit_have_the_tested_versions():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    needed = {word for hook in hooks for word in hook.get("additional_dependencies", ())}
    assert needed == {f"ruff=={PINNED['ruff']}"}
    for hook in hooks:
        assert all((ROOT / word).exists() for word in hook["entry"].split() if "/" in word)


def test_the_oldest_versions_are_those_that_are_promised():
    """The line of oldest.sh that reads pyproject.toml finds every lower bound, and no other."""
    script = (ROOT / ".ci" / "oldest.sh").read_text()
    line = re.search(r"^grep .*?(?= >\.venv)", script, re.MULTILINE | re.DOTALL)[0]
    found = subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, text=True, check=True)
    pinned = dict(re.findall(r"^(\S+)==(\S+)$", found.stdout, re.MULTILINE))
    wanted = dict(re.findall(r"^([\w-]+)>=([\d.]+)", (ROOT / "requirements.txt").read_text(), re.M))
    assert wanted.items() <= pinned.items()
    assert pinned["pyarrow"] == "15"
    assert "hatchling" not in pinned


@pytest.mark.slow
def test_few_lines_stand_twice():
    """Of the package, without comments, docstrings, imports and signatures."""
    pytest.importorskip("pylint", reason="no pylint: pip install pylint")
    files = [str(path) for path in sorted((ROOT / "clustercontrast").rglob("*.py"))]
    ignored = ("comments", "docstrings", "imports", "signatures")
    flags = ["--duplicates=6", *(f"--ignore-{name}" for name in ignored)]
    code = "from pylint.checkers.symilar import Run; Run()"
    done = subprocess.run(
        [sys.executable, "-c", code, *flags, *files], capture_output=True, text=True, check=False
    )
    share = float(re.search(r"percent=([\d.]+)", done.stdout)[1])
    assert share <= SHARE, done.stdout
