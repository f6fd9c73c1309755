"""The package as pip installs it: what is in it, what it asks for, its command outside a clone."""

import itertools
import re
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import clustercontrast
from clustercontrast.data import places

tomllib = pytest.importorskip("tomllib")  # since Python 3.11
ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAME = re.compile(r"[\w-]+")


def test_requirements_are_those_of_the_package_and_of_its_tests():
    """Two lists, since many never install the package: they say the same."""
    wanted = set((ROOT / "requirements.txt").read_text().split())
    extras = PROJECT["optional-dependencies"]
    dev = {line for line in extras["dev"] if not line.startswith("clustercontrast[")}
    assert wanted == {*PROJECT["dependencies"], *dev}
    (own,) = {*extras["dev"]} - dev
    # In the tests a stand-in plays wandb's client.
    assert set(re.findall(r"[\w]+", own)[1:]) == extras.keys() - {"dev", "wandb"}


def test_every_package_is_pinned_to_the_version_that_was_tested():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {NAME.match(line)[0].lower() for line in lines if line and line[0] != "#"}
    extras = itertools.chain(*PROJECT["optional-dependencies"].values())
    named = {NAME.match(line)[0].lower() for line in (*PROJECT["dependencies"], *extras)}
    assert named - {"clustercontrast"} <= pinned


@pytest.mark.parametrize(
    ("called", "action", "folder", "said"),
    [
        ("clustercontrast", "train", ROOT, "clustercontrast train --dataset sysu"),
        ("train_sysu.py", "train", ROOT, "python train_sysu.py"),
        ("__main__.py", "test", None, "python -m clustercontrast test --dataset sysu"),
    ],
)
def test_messages_name_a_command_that_is_there(called, action, folder, said, tmp_path, monkeypatch):
    monkeypatch.chdir(folder or tmp_path)
    monkeypatch.setattr(sys, "argv", [called])
    assert places.command_of(action, "sysu") == said


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, and the folder of programs of an environment that it is installed in."""
    place = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    built = subprocess.run(
        [*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(place), str(ROOT)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if built.returncode and "hatchling" in built.stderr:
        pytest.skip("pip cannot fetch hatchling, which builds the wheel")
    assert built.returncode == 0, built.stderr
    (wheel,) = place.glob("*.whl")
    venv.create(place / "env", with_pip=False)
    (packages,) = (place / "env/lib").glob("python*/site-packages")
    subprocess.run(
        [*pip, "--python", str(place / "env"), "install", "--quiet", "--no-deps", str(wheel)],
        check=True,
    )
    # What the package needs is taken from the environment of the tests.
    (packages / "needed.pth").write_text("\n".join(site.getsitepackages()))
    return wheel, place / "env/bin"


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(installed):
    names = zipfile.ZipFile(installed[0]).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"clustercontrast", f"clustercontrast-{clustercontrast.__version__}.dist-info"}
    modules = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "clustercontrast").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert modules <= set(names)


@pytest.mark.slow
def test_the_command_works_outside_the_clone(installed, tmp_path):
    def run(*words):
        return subprocess.run(
            [str(installed[1] / words[0]), *words[1:]],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip

    where = run("python", "-c", "import clustercontrast; print(clustercontrast.__file__)")
    assert str(installed[1].parent) in where.stdout
    assert "usage: clustercontrast {prepare,train,test}" in run("clustercontrast", "--help").stdout
    assert "pclhd" in run("clustercontrast", "methods").stdout
    refused = run("clustercontrast", "train", "--dataset", "sysu", "--data-dir", "people")
    assert refused.returncode == 2
    assert "run clustercontrast prepare --dataset sysu --data-dir people" in refused.stderr
    assert run("clustercontrast", "report", "--help").returncode == 0
