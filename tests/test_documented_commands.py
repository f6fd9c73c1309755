"""Commands of the documentation are taken by the command line: every training and every grid."""

import re
import shlex
from pathlib import Path

import pytest

from clustercontrast.commands import sweep
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
    text = re.sub(r'^TRIALS="[^"]*" ', "", text)
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
