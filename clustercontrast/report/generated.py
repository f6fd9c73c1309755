"""Tables of README.md and docs/results.md, made of what was published and what is recorded.

They stand between marks, ``<!-- generated: NAME -->`` and ``<!-- end -->``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from clustercontrast.evaluation.protocols import PROTOCOLS
from clustercontrast.files import UserError
from clustercontrast.report.published import published, typed
from clustercontrast.report.records import Trained, recorded, trained
from clustercontrast.report.references.commands import AS_IT_IS, GUR, PCLHD, UNITED
from clustercontrast.report.references.pclhd import WITHOUT_CAMERAS
from clustercontrast.report.references.rows import MODES, Configuration, Published

PAGES = ("README.md", "docs/results.md")
BLOCK = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(\n<!-- end -->)", re.DOTALL)
FURTHER = {PCLHD: (PCLHD.but("--association mmm"),), GUR: (WITHOUT_CAMERAS,)}
"""Configurations that stand below a method as it is."""
UNPUBLISHED = {"sysu": (GUR, UNITED), "regdb": (UNITED,), "llcm": (UNITED,)}
"""Dataset -> configurations that have a row without figures of others."""
SOURCE = {"cmam": "--source data/Market-1501"}
"""What a method cannot be trained without, where the documentation has it."""
NOT_RUN, UNKNOWN = "not run", "–"
OURS = {"last": "last epoch", "test": "best on the test set"}
SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
MAIN = "sysu"
"""The dataset of the README."""

Names = Mapping[str, tuple[str, str]]
"""Method -> its title, where and when it was published."""


def pages(root: Path, results: Path, names: Names) -> dict[Path, str]:
    """The pages of a checkout with their tables made anew.

    Args:
        root: of the checkout; pages that are not there are left out.
        results: folder of what is recorded.
        names: of the methods.

    Raises:
        UserError: a page marks the place of no table, or what is recorded is damaged.
    """
    made = blocks(results, names)
    places = [root / page for page in PAGES if (root / page).is_file()]
    return {place: filled(place, made) for place in places}


def filled(page: Path, made: Mapping[str, str]) -> str:
    """The text of a page with its tables.

    Raises:
        UserError: it has a mark of no table.
    """
    text = page.read_text("utf-8")
    unknown = [name for _, name, _ in BLOCK.findall(text) if name not in made]
    if unknown:
        raise UserError(
            f"{page} marks the place of a table {unknown[0]!r}: there are {', '.join(made)}"
        )
    return BLOCK.sub(lambda match: match[1] + made[match[2]] + match[3], text)


def blocks(results: Path, names: Names) -> dict[str, str]:
    """All tables by their names, and the sources of the published figures."""
    datasets = [dataset for dataset in MODES if published(dataset)]
    runs = {dataset: trained(recorded(results, dataset)) for dataset in datasets}
    sources: list[str] = []
    tables = {
        dataset: _table(_results(dataset, runs[dataset], names, sources), dataset)
        for dataset in datasets
    }
    listed = "\n".join(f"{number}. {source}" for number, source in enumerate(sources, start=1))
    return {"methods": _methods(runs[MAIN], names), **tables, "sources": listed}


def command(run: Configuration) -> str:
    """The words of a training command behind the script's name, or behind ``--method``."""
    usual = AS_IT_IS.get(run.method, run)
    variant = f"--variant {run.variant}" if run.variant != usual.variant else ""
    return " ".join(filter(None, (run.method, variant, *typed(run.flags), SOURCE.get(run.method))))


# --- README.md ---


def _methods(runs: Sequence[Trained], names: Names) -> str:
    """A row per method: the first row published of it, and ours of the model chosen as theirs.

    Of a recipe of our own: no published row, and the model that is best on the test set.
    """
    rows = [("method", "paper", "command", "published", "ours"), ("---",) * 5]
    mode = MODES[MAIN][0]
    for run in (*_with_figures(MAIN), UNITED):
        if run not in AS_IT_IS.values() and run != WITHOUT_CAMERAS:
            continue
        entry, (title, paper) = next(iter(published(MAIN, run)), None), names[run.method]
        model, name = (entry.selection, entry.method) if entry else ("test", title)
        ours = next((own.cell(model, mode) for own in runs if own.run == run), NOT_RUN)
        link = f"[{name}](docs/methods/{run.method}.md)"
        words = f"`bash run_train_{MAIN}.sh {command(run)}`"
        rows.append((link, paper, words, _quoted(entry, mode) if entry else UNKNOWN, ours))
    return _piped(rows)


