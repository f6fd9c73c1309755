"""Commands of the documentation: every training and every grid is taken by the command line, every
other line starts a program that exists, with flags that it has."""

import re
import shlex
from pathlib import Path

import pytest

from clustercontrast.__main__ import main
from clustercontrast.commands import cli, report, sweep
from clustercontrast.rendering.__main__ import main as rendering
from clustercontrast.settings.command_line import parse
from clustercontrast.settings.parser import DRY_RUN, LIKE
from clustercontrast.settings.recipes import all_recipes

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SPAN = re.compile(r"```\w*\n(.*?)```|`([^`]+)`", re.DOTALL)
ASSIGNMENT = re.compile(r"""^(\w+)=("[^"]*"|[^\s"]\S*)$""", re.MULTILINE)
STARTS = (  # of a training, with the dataset
    (r"(?:ba)?sh (?:\./)?run_train_(\w+)\.sh ?", ""),
    (r"python train_(\w+)\.py ?", ""),
    (r"python -m clustercontrast train --dataset (\w+) ?", ""),
    (r"python -m clustercontrast\.sweep --dataset (\w+) ?", "sweep"),
    (rf"(?=(?:{'|'.join(all_recipes())})(?: |$))()", ""),  # a row of a table of commands
)
OPEN = re.compile(r"METHOD|NAME\b|FLAG|\.\.\.|<|\bV\b|=N\b| N\b|--help|--method( M|$)")
"""What a command has that leaves a word to the reader, or only asks."""


def commands(page):
    """Training commands of a page, its variables put in: kind, dataset and words."""
    variables, found = {}, []
    for block, span in SPAN.findall(page.read_text()):
        text = block.replace("\\\n", " ") or " ".join(span.split())
        for name, value in ASSIGNMENT.findall(text):
            variables[name] = expanded(value.strip('"'), variables)
        for line in ASSIGNMENT.sub("", text).splitlines():
            words = re.sub(r"\s#.*", "", " ".join(line.split()))
            if not OPEN.search(words):
                found.append(training(expanded(words, variables)))
    return [own for own in found if own]


def expanded(text, variables):
    return re.sub(r"\$(\w+)", lambda m: variables.get(m[1], m[0]), text)


def training(text):
    text = re.sub(r'^((TRIALS|SEEDS)="[^"]*" )+', "", text)
    for pattern, kind in STARTS:
        if start := re.match(pattern, text):
            words = shlex.split(text[start.end() :])
            if words and not words[0].startswith("-"):
                words = ["--method", *words]
            return kind, start[1] or "sysu", words
    return None


def cells(words):
    """Words of every run of a grid."""
    base, grids, place = [], [], None
    for word in words:
        if word == "--grid":
            place = []
            grids.append(place)
        elif place is not None and not word.startswith("--"):
            place.append(word)
        else:
            place = None
            base.append(word)
    return [[*base, *sweep.flags(cell)] for cell in sweep.cells(grids)]


DOCUMENTED = [
    pytest.param(*own, id=f"{page.name} {number}")
    for page in PAGES
    for number, own in enumerate(commands(page))
]


def of_flags(words):
    """Without the words that are no values: a dry run, and a run that is not there."""
    place = words.index(LIKE) if LIKE in words else len(words)
    return [word for word in (*words[:place], *words[place + 2 :]) if word != DRY_RUN]


@pytest.mark.parametrize(("kind", "dataset", "words"), DOCUMENTED)
def test_a_documented_command_is_taken(kind, dataset, words):
    for line in cells(words) if kind == "sweep" else [words]:
        parse(dataset, of_flags(line))


def test_most_pages_with_commands_are_read():
    pages = {param.id.split()[0] for param in DOCUMENTED}
    assert pages >= {"README.md", "ablations.md", "running.md", "coming-from.md", "results.md"}
    assert sum(param.values[0] == "sweep" for param in DOCUMENTED) > 12
    assert len(DOCUMENTED) > 100


# --- what is no training: programs that exist, flags that they take ---

BASH = re.compile(r"```bash\n(.*?)```", re.DOTALL)
FOREIGN = {"pip", "pre-commit", "mkdocs", "docker", "srun", "export", "for", "do", "done"}
"""Programs of others, and words of the shell."""
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")


def lines(page):
    """Lines of a page's shell blocks: comments and assignments away, commands after one another."""
    for block in BASH.findall(page.read_text()):
        text = ASSIGNMENT.sub("", block.replace("\\\n", " "))
        for line in re.sub(r"(?:^|\s)#.*", "", text, flags=re.MULTILINE).splitlines():
            for part in re.split(r"&&|;", line):
                words = re.sub(r"^(?:[A-Z_]+=(?:\"[^\"]*\"|\S+) )+", "", part.strip()).split()
                if words and not words[0].startswith("$") and "=" not in words[0]:
                    yield words


LINES = {" ".join(words): words for page in PAGES for words in lines(page)}


def flags_of(words, capsys):
    """Flags of the program that a line starts; None if it is a training, or a program of others."""
    text = " ".join(words)
    if words[0] in {*FOREIGN, "torchrun"} or training(text) or "$" in text:
        return None
    if own := re.match(r"python -m (benchmarks[.\w]*|simulated)", text):
        return flags_in_source(own[1])
    if own := re.match(r"(?:python |sh |bash )?(?:\./)?(\w+)_(sysu|regdb)\.(?:py|sh)", text):
        call = {"prepare": cli.prepare, "test": cli.test, "train": None, "run_train": None}[own[1]]
        return call and flags_in_help(lambda: call(own[2], ["--help"]), capsys)
    if own := re.match(r"python -m clustercontrast\.(report|rendering|sweep) ?(\w*)", text):
        call = {"report": report.main, "rendering": rendering, "sweep": sweep.main}[own[1]]
        action = own[2]
        return flags_in_help(lambda: call([*filter(None, [action]), "--help"]), capsys)
    if own := re.match(r"(?:python -m )?clustercontrast (\w+)(?: --dataset (\w+))?", text):
        dataset = ["--dataset", own[2]] if own[2] else []
        return {"--dataset"} | flags_in_help(lambda: main([own[1], *dataset, "--help"]), capsys)
    assert (ROOT / words[words[0] in ("bash", "sh", "python")]).is_file(), text
    return None


def flags_in_help(call, capsys):
    with pytest.raises(SystemExit):
        call()
    return set(FLAG.findall(capsys.readouterr().out.replace("[no-]", ""))) | {"--help"}


def flags_in_source(module):
    """Flags that a script of benchmarks or tests names, or a module that it shares with others."""
    place = ROOT / ("tests" if module == "simulated" else "") / module.replace(".", "/")
    files = [path for path in (place.with_suffix(".py"), *place.glob("*.py")) if path.is_file()]
    text = "".join(path.read_text() for path in files)
    own = set(FLAG.findall(text.partition('"""')[2].partition('"""')[2]))  # not as an example
    shared = re.findall(r"^from (benchmarks[.\w]*) import", text, re.MULTILINE)
    return own.union(*map(flags_in_source, shared))


@pytest.mark.parametrize("words", LINES.values(), ids=LINES)
def test_a_documented_line_starts_what_exists(words, capsys):
    """With flags that it takes; what a training takes is asked above."""
    known = flags_of(words, capsys)
    if known is not None:
        own = " ".join(words).partition(" --flags ")[0]  # what follows is handed to a training
        assert set(FLAG.findall(own)) <= known
