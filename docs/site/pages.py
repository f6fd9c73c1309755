"""Pages of the site that are made while it is built: the README as its start, and the API.

``mkdocs build`` reads this file because mkdocs.yml names it as a hook.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clustercontrast"
LINK = re.compile(r"\]\((?!https?:|#)([^)\s#]+)(#[^)\s]*)?\)")
FROM_THE_ROOT = {"README.md": "index.md", "CHANGELOG.md": "changelog.md"}
"""Pages that lie beside docs/, and their place in the site."""
FOLDERS = {"docs/methods": "methods/common.md"}
"""Folders that a page leads to, and the page that stands for each."""


def rooms() -> list[Path]:
    """Folders of the package, by name."""
    return [path.parent for path in sorted(PACKAGE.glob("*/__init__.py"))]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the API where the navigation says ``API``."""
    pages = ["api/index.md", *(f"api/{room.name}.md" for room in rooms())]
    config.nav = [{"API": pages} if entry == "API" else entry for entry in config.nav]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what does not lie in docs/: README, change log, a page per room of the package."""
    for name, place in FROM_THE_ROOT.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=_relinked(text, name, files, config)))
    for room in rooms():
        files.append(File.generated(config, f"api/{room.name}.md", content=_room(room)))
    listed = "\n".join(f"- [{room.name}]({room.name}.md): {_first_line(room)}" for room in rooms())
    text = f"# API reference\n\n::: clustercontrast\n\n## Rooms\n\n{listed}\n"
    files.append(File.generated(config, "api/index.md", content=text))
    return files


def on_page_markdown(markdown: str, page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files beside docs/ lead into the site."""
    is_ours = page.file.src_uri not in FROM_THE_ROOT.values()
    return _relinked(markdown, f"docs/{page.file.src_uri}", files, config) if is_ours else markdown


def _relinked(text: str, source: str, files: Files, config: MkDocsConfig) -> str:
    """Links of a page, which lies at ``source`` in the repository, as the site has them."""
    folder, place = posixpath.dirname(source), posixpath.dirname(source.removeprefix("docs/"))

    def new(found: re.Match[str]) -> str:
        target = _place(posixpath.normpath(posixpath.join(folder, found[1])), files, config)
        return f"]({posixpath.relpath(target, place or '.')}{found[2] or ''})"

    return LINK.sub(new, text)


def _place(target: str, files: Files, config: MkDocsConfig) -> str:
    """Where a file of the repository is in the site; what is no page is copied into it."""
    if target in FROM_THE_ROOT:
        return FROM_THE_ROOT[target]
    if target.startswith("docs/"):
        return FOLDERS.get(target, target.removeprefix("docs/"))
    place = f"files/{target}" + (".txt" if target.endswith(".md") else "")
    if files.get_file_from_path(place) is None:
        content = (ROOT / target).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=content))
    return place


def _first_line(room: Path) -> str:
    text = (room / "__init__.py").read_text(encoding="utf-8")
    return text.strip('"\n').split("\n")[0].strip('"') if text else ""


def _room(room: Path) -> str:
    """A page with the public names of every module of a room."""
    modules = [path for path in sorted(room.rglob("*.py")) if path.name != "__main__.py"]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules]
    parts = [f"::: {name.removesuffix('.__init__')}" for name in names]
    return f"# {room.name}\n\n" + "\n\n".join(parts) + "\n"
