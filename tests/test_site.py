"""The site of the documentation is built with strict links, and shows every public name."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytest.importorskip("mkdocs", reason="no mkdocs: pip install mkdocs-material")
pytest.importorskip("mkdocstrings", reason="no mkdocstrings: pip install mkdocstrings-python")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A built site; a link or an anchor that leads nowhere ends its making."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
def test_every_page_is_in_it(site):
    """Those of docs/, the README as its start, and one for every room of the package."""
    pages = {path.relative_to(site).parent.as_posix() for path in site.rglob("index.html")}
    docs = [
        path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")
    ]
    assert {page.as_posix() for page in docs} <= pages
    rooms = {path.parent.name for path in (ROOT / "clustercontrast").glob("*/__init__.py")}
    assert {f"api/{room}" for room in rooms} <= pages
    assert "No result on a real dataset" in (site / "index.html").read_text()


@pytest.mark.slow
def test_the_reference_says_what_docstrings_say(site):
    page = (site / "api" / "association" / "index.html").read_text()
    assert 'id="clustercontrast.association.graph_matching"' in page
    for name in ("association", "clustering", "losses", "memories"):
        room = ROOT / "clustercontrast" / name
        text = (site / "api" / name / "index.html").read_text()
        public = re.findall(
            r"^def ([a-z]\w+)", "".join(p.read_text() for p in room.glob("*.py")), re.M
        )
        assert [own for own in public if f".{own}" not in text] == []


@pytest.mark.slow
def test_the_site_asks_the_network_for_nothing_to_be_read(site):
    """Fonts and scripts are its own: a lab without a network reads it from a folder."""
    head = (site / "running" / "index.html").read_text().split("<body")[0]
    assert re.findall(r'(?:src|href)="(https?://[^"]+)"', head) == []
