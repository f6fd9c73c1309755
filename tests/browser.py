"""A page in headless Chromium: what it shows, what it says on the console, how it is laid out."""

import json
import os
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def load(folder: Path, text: str) -> tuple[str, list[str]]:
    """The DOM of a page after loading, and the lines of the console."""
    command = next(filter(None, map(shutil.which, NAMES)), None)
    if command is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    file = folder / "page.html"
    file.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [
            command,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--window-size=1600,900", "--virtual-time-budget=10000"),
            *("--enable-logging=stderr", "--dump-dom", f"--user-data-dir={folder / 'user'}"),
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, "HOME": str(folder)},
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def probe(folder: Path, text: str, script: str, width: int = 1200) -> dict:
    """What a script finds in a page of some width.

    The page lies in a frame, since a window is 500 pixels wide at least.

    Args:
        folder: for files.
        text: the page.
        script: a function of the page's ``document`` that gives an object.
        width: pixels.
    """
    text = re.sub(r"<meta http-equiv=.*?>", "", text)  # which would hold for the frame, too
    frame = f"""<!DOCTYPE html><body>
<iframe style="width: {width}px; height: 900px; border: 0" srcdoc="{escape(text)}"></iframe>
<script>window.addEventListener("load", () => {{
  const found = ({script})(document.querySelector("iframe").contentDocument);
  const out = document.createElement("pre");
  out.id = "probe"; out.textContent = JSON.stringify(found); document.body.append(out);
}});</script></body>"""
    dom, _ = load(folder, frame)
    inner = re.search(r'<pre id="probe">(.*?)</pre>', dom, re.DOTALL).group(1)
    return json.loads(unescape(inner))
