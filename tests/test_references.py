"""Every reference leads somewhere: documents, anchors, ids of divergences and decisions, roles."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "clustercontrast"
PAGES = sorted((ROOT / "docs" / "methods").glob("*.md"))
DIVERGENCES = ROOT / "docs" / "divergences.md"
DECISIONS = ROOT / "docs" / "methods" / "cmam.md"
WRITTEN = {"report.md", "tables.md", "each.md"}  # by programs, into the folders of runs
DOCUMENT = re.compile(r"(?<![\w}*/.-])((?:\.\./)*[\w-][\w./-]*\.md)\b(?:#([\w-]+))?")
SECTION = re.compile(r"[\w/-]+\.md`?,? (?:§ ?|section )?\(?\d+(?:\.\d+)*\b")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
LINK_TEXT = re.compile(r"\[[^\]\n]*\](?=\()")
ROLE = re.compile(r":(mod|func|class|meth|data|attr|exc):`~?([\w.]+)`")


def sources() -> list[Path]:
    """All files that may refer to others, without recorded ones and this one."""
    found = [*ROOT.glob("*.py"), *ROOT.glob("*.sh"), *ROOT.glob("*.md")]
    for folder in ("clustercontrast", "benchmarks", "tests"):
        found += (ROOT / folder).rglob("*.py")
    found += (ROOT / "docs").rglob("*.md")
    golden = ROOT / "tests" / "golden"
    return sorted(path for path in found if golden not in path.parents and path != Path(__file__))


SOURCES = sources()
CODE = [path for path in SOURCES if path.suffix == ".py" and PACKAGE in path.parents]
MARKDOWN = [path for path in SOURCES if path.suffix == ".md"]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def places(text: str, pattern: re.Pattern) -> list[tuple[int, re.Match]]:
    """Line numbers and matches."""
    return [(text.count("\n", 0, m.start()) + 1, m) for m in pattern.finditer(text)]


def document(name: str, path: Path) -> Path | None:
    """What a document's name means in a file: relative to it, to the root, or to docs."""
    for folder in (path.parent, ROOT, ROOT / "docs"):
        if (folder / name).is_file():
            return (folder / name).resolve()
    return None


@cache
def anchors(path: Path) -> frozenset[str]:
    """Anchors of the headings of a Markdown file, made as GitHub makes them."""
    found: dict[str, int] = {}
    slugs, is_code = set(), False
    for line in path.read_text().split("\n"):
        is_code ^= line.startswith("```")
        heading = re.match(r"#{1,6} (.*)", line)
        if is_code or not heading:
            continue
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
        slug = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
        count = found.get(slug, 0)
        found[slug] = count + 1
        slugs.add(f"{slug}-{count}" if count else slug)
    return frozenset(slugs)


def rows(path: Path, first: str) -> list[str]:
    """First cells of the rows of a page's tables that match ``first``."""
    return re.findall(rf"^\| ({first}) \|", path.read_text(), re.MULTILINE)


# --- documents and anchors ---


def broken_documents(path: Path) -> list[str]:
    text, wrong = LINK_TEXT.sub("", path.read_text()), []
    for line, found in places(text, DOCUMENT):
        name, anchor = found.groups()
        if name in WRITTEN or text[: found.start()].endswith('/ "'):  # the end of a path in code
            continue
        target = document(name, path)
        if target is None:
            wrong.append(f"{line}: no document {name}")
        elif anchor and anchor not in anchors(target):
            wrong.append(f"{line}: no heading #{anchor} in {name}")
    return wrong + [f"{line}: section number {m[0]}" for line, m in places(text, SECTION)]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_documents_and_their_headings_exist(path):
    assert not broken_documents(path)


@pytest.mark.parametrize("path", MARKDOWN, ids=name_of)
def test_links_resolve(path):
    wrong = []
    for line, found in places(path.read_text(), LINK):
        target, _, anchor = found[1].partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = path.parent / target if target else path
        if not file.exists():
            wrong.append(f"{line}: no file {target}")
        elif anchor and anchor not in anchors(file):
            wrong.append(f"{line}: no heading #{anchor} in {file.name}")
    assert not wrong


GONE = "pgm.md " + "3.3"  # in two parts, so that no search for such citations finds it


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"see {GONE}", ["1: no document pgm.md", f"1: section number {GONE}"]),
        ("\n`docs/design.md`, 3.3", ["2: section number docs/design.md`, 3.3"]),
        ("docs/methods/pgm.md#nowhere", ["1: no heading #nowhere in docs/methods/pgm.md"]),
        ("(docs/methods/pgm.md#quirks, or docs/design.md)", []),
        ("report.md and {name}.md are written", []),
    ],
)
def test_what_is_refused(tmp_path, text, expected):
    path = tmp_path / "file.py"
    path.write_text(text)
    assert broken_documents(path) == expected


