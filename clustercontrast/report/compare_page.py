"""One self-contained HTML page of runs on the same test images: each against the first, A.

Every query is searched for by both models, so that differences are paired: their scatter over the
queries says how much of a difference the choice of queries may have made.  The page needs neither
network nor script, and the same runs give the same bytes.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from clustercontrast.data.images import ImageArray
from clustercontrast.evaluation.bootstrap import LEVEL, RESAMPLES, intervals
from clustercontrast.evaluation.protocols import Search, score_each
from clustercontrast.files import atomic
from clustercontrast.report import charts, differences, pictures
from clustercontrast.report.grids import LENGTH, paired_grid
from clustercontrast.report.markup import document, explanation, plot, rows_html
from clustercontrast.report.references.rows import METRICS
from clustercontrast.report.retrievals import Ranking
from clustercontrast.report.tables import measured_cells, spread_notes

SHOWN = 3
"""Queries whose AP rose most, and as many whose AP fell most."""

MEASURES = ("mAP", "Rank-1", "mINP")

VERDICTS = {
    (True, True): "0 lies outside of both",
    (True, False): "0 lies outside of the first alone, so that a few identities may make it",
    (False, True): "0 lies outside of the second alone",
    (False, False): "both hold 0, this test does not tell the two models apart",
}
"""Whether 0 lies outside of the interval over queries, and of that over identities."""


@dataclass(frozen=True)
class Run:
    """A run and what its model makes of the test images.

    Attributes:
        label: "A" for the baseline, "B", ...
        name: method and name.
        model: which of its models.
        config: ``config.json``.
        epochs: records of :func:`clustercontrast.report.figures.read_epochs`.
        results: rows of its report, of that model, by mode.
        images: test images by modality, as its network sees them.
        features: (N, d) float32 unit rows by modality; rows that no search uses are NaN.
    """

    label: str
    name: str
    model: str
    config: Mapping[str, Any]
    epochs: Sequence[Mapping[str, Any]]
    results: Mapping[str, Mapping[str, Any]]
    images: Mapping[str, ImageArray]
    features: Mapping[str, np.ndarray]

    @property
    def title(self) -> str:
        """Label and name."""
        return f"{self.label}: {self.name}"


@dataclass(frozen=True)
class Content:
    """All that a page shows.

    Attributes:
        dataset: as a heading names it.
        warnings: what the page says first of all: of images that are not the official ones.
        runs: two or more on the same test images, the baseline first.
        headings: of the search modes, the one that selects models first.
        searches: one search per mode.
        draw: which gallery draw that is, in words.
        seed: of the bootstrap.
    """

    dataset: str
    warnings: Sequence[str]
    runs: Sequence[Run]
    headings: Mapping[str, str]
    searches: Mapping[str, Search]
    draw: str
    seed: int


@dataclass(frozen=True, eq=False)
class Paired:
    """A run against the baseline in one search, query by query.

    Attributes:
        run: that is compared.
        rows: (n,) int64 queries with a correct image, of the Q of the search.
        people: (n,) int64 their identities.
        before: (n, 3) percent of the baseline, in the order of ``MEASURES``.
        after: (n, 3) percent of the run.
        seed: of the bootstrap.
    """

    run: Run
    rows: np.ndarray
    people: np.ndarray
    before: np.ndarray
    after: np.ndarray
    seed: int

    @property
    def changes(self) -> np.ndarray:
        """(n, 3) after minus before."""
        return self.after - self.before

    @functools.cached_property
    def over_queries(self) -> np.ndarray:
        """(3, 2) intervals of the mean changes, queries drawn anew."""
        return intervals(self.changes, np.arange(len(self.rows)), self.seed)

    @functools.cached_property
    def over_identities(self) -> np.ndarray:
        """(3, 2) intervals of the mean changes, whole identities drawn anew."""
        return intervals(self.changes, self.people, self.seed)

    def most_changed(self, sign: int) -> np.ndarray:
        """Queries whose AP changed most, of one identity the first alone.

        Args:
            sign: 1 for those that rose, -1 for those that fell.
        """
        risen = sign * self.changes[:, 0]
        order = np.argsort(-risen, kind="stable")
        order = order[risen[order] > 0]
        _, first = np.unique(self.people[order], return_index=True)
        return self.rows[order[np.sort(first)[:SHOWN]]]


def write_comparison(content: Content, path: Path) -> None:
    """Write the page of a comparison.

    Raises:
        UserError: the file cannot be written.
    """
    text = page(content)
    with atomic(path) as file:
        file.write(text)


def page(content: Content) -> str:
    """The whole page, HTML5 in one string."""
    baseline, *others = content.runs
    heading = f"{' and '.join(run.name for run in others)} against {baseline.name}"
    found = pairs_of(content)
    sections = {
        "results": ("Results", _results(content, found)),
        "differences": ("What differs", _differences(content)),
        "curves": ("Training", _curves(content)),
        "queries": ("Query by query", _queries(content, found)),
        "changed": ("Queries that changed most", _changed(content, found)),
    }
    title = f"{heading} on {content.dataset}"
    return document(title, heading, content.dataset, content.warnings, sections)


def pairs_of(content: Content) -> dict[str, list[Paired]]:
    """Every run against the baseline, by mode."""
    return {mode: list(_pairs(content, search)) for mode, search in content.searches.items()}


def _pairs(content: Content, search: Search) -> Iterator[Paired]:
    baseline, *others = content.runs
    lists = {name: array.index for name, array in baseline.images.items()}
    rows, before = _scores(baseline, search)
    people = lists[search.query].identities[search.query_rows][rows]
    for run in others:
        yield Paired(run, rows, people, before, _scores(run, search)[1], content.seed)


def _scores(run: Run, search: Search) -> tuple[np.ndarray, np.ndarray]:
    """Queries that have a correct image, and (n, 3) percent of ``MEASURES`` of each."""
    lists = {name: array.index for name, array in run.images.items()}
    found = score_each(search, lists, run.features)
    scores = found.precisions, found.hit_ranks == 0, found.penalties
    return found.rows, 100 * np.stack(scores, axis=1)


# --- results ---


def _results(content: Content, found: Mapping[str, Sequence[Paired]]) -> str:
    baseline = content.runs[0].label
    lines = "".join(
        f"<li>{escape(content.headings[mode])}, {_in_words(pair, baseline, content.draw)}</li>"
        for mode, pairs in found.items()
        for pair in pairs
    )
    said = (
        f"An interval holds the middle {LEVEL:.0%} of the differences that {RESAMPLES:,} draws of "
        "as many queries give, with replacement, each query with its scores under both models "
        "(paired bootstrap). Queries of one identity resemble each other: over identities, where "
        "these are drawn as a whole, it is usually wider and the safer one. Neither knows of other "
        "gallery draws or of another training with another seed."
    ).replace("%", " %")
    runs = [(run.label, run.name, run.model) for run in content.runs]
    return (
        f"{rows_html(('', 'run', 'model'), runs)}\n"
        f'<ul class="found">{lines}</ul>\n{explanation(said)}'
        f"<h3>Differences, {escape(content.draw)}</h3>\n{_paired_table(content, found)}\n"
        f"<h3>Results of every run</h3>\n{_means_table(content)}"
    )


def _in_words(pair: Paired, baseline: str, draw: str) -> str:
    """The difference in mAP, and whether the test set suffices to tell the two apart."""
    queries, people = pair.over_queries[0], pair.over_identities[0]
    return (
        f"<b>{pair.run.label} − {baseline}: {signed(pair.changes[:, 0].mean(), 1)} mAP</b> "
        f"({LEVEL * 100:.0f} % interval {_interval(*queries, 1)} over {len(pair.rows):,} queries, "
        f"{_interval(*people, 1)} over their {len(np.unique(pair.people)):,} identities, "
        f"{escape(draw)}): {VERDICTS[_excludes_0(queries), _excludes_0(people)]}"
    )


def _excludes_0(ends: np.ndarray) -> bool:
    return bool(ends[0] > 0 or ends[1] < 0)


def _paired_table(content: Content, found: Mapping[str, Sequence[Paired]]) -> str:
    label = content.runs[0].label
    header = (
        *("search", "difference", "of", "baseline", "run", "difference in %"),
        *("interval over queries", "interval over identities"),
    )
    rows = [
        (
            content.headings[mode],
            f"{pair.run.label} − {label}",
            measure,
            f"{pair.before[:, n].mean():.2f}",
            f"{pair.after[:, n].mean():.2f}",
            signed(pair.changes[:, n].mean()),
            _interval(*pair.over_queries[n]),
            _interval(*pair.over_identities[n]),
        )
        for mode, pairs in found.items()
        for pair in pairs
        for n, measure in enumerate(MEASURES)
    ]
    return rows_html(header, rows, words=3)


def _means_table(content: Content) -> str:
    """What the reports of the runs say of their models, over all draws."""
    results = [(mode, run, run.results[mode]) for mode in content.headings for run in content.runs]
    rows = [
        (content.headings[mode], run.label, *(cell or "–" for cell in measured_cells(own)))
        for mode, run, own in results
    ]
    notes = "".join(f"<li>{escape(note)}</li>" for note in spread_notes([r for *_, r in results]))
    table = rows_html(("search", "run", *METRICS.values()), rows)
    return f'{table}\n<ul class="notes">{notes}</ul>\n'


def signed(number: float, digits: int = 2) -> str:
    """A number with its sign, a true minus."""
    return f"{number:+.{digits}f}".replace("-", "−")


def _interval(low: float, high: float, digits: int = 2) -> str:
    return f"{low:.{digits}f} to {high:.{digits}f}".replace("-", "−")


# --- what differs ---


def _differences(content: Content) -> str:
    configs, labels = [run.config for run in content.runs], [run.label for run in content.runs]
    rows = differences.flags(configs)
    shared = [row for row in rows if differences.ABSENT not in row]
    others = [row for row in rows if differences.ABSENT in row]
    parts = {
        "Flags": _table_of("flag", labels, shared),
        "Versions and hardware": _table_of("version", labels, differences.versions(configs)),
        "Data and facts": _table_of("fact", labels, differences.data(configs)),
    }
    body = "".join(f"<h3>{title}</h3>\n{table}\n" for title, table in parts.items())
    if not others:
        return body
    summary = f"Flags that not all of the methods have: {len(others)}"
    return (
        f"{body}<details><summary>{summary}</summary>{_table_of('flag', labels, others)}</details>"
    )


def _table_of(name: str, labels: Sequence[str], rows: differences.Rows) -> str:
    return rows_html((name, *labels), rows, words=1) if rows else explanation("No difference.")


# --- curves ---


def _curves(content: Content) -> str:
    said = (
        "Every run over its own epochs, counted from 0 over its stages; a gap separates stages. "
        "Scores are those that training logged, on the gallery draws that it tests in between."
    )
    runs = {run.title: run.epochs for run in content.runs}
    plots = "".join(
        plot(functools.partial(charts.together, runs, measure), f"{measure.title} over the epochs")
        for measure in charts.measures_of(runs.values())
    )
    return f'{explanation(said)}<div class="plots">{plots}</div>\n'


# --- query by query ---


def _queries(content: Content, found: Mapping[str, Sequence[Paired]]) -> str:
    said = (
        "How many queries changed their average precision (AP) by how much. Bars to the right of 0 "
        f"are queries that are answered better than by {content.runs[0].label}; queries whose AP "
        "is the same are counted in words alone."
    )
    counts, plots = "", ""
    for mode, pairs in found.items():
        for pair in pairs:
            change, names = pair.changes[:, 0], (pair.run.label, content.runs[0].label)
            heading = f"{content.headings[mode]}, {names[0]} − {names[1]}"
            counts += f"<li>{escape(heading)}: {_counts(change, names)}</li>"
            draw = functools.partial(pictures.changes, change, names, heading)
            plots += plot(draw, f"Changes of average precision, {heading}")
    return f'{explanation(said)}<ul class="found">{counts}</ul>\n<div class="plots">{plots}</div>\n'


def _counts(change: np.ndarray, names: tuple[str, str]) -> str:
    better, worse = int((change > 0).sum()), int((change < 0).sum())
    return (
        f"of {len(change):,} queries {names[0]} answers {better:,} better and {worse:,} worse than "
        f"{names[1]}; {len(change) - better - worse:,} are the same"
    )


def _changed(content: Content, found: Mapping[str, Sequence[Paired]]) -> str:
    said = (
        f"The {SHOWN} queries whose average precision (AP) rose most, and those whose AP fell "
        f"most, one per identity: the first {LENGTH} gallery images of both models with their "
        "cosine similarity. Solid green and ✓: the identity of the query; dashed red and ✗: "
        "another identity. A file's name appears under the pointer."
    )
    return explanation(said) + "".join(
        _changed_in(content, mode, before, pair)
        for mode, pairs in found.items()
        for before in [_ranking(content.runs[0], content.searches[mode])]
        for pair in pairs
    )


def _changed_in(content: Content, mode: str, before: Ranking, pair: Paired) -> str:
    """The grids of one search and one run, both directions of change."""
    baseline, run, body = content.runs[0], pair.run, ""
    after = _ranking(run, content.searches[mode])
    rankings = {baseline.label: before, run.label: after}
    images = {own.label: own.images for own in (baseline, run)}
    for sign, word in ((1, "rose"), (-1, "fell")):
        heading = f"{content.headings[mode]}: AP {word} from {baseline.label} to {run.label}"
        queries = pair.most_changed(sign)
        grid = paired_grid(rankings, images, queries) if len(queries) else explanation("No query.")
        body += f"<h3>{escape(heading)}</h3>\n{grid}\n"
    return body


def _ranking(run: Run, search: Search) -> Ranking:
    lists = {name: array.index for name, array in run.images.items()}
    return Ranking(search, lists, run.features)