# --- docs/results.md ---


def _results(
    dataset: str, runs: Sequence[Trained], names: Names, sources: list[str]
) -> Iterator[tuple[str, ...]]:
    """Rows of a dataset: what was published of every configuration, then ours.

    Args:
        dataset: a key of ``MODES``.
        runs: recorded on it.
        names: of the methods.
        sources: of figures so far, which new ones are added to.
    """
    for run in dict.fromkeys([*_shown(dataset), *(own.run for own in runs)]):
        entries = published(dataset, run)
        name = entries[0].method if entries else names[run.method][0]
        heads = [(f"`{command(run)}`", name)]
        lines = [*_published_lines(dataset, entries, sources), *_our_lines(dataset, run, runs)]
        heads += [("", "")] * (len(lines) - 1)
        yield from (head + line for head, line in zip(heads, lines, strict=True))


def _shown(dataset: str) -> list[Configuration]:
    """Configurations with figures of others, and those that have a row without."""
    return _in_order({*_with_figures(dataset), *UNPUBLISHED.get(dataset, ())})


def _with_figures(dataset: str) -> list[Configuration]:
    every = {own for run in AS_IT_IS.values() for own in (run, *FURTHER.get(run, ()))}
    if any(GUR in row.runs for row in published(dataset)):
        every.remove(WITHOUT_CAMERAS)  # the same figures again
    return _in_order({run for run in every if published(dataset, run)})


def _in_order(runs: set[Configuration]) -> list[Configuration]:
    ordered = [own for run in AS_IT_IS.values() for own in (run, *FURTHER.get(run, ()))]
    return [run for run in ordered if run in runs]


def _published_lines(
    dataset: str, entries: Sequence[Published], sources: list[str]
) -> Iterator[tuple[str, ...]]:
    for entry in entries:
        if entry.where not in sources:
            sources.append(entry.where)
        number = str(sources.index(entry.where) + 1).translate(SUPERSCRIPT)
        trials = f", trial {', '.join(map(str, entry.trials))} alone" if entry.trials else ""
        cells = (_quoted(entry, mode) for mode in MODES[dataset][:2])
        yield (f"{entry.kind}{number}{trials}", *cells, _model(entry))


def _our_lines(
    dataset: str, run: Configuration, runs: Sequence[Trained]
) -> Iterator[tuple[str, ...]]:
    found = [own for own in runs if own.run == run]
    if not found:
        yield ("this repository", NOT_RUN, NOT_RUN, OURS["last"])
    for own in found:
        images = f", images {own.digest[:6]}" if len({one.digest for one in found}) > 1 else ""
        for model in (model for model in OURS if (model, MODES[dataset][0], "mAP") in own.values):
            yield (
                own.source + images,
                *(own.cell(model, m) for m in MODES[dataset][:2]),
                OURS[model],
            )


def _model(entry: Published) -> str:
    """The model of published figures; papers do not say it, the official codes do."""
    if entry.selection == "last":
        return OURS["last"]
    return OURS["test"] if entry.kind.startswith("upstream") else UNKNOWN


def _quoted(entry: Published, mode: str) -> str:
    cells = [entry.shown(mode, metric) for metric in ("rank1", "mAP")]
    return " / ".join(cells) if all(cells) else UNKNOWN


def _table(lines: Iterator[tuple[str, ...]], dataset: str) -> str:
    searches = [heading.lower() for heading in PROTOCOLS[dataset].headings.values()][:2]
    head = ("command, after that", "method", "source", *searches, "model")
    return _piped([head, ("---",) * len(head), *lines])


def _piped(rows: Sequence[Sequence[str]]) -> str:
    lines = (" | ".join(row) for row in rows)
    return "\n".join(f"| {line} |".replace("|  |", "| |").replace("|  |", "| |") for line in lines)