def test_anchors_are_those_of_github(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("# A, b: `c`!\n```\n# no\n```\n## A b c\n## d-e_f [g](h.md)\n")
    assert anchors(path) == {"a-b-c", "a-b-c-1", "d-e_f-g"}


# --- ids ---


def test_every_divergence_stands_once_in_a_table_with_a_header():
    lines = DIVERGENCES.read_text().split("\n")
    seen, header = [], None
    for before, line in zip(["", *lines], lines, strict=False):
        if not line.startswith("|"):
            header = None
        elif set(line) <= set("|-: "):
            header = before
        elif found := re.match(r"\| ([A-Z]+-\d+) \|", line):
            assert header is not None, f"{found[1]} stands in no table"
            assert header.startswith("| id |")
            assert line.count(" | ") == header.count(" | "), f"{found[1]} has other columns"
            seen.append(found[1])
    assert len(seen) == len(set(seen)) > 100


def test_ids_of_divergences_exist():
    known = set(rows(DIVERGENCES, r"[A-Z]+-\d+"))
    kinds = "|".join(sorted({one.split("-")[0] for one in known}))
    pattern = re.compile(rf"\b(?:{kinds})-\d+\b")
    wrong = [
        f"{name_of(path)}:{line}: {found[0]}"
        for path in SOURCES
        for line, found in places(path.read_text(), pattern)
        if found[0] not in known
    ]
    assert not wrong


def test_ids_of_decisions_exist():
    known = set(rows(DECISIONS, r"A\d+"))
    assert len(known) == 44
    cited = [*CODE, DECISIONS, DIVERGENCES, *(ROOT / "tests" / "methods").glob("*.py")]
    wrong = [
        f"{name_of(path)}:{line}: {found[0]}"
        for path in cited
        for line, found in places(path.read_text(), re.compile(r"\bA\d\d?\b"))
        if found[0] not in known
    ]
    assert not wrong


# --- names in code and pages ---


@cache
def defined(path: Path) -> dict[str, set[str]]:
    """Names at the top of a module, each with the members of its class."""
    names: dict[str, set[str]] = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            names[node.name] = {
                inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)
            }
        elif isinstance(node, ast.FunctionDef):
            names[node.name] = set()
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name): set() for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                parts = target.elts if isinstance(target, ast.Tuple) else [target]
                names |= {part.id: set() for part in parts if isinstance(part, ast.Name)}
    return names


def module_file(parts: list[str]) -> Path | None:
    base = ROOT.joinpath(*parts)
    files = (base.with_suffix(".py"), base / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def is_member(parts: list[str], path: Path) -> bool:
    """Whether a name, or a class and its member, stand at the top of a module."""
    names = defined(path)
    if len(parts) == 1:
        return parts[0] in names
    return len(parts) == 2 and parts[0] in names and parts[1] in names[parts[0]]


def resolves(kind: str, target: str, path: Path) -> bool:
    parts = target.split(".")
    if parts[0] == PACKAGE.name:
        if module_file(parts):
            return kind == "mod"
        for length in (1, 2):
            file = module_file(parts[:-length])
            if file:
                return is_member(parts[-length:], file)
        return False
    if kind == "mod":
        return module_file([*path.parent.relative_to(ROOT).parts, *parts]) is not None
    if kind == "meth" and len(parts) == 1:
        return any(parts[0] in members for members in defined(path).values())
    return is_member(parts, path) or parts[0] in defined(path)


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if path.suffix == ".py" and ROLE.search(path.read_text())],
    ids=name_of,
)
def test_roles_resolve(path):
    wrong = [
        f"{line}: {found[0]}"
        for line, found in places(path.read_text(), ROLE)
        if not resolves(*found.groups(), path)
    ]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_pages_name_files_and_functions_that_exist(page):
    """In a row of a table, every name must occur in one of the row's files."""
    wrong = []
    for line, text in enumerate(page.read_text().split("\n"), 1):
        named = re.findall(r"`([\w/]+\.py)`", text)
        files = [next((p for p in (PACKAGE / n, ROOT / n) if p.is_file()), None) for n in named]
        wrong += [f"{line}: no file {n}" for n, f in zip(named, files, strict=True) if f is None]
        if not text.startswith("|") or not all(files):
            continue
        content = "\n".join(file.read_text() for file in files if file)
        for name in re.findall(r"`([A-Za-z_][\w.]*)`", text) if files else ():
            if not name.endswith((".py", ".npz")):
                last = name.rpartition(".")[2]
                if not re.search(rf"\b{last}\b", content):
                    wrong.append(f"{line}: {name} does not occur in {', '.join(named)}")
    assert not wrong
